"""Audio files on disk: listed, found by name, and kept inside the folder that the user named.

Folders are listed once, and names go straight into arrow: two million take seconds.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import config
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from ..errors import InputError
from ..soundscapes.corpus import is_soundscape
from ..windows_clap_student import PART, part_name, split_part, without_part
from .sources import Source, split_revision
from .tables import AUDIO_SUFFIXES, is_unicode


_CHUNK = 65536  # names that are Python strings at a time
_DEEPEST = 200  # levels of nested folders that are resolved one by one
OUTSIDE = "outside its folder (--allow_outside_paths takes it)"


def same_name(name: str) -> str:
    """Equal for names that differ only in how accents are written: a csv says é, macOS's files say e + ´."""
    return unicodedata.normalize("NFC", name)


def locate(paths: Iterable[str | None]) -> list[str | None]:
    """The file that each path means, with its part if it has one; None where there is no file."""
    listings: dict[str, dict[str, str]] = {}
    files = []
    for path in paths:
        whole, span = split_part(path or "")
        folder, name = os.path.split(whole)
        if folder not in listings:
            listings[folder] = _listing(folder)
        entry = listings[folder].get(name) or listings[folder].get(same_name(name))
        part = "" if span is None else part_name(*span)
        files.append(os.path.join(folder, entry) + part if entry else None)
    return files


def _listing(folder: str) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # no such folder, or an impossible name (a NUL byte)
        return {}
    return {same_name(name): name for name in names} | {name: name for name in names}


def list_audio(root: Path, enters: Callable[[str], bool] = lambda folder: True) -> pa.Array:
    """The audio files below a folder, as paths relative to it, sorted by their bytes.

    Hidden files and folders are ignored. Links are followed, but no folder is entered twice, so a link to a parent is
    harmless. `enters` says whether to look into a folder with a given name.
    """
    try:
        names = as_strings(_walk(root, enters))
    except OSError as error:
        raise InputError(f"can't read the folder {error.filename}: {error.strerror}") from error
    return names.take(pc.sort_indices(names))


def audio_under(folder: Path) -> Iterator[Path]:
    return (folder / name for name in list_audio(folder).to_pylist())


def as_strings(values: Iterable[str]) -> pa.Array:
    """A column of texts from an iterator. Few of them are Python objects at any time.

    A name that is not UTF-8 (it has lone surrogates) can't be written to any table, and is left out.
    """
    values = iter(values)
    chunks = []
    while names := list(islice(values, _CHUNK)):
        try:
            chunks.append(pa.array(names, pa.string()))
        except UnicodeEncodeError:
            chunks.append(pa.array([name for name in names if is_unicode(name)], pa.string()))
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())


def _walk(root: Path, enters: Callable[[str], bool]) -> Iterator[str]:
    folders, links, visited = [""], [], set()
    while folders or links:
        # Links come after all real folders, in order. So the name under which a folder is found does not depend on the
        # disk.
        if not folders:
            links.sort(reverse=True)
        folder = folders.pop() if folders else links.pop()
        status = os.stat(os.path.join(root, folder))
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and entry.is_file():
                    yield f"{folder}{name}"
                elif entry.is_dir() and enters(name):
                    (links if entry.is_symlink() else folders).append(f"{folder}{name}/")


def allowed_folders(source: Source) -> tuple[str, ...] | None:
    """The real folders in which the files of a source must lie; None where any file may be read.

    A downloaded list must not name files of the user. Otherwise a row `../secret/id_rsa` would be read, and its bytes
    pushed with a set. For a csv, it is the csv's folder. For a folder in the Hugging Face cache, it is the
    repository's folder, whose files link into `blobs`. For a Hub dataset, it is that folder and the archives unpacked
    from it.
    """
    if source.exclusions.allow_outside_paths:
        return None
    if source.path is None:
        return ()
    if not isinstance(source.path, Path) and not os.path.exists(source.path):
        name = split_revision(source.path)[0]
        cached = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="dataset"))
        return os.path.realpath(cached), os.path.realpath(config.EXTRACTED_DATASETS_PATH)
    path = Path(os.path.realpath(source.path))
    path = path.parent if path.is_file() else path
    for folder in (path, *path.parents):
        if folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir():
            return (str(folder.parent.parent),)
    return (str(path),)


def is_outside(path: str, roots: tuple[str, ...]) -> bool:
    """Whether a file, with links resolved, lies in none of some folders. Built-in clips are never outside."""
    path = without_part(path)
    return not is_soundscape(path) and not _is_in(_real_path(path), roots)


def are_outside(paths: pa.Array, roots: tuple[str, ...]) -> np.ndarray:
    """(paths,) bool: `is_outside` for a column; null is not outside.

    Each folder is resolved and listed once. No file is accessed by itself.
    """
    paths = pc.replace_substring_regex(paths, PART, "")
    parents = pc.struct_field(pc.extract_regex(paths, r"(?s)^(?P<folder>(?:.*/)?)[^/]*$"), "folder")
    parents = parents.dictionary_encode()
    folders = parents.dictionary.to_pylist()
    resolved: dict[str, str] = {}
    elsewhere = [not (is_soundscape(folder) or _is_in(_real_folder(folder, resolved), roots)) for folder in folders]
    numbers = parents.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    outside = np.array([*elsewhere, False], bool)[numbers]
    links = (link for folder, off in zip(folders, elsewhere, strict=True) if not off for link in _links(folder))
    if leading_out := {same_name(link) for link in links if is_outside(link, roots)}:
        outside |= np.array([path is not None and same_name(path) in leading_out for path in paths.to_pylist()], bool)
    return outside


def _is_in(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a NUL byte, or a name of thousands of letters
        return ""


def _real_folder(path: str, resolved: dict[str, str]) -> str:
    """A folder with links resolved. The folders above it are resolved only once."""
    path = path.rstrip("/") or ("/" if path else ".")
    if path not in resolved:
        above, name = os.path.split(path)
        if not above or name in ("", ".", "..") or path.count("/") > _DEEPEST:
            resolved[path] = _real_path(path)
        else:
            place = os.path.join(_real_folder(above, resolved), name)
            resolved[path] = _real_path(place) if os.path.islink(place) else place
    return resolved[path]


def _links(folder: str) -> list[str]:
    """The links in a folder; empty if there is no such folder."""
    try:
        with os.scandir(folder or ".") as entries:
            return [f"{folder}{entry.name}" for entry in entries if entry.is_symlink()]
    except (OSError, ValueError):
        return []
