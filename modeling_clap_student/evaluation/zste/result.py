"""One model on one set of scenes: its scores, their intervals, and what each scene adds to them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ...temporal.captions import RELATIONS
from ..statistics import RESAMPLES, ItemScores, bootstrap_interval, score_row, wilson_interval
from ..zero_shot import Prompts
from .questions import CONNECTIVES, FIRST, NUM_CANDIDATES, SECOND, Outcome, Questions, hears_forward
from .scene_set import SEED, SceneSet, manifest_name
from .tasks import metric_of


SCORE = "score"
SUMMARISED = ("1A", "2A", "3A", "4A", "5A")  # what the score is the mean of
MAIN_TASKS = (
    *("1A", "2A", "2B", "2C", "2D", "3A", "3B", "3C", "3D", "3E", "4A", "4B", "5A", "5B", "6A", "6B"),
    *("unseen_connectives", "6C/reversed_gap_R@1", "6C/replaced_gap_R@1"),
)
COMPARED = ("1A", "2A", "3A", "3C", "3D", "4A", "4B", "5A", "6A", "6B")  # with a baseline, in tables
CONTROL = "control"
_CONNECTIVE_OF = {metric_of(words): words for words in CONNECTIVES}
_OF_ERRORS = ("4B/reversal_share",)


@dataclass(frozen=True)
class ZsteResult:
    """All outcomes of a model.

    Attributes:
        scene_set: what it heard.
        rows: (kept,) int, the scenes whose clips could be read, of which all scores but 1A speak.
        clip_ids: (clips,) `audio_id` of the single clips of task 1A.
        questions: of the kept scenes.
        outcomes: metric -> its outcome; 1A first.
        controls: control -> metric -> its outcome.
        confusion: of task 3B, as `tasks.confusion` counts it.
        trained_connectives: those of the model's training; None where its config does not tell.
    """

    scene_set: SceneSet
    rows: np.ndarray = field(repr=False)
    clip_ids: np.ndarray = field(repr=False)
    questions: Questions = field(repr=False)
    outcomes: dict[str, Outcome] = field(repr=False)
    controls: dict[str, dict[str, Outcome]] = field(repr=False)
    confusion: np.ndarray = field(repr=False)
    trained_connectives: list[str] | None

    @property
    def task(self) -> str:
        """The set's name."""
        return self.scene_set.name

    @property
    def num_clips(self) -> int:
        """Single clips that could be read."""
        return len(self.clip_ids)

    @property
    def num_scenes(self) -> int:
        """Scenes that could be heard."""
        return len(self.rows)

    def as_rows(self, seed: int = 0) -> list[dict]:
        """`{task, metric, value, n, low, high, chance, order_blind}` of all scores.

        `order_blind` is what a model reaches that can't hear order and is perfect but for that. A metric of a
        connective has `trained_on`, null where nothing is known. Ties are wrong, and in controls their share.
        Intervals are Wilson's where items are right or wrong, else a bootstrap's of this seed.
        """
        rows = [self._score(seed)]
        for metric, outcome in self.outcomes.items():
            rows.append(self._row(metric, outcome, seed))
            if metric != "1A":
                rows += self._by_pair(metric, outcome, seed)
        for control, outcomes in self.controls.items():
            for metric, outcome in outcomes.items():
                if metric not in _OF_ERRORS:  # where ties are shared, an item may be half an error
                    rows.append(self._row(f"{metric}/{CONTROL}/{control}", outcome, seed, share_ties=True))
        return rows

    def item_scores(self) -> dict[str, ItemScores]:
        """metric -> what each clip or scene adds to it."""
        ids = np.array([self.scene_set.scenes[row].id for row in self.rows])
        scores = {}
        for metric, outcome in self.outcomes.items():
            if metric not in _OF_ERRORS:  # each model's errors are others
                items = self.clip_ids if metric == "1A" else ids if outcome.rows is None else ids[outcome.rows]
                scores[metric] = ItemScores(items, outcome.values())
        return scores

    def _row(self, metric: str, outcome: Outcome, seed: int, share_ties: bool = False) -> dict:
        values = outcome.values(share_ties)
        n = len(values)
        if n == 0:  # nothing is known: of 4B's errors where there are none, of scenes that could not be heard
            value, interval = 0.0, (0.0, 1.0)
        elif values.dtype == bool:
            value, interval = float(values.mean()), wilson_interval(int(values.sum()), n)
        else:
            value, interval = float(values.mean()), bootstrap_interval(values, seed)
        row = score_row(self.task, metric, value, n, interval)
        levels = {"chance": outcome.chance, "order_blind": outcome.order_blind}
        words = _CONNECTIVE_OF.get(metric)
        return row | levels | ({"trained_on": self._trained_on(words)} if words else {})

    def _trained_on(self, connective: str) -> bool | None:
        return None if self.trained_connectives is None else connective in self.trained_connectives

    def _by_pair(self, metric: str, outcome: Outcome, seed: int) -> Iterator[dict]:
        """Of the pairs of classes that may occur in training, and of those that may not, where there are any."""
        there = {scene.seen_pair for scene in self.scene_set.scenes}  # of the set, that all models have the same rows
        for name, kind in (("seen", True), ("unseen", False)):
            if kind in there:
                yield self._row(f"{metric}/{name}", outcome.select(self.questions.seen == kind), seed)

    def _score(self, seed: int) -> dict:
        """Mean of (value - chance) / (1 - chance); of two classes 2A can't be wrong, and does not count.

        Clips of 1A and scenes of the others are drawn apart in its bootstrap.
        """
        counted = [metric for metric in SUMMARISED if self.outcomes[metric].chance < 1]
        corrected = {metric: _corrected(self.outcomes[metric]) / len(counted) for metric in counted}
        clips, scenes = corrected["1A"], sum(corrected[metric] for metric in counted if metric != "1A")
        rng = np.random.default_rng(seed)
        drawn = sum(_resampled_means(values, rng) for values in (clips, scenes))
        low, high = np.quantile(drawn, [0.025, 0.975])
        row = score_row(self.task, SCORE, float(clips.mean() + scenes.mean()), len(scenes), (float(low), float(high)))
        return row | {"chance": 0.0, "order_blind": None}


