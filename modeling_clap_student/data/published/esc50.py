"""ESC-50 (Piczak 2015): 50 classes of environmental sounds in 5 folds. ESC-10 is a subset with the same layout."""

from datasets import Dataset

from ...errors import InputError
from ..identity import recording
from ..sources import Source
from ..tables import captioned_table, clip_table, labelled_table
from ..texts import clean_title, read_rows
from .corpus import Corpus


def _rows(source: Source, *columns: str) -> list[dict[str, str]]:
    rows = read_rows(source.path / "meta" / "esc50.csv", "filename", "fold", *columns)
    return [row for row in rows if source.wants(row["fold"])]


def _columns(source: Source, rows: list[dict[str, str]]) -> tuple[list, list[str], list[str | None]]:
    """(files, names, recordings). The column `src_file` has a recording's number on Freesound."""
    names = [row["filename"] for row in rows]
    origins = [recording("freesound", row.get("src_file")) for row in rows]
    return [source.path / "audio" / name for name in names], names, origins


def _clips(source: Source) -> Dataset:
    return clip_table(source, *_columns(source, _rows(source)))


def _labelled_clips(source: Source) -> Dataset:
    rows = _rows(source, "category")
    audio, names, origins = _columns(source, rows)
    return labelled_table(source, audio, names, [row["category"] for row in rows], origins, [r["fold"] for r in rows])


def _pairs(source: Source) -> Dataset:
    """Pairs with the recordings' titles, which are not published with it: `meta/captions.csv`, `file_name,caption`."""
    titles = source.path / "meta" / "captions.csv"
    if not titles.exists():
        raise InputError(f"{titles} is missing: ESC-50 serves as a captioned corpus only with its recordings' titles")
    _, names, origins = _columns(source, _rows(source))
    recordings = dict(zip(names, origins, strict=True))
    rows = [row for row in read_rows(titles, "file_name", "caption") if row["file_name"] in recordings]
    names = [row["file_name"] for row in rows]
    audio, origins = [source.path / "audio" / name for name in names], [recordings[name] for name in names]
    return captioned_table(source, audio, names, [clean_title(row["caption"]) for row in rows], origins)


ESC50 = Corpus(
    name="esc50",
    title="ESC-50",
    layout="audio/*.wav meta/esc50.csv",
    size="2000 clips of 5 s, 50 classes, 5 folds",
    address="https://github.com/karolpiczak/ESC-50",
    markers=("meta/esc50.csv",),
    captioned=_pairs,
    pool=_clips,
    labelled=_labelled_clips,
)
