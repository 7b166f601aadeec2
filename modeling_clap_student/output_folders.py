"""Where a command leaves its results: a folder that is whole, or that can be resumed, or not there."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import PartialState

from .errors import InputError
from .redaction_clap_student import without_secrets


def make_folder(folder: Path) -> None:
    """Makes a folder that may be there.

    Raises:
        InputError: it can't be made: a file is in its place, a disk is full, a right is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder {folder}: {error.strerror}") from error


def refuse_used_folder(path: str | Path) -> None:
    """For a training that does not go on with what is there.

    Raises:
        InputError: the folder holds a model, or an unfinished run.
    """
    folder = Path(path)
    if any(folder.glob("checkpoint-*")) and not (folder / "results.json").exists():
        raise InputError(
            f"{folder} holds an unfinished run: go on with it, --resume_from_checkpoint, or name another --output_dir"
        )
    if (folder / "model.safetensors").exists():
        raise InputError(f"{folder} holds a trained model already: name another --output_dir, or delete it")
    PartialState().wait_for_everyone()


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Makes the folder of a run, and takes it away again if the run fails before it has left anything to resume.

    Folders above it that were made for it go with it.

    Raises:
        InputError: it can't be made.
    """
    folder = Path(path)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    if PartialState().is_main_process:
        make_folder(folder)
    PartialState().wait_for_everyone()
    try:
        yield folder
        PartialState().wait_for_everyone()  # what the main process wrote is there for all
    except BaseException:
        if made and not any(folder.glob("checkpoint-*")) and not (folder / "model.safetensors").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # one that holds something else by now
                for above in made[1:]:
                    above.rmdir()
        raise


@contextmanager
def whole_folder(path: str | Path, replaces: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """A folder that appears whole or not at all: filled under a temporary name, then renamed.

    Args:
        path: the folder.
        replaces: whether an older folder there, not empty, is one that may be replaced.

    Raises:
        InputError: the folder holds something else, or can't be written: a full disk, a missing right.
    """
    folder = Path(path).resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not replaces(folder)):
        raise InputError(f"{folder} is not empty: give another --output_dir")
    partial = folder.with_name(f"{folder.name}.partial")
    state = PartialState()
    if state.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
    state.wait_for_everyone()
    try:
        yield partial
        state.wait_for_everyone()
        if state.is_main_process:
            older = folder.with_name(f"{folder.name}.old")
            if folder.exists():
                folder.rename(older)
            partial.rename(folder)
            shutil.rmtree(older, ignore_errors=True)
        state.wait_for_everyone()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise InputError(f"can't write {folder}: {os.strerror(error.errno)}") from error
    finally:
        if state.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: dict | list) -> None:
    """Writes a json file, whole or not at all, from the main process alone."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file without secrets, whole or not at all, from the main process alone."""
    if PartialState().is_main_process:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(without_secrets(text), encoding="utf-8")
        partial.replace(path)


__all__ = ["make_folder", "output_folder", "refuse_used_folder", "whole_folder", "write_json", "write_text"]
