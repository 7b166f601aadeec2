"""Tables of clips, built from columns and never row by row, so millions of files take seconds."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    DatasetInfo,
    Features,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from ..errors import InputError
from ..processing_clap_student import label_text
from .identity import origins_of
from .sources import Source, find_column, split_revision
from .texts import caption_key


AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"}

# This package decodes files with soundfile. datasets' own decoding needs torchcodec, which needs FFmpeg.
UNDECODED = Audio(decode=False)
# `origin_id` names the published recording that a clip was cut from (`freesound:12345`, `youtube:abc`). It is null
# where that is not known. The same recording is in several corpora, under other names.
POOL_COLUMNS = ("audio", "audio_id", "source", "origin_id")
CAPTION_COLUMNS = (*POOL_COLUMNS, "caption", "caption_id")
# For streams. Not datasets' Audio: in a stream it needs torchcodec even if nothing is decoded.
ENCODED = Features({"bytes": Value("binary"), "path": Value("string")})
ENCODED_CLIPS = Features({name: ENCODED if name == "audio" else Value("string") for name in POOL_COLUMNS})
ENCODED_PAIRS = Features({**ENCODED_CLIPS, "caption": Value("string"), "caption_id": Value("string")})


Values = Iterable | None


def clip_table(source: Source, audio: Iterable, ids: Iterable, origins: Values = None, **columns: Iterable) -> Dataset:
    """A table of clips: `audio` (undecoded), `audio_id`, `source`, `origin_id` and further columns of text.

    Each column may be an arrow array, a list or an iterator. `audio` holds paths, or None for rows with only text.
    Rows of one clip share their id, which begins with the source's name. `origins` is None if no row's recording is
    known.
    """
    audio, ids = _strings(source, audio), _strings(source, ids)
    storage = pa.StructArray.from_arrays(
        [pa.nulls(len(audio), pa.binary()), audio], ["bytes", "path"], mask=pc.is_null(audio)
    )
    columns = {
        "audio": storage,
        "audio_id": pc.binary_join_element_wise(source.name, ids, "/"),
        "source": pa.repeat(pa.scalar(source.name), len(audio)),
        "origin_id": pa.nulls(len(audio), pa.string()) if origins is None else _strings(source, origins),
        **{name: _strings(source, values) for name, values in columns.items()},
    }
    features = Features({name: UNDECODED if name == "audio" else Value("string") for name in columns})
    table = pa.table(columns)
    return Dataset(table, info=DatasetInfo(features=features), fingerprint=_fingerprint(table))


def _fingerprint(table: pa.Table) -> str:
    """Equal for equal tables that were made alike. To compute one, datasets would write out the whole table."""
    digest = hashlib.blake2b(repr(table.schema).encode(), digest_size=8)
    for column in table.itercolumns():
        for buffer in (buffer for chunk in column.chunks for buffer in chunk.buffers() if buffer is not None):
            digest.update(buffer)
    return digest.hexdigest()


def captioned_table(
    source: Source, audio: Iterable, ids: Iterable, captions: Iterable, origins: Values = None
) -> Dataset:
    """(clip, caption) pairs in the columns of `CAPTION_COLUMNS`."""
    captions = ["" if caption is None else caption for caption in captions]
    for caption in captions:
        if not isinstance(caption, str) or not is_unicode(caption):
            raise _no_text(source, caption)
    captions = [" ".join(caption.split()) for caption in captions]
    keys = [caption_key(caption) for caption in captions]
    return clip_table(source, audio, ids, origins, caption=captions, caption_id=keys)


def labelled_table(
    source: Source, audio: Iterable, ids: Iterable, labels: Iterable, origins: Values = None, folds: Values = None
) -> Dataset:
    """Clips of an evaluation set, with `label`, the class name as words, and `fold` where the set has folds."""
    columns = {} if folds is None else {"fold": folds}
    return clip_table(source, audio, ids, origins, label=map(label_text, labels), **columns)


def _strings(source: Source, values: Iterable) -> pa.Array:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    values = [None if v is None else str(v) for v in values]
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError as error:
        raise _no_text(source, error.object) from error


def _no_text(source: Source, value: object) -> InputError:
    return InputError(f"{source.spec}: {ascii(value)[:80]} is no Unicode text, as captions, names and labels must be")


def is_unicode(text: str) -> bool:
    """Whether a text can be written. Half a pair of surrogates, which json can hold, can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# A path with this prefix means a clip that must not be read; the reason follows. A stream can't be filtered before.
