"""Pools that are read as they come, never held and never copied: tar shards, Parquet, Hub datasets.

A stream has the columns of a pool, `POOL_COLUMNS`, with the encoded bytes of each clip in `audio`.
"""

import glob
import hashlib
import posixpath
import re
import tarfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import fsspec
from datasets import (
    Audio,
    Dataset,
    Features,
    IterableDataset,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from ..errors import InputError
from .origins import ORIGIN_COLUMNS, origin_of
from .sources import TAR_SUFFIXES, Source, split_revision
from .tables import AUDIO_SUFFIXES, POOL_COLUMNS


# Not datasets' Audio: in a stream that needs torchcodec even where nothing is decoded.
ENCODED = Features({"bytes": Value("binary"), "path": Value("string")})
_SHARDS = 64  # of a table that is read as a stream
FEATURES = Features({name: ENCODED if name == "audio" else Value("string") for name in POOL_COLUMNS})


def read_tar_shards(source: Source) -> IterableDataset:
    """The audio files in tar archives, such as WebDataset's, each archive a shard; their other members are not read.

    datasets' own reader takes a name apart at its first dot, so that `id_30.000_40.000.wav` is no clip for it, refuses
    archives of several formats, and parses the labels.

    Raises:
        InputError: no archive, or one that is missing.
    """
    shards = find_shards(str(source.path))
    names = [posixpath.basename(shard) for shard in shards]
    where = dict(zip(shards, names if len(set(names)) == len(names) else shards, strict=True))
    folder = Path(str(source.path))
    name = folder.name if folder.is_dir() else folder.parent.name or source.layout
    arguments = {"shards": shards, "names": [f"{name}/{where[shard]}" for shard in shards]}
    return IterableDataset.from_generator(_members, features=FEATURES, gen_kwargs={**arguments, "source": name})


def find_shards(place: str) -> list[str]:
    """The archives that a folder, a file, a glob, a pattern `x-{000..099}.tar` or an address stands for, in order."""
    if Path(place).is_dir():
        found = sorted(str(file) for file in Path(place).rglob("*") if file.name.endswith(TAR_SUFFIXES))
    else:
        found = [file for part in expand_braces(place) for file in _glob(part)]
    if not found:
        raise InputError(f"{place} stands for no tar archive ({' '.join(TAR_SUFFIXES)})")
    if missing := next((file for file in found if "://" not in file and not Path(file).is_file()), None):
        raise InputError(f"no such archive: {missing}")
    return found


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` -> a-00.tar a-01.tar a-02.tar; `{a,b}.tar` -> a.tar b.tar."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if place % 2 == 0 else _choices(piece) for place, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = numbers.groups()
        return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return inside.split(",")


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) and "://" not in pattern else [pattern]


def _members(shards: list[str], names: list[str], source: str) -> Iterator[dict]:
    """The clips of some archives, in their order; a broken archive ends in a row without audio, which gets listed."""
    for shard, name in zip(shards, names, strict=True):
        last = "its beginning"
        try:
            with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    base = posixpath.basename(member.name)
                    if not member.isfile() or base.startswith(".") or not _is_audio(base):
                        continue
                    audio = {"bytes": archive.extractfile(member).read(), "path": base}
                    yield {"audio": audio, "audio_id": f"{name}/{member.name}", "source": source, "origin_id": None}
                    last = member.name
        except (tarfile.TarError, EOFError, OSError) as error:
            reason = f"{name} broken after {last}: {error}"
            yield {"audio": None, "audio_id": reason, "source": source, "origin_id": None}


def _is_audio(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in AUDIO_SUFFIXES


def read_stream(source: Source) -> IterableDataset:
    """A Hub dataset, or a folder of Parquet or Arrow files, without a download or a copy first.

    Raises:
        InputError: it can't be reached, lacks the split, or has no audio.
    """
    streams = [_open(source, split) for split in source.parts or ("train",)]
    return concatenate_datasets([_as_pool(source, stream) for stream in streams])


def _open(source: Source, split: str) -> IterableDataset:
    name, revision = split_revision(source.path)
    try:
        if any((Path(name) / file).exists() for file in ("state.json", "dataset_dict.json")):
            table = load_from_disk(name)
            table = table[split] if isinstance(table, dict) else table
            return table.to_iterable_dataset(num_shards=max(1, min(_SHARDS, len(table))))
        return load_dataset(name, split=split, revision=revision, streaming=True)
    except Exception as error:  # load_dataset raises a dozen unrelated types
        raise InputError(f"can't stream {source.path}: {str(error).splitlines()[0]}") from error


def as_stream(table: Dataset) -> IterableDataset:
    """A pool's table, to be joined with streams."""
    return table.cast(FEATURES).to_iterable_dataset(num_shards=min(_SHARDS, len(table)))


def _as_pool(source: Source, stream: IterableDataset) -> IterableDataset:
    columns = stream.features or {}
    found = [name for name, feature in columns.items() if isinstance(feature, Audio)]
    audio = source.column("audio") or ("audio" if "audio" in columns else next(iter(found), None))
    if audio not in columns:
        raise InputError(
            f"{source.spec} has no column {audio or 'audio'}: it has {', '.join(columns) or 'none'}. "
            f"Say which one holds the audio: {source.spec.partition('#')[0]}#audio=COLUMN"
        )
    wanted = {audio, "audio_id", "source", "__key__", "__url__", *ORIGIN_COLUMNS}
    stream = stream.select_columns([name for name in columns if name in wanted])
    stream = stream.cast_column(audio, ENCODED)
    return stream.map(
        _as_row,
        features=FEATURES,
        remove_columns=[name for name in columns if name in wanted and name not in FEATURES],
        fn_kwargs={"column": audio, "name": source.name},
    )


def _as_row(row: dict, column: str, name: str) -> dict:
    audio = row[column]
    if "audio_id" in row:
        audio_id = row["audio_id"]
    elif "__key__" in row:  # of a Hub dataset of tar shards
        audio_id = f"{name}/{posixpath.basename(row['__url__'])}/{row['__key__']}"
    else:
        # A row's number is not known where each process reads other shards; equal bytes are one clip.
        held = (audio or {}).get("bytes")
        told = held if held is not None else str((audio or {}).get("path")).encode()
        audio_id = f"{name}/{hashlib.blake2b(told, digest_size=12).hexdigest()}"
    return {"audio": audio, "audio_id": audio_id, "source": row.get("source") or name, "origin_id": origin_of(row)}


__all__ = ["FEATURES", "as_stream", "expand_braces", "find_shards", "read_stream", "read_tar_shards"]
