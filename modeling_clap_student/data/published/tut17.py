"""TUT Acoustic Scenes 2017 (Mesaros et al. 2016): 10-s clips of 15 places, in a development and an evaluation set.

The two are published separately. The evaluation set's labels are in `evaluation_setup/evaluate.txt`. DCASE's own tools
write them to a `meta.txt`, like that of the development set. A clip's fold is the one of the development set's four in
which it is tested, `evaluation_setup/fold*_evaluate.txt`. The evaluation set's clips have none.
"""

from pathlib import Path

from datasets import Dataset

from ...errors import InputError, reading
from ..sources import Source
from ..tables import clip_table, labelled_table
from .corpus import Corpus


_PARTS = ("development", "evaluation")
_SCENES = {
    "beach", "bus", "cafe/restaurant", "car", "city_center", "forest_path", "grocery_store", "home", "library",
    "metro_station", "office", "park", "residential_area", "train", "tram",
}  # fmt: skip
_META, _EVALUATE = "meta.txt", "evaluation_setup/evaluate.txt"


def _rows(source: Source) -> list[tuple[Path, str, str, str | None]]:
    """(file, id, label, fold) of the parts asked for, both by default."""
    parts = source.choose(_PARTS, default=_PARTS)
    rows = [
        (folder / name, str((folder / name).relative_to(source.path)), label, folds.get(name))
        for part, folder, names in _sets(source.path)
        if part in parts
        for folds in [_folds(folder) if part == "development" else {}]
        for name, label in names
    ]
    if not rows:
        raise InputError(f"{source.path} has no {' nor '.join(parts)} part of TUT Acoustic Scenes 2017")
    return rows


def _sets(root: Path) -> list[tuple[str, Path, list[tuple[str, str]]]]:
    """(part, folder, [(name, label)]) of each set found: side by side, one alone, or both in one folder."""
    places = {part: (root / f"TUT-acoustic-scenes-2017-{part}", root / part) for part in _PARTS}
    sets = [(part, folder, _list(folder)) for part in _PARTS for folder in places[part] if _list(folder)]
    if sets:
        return sets
    meta, evaluate = _read(root / _META), _read(root / _EVALUATE)
    in_evaluation = {name for name, _ in evaluate}
    development = [(name, label) for name, label in meta if name not in in_evaluation]
    # A single meta.txt belongs to the set after which the folder is named, or else to the development set.
    part = "evaluation" if not evaluate and "evaluation" in root.name else "development"
    return [(part, root, names) for part, names in ((part, development), ("evaluation", evaluate)) if names]


def _folds(folder: Path) -> dict[str, str]:
    """Clip -> the one of the development set's four folds in which it is tested."""
    lists = sorted((folder / "evaluation_setup").glob("fold*_evaluate.txt"))
    return {name: table.name.removeprefix("fold").split("_")[0] for table in lists for name, _ in _read(table)}


def _list(folder: Path) -> list[tuple[str, str]]:
    return _read(folder / _META) or _read(folder / _EVALUATE)


def _read(table: Path) -> list[tuple[str, str]]:
    """(name, label) from a tab-separated table. Further columns name the recording. Empty if there is no table."""
    if not table.is_file():
        return []
    with reading(table, "text file"):
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 or row[1].strip() not in _SCENES:
            raise InputError(f"{table}: line {number} is no audio file, tab, scene: {' '.join(row)[:80]!r}")
    return [(row[0].strip(), row[1].strip()) for row in rows]


def _clips(source: Source) -> Dataset:
    files, ids, _, _ = zip(*_rows(source), strict=True)
    return clip_table(source, files, ids)


def _labelled_clips(source: Source) -> Dataset:
    files, ids, labels, folds = zip(*_rows(source), strict=True)
    return labelled_table(source, files, ids, labels, folds=folds)


TUT17 = Corpus(
    name="tut17",
    title="TUT Acoustic Scenes 2017",
    layout="TUT-acoustic-scenes-2017-development/{audio/*.wav,meta.txt} "
    "TUT-acoustic-scenes-2017-evaluation/{audio/*.wav,evaluation_setup/evaluate.txt}, one of them, or both in one "
    "folder",
    size="6300 clips of 10 s, 15 classes: 4680 for development, 1620 for evaluation",
    address="https://zenodo.org/records/400515 and https://zenodo.org/records/1040168",
    markers=(
        *(f"TUT-acoustic-scenes-2017-{part}/{table}" for part in _PARTS for table in (_META, _EVALUATE)),
        *(f"{part}/{table}" for part in _PARTS for table in (_META, _EVALUATE)),
        _META,
        _EVALUATE,
    ),
    parts="development, evaluation (both by default)",
    pool=_clips,
    labelled=_labelled_clips,
)