_REFUSED = "refused://"


def refusal(audio: dict | None) -> str | None:
    """Why a clip must not be read; None if it may be read."""
    path = (audio or {}).get("path") or ""
    return path.removeprefix(_REFUSED) if path.startswith(_REFUSED) and audio.get("bytes") is None else None


def refuse(reason: str) -> dict:
    """Takes the place of a clip's audio. Opening it raises a ClipError with the reason."""
    return {"bytes": None, "path": _REFUSED + reason}


def load_table(path: Path | str, split: str | None = None) -> Dataset | DatasetDict:
    """Loads a Hub dataset, or a folder of one, with its audio left undecoded."""
    try:
        if any((Path(path) / name).exists() for name in ("state.json", "dataset_dict.json")):
            table = load_from_disk(str(path))
            table = table[split] if split and isinstance(table, DatasetDict) else table
        else:
            name, revision = split_revision(path)
            table = load_dataset(name, split=split, revision=revision)
    except Exception as error:  # load_dataset raises a dozen unrelated types
        raise InputError(f"can't load the dataset {path}: {first_line(error)}") from error
    splits = table.values() if isinstance(table, DatasetDict) else [table]
    return without_decoding(table, path) if all("audio" in data.column_names for data in splits) else table


def load_splits(source: Source) -> Dataset:
    """The splits that were asked for, of a Hub dataset or of a folder of one; `train` by default."""
    return concatenate_datasets([load_table(source.path, split=split) for split in source.parts or ("train",)])


def without_decoding(table: Dataset | DatasetDict, name: object, column: str = "audio") -> Dataset | DatasetDict:
    """A table whose audio is not decoded. A column without audio is an InputError."""
    try:
        return table.cast_column(column, UNDECODED)
    except Exception as error:  # the type depends on what the column holds
        raise InputError(f"{name}: the column {column} holds no audio: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """An error's message, in one line of limited length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def hub_clips(source: Source, table: Dataset) -> Dataset:
    """The clips in a Hub dataset's rows, with the columns of `POOL_COLUMNS`. `audio` is not decoded.

    A row without an `audio_id` is named after the dataset and its row number.
    """
    audio = find_column(source, source.spec, table.column_names, "audio", "audio")
    ids = _texts(source, table, "audio_id", [f"{source.name}/{number}" for number in range(len(table))])
    sources = _texts(source, table, "source", [source.name] * len(table))
    clips = without_decoding(table.select_columns([audio]), source.spec, audio).rename_columns({audio: "audio"})
    for name, values in zip(POOL_COLUMNS[1:], (ids, sources, origins_of(table)), strict=True):
        clips = clips.add_column(name, values, feature=Value("string"))
    return clips


def _texts(source: Source, table: Dataset, column: str, substitutes: list[str]) -> list[str]:
    """A column of texts; `substitutes` replace missing ones."""
    if column not in table.column_names:
        return substitutes
    refuse_nested(source, table, column)
    values = table[column][:]
    return [text if value is None else str(value) for value, text in zip(values, substitutes, strict=True)]


def refuse_nested(source: Source, table: Dataset, column: str) -> None:
    """An InputError if a column's cells are lists, mappings or bytes, which can't be texts."""
    kind = arrow_type(table, column)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise InputError(f"{source.spec}: the column {column} holds {kind}, not text")


def arrow_type(table: Dataset, column: str) -> pa.DataType:
    return table.features.arrow_schema.field(column).type
