"""Evaluation sets: labelled clips to classify, captioned clips to retrieve, and lists of class names.

Labelled clips have the columns `audio audio_id source origin_id label`. Sets with folds also have `fold`, null for a
clip outside all folds.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Value, concatenate_datasets

from ..errors import InputError, reading
from ..processing_clap_student import label_text
from ..soundscapes.corpus import labelled_clips
from . import corpora
from .corpora import read_corpora
from .files import list_audio
from .filters import with_audio, with_files_inside, with_short_texts, without_repeated_clips
from .identity import origin_of
from .naming import parse_source
from .published import PUBLISHED
from .sources import BUILT_IN, PUBLISHED_TEST, ZSTE, ExclusionLog, Source, find_column
from .tables import hub_clips, is_unicode, labelled_table, load_table, refuse_nested
from .texts import FILE_COLUMNS, LONGEST_TEXT, TOO_LONG, folder_metadata, read_rows, text_column


_LABEL = ("label", "class", "category")
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"}
RETRIEVAL = "retrieval="  # prefix of a spec: use its captions, even if it has labels


@dataclass(frozen=True)
class Benchmark:
    """A zero-shot classification task."""

    name: str  # as the user typed it
    layout: str  # the kind of set, for instance `esc50`
    clips: Dataset  # `label` is the class name as words
    class_names: list[str]  # the candidates, sorted

    @property
    def folds(self) -> list[str] | None:
        """The names of its folds in order, 2 before 10; None where it has none."""
        names = set(self.clips["fold"]) - {None} if "fold" in self.clips.column_names else set()
        return sorted(names, key=lambda name: (len(name), name)) or None


@dataclass(frozen=True)
class CaptionedSet:
    """A task of audio-text retrieval: `CAPTION_COLUMNS`, one row for each caption of a clip, all with audio."""

    name: str
    layout: str
    pairs: Dataset


def _read_metadata(source: Source, metadata: Path) -> Dataset:
    """A csv or jsonl with a column of files, relative to it, and a column of class names."""
    rows = read_rows(metadata)
    file = find_column(source, metadata, rows[0], "audio", *FILE_COLUMNS)
    label = find_column(source, metadata, rows[0], "label", *_LABEL)
    names, labels = text_column(metadata, rows, file), text_column(metadata, rows, label)
    if blank := sum(not text.strip() for text in labels):
        raise InputError(f"{metadata}: {blank} of {len(rows)} rows have no {label}")
    folds = text_column(metadata, rows, "fold") if "fold" in rows[0] else None
    audio, origins = [metadata.parent / name for name in names], map(origin_of, rows)
    return labelled_table(source, audio, names, labels, origins, folds)


def _read_audiofolder(source: Source) -> Dataset:
    """The files that the folder's metadata lists. The names of its folders do not matter."""
    try:
        return _read_metadata(source, folder_metadata(source.path))
    except InputError as error:
        folders = [entry for entry in source.path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        if len(folders) < 2:
            raise
        raise InputError(f"{error}. Or is each of its folders a class? Then say folder={source.path}") from error


def _read_folder(source: Source) -> Dataset:
    """One folder per class, named after it. Files in deeper folders belong to the same class."""
    files = list_audio(source.path)
    classes = pc.struct_field(pc.extract_regex(files, r"^(?P<label>[^/]+)/"), "label")
    if classes.null_count == len(files):
        raise InputError(
            f"{source.path} holds {'audio files, but no folder for each class' if len(files) else 'no audio files'}: "
            "put each class's files in a folder of its name, or list them in metadata.csv (columns file_name,label)"
        )
    has_class = pc.is_valid(classes)
    names = sorted(classes.drop_null().unique().to_pylist())
    if len(names) > 1 and _SPLITS.issuperset(map(str.lower, names)):
        raise InputError(
            f"{source.path} holds the splits {', '.join(names)}, no classes: give {source.path}/{names[0]}"
        )
    loose = files.filter(pc.invert(has_class))
    if len(loose):
        source.exclusions.add(source.spec, "in no class's folder", len(loose), len(files), loose[0].as_py())
    files, classes = files.filter(has_class), classes.filter(has_class)
    audio = pc.binary_join_element_wise(str(source.path), files, "/")
    return labelled_table(source, audio, files, classes.to_pylist())


def _read_hub(source: Source) -> Dataset:
    """A Hub dataset, or a folder of one. Reads the splits asked for, or its `test`, or its only split."""
    splits = [load_table(source.path, split=split) for split in source.parts] or [_evaluation_split(source)]
    table = concatenate_datasets(splits)
    label = find_column(source, source.spec, table.column_names, "label", *_LABEL)
    refuse_nested(source, table, label)
    names = getattr(table.features[label], "names", None)  # a ClassLabel's rows are numbers; -1 means none
    labels = table[label][:]
    if names is not None:
        labels = [names[number] if number is not None and number >= 0 else "" for number in labels]
    labels = ["" if text is None else label_text(str(text)) for text in labels]
    if blank := labels.count(""):
        raise InputError(f"{source.spec}: {blank} of {len(labels)} rows have no {label}")
    clips = hub_clips(source, table).add_column("label", labels, feature=Value("string"))
    if "fold" not in table.column_names:
        return clips
    folds = [None if fold is None else str(fold) for fold in table["fold"]]
    return clips.add_column("fold", folds, feature=Value("string"))


def _evaluation_split(source: Source) -> Dataset:
    table = load_table(source.path)
    if not isinstance(table, DatasetDict):
        return table
    if "test" not in table and len(table) > 1:
        splits = ", ".join(table)
        raise InputError(f"{source.spec} has the splits {splits}: say which, hub:{next(iter(table))}={source.path}")
    return table["test"] if "test" in table else next(iter(table.values()))


READERS = {
    "audiofolder": _read_audiofolder,
    "csv": lambda source: _read_metadata(source, source.path),
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": lambda source: labelled_table(source, *zip(*labelled_clips(*source.parts), strict=True)),
    **{name: corpus.labelled for name, corpus in PUBLISHED.items() if corpus.labelled},
}


def read_benchmark(spec: str, exclusions: ExclusionLog | None = None) -> Benchmark:
    """Reads an evaluation set: a spec as in `parse_source`, with clips and at least 2 classes.

    Its classes are those that it names, even where all files of a class are missing.
    """
    exclusions = exclusions or ExclusionLog()
    benchmark, source = _read(spec, exclusions)
    clips = with_short_texts(with_files_inside(benchmark.clips, source), spec, exclusions)
    clips = without_repeated_clips(with_audio(clips, spec, exclusions), spec, exclusions)
    if len(clips) == 0:
        raise InputError(f"{spec} lists {len(benchmark.clips)} clips, but not one of their files is there")
    return replace(benchmark, clips=clips)


def _read(spec: str, exclusions: ExclusionLog) -> tuple[Benchmark, Source]:
    """An evaluation set as it is listed, whether its audio exists or not, and its source."""
    source = parse_source(spec, READERS, "a labelled evaluation set", columns=("audio", "label"))
    source = replace(source, exclusions=exclusions)
    clips = READERS[source.layout](source)
    if len(clips) == 0:
        raise InputError(f"{spec} holds no clips")
    return Benchmark(spec, source.layout, clips, _sorted_names(set(clips["label"]), spec)), source


def task_clips(specs: Iterable[str] | None) -> list[Dataset]:
    """The clips of evaluation sets. Refuses a list of names without clips."""
    tables = {spec: evaluation_clips(spec) for spec in specs or ()}
    if names := [spec for spec, clips in tables.items() if clips is None]:
        raise InputError(f"{names[0]} lists class names, but no clips: --task needs an evaluation set")
    return list(tables.values())


def evaluation_clips(spec: str) -> Dataset | None:
    """The clips of an evaluation set, whether their audio exists or not; None for a list of names."""
    path = Path(spec)
    if spec != BUILT_IN and os.path.isfile(spec):
        is_table = path.suffix in (".csv", ".jsonl")
        if not is_table or not set(FILE_COLUMNS) & set(read_rows(path)[0]):
            return None
    return _read(spec, ExclusionLog())[0].clips


def read_labels(spec: str, exclusions: ExclusionLog | None = None) -> tuple[list[str], str | None]:
    """The class names of the user's domain, as words, and the layout they come from; None for a user's own list.

    A spec is an evaluation set (its clips are not used), a csv with a column `label`, or a text file with one name per
    line.
    """
    if spec != BUILT_IN and os.path.isfile(spec):
        path = Path(spec)
        if path.suffix in (".csv", ".jsonl"):
            lines = text_column(path, read_rows(path, "label"), "label")
        else:
            lines = _lines(path, exclusions or ExclusionLog())
        return _sorted_names({label_text(line) for line in lines if line.strip()}, spec), None
    benchmark, _ = _read(spec, ExclusionLog())
    return benchmark.class_names, benchmark.layout


def _lines(path: Path, exclusions: ExclusionLog) -> list[str]:
    with reading(path, "text file of class names"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [line for line in lines if line.strip()]
    repeated = [name for place, name in enumerate(names) if label_text(name) in map(label_text, names[:place])]
    blank = next((number for number, line in enumerate(lines, start=1) if not line.strip()), 0)
    exclusions.add(str(path), "a blank line", len(lines) - len(names), len(lines), f"line {blank}")
    exclusions.add(str(path), "a class name that stands there twice", len(repeated), len(lines), (repeated or [""])[0])
    return names


def _sorted_names(names: set[str], spec: str) -> list[str]:
    """The class names in order: at least two, and all of them texts."""
    if len(names) < 2:
        alone = f", not {min(names)[:80]!r} alone" if names else ""
        raise InputError(f"{spec} names {len(names)} class{'es' * (len(names) != 1)}: at least 2 are needed{alone}")
    for name in names:
        if not is_unicode(name) or len(name) > LONGEST_TEXT:
            raise InputError(f"{spec}: the class name {ascii(name)[:80]} is no text, or {TOO_LONG}")
    return sorted(names)


def read_task(spec: str, exclusions: ExclusionLog) -> Benchmark | CaptionedSet:
    """Reads an evaluation set of either kind: a spec as in `parse_source`.

    It is a captioned corpus after `retrieval=`. It also is one if it has only captions, as Clotho, or if the spec
    names its caption column.
    """
    captioned = spec.removeprefix(RETRIEVAL)
    readers = corpora.READERS if captioned != spec else {**corpora.READERS, **READERS}
    source = parse_source(captioned, readers, "an evaluation set", columns=("audio", "caption", "label"))
    if captioned == spec and source.layout in READERS and not source.column("caption"):
        return read_benchmark(spec, exclusions)
    return CaptionedSet(spec, source.layout, read_corpora([captioned], exclusions=exclusions, evaluates=True))


def short_name(spec: str) -> str:
    """A short name of a task: `esc50:4,5=/data/ESC-50` -> `esc50:4,5`, `/data/mine` -> `mine`."""
    if test := PUBLISHED_TEST.fullmatch(spec):
        parts, _, place = test["rest"].partition("#")[0][1:].rpartition("=")
        return " ".join(filter(None, (f"zste {test['name']}{':' * bool(parts)}{parts}", Path(place).name)))
    name, _, place = spec.rpartition("#")[0].rpartition("=") if "#" in spec else spec.rpartition("=")
    layout = name.removeprefix(RETRIEVAL).removeprefix(ZSTE).partition(":")[0]
    name = name.replace("=", " ")
    return name if layout in PUBLISHED else f"{name} {Path(place).name}".strip()


def check_class_names(names: Iterable[str], spec: str) -> list[str]:
    """Class names as words, each once, sorted. Errors call them `spec`."""
    names = list(names)
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise InputError(f"{spec}: {wrong[0]!r} is no class name")
    return _sorted_names(set(map(label_text, names)), spec)
