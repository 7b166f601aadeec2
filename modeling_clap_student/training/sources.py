"""The data of a training: pairs to learn from, pairs to replay, and held-out pairs for validation."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, IterableDataset

from ..curation.improvement_set import load_improvement_set, read_provenance
from ..data.corpora import read_corpora
from ..data.leakage import LeakageFilter, split_validation
from ..data.sources import ExclusionLog, dataset_source, split_revision
from ..errors import InputError, reading
from ..utils.console import say
from .arguments import ClapTrainingArguments, StudentArguments, TeacherArguments
from .streaming import check_steps


Pairs = Dataset | IterableDataset


@dataclass(frozen=True)
class TrainingData:
    """Tables or streams of pairs. None holds a clip of an evaluation set.

    Attributes:
        pairs: to train on.
        replay: to replay.
        validation: held out of both.
    """

    pairs: Pairs
    replay: Pairs | None = None
    validation: Dataset | None = None

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.pairs, IterableDataset) or isinstance(self.replay, IterableDataset)

    @property
    def captions(self) -> list[str] | None:
        """The captions of the pairs; None for a stream, whose captions are not known beforehand."""
        return None if self.is_streamed else self.pairs["caption"]

    @property
    def content_keys(self) -> list[str | None]:
        """For pairs and replay: keys that are equal only for the same rows in the same order."""
        return [table and _content_key(table) for table in (self.pairs, self.replay)]

    @property
    def tables(self) -> dict[str, Pairs | None]:
        return {"pairs": self.pairs, "replay": self.replay, "validation": self.validation}

    def __str__(self) -> str:
        rehearsed = "" if self.replay is None else f", {_size(self.replay)} to rehearse"
        held_out = f", {len(self.validation)} held out for validation" if self.validation else ""
        return f"{_size(self.pairs)} to learn from{rehearsed}{held_out}"


def _size(pairs: Pairs | None) -> str:
    if isinstance(pairs, IterableDataset):
        return f"a stream of {pairs.num_shards} shards"
    return f"{0 if pairs is None else len(pairs)} pairs"


def _content_key(pairs: Dataset) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for batch in pairs.select_columns(["audio_id", "caption"]).iter(10_000):
        digest.update(repr(batch).encode())
    return digest.hexdigest()


def read_teacher_data(
    args: TeacherArguments, training_args: ClapTrainingArguments, leakage: LeakageFilter, exclusions: ExclusionLog
) -> TrainingData:
    """Reads the captioned corpora of a teacher.

    Raises:
        InputError: a corpus that can't be read, or a fraction of a stream.
    """
    corpus, validation = read_corpora(args.corpus, exclusions=exclusions, leakage=leakage, streams=True), None
    if isinstance(corpus, IterableDataset):
        if args.subset_fraction < 1:
            raise InputError("--subset_fraction needs a corpus with a length, and a stream has none")
        check_steps(training_args)
        return TrainingData(corpus)
    if training_args.validation_fraction > 0:
        corpus, validation = split_validation(corpus, training_args.validation_fraction)
    return TrainingData(random_subset(corpus, args.subset_fraction, training_args.seed), None, validation)


def random_subset(corpus: Dataset, fraction: float, seed: int) -> Dataset:
    """A fraction of the rows. With the same seed, smaller fractions lie within larger ones."""
    order = np.random.default_rng(seed).permutation(len(corpus))
    return corpus.select(np.sort(order[: max(1, round(fraction * len(corpus)))]))


def read_student_data(
    args: StudentArguments, training_args: ClapTrainingArguments, leakage: LeakageFilter, exclusions: ExclusionLog
) -> TrainingData:
    """Reads a student's Improvement-Set and replay set; for the strategy `none`, the teacher's own corpus.

    Raises:
        InputError: data that is missing, unreadable, or does not fit the flags.
    """
    pairs, replay = _student_pairs(args, leakage, exclusions)
    data = TrainingData(pairs, replay)
    if data.is_streamed:
        check_steps(training_args)
    if training_args.validation_fraction > 0:
        return _hold_out(data, training_args.validation_fraction, args, exclusions)
    return data


def _student_pairs(
    args: StudentArguments, leakage: LeakageFilter, exclusions: ExclusionLog
) -> tuple[Pairs, Pairs | None]:
    if args.strategy == "none":
        if args.teacher is None:
            raise InputError("--teacher is missing: a checkpoint folder or Hub id (run_teacher.py makes one)")
        if args.replay:
            return read_corpora(args.replay, exclusions=exclusions, leakage=leakage, streams=True), None
        return _teacher_corpus(args.teacher, leakage, exclusions), None
    if args.improvement_set is None:
        raise InputError("--improvement_set is missing: curate.py makes one")
    pairs, replay, provenance = load_improvement_set(args.improvement_set)
    if provenance.get("strategy", args.strategy) != args.strategy:
        raise InputError(f"{args.improvement_set} was curated with {provenance['strategy']}, not {args.strategy}")
    if leakage and isinstance(pairs, Dataset) and "origin_id" not in pairs.column_names:
        say(f"{args.improvement_set} names no recordings: evaluation clips in it are found only by their bytes")
    pairs = _without_leaks(pairs, leakage, args.improvement_set, exclusions)
    if args.replay:
        return pairs, read_corpora(args.replay, exclusions=exclusions, leakage=leakage, streams=True)
    return pairs, _without_leaks(replay, leakage, f"{args.improvement_set} (replay)", exclusions)


def _without_leaks(pairs: Pairs | None, leakage: LeakageFilter, name: str, exclusions: ExclusionLog) -> Pairs | None:
    """The pairs whose clip may be trained on. In a stream, the collator leaves out the others."""
    if not isinstance(pairs, Dataset):
        return pairs
    pairs = leakage.drop_from(pairs, name, exclusions)
    if len(pairs) == 0:
        raise InputError(f"{name} holds no clip that is not in the evaluation set")
    return pairs


def _hold_out(data: TrainingData, fraction: float, args: StudentArguments, exclusions: ExclusionLog) -> TrainingData:
    """Removes the recordings of a part of the captioned corpus from the data. That part becomes the validation set."""
    if args.strategy == "none":
        pairs, validation = split_validation(data.pairs, fraction)
        return TrainingData(pairs, None, validation)
    if data.replay is None:
        raise InputError("--validation_fraction needs captioned audio to hold out: name it with --replay")
    replay, validation = split_validation(data.replay, fraction)
    clips = set(validation["audio_id"])
    rows = [row for row, audio_id in enumerate(data.pairs["audio_id"]) if audio_id not in clips]
    pairs = LeakageFilter([validation]).drop_from(data.pairs.select(rows), str(args.improvement_set), exclusions)
    return TrainingData(pairs, replay, validation)


def find_teacher(args: StudentArguments) -> str:
    """The teacher that was named, or the one that curated the Improvement-Set.

    Raises:
        InputError: neither is known.
    """
    if args.teacher is not None:
        return args.teacher
    provenance = read_provenance(args.improvement_set) or {}
    if not provenance.get("teacher"):
        raise InputError("--teacher is missing: the checkpoint that curated the Improvement-Set")
    name, revision = split_revision(provenance["teacher"])
    revision = provenance.get("teacher_revision", revision)
    return f"{name}@{revision}" if revision else name


def read_results(file: Path) -> dict:
    """The `results.json` of a training; empty if it is another command's."""
    with reading(file, "json file"):
        results = json.loads(file.read_text(encoding="utf-8"))
    return results if isinstance(results, dict) else {}


