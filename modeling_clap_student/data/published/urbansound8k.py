"""UrbanSound8K (Salamon et al. 2014): 10 classes of urban sounds in 10 folds."""

from datasets import Dataset

from ..metadata import read_rows
from ..recordings import recording
from ..sources import Source
from ..tables import clip_table, labelled_table
from .corpus import Corpus


def _rows(source: Source) -> tuple[list[dict[str, str]], list[str]]:
    rows = read_rows(source.path / "metadata" / "UrbanSound8K.csv", "slice_file_name", "fold")
    rows = [row for row in rows if source.wants(row["fold"])]
    return rows, [f"fold{row['fold']}/{row['slice_file_name']}" for row in rows]


def _origins(rows: list[dict[str, str]]) -> list[str | None]:
    """The number of the recording on Freesound that each slice was cut from: the column `fsID`."""
    return [recording("freesound", row.get("fsID")) for row in rows]


def _clips(source: Source) -> Dataset:
    rows, names = _rows(source)
    return clip_table(source, [source.path / "audio" / name for name in names], names, _origins(rows))


def _labelled(source: Source) -> Dataset:
    rows, names = _rows(source)
    # Some copies rename the published column `class`.
    label = "class_name" if rows and "class_name" in rows[0] else "class"
    read_rows(source.path / "metadata" / "UrbanSound8K.csv", label)
    audio = [source.path / "audio" / name for name in names]
    labels, folds = [row[label] for row in rows], [row["fold"] for row in rows]
    return labelled_table(source, audio, names, labels, _origins(rows), folds)


URBANSOUND8K = Corpus(
    name="urbansound8k",
    title="UrbanSound8K",
    layout="audio/fold1/*.wav … metadata/UrbanSound8K.csv",
    size="8732 clips of at most 4 s, 10 classes, 10 folds",
    address="https://urbansounddataset.weebly.com/urbansound8k.html",
    markers=("metadata/UrbanSound8K.csv",),
    pool=_clips,
    labelled=_labelled,
)
