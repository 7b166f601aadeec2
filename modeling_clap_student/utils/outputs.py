"""Where a command leaves its results: a folder that is whole, or that can be resumed, or not there."""

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


# Of the disk and of rights: what the user can mend.
CAN_BE_MENDED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)
SKIPPED = "skipped.csv"


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Names the place in what goes wrong while it is written.

    Raises:
        InputError: a full disk, a missing right, a name that is too long, a file in a folder's place.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in CAN_BE_MENDED:
            raise
        raise InputError(f"can't write {short(path)}: {os.strerror(error.errno)}") from error


def short(path: Path | str) -> str:
    """A path for a message: one that is too long is cut."""
    text = str(path)
    return text if len(text) < 300 else f"{text[:100]}… ({len(text)} letters)"


def make_folder(folder: Path) -> None:
    """Makes a folder that may be there.

    Raises:
        InputError: it can't be made: a file is in its place, a disk is full, a right is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder {short(folder)}: {error.strerror}") from error


def new_folder(parent: Path) -> Path:
    """An empty folder of its own in another, whose name nobody can guess; its mode follows the umask."""
    folder = parent / _own_name()
    folder.mkdir()
    return folder


def _own_name() -> str:
    return f".partial-{token_hex(8)}"


def _tell_leftovers(folder: Path) -> None:
    """Says what runs that were killed have left in a folder. It may be that of one at work: nothing is removed."""
    left = sorted(entry.name for entry in folder.glob(".partial-" + "[0-9a-f]" * 16))
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        say(f"{short(folder)} holds {left[0]}{more}, left by a run that was killed, unless one is writing it now")


def _make(folder: Path, probed: bool = True) -> list[Path]:
    """Makes a folder, tries whether it can be written, and returns what was made for it, deepest first."""
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
    """Removes folders that this run made, unless they hold something by now."""
    with suppress(OSError):
        for folder in new_folders:
            folder.rmdir()


def probe_folder(path: str | Path) -> None:
    """Whether a folder can be made and written: told before the work, not after. Leaves nothing.

    Raises:
        InputError: it can't.
    """
    from_main_process(lambda: _unmake(_make(Path(path).absolute())))


@contextmanager
def output_folder(path: str | Path, check: Callable[[Path], None] = lambda folder: None) -> Iterator[Path]:
    """Makes the folder of a run, for this run alone.

    If the run fails before it has left anything to resume, what it made is taken away again: its list of skipped
    clips, the folder, and those above that were made for it, unless something else lies there by then.

    Args:
        path: the folder.
        check: raises what speaks against writing there. It is called when no other run can write there any more.

    Raises:
        InputError: it can't be made or written, or another run writes there.
    """
    folder, state = Path(path), PartialState()
    above = from_main_process(lambda: _make(folder.absolute().parent, probed=False))
    try:
        with writing(folder), folder_lock(folder) as killed:
            new_folders = from_main_process(lambda: _make(folder)[:1])
            had_list = (folder / SKIPPED).exists() and not killed
            try:
                if killed and state.is_main_process:
                    (folder / SKIPPED).unlink(missing_ok=True)  # of the run that was
                from_main_process(lambda: check(folder))
                from_main_process(lambda: _tell_leftovers(folder))
                yield folder
                state.wait_for_everyone()  # what the main process wrote is there for all
            except BaseException:
                if state.is_main_process and not is_begun(folder):
                    for counts in folder.glob(f".{SKIPPED}.*"):  # of the clips tried, see `SkippedClips`
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
    """Whether `whole_folder` can do its work: told before the work, not after.

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
    """A folder that appears whole or not at all: filled under a name of its own, then renamed.

    An older one is moved aside, and stays.

    Args:
        path: the folder.
        replaces: whether an older folder there, not empty, is one that may be moved aside.

    Raises:
        InputError: the folder holds something else, or can't be written: a full disk, a missing right; another run
            writes there.
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
    """Renames what was made; if that can't be done, it stays where it is."""
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
    """A folder whose files come into another one when all of them are whole; those there are replaced.

    For all processes at once.
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
    """The name under which to write a file that then appears whole or not at all; one that is there is replaced."""
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
    """Writes a json file, whole or not at all, from the main process alone."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file without secrets, whole or not at all, from the main process alone."""
    if PartialState().is_main_process:
        make_folder(path.parent)
        with whole_file(path) as partial:
            partial.write_text(without_secrets(text), encoding="utf-8")
