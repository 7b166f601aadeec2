"""What a user trains on from Python: any table or stream of audio and captions, as pairs in our columns."""

import hashlib
import warnings
from collections.abc import Mapping
from functools import partial

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value

from ..errors import ClipError, InputError
from .corpora import table_pairs, usable_pairs
from .decoding import as_encoded
from .leakage import LeakageFilter
from .recordings import ORIGIN_COLUMNS
from .sources import CAPTION_COLUMN, ExclusionLog, Source
from .streams import with_our_columns
from .tables import CAPTION_COLUMNS, ENCODED, UNDECODED, arrow_type


_AT_ONCE = 16  # clips that are in memory while a table is read through

Pairs = Dataset | IterableDataset


def as_pairs(data: Pairs, column_mapping: Mapping[str, str] | None = None, name: str = "train_dataset") -> Pairs:
    """A table or a stream as `ClapStudentTrainer` takes it, with the columns of `CAPTION_COLUMNS`.

    Audio is never decoded by datasets: that would need torchcodec. Arrays become wav files in memory. Rows of a table
    that can't be learnt from are left out, with a warning that tells how many: no words, no such file. A row without
    `audio_id` is called after its file, or after the first row that holds the same bytes.

    Args:
        data: with a column `audio` (`Audio`, paths, or dicts `{"array", "sampling_rate"}`) and one of captions,
            `caption` or `text`; a list of captions makes as many pairs. Pairs that are in our columns already come
            back as they are.
        column_mapping: the columns that are called otherwise: theirs -> ours.
        name: what to call the data in messages.

    Raises:
        InputError: something else than a table or a stream, no rows, no such column, a column of something else, or
            not one row that can be learnt from.
    """
    if isinstance(data, DatasetDict):
        raise InputError(f"{name} has the splits {', '.join(data)}: give one of them")
    if not isinstance(data, Pairs):
        raise InputError(f"{name} is a {type(data).__name__}: give a datasets.Dataset or IterableDataset")
    if isinstance(data, Dataset) and len(data) == 0:
        raise InputError(f"{name} has no rows")
    if _is_ours(data) and not {*(column_mapping or ())} & {*data.column_names}:
        return data
    source = Source(name, name, None, exclusions=ExclusionLog(allow_outside_paths=True))
    if isinstance(data, IterableDataset):
        data = _renamed(_undecoded(data, name), dict(column_mapping or {}), name)
        return with_our_columns(source, data, captioned=True)
    data = _renamed(data, dict(column_mapping or {}), name)
    pairs = table_pairs(source, _with_ids(_with_encoded_audio(data.with_format(None), name), name))
    pairs = usable_pairs(pairs, source, True, LeakageFilter())
    for line in source.exclusions.lines:
        warnings.warn(line, stacklevel=2)
    return pairs


def as_sets(data, replay: Pairs | None, column_mapping: Mapping[str, str] | None) -> tuple[Pairs, Pairs | None]:
    """What to train on and what to rehearse.

    Args:
        data: as for `as_pairs`, or what has such `pairs`, and `replay` or None: the result of `curate`.
        replay: to rehearse in place of what `data` brings.
        column_mapping: as for `as_pairs`, of both.
    """
    if hasattr(data, "pairs"):
        data, replay = data.pairs, data.replay if replay is None else replay
    replay = None if replay is None else as_pairs(replay, column_mapping, "replay_dataset")
    return as_pairs(data, column_mapping), replay


def _is_ours(data: Pairs) -> bool:
    known = data.features or {}
    needed = {*CAPTION_COLUMNS} - ({"origin_id"} if isinstance(data, Dataset) else {"source", "caption_id"})
    return needed <= known.keys() and known["audio"] == (UNDECODED if isinstance(data, Dataset) else ENCODED)


