"""Data that is read as it comes, never held and never copied: Hub datasets, Parquet and Arrow files.

A stream has the columns of a pool, `POOL_COLUMNS`, or of captioned clips, `CAPTION_COLUMNS`, with the encoded bytes of
each clip in `audio`.
"""

import hashlib
import posixpath
from pathlib import Path

from datasets import Audio, Dataset, IterableDataset, Value, concatenate_datasets, load_dataset, load_from_disk

from ..errors import ClipError, InputError
from .captions import caption_key
from .decoding import as_encoded
from .outside import OUTSIDE, is_outside, roots_of
from .recordings import ORIGIN_COLUMNS, origin_of
from .sources import Source, caption_columns, find_column, split_revision
from .tables import CAPTION_COLUMNS, ENCODED, ENCODED_CLIPS, ENCODED_PAIRS, first_line, refused


_SHARDS = 64  # of a table that is read as a stream
_AT_ONCE = 16  # clips that are in memory while their captions become pairs


def read_stream(source: Source) -> IterableDataset:
    """A pool: a Hub dataset, or a folder of Parquet or Arrow files, without a download or a copy first.

    Raises:
        InputError: it can't be reached, lacks the split, or has no audio.
    """
    return _read(source, captioned=False)


def read_captioned_stream(source: Source) -> IterableDataset:
    """The same as pairs of a clip and a caption, one for each of a clip's captions.

    Raises:
        InputError: it can't be reached, lacks the split, or has no audio or no captions.
    """
    return _read(source, captioned=True)


def _read(source: Source, captioned: bool) -> IterableDataset:
    streams = [_open(source, split) for split in source.parts or ("train",)]
    return concatenate_datasets([with_our_columns(source, stream, captioned) for stream in streams])


def _open(source: Source, split: str) -> IterableDataset:
    name, revision = split_revision(source.path)
    try:
        if any((Path(name) / file).exists() for file in ("state.json", "dataset_dict.json")):
            table = load_from_disk(name)
            return _sharded(table[split] if isinstance(table, dict) else table)
        return load_dataset(name, split=split, revision=revision, streaming=True)
    except Exception as error:  # load_dataset raises a dozen unrelated types
        raise InputError(f"can't stream {source.path}: {first_line(error)}") from error


def _sharded(table: Dataset) -> IterableDataset:
    return table.to_iterable_dataset(num_shards=max(1, min(_SHARDS, len(table))))


def as_stream(table: Dataset) -> IterableDataset:
    """A table of a pool or of pairs, to be joined or mixed with streams."""
    features = ENCODED_PAIRS if "caption" in table.column_names else ENCODED_CLIPS
    if "origin_id" not in table.column_names:
        table = table.add_column("origin_id", [None] * len(table), feature=Value("string"))
    return _sharded(table.select_columns(list(features)).cast(features))


def with_our_columns(source: Source, stream: IterableDataset, captioned: bool) -> IterableDataset:
    """A stream of any columns as a pool, or as pairs of a clip and a caption.

    Raises:
        InputError: no column of audio or of captions.
    """
    columns = stream.features or dict.fromkeys(next(iter(stream), {}))  # a generator's may be told by its rows alone
    usual = ["audio", *(name for name, feature in columns.items() if isinstance(feature, Audio))]
    audio = find_column(source, source.spec, columns, "audio", *usual)
    captions = caption_columns(source, source.spec, columns) if captioned else []
    wanted = {audio, *captions, "audio_id", "source", "__key__", "__url__", *ORIGIN_COLUMNS}
    wanted = [name for name in columns if name in wanted]
    features = ENCODED_PAIRS if captioned else ENCODED_CLIPS
    return (
        (stream.cast_column(audio, ENCODED) if isinstance(columns[audio], Audio) else stream)
        .select_columns(wanted)
        .map(
            _as_rows,
            batched=True,
            batch_size=_AT_ONCE,
            features=features,
            remove_columns=[name for name in wanted if name not in features],
            fn_kwargs={"audio": audio, "captions": captions if captioned else None, "name": source.name}
            | {"roots": roots_of(source)},
        )
    )


def _as_rows(
    columns: dict[str, list], audio: str, captions: list[str] | None, name: str, roots: tuple[str, ...] | None
) -> dict[str, list]:
    """A few rows in our columns; a clip with several captions becomes several rows, one without any a row without."""
    rows = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        clip = _as_clip(row, _encoded(row[audio], name), name, roots)
        if captions is None:
            rows.append(clip)
            continue
        cells = (row[column] for column in captions)
        texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell]) if text]
        texts = [" ".join(str(text).split()) for text in texts] or [""]
        rows += [{**clip, "caption": text, "caption_id": caption_key(text)} for text in texts]
    names = list(ENCODED_CLIPS) if captions is None else CAPTION_COLUMNS
    return {column: [row[column] for row in rows] for column in names}


def _encoded(audio: object, name: str) -> dict | None:
    try:
        return as_encoded(audio)
    except ClipError as error:
        raise InputError(f"{name}: a clip {error}") from error


def _as_clip(row: dict, audio: dict | None, name: str, roots: tuple[str, ...] | None) -> dict:
    if row.get("audio_id"):
        audio_id = row["audio_id"]
    elif "__key__" in row:  # of a Hub dataset of tar shards
        audio_id = f"{name}/{posixpath.basename(row['__url__'])}/{row['__key__']}"
    else:
        # A row's number is not known where each process reads other shards; equal bytes are one clip.
        held = (audio or {}).get("bytes")
        identity = held if held is not None else str((audio or {}).get("path")).encode()
        audio_id = f"{name}/{hashlib.blake2b(identity, digest_size=12).hexdigest()}"
    path = (audio or {}).get("path")
    if path and audio.get("bytes") is None and roots is not None and is_outside(path, roots):
        audio = refused(f"{OUTSIDE}: {path}")
    return {"audio": audio, "audio_id": audio_id, "source": row.get("source") or name, "origin_id": origin_of(row)}
