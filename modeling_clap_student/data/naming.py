"""How users name data: `NAME[:PART[,PART]][=PATH][#audio=COLUMN,caption=COLUMN]`, a path, or a Hub id."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .published import PUBLISHED
from .sources import BUILT_IN, TAR_SUFFIXES, Source, hub_name, is_there
from .texts import folder_metadata


_NAMED = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(:(?P<parts>[\w,]+))?(=(?P<path>.+))?", re.DOTALL)
_PREFIX = re.compile(r"^[a-z][a-z0-9_]*(:[\w,]+)?=")
_WITH_COLUMNS = ("audiofolder", "csv", "hub", "stream", "webdataset")
# Layouts that a user may name, whatever the data looks like.
_ANY_PLACE = ("folder", "hub", "stream", "webdataset")


def names_data(data) -> bool:
    """Whether a text, a path or a list of them names data. If not, they are captions.

    A text with a blank that is no path is a caption. A list that contains a caption is a list of captions.
    """
    items = [data] if isinstance(data, (str, Path)) else data
    return bool(items) and all(isinstance(i, Path) or is_there(i) or "=" in i or " " not in i for i in items)


def parse_source(spec: str, readers: dict[str, Callable], purpose: str, columns: tuple[str, ...] = ()) -> Source:
    """Parses a user's name for some data. Anything that does not fit is an InputError.

    Examples: `soundscapes`, `esc50:1,2=/data/ESC-50`, `/data/my_folder`, `someone/dataset` or
    `hub:train=someone/dataset#audio=file,caption=text`. The keys of `readers` are the layouts that fit here. `purpose`
    says what the data will be ("a captioned corpus"). `columns` are the roles whose columns may be named.
    """
    text, user_columns = _split_columns(spec, columns)
    source = _parse(text, readers, purpose)
    if user_columns and source.layout not in _WITH_COLUMNS:
        raise InputError(f"{spec}: {source.layout!r} has columns of its own; only {', '.join(_WITH_COLUMNS)} take #…")
    return Source(spec, source.layout, source.path, source.parts, user_columns)


def _split_columns(spec: str, columns: tuple[str, ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """`SPEC#audio=a,caption=b` -> SPEC, ((audio, a), (caption, b)). In a shell, # and commas need no quotes there."""
    text, mark, assignments = spec.rpartition("#")
    if not mark or is_there(spec) or is_there(_PREFIX.sub("", spec)):
        return spec, ()
    pairs = tuple(tuple(pair.split("=", 1)) for pair in assignments.split(","))
    if not all(len(pair) == 2 and pair[0] in columns and pair[1] for pair in pairs):
        if not columns:
            raise InputError(f"no such file or folder: {_abridge(spec)} (columns can't be named here)")
        form = ",".join(f"{column}=COLUMN" for column in columns)
        raise InputError(f"{spec}: after # stands which column holds what: #{form}")
    return text, pairs


def _parse(spec: str, readers: dict[str, Callable], purpose: str) -> Source:
    match = _NAMED.fullmatch(spec)
    bare = match and match["path"] is None
    if match and (not is_there(spec) or match["name"] == BUILT_IN) and (not bare or match["name"] in readers):
        return _parse_named(spec, match, readers, purpose)
    if "hub" in readers and hub_name(spec) is not None:
        return Source(spec, "hub", spec)
    if "webdataset" in readers and _is_pattern(spec):
        return Source(spec, "webdataset", spec)
    path = _existing_path(spec, hint=f" (known names: {', '.join(sorted(readers))})")
    layout = detect_layout(path)
    if layout not in readers:
        fitting = " or ".join(sorted(readers))
        raise InputError(f"{path} is laid out as {layout!r}, which is not {purpose}: give {fitting}")
    return Source(spec, layout, path)


def _parse_named(spec: str, match: re.Match, readers: dict[str, Callable], purpose: str) -> Source:
    name, place = match["name"], match["path"]
    if name not in readers:
        raise InputError(f"unknown name {name!r} for {purpose}: known are {', '.join(sorted(readers))}")
    parts = tuple(match["parts"].split(",")) if match["parts"] else ()
    if name in ("hub", "stream") and hub_name(spec) is not None:
        return Source(spec, name, hub_name(spec), parts)
    if name == "webdataset" and place is not None and _is_pattern(place):
        return Source(spec, name, place)
    path = None if place is None else _existing_path(place)
    if path is not None and name not in _ANY_PLACE:
        # Other files there do not matter.
        is_corpus = path.is_dir() and name in PUBLISHED and PUBLISHED[name].fits(path)
        if not is_corpus and (layout := detect_layout(path)) != name:
            expected = f" ({PUBLISHED[name].layout})" if name in PUBLISHED else ""
            raise InputError(f"{path} is laid out as {layout!r}, not as {name!r}{expected}")
    if path is None and name != BUILT_IN:
        raise InputError(f"{spec!r} needs a path: {spec}=PATH")
    return Source(spec, name, path, parts)


def _existing_path(text: str, hint: str = "") -> Path:
    if not is_there(text):
        raise InputError(f"no such file or folder: {_abridge(text)}{hint}")
    return Path(os.path.expanduser(text)).resolve()


def _abridge(spec: str) -> str:
    """Shortens a user's name for data, so that an error stays one readable line."""
    return repr(spec if len(spec) <= 300 else f"{spec[:150]}…{spec[-150:]}")


def _is_pattern(text: str) -> bool:
    """Whether a text means tar archives without being a path: a glob, `x-{00..99}.tar`, an address."""
    return text.endswith(TAR_SUFFIXES) and not is_there(text) and re.search(r"[*?\[{]|://", text) is not None


def detect_layout(path: Path) -> str:
    """Recognises a layout by its marker files. An InputError if they mark several published corpora."""
    if path.is_file():
        if path.name.endswith(TAR_SUFFIXES):
            return "webdataset"
        return "csv" if path.suffix in (".csv", ".jsonl") else path.suffix.lstrip(".") or "file"
    published = [name for name, corpus in PUBLISHED.items() if corpus.fits(path)]
    if len(published) > 1:
        raise InputError(f"{path} holds {' and '.join(published)}: say which, {published[0]}={path}")
    if published:
        return published[0]
    if folder_metadata(path):
        return "audiofolder"
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return "hub"  # written by Dataset.save_to_disk
    suffixes = _suffixes(path) | _suffixes(path / "data")
    if suffixes & {".parquet", ".arrow"}:
        return "hub"
    return "webdataset" if suffixes & {".tar", ".tgz"} else "folder"


def _suffixes(folder: Path) -> set[str]:
    """The suffixes of the files in a folder. Not with a glob: that holds an object for each of two million files."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {os.path.splitext(entry.name.removesuffix(".gz"))[1] for entry in entries if entry.name[0] != "."}
