"""Audio files on disk: folders are listed once, names go straight into arrow, two million take seconds."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .tables import AUDIO_SUFFIXES, is_unicode


def same_name(name: str) -> str:
    """Equal for names that differ only in how their accents are written: a csv says é, macOS's files say e + ´."""
    return unicodedata.normalize("NFC", name)


def locate(paths: Iterable[str | None]) -> list[str | None]:
    """The file that each path means, None where there is none."""
    listings: dict[str, dict[str, str]] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path or "")
        if folder not in listings:
            listings[folder] = _listing(folder)
        there = listings[folder].get(name) or listings[folder].get(same_name(name))
        found.append(os.path.join(folder, there) if there else None)
    return found


def _listing(folder: str) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # no folder, or none that could be: a NUL byte in its name
        return {}
    return {same_name(name): name for name in names} | {name: name for name in names}


_CHUNK = 65536  # names that are Python strings at once


def list_audio(root: Path, enters: Callable[[str], bool] = lambda folder: True) -> pa.Array:
    """The audio files below a folder, as paths relative to it, sorted by their bytes.

    Hidden files and folders are passed over, links are followed, and no folder is entered twice, so that a link to a
    parent does no harm.

    Args:
        root: the folder.
        enters: whether to look into a folder of this name.

    Raises:
        InputError: a folder that can't be read.
    """
    try:
        names = as_strings(_walk(root, enters))
    except OSError as error:
        raise InputError(f"can't read the folder {error.filename}: {error.strerror}") from error
    return names.take(pc.sort_indices(names))


def audio_under(folder: Path) -> Iterator[Path]:
    """The same files one by one, as paths."""
    return (folder / name for name in list_audio(folder).to_pylist())


def as_strings(values: Iterable[str]) -> pa.Array:
    """A column of texts from an iterator, with few of them in memory as Python objects at any time.

    A name that is no UTF-8 (it has lone surrogates) can't be written to any table, and is left out.
    """
    values = iter(values)
    chunks = []
    while some := list(islice(values, _CHUNK)):
        try:
            chunks.append(pa.array(some, pa.string()))
        except UnicodeEncodeError:
            chunks.append(pa.array([name for name in some if is_unicode(name)], pa.string()))
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())


def _walk(root: Path, enters: Callable[[str], bool]) -> Iterator[str]:
    folders, links, seen = [""], [], set()
    while folders or links:
        # Links come after all real folders, in order: which of two names a folder is found under does not depend on
        # the disk.
        if not folders:
            links.sort(reverse=True)
        folder = folders.pop() if folders else links.pop()
        status = os.stat(os.path.join(root, folder))
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and entry.is_file():
                    yield f"{folder}{name}"
                elif entry.is_dir() and enters(name):
                    (links if entry.is_symlink() else folders).append(f"{folder}{name}/")
