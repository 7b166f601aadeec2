"""ESC-50 (Piczak 2015): 50 classes of environmental sounds in 5 folds; ESC-10 is a part of it, laid out alike."""

from datasets import Dataset

from ...errors import InputError
from ..captions import clean_title
from ..metadata import read_rows
from ..recordings import recording
from ..sources import Source
from ..tables import captioned_table, clip_table, labelled_table
from .corpus import Corpus


def _rows(source: Source, *columns: str) -> list[dict[str, str]]:
    rows = read_rows(source.path / "meta" / "esc50.csv", "filename", "fold", *columns)
    return [row for row in rows if source.wants(row["fold"])]


def _origins(rows: list[dict[str, str]]) -> list[str | None]:
    """The number of each clip's recording on Freesound: the column `src_file`."""
    return [recording("freesound", row.get("src_file")) for row in rows]


def _clips(source: Source) -> Dataset:
    rows = _rows(source)
    names = [row["filename"] for row in rows]
    return clip_table(source, [source.path / "audio" / name for name in names], names, _origins(rows))


def _labelled(source: Source) -> Dataset:
    rows = _rows(source, "category")
    names = [row["filename"] for row in rows]
    audio = [source.path / "audio" / name for name in names]
    labels, folds = [row["category"] for row in rows], [row["fold"] for row in rows]
    return labelled_table(source, audio, names, labels, _origins(rows), folds)


def _captioned(source: Source) -> Dataset:
    """With its recordings' titles, which are no part of the publication: `meta/captions.csv`, `file_name,caption`."""
    titles = source.path / "meta" / "captions.csv"
    if not titles.exists():
        raise InputError(f"{titles} is missing: ESC-50 serves as a captioned corpus only with its recordings' titles")
    clips = _rows(source)
    wanted = dict(zip((row["filename"] for row in clips), _origins(clips), strict=True))
    rows = [row for row in read_rows(titles, "file_name", "caption") if row["file_name"] in wanted]
    names = [row["file_name"] for row in rows]
    captions = [clean_title(row["caption"]) for row in rows]
    audio, origins = [source.path / "audio" / name for name in names], [wanted[name] for name in names]
    return captioned_table(source, audio, names, captions, origins)


ESC50 = Corpus(
    name="esc50",
    title="ESC-50",
    layout="audio/*.wav meta/esc50.csv",
    size="2000 clips of 5 s, 50 classes, 5 folds",
    address="https://github.com/karolpiczak/ESC-50",
    markers=("meta/esc50.csv",),
    captioned=_captioned,
    pool=_clips,
    labelled=_labelled,
)
