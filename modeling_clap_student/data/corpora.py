"""Captioned corpora: one row per (clip, caption) pair, in the columns of `CAPTION_COLUMNS`.

They come as names that a user gives to a command, or from Python as any table or stream of audio and captions.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value, concatenate_datasets

from ..errors import ClipError, InputError
from ..soundscapes.corpus import captioned_clips
from .decoding import as_encoded
from .filters import with_audio, with_files_inside, with_short_texts, with_words, without_repeats
from .identity import ORIGIN_COLUMNS, origin_of
from .leakage import LeakageFilter
from .naming import names_data, parse_source
from .published import PUBLISHED
from .sources import CAPTION_COLUMN, ExclusionLog, Source, caption_columns, find_column, with_distinct_names
from .streams import join, read_captioned_tar_shards, read_stream, with_our_columns
from .tables import (
    CAPTION_COLUMNS,
    ENCODED,
    UNDECODED,
    arrow_type,
    captioned_table,
    hub_clips,
    load_splits,
    refuse_nested,
)
from .texts import caption_key, folder_metadata, read_rows, text_column, texts_in


_AT_ONCE = 16  # clips in memory while a table is read

Pairs = Dataset | IterableDataset


def _read_metadata(source: Source, metadata: Path, needs_files: bool = False) -> Dataset:
    """Any csv or jsonl with captions, one or several per row, in columns or in a list, with or without `file_name`."""
    rows = read_rows(metadata)
    has_files = needs_files or source.column("audio")
    file_name = find_column(source, metadata, rows[0], "audio", "file_name") if has_files else "file_name"
    columns = caption_columns(source, metadata, rows[0])
    if has_files or file_name in rows[0]:
        text_column(metadata, rows, file_name)
    audio, ids, captions, origins = [], [], [], []
    for number, row in enumerate(rows):
        texts = texts_in(row[column] for column in columns)
        file = row.get(file_name)
        audio += [metadata.parent / file if file else None] * len(texts)
        ids += [file or str(number)] * len(texts)
        origins += [origin_of(row)] * len(texts)
        captions += texts
    return captioned_table(source, audio, ids, captions, origins)


def _read_folder(source: Source) -> Dataset:
    raise InputError(
        f"{source.path} has no metadata.csv or metadata.jsonl (columns file_name,caption): captions are needed here"
    )


def _table_pairs(source: Source, table: Dataset) -> Dataset:
    """The rows of a table in the columns of `CAPTION_COLUMNS`, one row for each caption of a clip."""
    clips = hub_clips(source, table)
    columns = caption_columns(source, source.spec, table.column_names)
    if columns == ["caption"] and "caption_id" in table.column_names and _is_text(table, "caption"):
        refuse_nested(source, table, "caption_id")
        for name in ("caption", "caption_id"):
            values = ["" if text is None else str(text) for text in table[name][:]]
            clips = clips.add_column(name, values, feature=Value("string"))
        return clips
    # One table of all clips with their first captions, one with their second, and so on. Their audio is not copied.
    captions = [texts for name in columns for texts in _columns_of_texts(source, table, name)]
    tables = []
    for texts in captions or [[""] * len(clips)]:
        texts = ["" if text is None else str(text) for text in texts]
        keys = [caption_key(text) for text in texts]
        tables.append(clips.add_column("caption", texts).add_column("caption_id", keys))
    # A clip with fewer captions than another has empty cells at the end.
    for place, texts in enumerate(captions[1:], start=1):
        tables[place] = tables[place].select([row for row, text in enumerate(texts) if text is not None])
    return concatenate_datasets(tables)


def _is_text(table: Dataset, column: str) -> bool:
    return getattr(table.features[column], "dtype", None) in ("string", "large_string")


def _columns_of_texts(source: Source, table: Dataset, column: str) -> list[list[str | None]]:
    kind = arrow_type(table, column)
    kind = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(f"{source.spec}: the column {column} holds {kind}, neither text nor lists of texts")
    if _is_text(table, column):
        return [table[column][:]]
    lists = [texts if isinstance(texts, list) else [texts] for texts in table[column][:]]
    longest = max(map(len, lists), default=0)
    return [[texts[place] if place < len(texts) else None for texts in lists] for place in range(longest)]


READERS = {
    "audiofolder": lambda source: _read_metadata(source, folder_metadata(source.path), needs_files=True),
    "csv": lambda source: _read_metadata(source, source.path),
    "folder": _read_folder,
    "hub": lambda source: _table_pairs(source, load_splits(source)),
    "soundscapes": lambda source: captioned_table(source, *zip(*captioned_clips(*source.parts), strict=True)),
    **{name: corpus.captioned for name, corpus in PUBLISHED.items() if corpus.captioned},
}
# Corpora that can be trained on as streams, but whose captions can't be counted or searched beforehand.
STREAMS = {"stream": partial(read_stream, captioned=True), "webdataset": read_captioned_tar_shards}


def read_corpora(
    specs: str | Dataset | list[str],
    needs_audio: bool = True,
    exclusions: ExclusionLog | None = None,
    leakage: LeakageFilter | None = None,
    streams: bool = False,
    evaluates: bool = False,
) -> Dataset | IterableDataset:
    """Reads captioned corpora and joins them. The result is a stream if one of them is a stream, which `streams`
    allows.

    `specs` are one or several as in `parse_source`, or a table, or a list of texts. Rows without a word in their
    caption are left out. So is a caption that repeats another one of the same clip. Rows with only text keep a null
    `audio`, unless `needs_audio` removes them. A stream still holds the clips that `leakage` keeps out of tables. With
    `evaluates`, a published corpus without a named part gives the parts that it is usually evaluated on.
    """
    exclusions, leakage = exclusions or ExclusionLog(), leakage or LeakageFilter()
    if isinstance(specs, Dataset) or not names_data(specs):
        return _usable_pairs(*_read_data(specs, replace(exclusions, allow_outside_paths=True)), needs_audio, leakage)
    specs = [str(specs)] if isinstance(specs, (str, Path)) else specs
    readers = {**READERS, **STREAMS} if streams else READERS
    sources = [parse_source(spec, readers, "a captioned corpus", columns=("audio", "caption")) for spec in specs]
    corpora = []
    for source in with_distinct_names(sources):
        source = replace(source, exclusions=exclusions)
        if evaluates and not source.parts and source.layout in PUBLISHED:
            source = replace(source, parts=PUBLISHED[source.layout].evaluation_parts)
        corpus = readers[source.layout](source)
        if isinstance(corpus, Dataset):
            corpus = _usable_pairs(source, corpus, needs_audio, leakage)
        corpora.append(corpus)
    return join(corpora)


def _read_data(data: Dataset | list[str], exclusions: ExclusionLog) -> tuple[Source, Dataset]:
    """A table or a list of texts from Python."""
    if isinstance(data, Dataset):
        source = Source("captions", "hub", "captions", exclusions=exclusions)
        return source, _table_pairs(source, data)
    source = Source("captions", "csv", None, exclusions=exclusions, label="captions")
    return source, captioned_table(source, [None] * len(data), map(str, range(len(data))), data)


def _usable_pairs(source: Source, table: Dataset, needs_audio: bool, leakage: LeakageFilter) -> Dataset:
    """The rows that can be used for training. An InputError where there are none."""
    spec, exclusions, table = source.spec, source.exclusions, table.select_columns(list(CAPTION_COLUMNS))
    table = with_short_texts(with_files_inside(table, source), spec, exclusions)
    table = without_repeats(with_words(table, spec, exclusions), spec, exclusions)
    if needs_audio:
        total, table = len(table), with_audio(table, spec, exclusions)
        if len(table) == 0:
            name = source.column("audio") or "file_name"
            column = f" (column {name})" if source.layout in ("audiofolder", "csv") else ""
            raise InputError(f"{spec} has {total} captions, but not one of its audio files{column} is there")
    table = leakage.drop_from(table, spec, exclusions)
    if len(table) == 0:
        raise InputError(f"{spec} holds no captions that may be used: all its clips are left out")
    return table


def as_pairs(data: Pairs, column_mapping: Mapping[str, str] | None = None, name: str = "train_dataset") -> Pairs:
    """A table or a stream as `ClapStudentTrainer` takes it, with the columns of `CAPTION_COLUMNS`.

    Audio is never decoded by datasets, which would need torchcodec. Arrays become wav files in memory. Rows of a table
    without words or without a file are left out, and a warning counts them. A row without `audio_id` is named after
    its file, or after the first row with the same bytes.

    Args:
        data: with a column `audio` (`Audio`, paths, or dicts `{"array", "sampling_rate"}`) and a column of captions,
            `caption` or `text`. A list of captions makes one pair each. Pairs that already have our columns come back
            unchanged.
        column_mapping: for columns with other names: theirs -> ours.
        name: the data's name in messages.
    """
    if isinstance(data, DatasetDict):
        raise InputError(f"{name} has the splits {', '.join(data)}: give one of them")
    if not isinstance(data, Pairs):
        raise InputError(f"{name} is a {type(data).__name__}: give a datasets.Dataset or IterableDataset")
    if isinstance(data, Dataset) and len(data) == 0:
        raise InputError(f"{name} has no rows")
    mapping = dict(column_mapping or {})
    if _is_ours(data) and not {*mapping} & {*data.column_names}:
        return data
    source = Source(name, name, None, exclusions=ExclusionLog(allow_outside_paths=True))
    if isinstance(data, IterableDataset):
        return with_our_columns(source, _rename_columns(_without_decoding(data, name), mapping, name), captioned=True)
    table = _with_encoded_audio(_rename_columns(data, mapping, name).with_format(None), name)
    pairs = _usable_pairs(source, _table_pairs(source, _with_ids(table, name)), True, LeakageFilter())
    for line in source.exclusions.lines:
        warnings.warn(line, stacklevel=2)
    return pairs


def as_sets(data, replay: Pairs | None, column_mapping: Mapping[str, str] | None) -> tuple[Pairs, Pairs | None]:
    """The sets to train on and to replay.

    `data` is as for `as_pairs`, or a result of `curate`, which has `pairs` and `replay`. The argument `replay`
    overrides the latter.
    """
    if hasattr(data, "pairs"):
        data, replay = data.pairs, data.replay if replay is None else replay
    replay = None if replay is None else as_pairs(replay, column_mapping, "replay_dataset")
    return as_pairs(data, column_mapping), replay


def _is_ours(data: Pairs) -> bool:
    features = data.features or {}
    needed = {*CAPTION_COLUMNS} - ({"origin_id"} if isinstance(data, Dataset) else {"source", "caption_id"})
    return needed <= features.keys() and features["audio"] == (UNDECODED if isinstance(data, Dataset) else ENCODED)


def _rename_columns(data: Pairs, mapping: dict[str, str], name: str) -> Pairs:
    """Keeps the columns that are needed, under our names."""
    columns = list(data.column_names or next(iter(data), {}))
    listing = f"its columns are {', '.join(columns)}"
    for theirs, ours in mapping.items():
        if theirs not in columns:
            raise InputError(f"column_mapping names {theirs!r}, and {name} has no such column: {listing}")
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
    for ours, is_there in (("audio", "audio" in columns), ("caption", captions)):
        if not is_there:
            raise InputError(
                f"{name} has no column {ours}: {listing}. Say which: column_mapping={{'COLUMN': '{ours}'}}"
            )
    useful = {"audio", *captions, *CAPTION_COLUMNS, *ORIGIN_COLUMNS}
    return data.select_columns([column for column in columns if column in useful])


def _without_decoding(stream: IterableDataset, name: str) -> IterableDataset:
    """A stream that gives its audio as it is stored. A stream that was renamed or mapped before would decode it."""
    for column, feature in (stream.features or {}).items():
        if isinstance(feature, Audio):
            stream = stream.cast_column(column, ENCODED)
    try:
        next(iter(stream), None)
    except ImportError as error:
        raise InputError(
            f"{name} decodes its audio before it is read here: give the stream as it was loaded, and use "
            "column_mapping in place of rename_column"
        ) from error
    return stream


def _with_encoded_audio(table: Dataset, name: str) -> Dataset:
    """Arrays become wav files; all else stays as it is, undecoded."""
    kind = arrow_type(table, "audio")
    if pa.types.is_large_string(kind):
        return table.cast_column("audio", Value("string"))
    is_audio = isinstance(table.features["audio"], Audio)
    if is_audio or not pa.types.is_struct(kind) or kind.get_field_index("array") < 0:
        return table
    features = Features({**table.features, "audio": UNDECODED})
    encode = partial(_encode_arrays, name=name)
    # In arrow, integers keep their width, which gives their full scale.
    table = table.with_format("arrow").map(
        encode, batched=True, with_indices=True, batch_size=_AT_ONCE, features=features, desc="arrays to wav"
    )
    return table.with_format(None)


def _encode_arrays(batch: pa.Table, rows: list[int], name: str) -> pa.Table:
    clips = []
    for row, clip in zip(rows, batch["audio"], strict=True):
        parts = clip.items() if clip.is_valid else ()
        parts = {part: _numbers(value) if part == "array" else value.as_py() for part, value in parts}
        try:
            clips.append(as_encoded(parts or None))
        except ClipError as error:
            raise InputError(f"{name}: the clip in row {row} {error}") from error
    place = batch.column_names.index("audio")
    return batch.set_column(place, "audio", pa.array(clips, UNDECODED.pa_type))


def _numbers(value: pa.Scalar) -> object:
    """An array of numbers, or a list of such rows; anything else stays as it is."""
    if not isinstance(value, pa.ListScalar) or not value.is_valid:
        return value.as_py()
    if pa.types.is_nested(value.values.type):
        return [_numbers(row) for row in value.values]
    return value.values.to_numpy(zero_copy_only=False)


def _with_ids(table: Dataset, name: str) -> Dataset:
    """Files that are equal by name or by bytes are one clip, and share its captions."""
    if "audio_id" in table.column_names:
        return table
    try:
        table = table.cast_column("audio", UNDECODED)
    except Exception as error:  # the type depends on what the column holds
        kind = arrow_type(table, "audio")
        raise InputError(f"{name}: the column audio holds {kind}, neither audio nor paths nor arrays") from error
    ids, first_rows = [], {}
    for batch in table.select_columns("audio").with_format("arrow").iter(_AT_ONCE):
        for clip in batch["audio"].to_pylist():
            clip = clip or {"bytes": None, "path": None}
            content, row = clip["bytes"], len(ids)
            key = hashlib.blake2b(content, digest_size=16).digest() if content is not None else clip["path"] or row
            row = first_rows.setdefault(key, row)
            ids.append(clip["path"] if isinstance(key, str) else f"{name}/{row}")
    return table.add_column("audio_id", ids, feature=Value("string"))
