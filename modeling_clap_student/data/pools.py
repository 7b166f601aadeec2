"""Pools: audio without text, in the columns `audio audio_id source`. Labels, where a pool has some, are not read."""

from datasets import Dataset, concatenate_datasets

from ..errors import InputError
from . import soundscapes
from .metadata import read_rows
from .sources import AUDIO_SUFFIXES, Source, clip_table, load_table, parse_source


COLUMNS = ("audio", "audio_id", "source")


def _clips(source: Source, names: list[str], folder=None) -> Dataset:
    name = source.path.name if source.path else source.layout
    folder = source.path if folder is None else folder
    return clip_table([{"audio": folder / n, "audio_id": f"{name}/{n}", "source": name} for n in names])


def _read_folder(source: Source) -> Dataset:
    files = sorted(
        str(file.relative_to(source.path))
        for file in source.path.rglob("*")
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()
    )
    if not files:
        raise InputError(f"{source.path} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    return _clips(source, files)


def _read_esc50(source: Source) -> Dataset:
    rows = read_rows(source.path / "meta" / "esc50.csv", "filename", "fold")
    names = [row["filename"] for row in rows if not source.parts or row["fold"] in source.parts]
    return _clips(source, names, source.path / "audio")


def _read_urbansound8k(source: Source) -> Dataset:
    rows = read_rows(source.path / "metadata" / "UrbanSound8K.csv", "slice_file_name", "fold")
    names = [f"fold{r['fold']}/{r['slice_file_name']}" for r in rows if not source.parts or r["fold"] in source.parts]
    return _clips(source, names, source.path / "audio")


def _read_soundscapes(source: Source) -> Dataset:
    rows = soundscapes.pool_clips(*source.parts)
    return clip_table([{"audio": uri, "audio_id": name, "source": "soundscapes"} for uri, name in rows])


def _read_hub(source: Source) -> Dataset:
    table = load_table(source.path, split="train")
    if "audio" not in table.column_names:
        raise InputError(f"{source.spec} has no column audio: it has {', '.join(table.column_names)}")
    table = table.select_columns([c for c in COLUMNS if c in table.column_names])
    if "audio_id" not in table.column_names:
        table = table.add_column("audio_id", [f"{source.path}/{i}" for i in range(len(table))])
    if "source" not in table.column_names:
        table = table.add_column("source", [str(source.path)] * len(table))
    return table


READERS = {
    "audiofolder": _read_folder,
    "esc50": _read_esc50,
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": _read_soundscapes,
    "urbansound8k": _read_urbansound8k,
}


def read_pools(specs: list[str]) -> Dataset:
    """Reads pools and joins them.

    Raises:
        InputError: a spec that can't be read, or a part of it without clips.
    """
    tables = []
    for spec in specs:
        source = parse_source(spec, READERS, "a pool of audio")
        table = READERS[source.layout](source)
        if len(table) == 0:
            raise InputError(f"{spec} holds no clips")
        tables.append(table.select_columns(list(COLUMNS)))
    return concatenate_datasets(tables)


__all__ = ["COLUMNS", "READERS", "read_pools"]
