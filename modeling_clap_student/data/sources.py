"""How a user names data: `NAME[:PART[,PART]][=PATH]`, a path, or a Hub id."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Audio, Dataset, DatasetDict, Features, Value, load_dataset, load_from_disk

from ..errors import InputError


AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"}

# Files are decoded by this package with soundfile: datasets' own decoding needs torchcodec, and that FFmpeg.
UNDECODED = Audio(decode=False)
# Its storage. Tables are filled in this form, since encoding through the Audio feature needs torchcodec as well.
_AUDIO_STORAGE = {"bytes": Value("binary"), "path": Value("string")}

# The one name that needs no path: the package makes these clips itself.
BUILT_IN = "soundscapes"

_NAMED = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(:(?P<parts>[\w,]+))?(=(?P<path>.+))?", re.DOTALL)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Where some data is.

    Attributes:
        spec: as the user typed it.
        layout: how it is laid out, a key of the readers.
        path: the file or folder; the repository for `layout="hub"`; None for what the package makes itself.
        parts: the folds or splits asked for; empty for all.
    """

    spec: str
    layout: str
    path: Path | str | None
    parts: tuple[str, ...] = ()


def parse_source(spec: str, known: dict[str, Callable], what: str) -> Source:
    """Reads a user's word for some data.

    Args:
        spec: for instance `soundscapes`, `esc50:1,2=/data/ESC-50`, `/data/my_folder` or `someone/dataset`.
        known: the layouts that fit here; keys are named in errors.
        what: what is wanted, for errors: "a captioned corpus".

    Raises:
        InputError: an unknown name, a missing path or a path of a layout that does not fit.
    """
    match = _NAMED.fullmatch(spec)
    bare = match and match["path"] is None
    if match and (not Path(spec).exists() or match["name"] == BUILT_IN) and (not bare or match["name"] in known):
        if match["name"] not in known:
            raise InputError(f"unknown name {match['name']!r} for {what}: known are {', '.join(sorted(known))}")
        parts = tuple(match["parts"].split(",")) if match["parts"] else ()
        path = None if bare else _existing(match["path"])
        if path is not None and match["name"] not in ("folder", "hub", detect_layout(path)):
            raise InputError(f"{path} is laid out as {detect_layout(path)!r}, not as {match['name']!r}")
        if bare and match["name"] != BUILT_IN:
            raise InputError(f"{spec!r} needs a path: {spec}=PATH")
        return Source(spec, match["name"], path, parts)
    if not Path(spec).expanduser().exists() and _HUB_ID.fullmatch(spec) and "hub" in known and spec[0] != ".":
        return Source(spec, "hub", spec)
    path = _existing(spec, hint=f" (known names: {', '.join(sorted(known))})")
    layout = detect_layout(path)
    if layout not in known:
        raise InputError(f"{path} is laid out as {layout!r}, which is not {what}: give {' or '.join(sorted(known))}")
    return Source(spec, layout, path)


def _existing(text: str, hint: str = "") -> Path:
    path = Path(text).expanduser()
    if not path.exists():
        raise InputError(f"no such file or folder: {text!r}{hint}")
    return path.resolve()


def detect_layout(path: Path) -> str:
    """Tells a layout from the files that mark it."""
    if path.is_file():
        return "csv" if path.suffix in (".csv", ".jsonl") else path.suffix.lstrip(".") or "file"
    if (path / "meta" / "esc50.csv").exists():
        return "esc50"
    if (path / "metadata" / "UrbanSound8K.csv").exists():
        return "urbansound8k"
    if any((path / name).exists() for name in ("metadata.csv", "metadata.jsonl")):
        return "audiofolder"
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return "hub"  # of Dataset.save_to_disk
    if next(path.glob("*.parquet"), None) or next(path.glob("data/*.parquet"), None):
        return "hub"
    return "folder"


def load_table(path: Path | str, split: str | None = None) -> Dataset | DatasetDict:
    """Loads a Hub dataset, or a folder of one, with its audio left undecoded.

    Raises:
        InputError: it does not exist, can't be reached, or lacks the split.
    """
    try:
        if any((Path(path) / name).exists() for name in ("state.json", "dataset_dict.json")):
            table = load_from_disk(str(path))
            table = table[split] if split and isinstance(table, DatasetDict) else table
        else:
            table = load_dataset(str(path), split=split)
    except Exception as error:  # load_dataset raises a dozen unrelated types
        raise InputError(f"can't load the dataset {path}: {str(error).splitlines()[0]}") from error
    splits = table.values() if isinstance(table, DatasetDict) else [table]
    if all("audio" in data.column_names for data in splits):
        table = table.cast_column("audio", UNDECODED)
    return table


def clip_table(rows: list[dict], **extra: Value) -> Dataset:
    """A table of clips: `audio` (undecoded), `audio_id`, `source` and the extra columns.

    Args:
        rows: one dictionary a clip; `audio` is a path, or None where there is only text.
        extra: further columns and their types.
    """
    features = Features({"audio": _AUDIO_STORAGE, "audio_id": Value("string"), "source": Value("string"), **extra})
    columns = {name: [row[name] for row in rows] for name in features}
    columns["audio"] = [None if a is None else {"path": str(a), "bytes": None} for a in columns["audio"]]
    return Dataset.from_dict(columns, features=features).cast_column("audio", UNDECODED)


__all__ = [
    "AUDIO_SUFFIXES",
    "BUILT_IN",
    "UNDECODED",
    "Source",
    "clip_table",
    "detect_layout",
    "load_table",
    "parse_source",
]
