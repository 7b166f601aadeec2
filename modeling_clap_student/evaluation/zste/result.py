"""The input of ZSTE, a labelled set and scenes of its clips, and one model's result on it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset

from ...data.benchmarks import ZSTE, Benchmark, read_benchmark, short_name
from ...data.sources import ExclusionLog
from ...errors import InputError
from ...temporal.scenes import Deck, Scene, read_manifest
from ..statistics import ItemScores, mean_row, resampled_means, score_row
from .questions import ASKED, Outcome, Questions
from .tasks import MEANS, metric_of


SEED = 0  # for drawn scenes, so that two runs hear the same


@dataclass(frozen=True)
class SceneSet:
    """A task of zero-shot temporal evaluation."""

    name: str  # the user's name for it, `zste=…`
    benchmark: Benchmark
    scenes: list[Scene] = field(repr=False)
    manifest: str | None = None  # the file with the scenes; None if they were drawn with `SEED`

    @property
    def layout(self) -> str:
        """The kind of set, for instance `esc50`."""
        return self.benchmark.layout

    @property
    def clips(self) -> Dataset:
        return self.benchmark.clips

    @property
    def class_names(self) -> list[str]:
        return self.benchmark.class_names

    @property
    def summary(self) -> str:
        unseen = sum(not scene.seen_pair for scene in self.scenes)
        return (
            f"{self.name}: {len(self.scenes)} scenes, {unseen} of classes that training never hears together; "
            f"{len(self.clips)} single clips of {len(self.class_names)} classes"
        )


def file_stem(scene_set: SceneSet) -> str:
    """The name of its files: `esc50_5` for `zste=esc50:5=/data/ESC-50`."""
    return re.sub(r"[^\w.-]+", "_", short_name(scene_set.name.removeprefix(ZSTE)))


def manifest_name(scene_set: SceneSet) -> str:
    return f"zste_manifest_{file_stem(scene_set)}.csv"


def read_scenes(spec: str, count: int, manifest: str | None, exclusions: ExclusionLog) -> SceneSet:
    """Reads a labelled set. Reads its scenes from a manifest, or draws this many."""
    benchmark = read_benchmark(spec.removeprefix(ZSTE), exclusions)
    if manifest is None:
        return SceneSet(spec, benchmark, Deck(benchmark.clips, SEED).scenes(count))
    scenes = read_manifest(manifest)
    _check(scenes, benchmark, manifest)
    return SceneSet(spec, benchmark, scenes, str(Path(manifest).resolve()))


def _check(scenes: list[Scene], benchmark: Benchmark, manifest: str) -> None:
    if len(scenes) < 2 or len({scene.id for scene in scenes}) < len(scenes) or min(scene.id for scene in scenes) < 0:
        raise InputError(f"--zste_manifest {manifest} needs 2 scenes or more, each with an id of its own from 0 on")
    label_of = dict(zip(benchmark.clips["audio_id"][:], benchmark.clips["label"][:], strict=True))
    for scene in scenes:
        for clip, name in ((scene.clip_a, scene.class_a), (scene.clip_b, scene.class_b)):
            if clip not in label_of:
                raise InputError(f"--zste_manifest {manifest} names the clip {clip!r}, which {benchmark.name} lacks")
            if label_of[clip] != name:
                raise InputError(
                    f"--zste_manifest {manifest}: {clip!r} is of the class {label_of[clip]!r} in {benchmark.name}, "
                    f"not {name!r}"
                )
        if scene.class_a == scene.class_b:
            raise InputError(f"--zste_manifest {manifest}: scene {scene.id} has one class, {scene.class_a!r}, twice")


SCORE = "score"
SUMMARISED = ("1A", "2A", "3A", "4A", "5A")  # the score is the mean of these
MAIN_TASKS = (
    *("1A", "2A", "2B", "2C", "2D", "3A", "3B", "3C", "3D", "3E", "4A", "4B", "5A", "5B", "6A", "6B"),
    *("6D", "6E", "7A", "6C/reversed_gap_R@1", "6C/replaced_gap_R@1"),
)
CONTROL = "control"
_CONNECTIVES_OF = {metric_of(words): (words,) for words in ASKED} | MEANS
_OF_ERRORS = ("4B/reversal_share",)


@dataclass(frozen=True)
class ZsteResult:
    """All outcomes of one model."""

    scene_set: SceneSet
    rows: np.ndarray = field(repr=False)  # (kept,) int, the scenes that could be heard, for all scores but 1A
    clip_ids: np.ndarray = field(repr=False)  # (clips,) `audio_id` of the single clips of task 1A
    questions: Questions = field(repr=False)  # about the kept scenes
    outcomes: dict[str, Outcome] = field(repr=False)  # by metric, 1A first
    controls: dict[str, dict[str, Outcome]] = field(repr=False)  # control -> metric -> its outcome
    confusion: np.ndarray = field(repr=False)  # of task 3B, from `tasks.confusion`
    trained_connectives: list[str] | None  # from the model's training; None if its config does not say

    @property
    def task(self) -> str:
        return self.scene_set.name

    def as_rows(self, seed: int = 0) -> list[dict]:
        """`{task, metric, value, n, low, high, chance, order_blind}` for all scores.

        `order_blind` is the score of a model that is perfect but can't hear order. A metric of connectives has
        `trained_on`: true, false, "in part", or null if nothing is known. Ties are wrong; in controls they count as
        their share. Intervals are Wilson's if items are right or wrong, else bootstrap intervals with this seed.
        """
        rows = [self._score(seed)]
        for metric, outcome in self.outcomes.items():
            rows.append(self._row(metric, outcome, seed))
            if metric != "1A":
                rows += self._rows_by_pair(metric, outcome, seed)
        for control, outcomes in self.controls.items():
            for metric, outcome in outcomes.items():
                if metric not in _OF_ERRORS:  # with shared ties, an item may be half an error
                    rows.append(self._row(f"{metric}/{CONTROL}/{control}", outcome, seed, share_ties=True))
        return rows

    def item_scores(self) -> dict[str, ItemScores]:
        """Metric -> each clip's or scene's contribution."""
        ids = np.array([self.scene_set.scenes[row].id for row in self.rows])
        scores = {}
        for metric, outcome in self.outcomes.items():
            if metric not in _OF_ERRORS and len(outcome.shares):  # each model makes other errors
                items = self.clip_ids if metric == "1A" else ids if outcome.rows is None else ids[outcome.rows]
                scores[metric] = ItemScores(items, outcome.values())
        return scores

    def _row(self, metric: str, outcome: Outcome, seed: int, share_ties: bool = False) -> dict:
        values = outcome.values(share_ties)
        if len(values):
            row = mean_row(self.task, metric, values, seed)
        else:  # nothing is known: 4B without errors, or scenes that could not be heard
            row = score_row(self.task, metric, 0.0, 0, (0.0, 1.0))
        row |= {"chance": outcome.chance, "order_blind": outcome.order_blind}
        if metric in _CONNECTIVES_OF:
            row["trained_on"] = self._trained_on(_CONNECTIVES_OF[metric])
        return row

    def _trained_on(self, connectives: Sequence[str]) -> bool | str | None:
        if self.trained_connectives is None:
            return None
        known = [words in self.trained_connectives for words in connectives]
        return all(known) if all(known) or not any(known) else "in part"

    def _rows_by_pair(self, metric: str, outcome: Outcome, seed: int) -> Iterator[dict]:
        """A row for class pairs that may occur in training, and one for those that may not, if there are any."""
        kinds = {scene.seen_pair for scene in self.scene_set.scenes}  # of the whole set: all models have the same rows
        for name, kind in (("seen", True), ("unseen", False)):
            if kind in kinds:
                yield self._row(f"{metric}/{name}", outcome.select(self.questions.seen == kind), seed)

    def _score(self, seed: int) -> dict:
        """Mean of (value - chance) / (1 - chance). With two classes, 2A can't be wrong and does not count.

        The bootstrap draws clips of 1A and scenes of the other tasks separately.
        """
        outcomes = {metric: self.outcomes[metric] for metric in SUMMARISED if self.outcomes[metric].chance < 1}
        corrected = {
            metric: (outcome.values().astype(float) - outcome.chance) / (1 - outcome.chance) / len(outcomes)
            for metric, outcome in outcomes.items()
        }
        clips = corrected.pop("1A")
        scenes = sum(corrected.values())
        rng = np.random.default_rng(seed)
        low, high = np.quantile(sum(resampled_means(values, rng) for values in (clips, scenes)), [0.025, 0.975])
        row = score_row(self.task, SCORE, float(clips.mean() + scenes.mean()), len(scenes), (float(low), float(high)))
        return row | {"chance": 0.0, "order_blind": None}
