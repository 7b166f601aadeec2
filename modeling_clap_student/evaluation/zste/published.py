"""Tests by others, CompA, ReasonAudio and AudioTime: their questions, and one model's answers.

Captions are used as they were written, without a prompt. Cosines are compared in float32; a tie is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb
from typing import Protocol

import numpy as np
from datasets import Dataset

from ...checkpoints.embedding import embed_clips, embed_texts, side_by_side
from ...data.skipping import SkippedClips
from ...errors import InputError
from ...utils.ranking import CUTOFFS
from ..statistics import ItemScores, mean_row
from .compositions import Composer, Composition
from .evaluation import by_sampling_rate, embed_scenes
from .questions import cosines, cosines_at, match_groups
from .tasks import derangement


@dataclass(frozen=True)
class Answers:
    """A model's answers under one metric."""

    items: np.ndarray  # (n,) int, the part's items that could be heard
    values: np.ndarray  # (n,) bool if items are right or wrong, else float64
    chance: float  # the score of random embeddings


class Part(Protocol):
    """A part of a test's questions."""

    def answers(self, audio: np.ndarray, heard: np.ndarray, texts: np.ndarray) -> dict[str, Answers]:
        """Metric -> its answers. Takes unit vectors of all recordings (m, dim), (m,) bool, which of them were `heard`,
        and unit vectors of all texts (t, dim)."""


@dataclass(frozen=True)
class Pairs:
    """CompA: two captions with the same words and their two recordings. Each must find its own.

    Source: Ghosh et al. 2023, arXiv 2310.08753.
    """

    texts: np.ndarray  # (n, 2) int, numbers of the test's texts
    recordings: np.ndarray  # (n, 2) int, numbers of its recordings; the i-th goes with the i-th text

    def answers(self, audio: np.ndarray, heard: np.ndarray, texts: np.ndarray) -> dict[str, Answers]:
        items = np.flatnonzero(heard[self.recordings].all(axis=1))
        ways = [cosines_at(audio[self.recordings[items, way]], texts, self.texts[items]) for way in (0, 1)]
        text, sound, group = (share == 1 for share in match_groups(np.stack(ways, axis=1)))
        return {
            "text": Answers(items, text, 1 / 4),
            "audio": Answers(items, sound, 1 / 4),
            "group": Answers(items, group, 1 / 6),
        }


@dataclass(frozen=True)
class Search:
    """ReasonAudio: a text must find the recordings that it describes, among all of its part.

    R@k counts texts with one of their own recordings among the first k. AP@10 is that of `utils.ranking`. Among equal
    cosines, wrong recordings come first. Source: Zhang et al. 2026, arXiv 2605.03361.
    """

    texts: np.ndarray  # (n,) int
    recordings: np.ndarray  # (m,) int, the recordings to search
    own: list[np.ndarray]  # for each text, the numbers of its recordings

    def answers(self, audio: np.ndarray, heard: np.ndarray, texts: np.ndarray) -> dict[str, Answers]:
        among = self.recordings[heard[self.recordings]]
        items = np.array([item for item, own in enumerate(self.own) if heard[own].any()], dtype=np.int64)
        found, ranks = audio[among], []
        for chunk in np.split(items, range(_CHUNK, len(items), _CHUNK)):
            scores = cosines(texts[self.texts[chunk]], found)
            ranks += [_ranks(row, np.isin(among, self.own[n])) for row, n in zip(scores, chunk, strict=True)]
        first = np.array([own[0] for own in ranks], dtype=np.int64)
        precision = [float((np.arange(1, len(own) + 1) / own)[own <= 10].sum()) / len(own) for own in ranks]
        hits, mean = _chance([len(own) for own in ranks], len(among))
        return {
            **{f"R@{k}": Answers(items, first <= k, chance) for k, chance in zip(CUTOFFS, hits, strict=True)},
            "mAP@10": Answers(items, np.array(precision), mean),
        }


_CHUNK = 256  # texts per block


