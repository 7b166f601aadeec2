"""Captioned corpora: one row a (clip, caption) pair, in the columns `audio caption audio_id caption_id source`."""

import os
import re
from pathlib import Path

from datasets import Dataset, Value, concatenate_datasets

from ..errors import InputError
from . import soundscapes
from .captions import caption_key, clean_title
from .metadata import read_rows
from .sources import Source, clip_table, load_table, parse_source


COLUMNS = ("audio", "audio_id", "source", "caption", "caption_id")


def _pairs(source: Source, rows: list[tuple[Path | str | None, str, str]]) -> Dataset:
    """(audio, id within the source, caption) -> the table; pairs without words are dropped."""
    name = source.path.stem if source.path else source.layout
    table = clip_table(
        [
            {
                "audio": audio,
                "audio_id": f"{name}/{audio_id}",
                "source": name,
                "caption": caption,
                "caption_id": caption_key(caption),
            }
            for audio, audio_id, caption in rows
            if caption
        ],
        caption=Value("string"),
        caption_id=Value("string"),
    )
    if len(table) == 0:
        raise InputError(f"{source.spec} holds no caption with a word in it")
    return table


def _read_metadata(source: Source, metadata: Path) -> Dataset:
    """Any csv or jsonl with `caption`, or `caption_1` … `caption_n`, and perhaps `file_name`."""
    rows = read_rows(metadata)
    columns = [column for column in rows[0] if column and re.fullmatch(r"caption(_\d+)?", column)]
    if not columns:
        raise InputError(f"{metadata} has no column caption: its columns are {', '.join(map(str, rows[0]))}")
    pairs = []
    for number, row in enumerate(rows):
        file_name = row.get("file_name")
        audio = metadata.parent / file_name if file_name else None
        pairs += [(audio, file_name or str(number), " ".join((row[c] or "").split())) for c in columns]
    return _pairs(source, pairs)


def _read_audiofolder(source: Source) -> Dataset:
    metadata = next(p for n in ("metadata.csv", "metadata.jsonl") if (p := source.path / n).exists())
    read_rows(metadata, "file_name", "caption")
    return _read_metadata(source, metadata)


def _read_folder(source: Source) -> Dataset:
    raise InputError(
        f"{source.path} has no metadata.csv or metadata.jsonl (columns file_name,caption): captions are needed here"
    )


def _read_esc50(source: Source) -> Dataset:
    """ESC-50 with its recordings' titles: `meta/captions.csv` with `file_name,caption`."""
    titles = source.path / "meta" / "captions.csv"
    if not titles.exists():
        raise InputError(f"{titles} is missing: ESC-50 serves as a captioned corpus only with its recordings' titles")
    folds = {row["filename"]: row["fold"] for row in read_rows(source.path / "meta" / "esc50.csv", "filename", "fold")}
    return _pairs(
        source,
        [
            (source.path / "audio" / row["file_name"], row["file_name"], clean_title(row["caption"]))
            for row in read_rows(titles, "file_name", "caption")
            if not source.parts or folds.get(row["file_name"]) in source.parts
        ],
    )


def _read_soundscapes(source: Source) -> Dataset:
    return _pairs(source, soundscapes.captioned_clips(*source.parts))


def _read_hub(source: Source) -> Dataset:
    table = load_table(source.path, split="train")
    missing = {"audio", "caption"} - set(table.column_names)
    if missing:
        raise InputError(f"{source.spec} has no column {', '.join(sorted(missing))}: it has {table.column_names}")
    table = table.select([row for row, caption in enumerate(table["caption"]) if caption and caption.strip()])
    name = str(source.path)
    if "audio_id" not in table.column_names:
        table = table.add_column("audio_id", [f"{name}/{i}" for i in range(len(table))])
    if "caption_id" not in table.column_names:
        table = table.add_column("caption_id", [caption_key(caption) for caption in table["caption"]])
    if "source" not in table.column_names:
        table = table.add_column("source", [name] * len(table))
    return table.select_columns(list(COLUMNS))


READERS = {
    "audiofolder": _read_audiofolder,
    "csv": lambda source: _read_metadata(source, source.path),
    "esc50": _read_esc50,
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": _read_soundscapes,
}


def audio_is_there(audio: dict | None) -> bool:
    """Whether a row has audio at all, and its file exists."""
    if audio is None or audio["bytes"] is not None:
        return audio is not None
    return soundscapes.is_soundscape(audio["path"]) or os.path.isfile(audio["path"])


def read_corpora(specs: list[str], needs_audio: bool = True) -> Dataset:
    """Reads captioned corpora and joins them.

    Args:
        specs: as in `parse_source`.
        needs_audio: whether rows that are only text, or whose file is missing everywhere, are refused.

    Returns:
        a table of `COLUMNS`; `audio` is null in text-only rows.

    Raises:
        InputError: a spec that can't be read, or holds no audio where audio is needed.
    """
    tables = []
    for spec in specs:
        source = parse_source(spec, READERS, "a captioned corpus")
        table = READERS[source.layout](source)
        if needs_audio and not any(audio_is_there(audio) for audio in table["audio"]):
            raise InputError(f"{spec} has captions, but not one of its audio files (column file_name) is there")
        tables.append(table.select_columns(list(COLUMNS)))
    return concatenate_datasets(tables)


__all__ = ["COLUMNS", "READERS", "audio_is_there", "read_corpora"]