def _renamed(data: Pairs, mapping: dict[str, str], name: str) -> Pairs:
    """The columns that are of use, by our names."""
    columns = list(data.column_names or next(iter(data), {}))
    known = f"its columns are {', '.join(columns)}"
    for theirs, ours in mapping.items():
        if theirs not in columns:
            raise InputError(f"column_mapping names {theirs!r}, and {name} has no such column: {known}")
        if ours not in CAPTION_COLUMNS:
            raise InputError(f"column_mapping calls {theirs!r} {ours!r}: it takes {', '.join(CAPTION_COLUMNS)}")
    if len({*mapping.values()}) < len(mapping):
        raise InputError(f"column_mapping gives two columns one name: {mapping}")
    if "text" in columns and "caption" not in (*mapping.values(), *columns) and "text" not in mapping:
        mapping["text"] = "caption"
    shadowed = [ours for theirs, ours in mapping.items() if ours in columns and ours != theirs and ours not in mapping]
    data = data.remove_columns(shadowed).rename_columns({a: b for a, b in mapping.items() if a != b})
    columns = [mapping.get(column, column) for column in columns if column not in shadowed]
    captions = ["caption"] if "caption" in mapping.values() else [c for c in columns if CAPTION_COLUMN.fullmatch(c)]
    for ours, there in (("audio", "audio" in columns), ("caption", captions)):
        if not there:
            raise InputError(f"{name} has no column {ours}: {known}. Say which: column_mapping={{'COLUMN': '{ours}'}}")
    kept = {"audio", *captions, *CAPTION_COLUMNS, *ORIGIN_COLUMNS}
    return data.select_columns([column for column in columns if column in kept])


def _undecoded(stream: IterableDataset, name: str) -> IterableDataset:
    """A stream that gives its audio as it is stored. What was renamed or mapped before is decoded on the way."""
    for column, feature in (stream.features or {}).items():
        if isinstance(feature, Audio):
            stream = stream.cast_column(column, ENCODED)
    try:
        next(iter(stream), None)
    except ImportError as error:
        raise InputError(
            f"{name} decodes its audio before it is read here: give the stream as it was loaded, and say "
            "column_mapping in place of rename_column"
        ) from error
    return stream


def _with_encoded_audio(table: Dataset, name: str) -> Dataset:
    """Arrays as wav files, everything else as it is, undecoded."""
    kind = arrow_type(table, "audio")
    if pa.types.is_large_string(kind):
        return table.cast_column("audio", Value("string"))
    is_audio = isinstance(table.features["audio"], Audio)
    if is_audio or not pa.types.is_struct(kind) or kind.get_field_index("array") < 0:
        return table
    features = Features({**table.features, "audio": UNDECODED})
    encode = partial(_encoded, name=name)
    # In arrow, where integers keep their width, by which they are scaled.
    table = table.with_format("arrow").map(
        encode, batched=True, with_indices=True, batch_size=_AT_ONCE, features=features, desc="arrays to wav"
    )
    return table.with_format(None)


def _encoded(batch: pa.Table, rows: list[int], name: str) -> pa.Table:
    clips = []
    for row, clip in zip(rows, batch["audio"], strict=True):
        try:
            clips.append(as_encoded(_as_dict(clip)))
        except ClipError as error:
            raise InputError(f"{name}: the clip in row {row} {error}") from error
    place = batch.column_names.index("audio")
    return batch.set_column(place, "audio", pa.array(clips, UNDECODED.pa_type))


def _as_dict(clip: pa.StructScalar) -> dict | None:
    if not clip.is_valid:
        return None
    return {part: _numbers(value) if part == "array" else value.as_py() for part, value in clip.items()}


def _numbers(value: pa.Scalar) -> object:
    """An array of numbers, or a list of such rows; anything else as it is."""
    if not isinstance(value, pa.ListScalar) or not value.is_valid:
        return value.as_py()
    if pa.types.is_nested(value.values.type):
        return [_numbers(row) for row in value.values]
    return value.values.to_numpy(zero_copy_only=False)


def _with_ids(table: Dataset, name: str) -> Dataset:
    """Equal files, by name or by bytes, are one clip: its captions belong together."""
    if "audio_id" in table.column_names:
        return table
    try:
        table = table.cast_column("audio", UNDECODED)
    except Exception as error:  # arrow's own and datasets', by what the column holds
        kind = arrow_type(table, "audio")
        raise InputError(f"{name}: the column audio holds {kind}, neither audio nor paths nor arrays") from error
    ids, first = [], {}
    for batch in table.select_columns("audio").with_format("arrow").iter(_AT_ONCE):
        for clip in batch["audio"].to_pylist():
            clip = clip or {"bytes": None, "path": None}
            held, row = clip["bytes"], len(ids)
            key = hashlib.blake2b(held, digest_size=16).digest() if held is not None else clip["path"] or row
            row = first.setdefault(key, row)
            ids.append(clip["path"] if isinstance(key, str) else f"{name}/{row}")
    return table.add_column("audio_id", ids, feature=Value("string"))