def _ranks(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The ranks, from 1, ascending, of the scores (m,) that are `own`, (m,) bool. Ties with others come last."""
    others = np.sort(scores[~own])
    best = np.sort(scores[own])[::-1]
    return 1 + np.arange(len(best)) + len(others) - np.searchsorted(others, best, side="left")


def _chance(counts: list[int], total: int) -> tuple[list[float], float]:
    """R@k for each cutoff, and mAP@10, averaged over all orders of `total` recordings. `counts`: own recordings per
    text.

    Rank i holds a right one with probability n / total. On average, (i - 1) (n - 1) / (total - 1) right ones come
    before it.
    """
    shares = [[1 - comb(total - n, min(k, total)) / comb(total, min(k, total)) for n in counts] for k in CUTOFFS]
    precision = [
        sum((1 + (rank - 1) * (n - 1) / max(1, total - 1)) / rank for rank in range(1, min(10, total) + 1)) / total
        for n in counts
    ]
    return [sum(values) / max(1, len(counts)) for values in shares], sum(precision) / max(1, len(counts))


@dataclass(frozen=True)
class Choice:
    """AudioTime: a caption, and two recordings of the same sounds; the first has them in the caption's order.

    `other_captions` gives each pair the caption of another pair. A score above chance there does not come from the
    caption.
    """

    texts: np.ndarray  # (n,) int
    recordings: np.ndarray  # (n, 2) int, in order, reversed

    def answers(self, audio: np.ndarray, heard: np.ndarray, texts: np.ndarray) -> dict[str, Answers]:
        items = np.flatnonzero(heard[self.recordings].all(axis=1))
        pairs, order = audio[self.recordings[items]], np.arange(len(self.texts))
        orders = {"accuracy": order}
        if len(order) > 1:
            orders["control/other_captions"] = derangement(len(order), seed=0)
        return {
            metric: Answers(items, _first_is_nearer(pairs, texts[self.texts[order[items]]]), 1 / 2)
            for metric, order in orders.items()
        }


def _first_is_nearer(pairs: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n, 2, dim), (n, dim) -> (n,) bool."""
    first, second = np.einsum("nwd,nd->wn", pairs, texts, dtype=np.float64).astype(np.float32)
    return first > second


@dataclass(frozen=True)
class PublishedTest:
    """A task by others."""

    name: str  # the user's name for it, `zste=compa=…`
    layout: str  # `compa`, `reasonaudio` or `audiotime`
    place: str  # the folder, the file or the Hub dataset
    texts: list[str] = field(repr=False)
    clips: Dataset = field(repr=False)  # the recordings; or the clips that compositions are made of
    parts: dict[str, Part] = field(repr=False)
    compositions: list[Composition] | None = field(default=None, repr=False)  # the i-th makes recordings 2i and 2i + 1
    facts: dict = field(default_factory=dict, repr=False)  # further facts that the scores depend on

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{len(part.texts)} of {name}" for name, part in self.parts.items())
        return f"{self.name}: {counts}; {len(self.clips)} clips"


@dataclass(frozen=True)
class PublishedResult:
    """One model's answers to a test."""

    test: PublishedTest
    answers: dict[str, Answers] = field(repr=False)  # by `part/metric`

    @property
    def task(self) -> str:
        return self.test.name

    def as_rows(self, seed: int = 0) -> list[dict]:
        """`{task, metric, value, n, low, high, chance}`. The seed is for bootstrap intervals."""
        return [
            mean_row(self.task, metric, answers.values, seed) | {"chance": answers.chance}
            for metric, answers in self.answers.items()
        ]

    def item_scores(self) -> dict[str, ItemScores]:
        """Metric -> each item's contribution."""
        return {metric: ItemScores(answers.items, answers.values) for metric, answers in self.answers.items()}


def evaluate_published(
    checkpoints: Mapping[str, tuple], test: PublishedTest, skipped: SkippedClips, batch_size: int = 32
) -> dict[str, PublishedResult]:
    """Each model's answers, in their order. Items that can't be heard completely are left out."""
    embed = _embed_clips if test.compositions is None else _embed_compositions
    audio = embed(checkpoints, test, skipped, batch_size)
    results = {}
    for name, checkpoint in checkpoints.items():
        texts = embed_texts(*checkpoint, test.texts)
        parts = {part: questions.answers(*audio[name], texts) for part, questions in test.parts.items()}
        answers = {f"{part}/{metric}": found for part, metrics in parts.items() for metric, found in metrics.items()}
        if silent := [metric for metric, found in answers.items() if not len(found.items)]:
            raise InputError(f"{test.name}: not one question of {silent[0].partition('/')[0]} can be heard whole")
        results[name] = PublishedResult(test, answers)
    return results


# (recordings, dim) unit vectors, zeros where one can't be heard, and (recordings,) bool.
Heard = tuple[np.ndarray, np.ndarray]


def _embed_clips(
    checkpoints: Mapping, test: PublishedTest, skipped: SkippedClips, batch_size: int
) -> dict[str, Heard]:
    audio = {}
    for names, models, processor in side_by_side(checkpoints):
        embeds, rows = embed_clips(models, processor, test.clips, skipped, batch_size, f"clips of {test.name}")
        audio |= {name: _spread(embeds[:, place], rows, len(test.clips)) for place, name in enumerate(names)}
    return audio


def _embed_compositions(
    checkpoints: Mapping, test: PublishedTest, skipped: SkippedClips, batch_size: int
) -> dict[str, Heard]:
    audio = {}
    for rate, names in by_sampling_rate(checkpoints).items():
        render = Composer(test.clips, rate, skipped).render
        models = [checkpoints[name] for name in names]
        embeds, rows = embed_scenes(models, test.compositions, render, skipped, batch_size, f"scenes at {rate} Hz")
        recordings = (2 * rows[:, None] + [0, 1]).ravel()
        for name, vectors in zip(names, embeds, strict=True):
            flat = vectors.reshape(len(recordings), -1)
            audio[name] = _spread(flat, recordings, 2 * len(test.compositions))
    return audio


def _spread(embeds: np.ndarray, rows: np.ndarray, count: int) -> Heard:
    audio, heard = np.zeros((count, embeds.shape[1]), np.float32), np.zeros(count, bool)
    audio[rows], heard[rows] = embeds, True
    return audio, heard
