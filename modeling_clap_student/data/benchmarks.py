"""Evaluation sets: labelled clips in the columns `audio audio_id source label`, and lists of class names."""

from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, Value

from ..errors import InputError
from . import soundscapes
from .captions import label_text
from .metadata import read_rows
from .sources import BUILT_IN, Source, clip_table, parse_source


@dataclass(frozen=True)
class Benchmark:
    """A zero-shot classification task.

    Attributes:
        name: as the user named it.
        layout: the kind of set, for instance `esc50`.
        clips: table of `audio audio_id source label`; `label` is the class name as words.
        class_names: the candidates, sorted.
    """

    name: str
    layout: str
    clips: Dataset
    class_names: list[str]


def _labelled(source: Source, rows: list[tuple[Path | str, str, str]]) -> Dataset:
    name = source.path.name if source.path else source.layout
    return clip_table(
        [{"audio": a, "audio_id": f"{name}/{i}", "source": name, "label": label_text(label)} for a, i, label in rows],
        label=Value("string"),
    )


def _read_esc50(source: Source) -> Dataset:
    rows = read_rows(source.path / "meta" / "esc50.csv", "filename", "fold", "category")
    rows = [row for row in rows if not source.parts or row["fold"] in source.parts]
    return _labelled(source, [(source.path / "audio" / r["filename"], r["filename"], r["category"]) for r in rows])


def _read_urbansound8k(source: Source) -> Dataset:
    metadata = source.path / "metadata" / "UrbanSound8K.csv"
    rows = read_rows(metadata, "slice_file_name", "fold")
    label = "class_name" if "class_name" in rows[0] else "class"  # some copies rename the published column `class`
    read_rows(metadata, label)
    rows = [row for row in rows if not source.parts or row["fold"] in source.parts]
    names = [f"fold{row['fold']}/{row['slice_file_name']}" for row in rows]
    return _labelled(source, [(source.path / "audio" / n, n, r[label]) for n, r in zip(names, rows, strict=True)])


def _read_audiofolder(source: Source) -> Dataset:
    metadata = next(p for n in ("metadata.csv", "metadata.jsonl") if (p := source.path / n).exists())
    rows = read_rows(metadata, "file_name", "label")
    return _labelled(source, [(source.path / r["file_name"], r["file_name"], r["label"]) for r in rows])


def _read_soundscapes(source: Source) -> Dataset:
    return _labelled(source, soundscapes.labelled_clips(*source.parts))


READERS = {
    "audiofolder": _read_audiofolder,
    "esc50": _read_esc50,
    "soundscapes": _read_soundscapes,
    "urbansound8k": _read_urbansound8k,
}


def read_benchmark(spec: str) -> Benchmark:
    """Reads an evaluation set.

    Raises:
        InputError: a spec that can't be read, no clips, or fewer than 2 classes.
    """
    source = parse_source(spec, READERS, "a labelled evaluation set")
    clips = READERS[source.layout](source)
    if len(clips) == 0:
        raise InputError(f"{spec} holds no clips")
    return Benchmark(spec, source.layout, clips, _at_least_two(sorted(set(clips["label"])), spec))


def read_labels(spec: str) -> tuple[list[str], str | None]:
    """Reads the class names of the user's domain.

    Args:
        spec: an evaluation set, of which nothing but the names is used, a csv with a column `label`, or a text file
            with a name a line.

    Returns:
        the names as words, and the layout they come from, None for a user's own list.

    Raises:
        InputError: a spec that can't be read, or fewer than 2 names.
    """
    if spec != BUILT_IN and Path(spec).is_file():
        path = Path(spec)
        if path.suffix in (".csv", ".jsonl"):
            lines = [row["label"] for row in read_rows(path, "label")]
        else:
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise InputError(f"{path} is no text file of class names") from error
        return _at_least_two(sorted({label_text(line) for line in lines if line.strip()}), spec), None
    benchmark = read_benchmark(spec)
    return benchmark.class_names, benchmark.layout


def _at_least_two(names: list[str], spec: str) -> list[str]:
    if len(names) < 2:
        raise InputError(f"{spec} names {len(names)} class{'es' * (len(names) != 1)}: at least 2 are needed")
    return names


__all__ = ["READERS", "Benchmark", "read_benchmark", "read_labels"]
