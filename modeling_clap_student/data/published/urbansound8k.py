"""UrbanSound8K (Salamon et al. 2014): 10 classes of urban sounds in 10 folds."""

from datasets import Dataset

from ..identity import recording
from ..sources import Source
from ..tables import clip_table, labelled_table
from ..texts import read_rows
from .corpus import Corpus


def _rows(source: Source) -> list[dict[str, str]]:
    rows = read_rows(source.path / "metadata" / "UrbanSound8K.csv", "slice_file_name", "fold")
    return [row for row in rows if source.wants(row["fold"])]


def _columns(source: Source, rows: list[dict[str, str]]) -> tuple[list, list[str], list[str | None]]:
    """(files, names, recordings). The column `fsID` has the number of a slice's recording on Freesound."""
    names = [f"fold{row['fold']}/{row['slice_file_name']}" for row in rows]
    origins = [recording("freesound", row.get("fsID")) for row in rows]
    return [source.path / "audio" / name for name in names], names, origins


def _clips(source: Source) -> Dataset:
    return clip_table(source, *_columns(source, _rows(source)))


def _labelled_clips(source: Source) -> Dataset:
    rows = _rows(source)
    # Some copies rename the published column `class`.
    label = "class_name" if rows and "class_name" in rows[0] else "class"
    read_rows(source.path / "metadata" / "UrbanSound8K.csv", label)
    audio, names, origins = _columns(source, rows)
    return labelled_table(source, audio, names, [row[label] for row in rows], origins, [row["fold"] for row in rows])


URBANSOUND8K = Corpus(
    name="urbansound8k",
    title="UrbanSound8K",
    layout="audio/fold1/*.wav … metadata/UrbanSound8K.csv",
    size="8732 clips of at most 4 s, 10 classes, 10 folds",
    address="https://urbansounddataset.weebly.com/urbansound8k.html",
    markers=("metadata/UrbanSound8K.csv",),
    pool=_clips,
    labelled=_labelled_clips,
)
