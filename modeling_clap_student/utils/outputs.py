"""The folder of a command's results: complete, or resumable, or absent."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from accelerate import PartialState

from ..errors import InputError
from ..redaction_clap_student import without_secrets
from .console import say
from .processes import folder_lock, from_main_process


# Errors of the disk and of permissions, which the user can fix.
CAN_BE_MENDED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)
SKIPPED = "skipped.csv"


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Names the path in errors that occur while it is written.

    Raises:
        InputError: a full disk, missing permission, a name that is too long, or a file in a folder's place.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in CAN_BE_MENDED:
            raise
        raise InputError(f"can't write {short(path)}: {os.strerror(error.errno)}") from error


def short(path: Path | str) -> str:
    """A path for a message. Long ones are cut."""
    text = str(path)
    return text if len(text) < 300 else f"{text[:100]}… ({len(text)} letters)"


def make_folder(folder: Path) -> None:
    """Makes a folder, unless it exists.

    Raises:
        InputError: it can't be made: a file is in its place, the disk is full, or permission is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder {short(folder)}: {error.strerror}") from error


def new_folder(parent: Path) -> Path:
    """A new, empty folder inside another. Nobody can guess its name; its permissions follow the umask."""
    folder = parent / _own_name()
    folder.mkdir()
    return folder


def _own_name() -> str:
    return f".partial-{token_hex(8)}"


def _tell_leftovers(folder: Path) -> None:
    """Names what killed runs have left in a folder. It may belong to a running one, so nothing is removed."""
    left = sorted(entry.name for entry in folder.glob(".partial-" + "[0-9a-f]" * 16))
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        say(f"{short(folder)} holds {left[0]}{more}, left by a run that was killed, unless one is writing it now")


def _make(folder: Path, probed: bool = True) -> list[Path]:
    """Makes a folder, tests whether it can be written, and returns the folders made for it, deepest first."""
    new_folders = []
    try:
        new_folders = [place for place in (folder, *folder.parents) if not place.exists()]
        make_folder(folder)
        if probed:
            new_folder(folder).rmdir()
    except (OSError, InputError) as error:
        _unmake(new_folders)
        if isinstance(error, InputError):
            raise
        raise InputError(f"can't write {short(folder)}: {error.strerror}") from error
    return new_folders


def _unmake(new_folders: list[Path]) -> None:
    """Removes folders that this run made, unless they have content by now."""
    with suppress(OSError):
        for folder in new_folders:
            folder.rmdir()


def probe_folder(path: str | Path) -> None:
    """Checks, before the work, that a folder can be made and written. Leaves nothing behind.

    Raises:
        InputError: it can't.
    """
    from_main_process(lambda: _unmake(_make(Path(path).absolute())))


