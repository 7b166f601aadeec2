"""Captioned corpora: one row a (clip, caption) pair, in the columns of `CAPTION_COLUMNS`."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, IterableDataset, Value, concatenate_datasets

from ..errors import InputError
from ..soundscapes import corpus as soundscapes
from .captions import caption_key
from .filters import inside, with_audio, with_short_texts, with_words, without_repeats
from .leakage import LeakageFilter
from .metadata import METADATA, read_rows, texts
from .naming import names_data, parse_source
from .published import PUBLISHED
from .recordings import origin_of
from .sources import ExclusionLog, Source, caption_columns, find_column, told_apart
from .streams import as_stream, read_captioned_stream
from .tables import CAPTION_COLUMNS, arrow_type, captioned_table, hub_clips, load_table, refuse_nested
from .tar_shards import read_captioned_tar_shards


def _read_metadata(source: Source, metadata: Path, needs_files: bool = False) -> Dataset:
    """Any csv or jsonl with captions, several a row or several in a list, and perhaps `file_name`."""
    rows = read_rows(metadata)
    has_files = needs_files or source.column("audio")
    file_name = find_column(source, metadata, rows[0], "audio", "file_name") if has_files else "file_name"
    columns = caption_columns(source, metadata, rows[0])
    if has_files or file_name in rows[0]:
        texts(metadata, rows, file_name)
    audio, ids, captions, origins = [], [], [], []
    for number, row in enumerate(rows):
        cells = [row[column] for column in columns]
        said = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
        file = row.get(file_name)
        audio += [metadata.parent / file if file else None] * len(said)
        ids += [file or str(number)] * len(said)
        origins += [origin_of(row)] * len(said)
        captions += said
    return captioned_table(source, audio, ids, captions, origins)


def _read_audiofolder(source: Source) -> Dataset:
    metadata = next(p for n in METADATA if (p := source.path / n).exists())
    return _read_metadata(source, metadata, needs_files=True)


def _read_folder(source: Source) -> Dataset:
    raise InputError(
        f"{source.path} has no metadata.csv or metadata.jsonl (columns file_name,caption): captions are needed here"
    )


def _read_soundscapes(source: Source) -> Dataset:
    return captioned_table(source, *zip(*soundscapes.captioned_clips(*source.parts), strict=True))


def _read_hub(source: Source) -> Dataset:
    """A Hub dataset, or a folder of one: the splits asked for, `train` by default."""
    splits = [load_table(source.path, split=split) for split in source.parts or ("train",)]
    return table_pairs(source, concatenate_datasets(splits))


def table_pairs(source: Source, table: Dataset) -> Dataset:
    """The rows of a table in the columns of `CAPTION_COLUMNS`, a row each of a clip's captions.

    Raises:
        InputError: no column of audio or of captions, or one that holds something else.
    """
    clips = hub_clips(source, table)
    captions = caption_columns(source, source.spec, table.column_names)
    if captions == ["caption"] and "caption_id" in table.column_names and _is_text(table, "caption"):
        refuse_nested(source, table, "caption_id")
        for name in ("caption", "caption_id"):
            values = ["" if text is None else str(text) for text in table[name][:]]
            clips = clips.add_column(name, values, feature=Value("string"))
        return clips
    # A table of the clips for the first captions, the same for the second ones: their audio is not copied.
    said = [column for name in captions for column in _columns_of_texts(source, table, name)]
    tables = [_with_captions(clips, column) for column in said or [[""] * len(clips)]]
    # Where a clip has fewer captions than another, the further places are empty.
    further = [_rows_of(table, column) for table, column in zip(tables[1:], said[1:], strict=True)]
    return concatenate_datasets([tables[0], *further])


def _rows_of(table: Dataset, captions: list[str | None]) -> Dataset:
    return table.select([row for row, caption in enumerate(captions) if caption is not None])


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
    most = max(map(len, lists), default=0)
    return [[texts[place] if place < len(texts) else None for texts in lists] for place in range(most)]


def _with_captions(clips: Dataset, captions: list[str | None]) -> Dataset:
    captions = ["" if caption is None else str(caption) for caption in captions]
    return clips.add_column("caption", captions).add_column("caption_id", [caption_key(text) for text in captions])


READERS = {
    "audiofolder": _read_audiofolder,
    "csv": lambda source: _read_metadata(source, source.path),
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": _read_soundscapes,
    **{name: corpus.captioned for name, corpus in PUBLISHED.items() if corpus.captioned},
}


# Corpora that can be trained on as they come, but neither counted nor searched for captions beforehand.
STREAMS = {"stream": read_captioned_stream, "webdataset": read_captioned_tar_shards}


def _read_given(given: Dataset | list[str], exclusions: ExclusionLog) -> tuple[Source, Dataset]:
    """A table that was handed over, or a list of texts."""
    if isinstance(given, Dataset):
        source = Source("captions", "hub", "captions", exclusions=exclusions)
        return source, table_pairs(source, given)
    source = Source("captions", "csv", None, exclusions=exclusions, label="captions")
    return source, captioned_table(source, [None] * len(given), map(str, range(len(given))), given)


def read_corpora(
    specs: str | Dataset | list[str],
    needs_audio: bool = True,
    exclusions: ExclusionLog | None = None,
    leakage: LeakageFilter | None = None,
    streams: bool = False,
    evaluates: bool = False,
) -> Dataset | IterableDataset:
    """Reads captioned corpora and joins them.

    Rows without a word in their caption are left out, and so is a caption that stands twice beside one clip.

    Args:
        specs: as in `parse_source`, one or several; or a table, or a list of texts.
        needs_audio: whether rows that are only text, or whose file is missing, are left out too.
        exclusions: gets the number of rows that were left out, and why.
        leakage: clips that are left out, of evaluation sets for instance. A stream still holds them.
        streams: whether a corpus may be a stream.
        evaluates: whether the parts that others evaluate on are read of a published corpus, where no part is named.

    Returns:
        a table of `CAPTION_COLUMNS`, where `audio` is null in text-only rows, or a stream of such rows where one of
        the corpora is a stream.

    Raises:
        InputError: a spec that can't be read, or holds no caption, or no audio where audio is needed.
    """
    exclusions = ExclusionLog() if exclusions is None else exclusions
    if isinstance(specs, Dataset) or not names_data(specs):
        source, corpus = _read_given(specs, replace(exclusions, allow_outside_paths=True))
        return usable_pairs(corpus, source, needs_audio, leakage or LeakageFilter())
    specs = [str(specs)] if isinstance(specs, (str, Path)) else specs
    readers = {**READERS, **STREAMS} if streams else READERS
    sources = [parse_source(spec, readers, "a captioned corpus", columns=("audio", "caption")) for spec in specs]
    sources = [replace(source, exclusions=exclusions) for source in sources]
    if evaluates:
        sources = [_to_evaluate_on(source) for source in sources]
    corpora = []
    for source in told_apart(sources):
        corpus = readers[source.layout](source)
        if isinstance(corpus, Dataset):
            corpus = usable_pairs(corpus, source, needs_audio, leakage or LeakageFilter())
        corpora.append(corpus)
    if any(isinstance(corpus, IterableDataset) for corpus in corpora):
        corpora = [as_stream(corpus) if isinstance(corpus, Dataset) else corpus for corpus in corpora]
    return concatenate_datasets(corpora)


def _to_evaluate_on(source: Source) -> Source:
    parts = PUBLISHED[source.layout].evaluation_parts if source.layout in PUBLISHED else ()
    return replace(source, parts=source.parts or parts)


def usable_pairs(table: Dataset, source: Source, needs_audio: bool, leakage: LeakageFilter) -> Dataset:
    """The rows that can be learnt from; `source.exclusions` gets the number of the others, and why.

    Raises:
        InputError: none can.
    """
    spec, exclusions, table = source.spec, source.exclusions, table.select_columns(list(CAPTION_COLUMNS))
    table = with_short_texts(inside(table, source), spec, exclusions)
    table = without_repeats(with_words(table, spec, exclusions), spec, exclusions)
    if needs_audio:
        total, table = len(table), with_audio(table, spec, exclusions)
        if len(table) == 0:
            named = source.column("audio") or "file_name"
            column = f" (column {named})" if source.layout in ("audiofolder", "csv") else ""
            raise InputError(f"{spec} has {total} captions, but not one of its audio files{column} is there")
    table = leakage.drop_from(table, spec, exclusions)
    if len(table) == 0:
        raise InputError(f"{spec} holds no captions that are not left out: all its clips are kept out")
    return table