def _corrected(outcome: Outcome) -> np.ndarray:
    return (outcome.values().astype(float) - outcome.chance) / (1 - outcome.chance)


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(resamples,) means of values drawn with replacement."""
    distinct, counts = np.unique(values, return_counts=True)
    return rng.multinomial(len(values), counts / len(values), size=RESAMPLES) @ distinct / len(values)


def scene_facts(scene_set: SceneSet, prompts: Prompts) -> dict:
    """Of a set: what its scenes are, and what a model is asked."""
    return {
        "manifest": scene_set.manifest or manifest_name(scene_set),
        "seed": None if scene_set.manifest else SEED,
        "num_scenes": len(scene_set.scenes),
        "caption_prompts": list(prompts.templates),
        "position_prompts": [FIRST, SECOND],
        "most_candidates": NUM_CANDIDATES,
    }


def scene_items(scene_set: SceneSet) -> dict:
    """Of its scenes: their ids, and whether tasks of one order hear the forward one."""
    return {
        "scenes": [scene.id for scene in scene_set.scenes],
        "forward_heard": hears_forward(len(scene_set.scenes)).tolist(),
    }


def scene_outcomes(result: ZsteResult) -> dict:
    """Of a model. `order` is task 3C, scene by scene of the set: right or wrong, null where a clip can't be read."""
    order: list[bool | None] = [None] * len(result.scene_set.scenes)
    for row, right in zip(result.rows.tolist(), result.outcomes["3C"].values().tolist(), strict=True):
        order[row] = right
    return {
        "task": result.task,
        "num_scenes": result.num_scenes,
        "num_clips": result.num_clips,
        "candidates": {
            "4A": result.questions.candidates_4a.shape[1],
            "4B": result.questions.candidates_4b.shape[1],
        },
        "trained_connectives": result.trained_connectives,
        "order": order,
        "confusion": dict(zip(RELATIONS, result.confusion.tolist(), strict=True)),
    }