def _teacher_results(teacher: str) -> dict:
    file = Path(teacher) / "results.json"
    if not file.is_file():
        raise InputError("--replay is missing: the captioned corpora to train on")
    results = read_results(file)
    if not {"corpus", "subset_fraction", "seed"} <= results.keys():
        raise InputError(f"{file} is not what run_teacher.py leaves: name the captioned corpora with --replay")
    return results


def _teacher_corpus(teacher: str, leakage: LeakageFilter, exclusions: ExclusionLog) -> Pairs:
    """The data on which a teacher of run_teacher.py was trained."""
    results = _teacher_results(teacher)
    corpus = read_corpora(results["corpus"], exclusions=exclusions, leakage=leakage, streams=True)
    if isinstance(corpus, IterableDataset):
        return corpus
    return random_subset(corpus, results["subset_fraction"], results["seed"])


def student_sources(args: StudentArguments) -> dict:
    """For the model card: the data sets, and how the Improvement-Set was made."""
    if args.strategy == "none":
        corpora = args.replay or _teacher_results(args.teacher)["corpus"]
        return {"datasets": [dataset_source(spec) for spec in corpora]}
    specs = (args.improvement_set, *(args.replay or []))
    return {
        "datasets": [dataset_source(spec) for spec in specs],
        "improvement_set": read_provenance(args.improvement_set),
    }
