"""How a user names data: `NAME[:PART[,PART]][=PATH][#audio=COLUMN,caption=COLUMN]`, a path, or a Hub id."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .published import PUBLISHED
from .sources import BUILT_IN, TAR_SUFFIXES, Source, hub_name, is_there


_NAMED = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(:(?P<parts>[\w,]+))?(=(?P<path>.+))?", re.DOTALL)
_PREFIX = re.compile(r"^[a-z][a-z0-9_]*(:[\w,]+)?=")
_WITH_COLUMNS = ("audiofolder", "csv", "hub", "stream", "webdataset")
# Layouts that a user may say something is read in, whatever it looks like.
_ANY_PLACE = ("folder", "hub", "stream", "webdataset")


def names_data(given) -> bool:
    """Whether a text, a path, or a list of them names data, rather than being captions themselves.

    Something that has a blank and is no path is a caption; so is a list in which one is.
    """
    items = [given] if isinstance(given, (str, Path)) else given
    return bool(items) and all(isinstance(i, Path) or is_there(i) or "=" in i or " " not in i for i in items)


def parse_source(spec: str, known: dict[str, Callable], what: str, columns: tuple[str, ...] = ()) -> Source:
    """Reads a user's word for some data.

    Args:
        spec: for instance `soundscapes`, `esc50:1,2=/data/ESC-50`, `/data/my_folder`, `someone/dataset` or
            `hub:train=someone/dataset#audio=file,caption=text`.
        known: the layouts that fit here; keys are named in errors.
        what: what is wanted, for errors: "a captioned corpus".
        columns: the columns that a user may name: `audio`, `caption`.

    Raises:
        InputError: an unknown name, a missing path, a path of a layout that does not fit, or columns out of place.
    """
    text, named = _split_columns(spec, columns)
    source = _parse(text, known, what)
    if named and source.layout not in _WITH_COLUMNS:
        raise InputError(f"{spec}: {source.layout!r} has columns of its own; only {', '.join(_WITH_COLUMNS)} take #…")
    return Source(spec, source.layout, source.path, source.parts, named)


def _split_columns(spec: str, columns: tuple[str, ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """`SPEC#audio=a,caption=b` -> SPEC, ((audio, a), (caption, b)). Neither # nor a comma needs quotes in a shell."""
    text, mark, named = spec.rpartition("#")
    if not mark or is_there(spec) or is_there(_PREFIX.sub("", spec)):
        return spec, ()
    pairs = tuple(tuple(pair.split("=", 1)) for pair in named.split(","))
    if not all(len(pair) == 2 and pair[0] in columns and pair[1] for pair in pairs):
        if not columns:
            raise InputError(f"no such file or folder: {shown(spec)} (columns can't be named here)")
        form = ",".join(f"{column}=COLUMN" for column in columns)
        raise InputError(f"{spec}: after # stands which column holds what: #{form}")
    return text, pairs


def _parse(spec: str, known: dict[str, Callable], what: str) -> Source:
    match = _NAMED.fullmatch(spec)
    bare = match and match["path"] is None
    if match and (not is_there(spec) or match["name"] == BUILT_IN) and (not bare or match["name"] in known):
        name = match["name"]
        if name not in known:
            raise InputError(f"unknown name {name!r} for {what}: known are {', '.join(sorted(known))}")
        parts = tuple(match["parts"].split(",")) if match["parts"] else ()
        if name in ("hub", "stream") and hub_name(spec) is not None:
            return Source(spec, name, hub_name(spec), parts)
        if name == "webdataset" and not bare and _is_pattern(match["path"]):
            return Source(spec, name, match["path"])
        path = None if bare else _existing(match["path"])
        if path is not None and name not in _ANY_PLACE and not has_layout(path, name):
            wanted = f" ({PUBLISHED[name].layout})" if name in PUBLISHED else ""
            raise InputError(f"{path} is laid out as {detect_layout(path)!r}, not as {name!r}{wanted}")
        if bare and name != BUILT_IN:
            raise InputError(f"{spec!r} needs a path: {spec}=PATH")
        return Source(spec, name, path, parts)
    if "hub" in known and hub_name(spec) is not None:
        return Source(spec, "hub", spec)
    if "webdataset" in known and _is_pattern(spec):
        return Source(spec, "webdataset", spec)
    path = _existing(spec, hint=f" (known names: {', '.join(sorted(known))})")
    layout = detect_layout(path)
    if layout not in known:
        raise InputError(f"{path} is laid out as {layout!r}, which is not {what}: give {' or '.join(sorted(known))}")
    return Source(spec, layout, path)


def _existing(text: str, hint: str = "") -> Path:
    if not is_there(text):
        raise InputError(f"no such file or folder: {shown(text)}{hint}")
    return Path(os.path.expanduser(text)).resolve()


def shown(spec: str) -> str:
    """A user's word in an error, which stays a line that can be read."""
    return repr(spec if len(spec) <= 300 else f"{spec[:150]}…{spec[-150:]}")


def _is_pattern(text: str) -> bool:
    """Whether a text stands for tar archives without being one's path: a glob, `x-{00..99}.tar`, an address."""
    return text.endswith(TAR_SUFFIXES) and not is_there(text) and re.search(r"[*?\[{]|://", text) is not None


def has_layout(path: Path, name: str) -> bool:
    """Whether a path is laid out in the named way, whatever else may lie there."""
    if path.is_dir() and name in PUBLISHED:
        return PUBLISHED[name].fits(path)
    return detect_layout(path) == name


def detect_layout(path: Path) -> str:
    """Tells a layout from the files that mark it.

    Raises:
        InputError: several published corpora lie in one folder.
    """
    if path.is_file():
        if path.name.endswith(TAR_SUFFIXES):
            return "webdataset"
        return "csv" if path.suffix in (".csv", ".jsonl") else path.suffix.lstrip(".") or "file"
    published = [name for name, corpus in PUBLISHED.items() if corpus.fits(path)]
    if len(published) > 1:
        raise InputError(f"{path} holds {' and '.join(published)}: say which, {published[0]}={path}")
    if published:
        return published[0]
    if any((path / name).exists() for name in ("metadata.csv", "metadata.jsonl")):
        return "audiofolder"
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return "hub"  # of Dataset.save_to_disk
    suffixes = _suffixes(path) | _suffixes(path / "data")
    if suffixes & {".parquet", ".arrow"}:
        return "hub"
    return "webdataset" if suffixes & {".tar", ".tgz"} else "folder"


def _suffixes(folder: Path) -> set[str]:
    """Of the files in a folder. Not by a glob: that holds an object for each of two million files."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {os.path.splitext(entry.name.removesuffix(".gz"))[1] for entry in entries if entry.name[0] != "."}
