"""Captioned corpora: one row a (clip, caption) pair, in the columns of `CAPTION_COLUMNS`."""

import re
from pathlib import Path

from datasets import Dataset, Value, concatenate_datasets

from ..errors import InputError
from . import soundscapes
from .captions import caption_key
from .excluded import Excluded
from .filters import with_audio, with_words, without_repeats
from .metadata import read_rows
from .naming import parse_source
from .published import PUBLISHED
from .sources import Source
from .tables import CAPTION_COLUMNS, UNDECODED, captioned_table, load_table


_CAPTION = re.compile(r"captions?(_\d+)?")


def _caption_columns(source: Source, place: object, columns: list[str]) -> list[str]:
    """The columns that hold captions: the one that was named, or `caption`, `captions`, `caption_1` …"""
    named = source.column("caption")
    found = [column for column in columns if column == named or (named is None and _CAPTION.fullmatch(column))]
    if not found:
        raise InputError(
            f"{place} has no column {named or 'caption'}: its columns are {', '.join(columns)}. "
            f"Say which one holds the captions: {source.spec.partition('#')[0]}#caption=COLUMN"
        )
    return found


def _read_metadata(source: Source, metadata: Path, needs_files: bool = False) -> Dataset:
    """Any csv or jsonl with captions, several a row or several in a list, and perhaps `file_name`."""
    rows = read_rows(metadata)
    file_name = source.column("audio") or "file_name"
    if file_name not in rows[0] and (needs_files or source.column("audio")):
        raise InputError(
            f"{metadata} has no column {file_name}: its columns are {', '.join(map(str, rows[0]))}. "
            f"Say which one holds the files: {source.spec.partition('#')[0]}#audio=COLUMN"
        )
    columns = _caption_columns(source, metadata, [column for column in rows[0] if column])
    audio, ids, captions = [], [], []
    for number, row in enumerate(rows):
        cells = [row[column] for column in columns]
        texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
        file = row.get(file_name)
        audio += [metadata.parent / file if file else None] * len(texts)
        ids += [file or str(number)] * len(texts)
        captions += texts
    return captioned_table(source, audio, ids, captions)


def _read_audiofolder(source: Source) -> Dataset:
    metadata = next(p for n in ("metadata.csv", "metadata.jsonl") if (p := source.path / n).exists())
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
    table = concatenate_datasets(splits)
    audio = source.column("audio") or "audio"
    if audio not in table.column_names:
        raise InputError(
            f"{source.spec} has no column {audio}: it has {', '.join(table.column_names)}. "
            f"Say which one holds the audio: {source.spec.partition('#')[0]}#audio=COLUMN"
        )
    captions = _caption_columns(source, source.spec, table.column_names)
    name = str(source.path)
    if "audio_id" not in table.column_names:
        table = table.add_column("audio_id", [f"{name}/{i}" for i in range(len(table))])
    if "source" not in table.column_names:
        table = table.add_column("source", [name] * len(table))
    if "origin_id" not in table.column_names:
        table = table.add_column("origin_id", [None] * len(table), feature=Value("string"))
    clips = table.select_columns([audio, "audio_id", "source", "origin_id"])
    clips = (clips if audio == "audio" else clips.rename_column(audio, "audio")).cast_column("audio", UNDECODED)
    if captions == ["caption"] and "caption_id" in table.column_names and _is_text(table, "caption"):
        return clips.add_column("caption", table["caption"][:]).add_column("caption_id", table["caption_id"][:])
    # A table of the clips for the first captions, the same for the second ones: their audio is not copied.
    texts = [texts for column in captions for texts in _columns_of_texts(table, column)]
    return concatenate_datasets([_with_captions(clips, column) for column in texts])


def _is_text(table: Dataset, column: str) -> bool:
    return getattr(table.features[column], "dtype", None) in ("string", "large_string")


def _columns_of_texts(table: Dataset, column: str) -> list[list[str | None]]:
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


def read_corpora(specs: list[str], needs_audio: bool = True, excluded: Excluded | None = None) -> Dataset:
    """Reads captioned corpora and joins them.

    Rows without a word in their caption are left out, and so is a caption that stands twice beside one clip.

    Args:
        specs: as in `parse_source`.
        needs_audio: whether rows that are only text, or whose file is missing, are left out too.
        excluded: gets the number of rows that were left out, and why.

    Returns:
        a table of `CAPTION_COLUMNS`; `audio` is null in text-only rows.

    Raises:
        InputError: a spec that can't be read, or holds no caption, or no audio where audio is needed.
    """
    excluded = Excluded() if excluded is None else excluded
    tables = []
    for spec in specs:
        source = parse_source(spec, READERS, "a captioned corpus", columns=("audio", "caption"))
        table = READERS[source.layout](source).select_columns(list(CAPTION_COLUMNS))
        table = without_repeats(with_words(table, spec, excluded), spec, excluded)
        if needs_audio:
            total, table = len(table), with_audio(table, spec, excluded)
            if len(table) == 0:
                column = (
                    f" (column {source.column('audio') or 'file_name'})"
                    if source.layout in ("audiofolder", "csv")
                    else ""
                )
                raise InputError(f"{spec} has {total} captions, but not one of its audio files{column} is there")
        tables.append(table)
    return concatenate_datasets(tables)


__all__ = ["READERS", "read_corpora"]
