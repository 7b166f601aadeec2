"""What a table or a link names must lie where the user pointed: a foreign corpus names no file of the user's own.

Otherwise a row `../secret/id_rsa` of a downloaded list would be read, and its bytes pushed with a set.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import config
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from ..soundscapes.corpus import is_soundscape
from .files import same_name
from .sources import Source, split_revision


_DEEPEST = 200  # folders in each other that are resolved one by one
OUTSIDE = "outside its folder (--allow_outside_paths takes it)"


def roots_of(source: Source) -> tuple[str, ...] | None:
    """The folders, without links, in which the files of a source must lie; None where any file may be read.

    Of a csv it is its folder. Of a folder in the Hugging Face cache it is the repository's, whose files are links into
    `blobs`; so it is of a Hub dataset, beside the archives that were unpacked of it.
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
    """Whether a file, links resolved, lies in none of some folders; what the package makes itself lies nowhere."""
    return not is_soundscape(path) and not _is_in(_real(path), roots)


def are_outside(paths: pa.Array, roots: tuple[str, ...]) -> np.ndarray:
    """The same of a column; null is not outside. Each folder is resolved and listed once, no file is asked for itself.

    Returns:
        (paths,) bool.
    """
    found = pc.extract_regex(paths, r"(?s)^(?P<folder>(?:.*/)?)[^/]*$")
    folders = pc.struct_field(found, "folder").dictionary_encode()
    known: dict[str, str] = {}
    names = folders.dictionary.to_pylist()
    elsewhere = np.array([not (is_soundscape(name) or _is_in(_folder(name, known), roots)) for name in names], bool)
    numbers = folders.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    outside = np.append(elsewhere, False)[numbers]
    links = (link for name, is_off in zip(names, elsewhere, strict=True) if not is_off for link in _links(name))
    if leading_out := {same_name(link) for link in links if is_outside(link, roots)}:
        outside |= np.array([path is not None and same_name(path) in leading_out for path in paths.to_pylist()], bool)
    return outside


def _is_in(real: str, roots: tuple[str, ...]) -> bool:
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a NUL byte, a name of thousands of letters
        return ""


def _folder(path: str, known: dict[str, str]) -> str:
    """A folder without links; what is known of the folders above it is not asked again."""
    path = path.rstrip("/") or ("/" if path else ".")
    if path not in known:
        above, name = os.path.split(path)
        if not above or name in ("", ".", "..") or path.count("/") > _DEEPEST:
            known[path] = _real(path)
        else:
            place = os.path.join(_folder(above, known), name)
            known[path] = _real(place) if os.path.islink(place) else place
    return known[path]


def _links(folder: str) -> list[str]:
    """The links in a folder, which may not be there."""
    try:
        with os.scandir(folder or ".") as entries:
            return [f"{folder}{entry.name}" for entry in entries if entry.is_symlink()]
    except (OSError, ValueError):
        return []