@contextmanager
def output_folder(path: str | Path, check: Callable[[Path], None] = lambda folder: None) -> Iterator[Path]:
    """Makes the folder of a run, for this run only.

    If the run fails before it leaves anything to resume, the things it made are removed: its list of skipped clips,
    the folder, and the folders above that were made for it. Folders with other content stay.

    Args:
        path: the folder.
        check: raises an error if the folder must not be written. It is called once no other run can write there.

    Raises:
        InputError: it can't be made or written, or another run is writing there.
    """
    folder, state = Path(path), PartialState()
    above = from_main_process(lambda: _make(folder.absolute().parent, probed=False))
    try:
        with writing(folder), folder_lock(folder) as killed:
            new_folders = from_main_process(lambda: _make(folder)[:1])
            had_list = (folder / SKIPPED).exists() and not killed
            try:
                if killed and state.is_main_process:
                    (folder / SKIPPED).unlink(missing_ok=True)  # of the earlier run
                from_main_process(lambda: check(folder))
                from_main_process(lambda: _tell_leftovers(folder))
                yield folder
                state.wait_for_everyone()  # so that all see what the main process wrote
            except BaseException:
                if state.is_main_process and not is_begun(folder):
                    for counts in folder.glob(f".{SKIPPED}.*"):  # counts of the clips tried, see `SkippedClips`
                        counts.unlink(missing_ok=True)
                    if not had_list:
                        (folder / SKIPPED).unlink(missing_ok=True)
                    _unmake(new_folders)
                raise
    except BaseException:
        if state.is_main_process:
            _unmake(above)
        raise


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a model, or checkpoints."""
    return (folder / "model.safetensors").exists() or any(folder.glob("checkpoint-*"))


def check_new_folder(path: str | Path, replaces: Callable[[Path], bool] = lambda folder: False) -> None:
    """Checks, before the work, that `whole_folder` can do its work.

    Raises:
        InputError: it can't.
    """
    folder = Path(path).resolve()
    from_main_process(lambda: _refuse_full(folder, replaces))
    probe_folder(folder.parent)


def _refuse_full(folder: Path, replaces: Callable[[Path], bool]) -> None:
    with writing(folder):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not replaces(folder)):
            raise InputError(f"{folder} is not empty: give another --output_dir")
        if folder.is_mount():
            raise InputError(f"{folder} is a disk of its own: name a folder in it as --output_dir")


@contextmanager
def whole_folder(path: str | Path, replaces: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """A folder that appears completely or not at all: filled under another name, then renamed.

    An older folder is moved aside, and stays.

    Args:
        path: the folder.
        replaces: whether an older, non-empty folder there may be moved aside.

    Raises:
        InputError: the folder holds something else, or can't be written (a full disk, missing permission), or another
            run is writing there.
    """
    folder, state = Path(path).resolve(), PartialState()
    new_folders = from_main_process(lambda: _make(folder.parent))
    try:
        with writing(folder), folder_lock(folder):
            from_main_process(lambda: _refuse_full(folder, replaces))
            from_main_process(lambda: _tell_leftovers(folder.parent))
            partial = from_main_process(lambda: new_folder(folder.parent))
            try:
                yield partial
                state.wait_for_everyone()
            except BaseException:
                if state.is_main_process:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            from_main_process(lambda: _move_into_place(partial, folder, replaces))
    except BaseException:
        if state.is_main_process:
            _unmake(new_folders)
        raise


def _move_into_place(partial: Path, folder: Path, replaces: Callable[[Path], bool]) -> None:
    """Renames the finished folder. If that fails, the folder stays where it is."""
    older = None
    try:
        _refuse_full(folder, replaces)
        if folder.is_dir() and any(folder.iterdir()):
            older = folder.rename(folder.with_name(f"{folder.name}.replaced-{token_hex(4)}"))
        partial.rename(folder)
    except (OSError, InputError) as error:
        if older is not None:
            with suppress(OSError):
                older.rename(folder)
        raise InputError(f"can't put the results into {folder}: {error}. They are whole, in {partial}") from error
    if older is not None:
        say(f"the set that was in {folder} is now in {older}: delete it when you no longer need it")


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """A folder whose files move into another one when all of them are complete. They replace existing files.

    All processes must call it together.
    """
    state = PartialState()
    with writing(folder):
        partial = from_main_process(lambda: new_folder(folder))
        try:
            yield partial
            state.wait_for_everyone()
            if state.is_main_process:
                for file in sorted(partial.iterdir()):
                    file.replace(folder / file.name)
            state.wait_for_everyone()
        finally:
            if state.is_main_process:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A temporary name for a file, which then appears completely or not at all. It replaces an existing file."""
    path = Path(path)
    partial = path.with_name(_own_name())
    with writing(path):
        try:
            yield partial
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict | list) -> None:
    """Writes a json file, completely or not at all, in the main process only."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file without secrets, completely or not at all, in the main process only."""
    if PartialState().is_main_process:
        make_folder(path.parent)
        with whole_file(path) as partial:
            partial.write_text(without_secrets(text), encoding="utf-8")
