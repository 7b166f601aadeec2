"""The tasks of ZSTE: from embeddings of scenes and of texts to how each scene went.

Their numbers 1 to 5 are those of Sinha et al. (arXiv 2408.09269); the letters but for 1A, 2A and 2C, and the numbers
from 6 on, are this package's. A tie counts as wrong unless said otherwise: see `shares`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np

from ...temporal.captions import AFTER, BEFORE, UNSEEN_CONNECTIVES
from .outcomes import Outcome, outcome
from .questions import CONNECTIVES, Questions
from .shares import choice, cosines, cosines_at, matched, recall_at_two, top_two
from .swap_gap import swap_gap


@dataclass(frozen=True)
class SceneAudio:
    """Embeddings of n scenes in the three relations of their sounds: (n, dim) float32 unit vectors each."""

    forward: np.ndarray
    reverse: np.ndarray
    overlay: np.ndarray

    def heard(self, questions: Questions) -> np.ndarray:
        """(n, dim): `forward` or `reverse`, whichever is heard."""
        return np.where(questions.heard_forward[:, None], self.forward, self.reverse)


@dataclass(frozen=True)
class Texts:
    """Embeddings of texts, float32 unit vectors.

    Attributes:
        classes: (classes, dim), of the class prompts.
        first, second: (classes, dim), that a class is the first, or the second sound.
        captions: (captions, dim), of `Questions.captions`.
    """

    classes: np.ndarray
    first: np.ndarray
    second: np.ndarray
    captions: np.ndarray


def order_accuracy(
    audio_forward: np.ndarray,
    audio_reverse: np.ndarray,
    text_forward: np.ndarray,
    text_reverse: np.ndarray,
    forward_heard: np.ndarray,
) -> np.ndarray:
    """Task 3C: whether the caption of the order that is heard lies nearer than that of the other order.

    Args:
        audio_forward, audio_reverse, text_forward, text_reverse: (n, dim) unit vectors of n scenes.
        forward_heard: (n,) bool, which of the two orders is heard.

    Returns:
        (n,) bool; a tie is wrong.

    Source: the time-order accuracy of Bagad et al. 2023, arXiv 2301.02074.
    """
    audio = np.where(forward_heard[:, None], audio_forward, audio_reverse)
    return _order_share(audio, text_forward, text_reverse, forward_heard) == 1


def _order_share(audio, text_forward, text_reverse, forward_heard) -> np.ndarray:
    ways = np.stack([text_forward, text_reverse], axis=1)
    scores = np.einsum("nd,nwd->nw", audio, ways, dtype=np.float64).astype(np.float32)
    return choice(scores, np.where(forward_heard, 0, 1))


def single_sounds(clips: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> Outcome:
    """Task 1A: the class of a single clip.

    Args:
        clips: (clips, dim) unit vectors.
        classes: (classes, dim) unit vectors.
        truth: (clips,) int, numbers of the classes.
    """
    return outcome(choice(cosines(clips, classes), truth), 1 / len(classes))


def scene_tasks(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    """All tasks but 1A.

    Returns:
        metric -> its outcome. Of a task with several, the one named as the task is the strictest.
    """
    return {
        **_both_sounds("2A", "2B", audio.overlay, texts, questions),
        **_both_sounds("2C", "2D", audio.heard(questions), texts, questions),
        **_own_captions(audio, texts, questions),
        **_groups(audio, texts, questions),
        **_candidates(audio, texts, questions),
        **_positions(audio.heard(questions), texts, questions),
        **_connectives(audio, texts, questions),
        **swap_gap(audio.heard(questions), texts.captions, questions),
    }


def _both_sounds(exact: str, recall: str, audio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    scores, count = cosines(audio, texts.classes), len(texts.classes)
    return {
        exact: outcome(top_two(scores, questions.pair), 1 / comb(count, 2)),
        recall: outcome(recall_at_two(scores, questions.pair), 2 / count),
    }


def own_captions(questions: Questions) -> np.ndarray:
    """(n, 3) int, the captions of `forward`, `reverse` and `overlay`."""
    return np.column_stack([questions.orders[BEFORE], questions.overlay])


def _own_captions(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    captions, right = own_captions(questions), np.where(questions.heard_forward, 0, 1)
    scores = cosines_at(audio.heard(questions), texts.captions, captions)
    ways = (audio.forward, audio.reverse, audio.overlay)
    every = np.column_stack([choice(cosines_at(of, texts.captions, captions), way) for way, of in enumerate(ways)])
    return {
        "3A": outcome(choice(scores, right), 1 / 3, 1 / 2),
        "3B": outcome(every, 1 / 3, 2 / 3),
        "3C": outcome(choice(scores[:, :2], right), 1 / 2, 1 / 2),
    }


def confusion(audio: SceneAudio, texts: Texts, questions: Questions) -> np.ndarray:
    """Of task 3B: (3, 4) int, row what is heard (forward, reverse, overlay), column the caption chosen, or a tie."""
    table = np.zeros((3, 4), dtype=np.int64)
    for way, of in enumerate((audio.forward, audio.reverse, audio.overlay)):
        scores = cosines_at(of, texts.captions, own_captions(questions))
        tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
        table[way] = np.bincount(np.where(tied, 3, scores.argmax(axis=1)), minlength=4)
    return table


def _groups(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    ways = (audio.forward, audio.reverse, audio.overlay)
    scores = np.stack([cosines_at(of, texts.captions, own_captions(questions)) for of in ways], axis=1)
    found = {}
    for task, some, alone, group in (("3D", scores[:, :2, :2], 1 / 4, 1 / 6), ("3E", scores, 1 / 27, 1 / 60)):
        text, sound, both = matched(some)
        found[f"{task}/text"] = outcome(text, alone, 1 / 4)
        found[f"{task}/audio"] = outcome(sound, alone, 1 / 4)
        found[task] = outcome(both, group, 1 / 6)
    return found


def _candidates(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    of_4a, of_4b = questions.candidates_4a, questions.candidates_4b
    reverse = questions.orders[BEFORE][:, 1:]
    ambiguous = (of_4a == reverse).any(axis=1)  # the reversal was drawn: an order-blind model has to guess
    right = np.where(questions.heard_forward, 0, 1)
    scores = cosines_at(audio.heard(questions), texts.captions, of_4b)
    of_forward = choice(cosines_at(audio.forward, texts.captions, of_4a), 0)
    hits = choice(scores, right)
    errors = np.flatnonzero(hits < 1)
    reversals = choice(scores, 1 - right)[errors]
    return {
        "4A": outcome(of_forward, 1 / of_4a.shape[1], 1 - ambiguous.mean() / 2),
        "4B": outcome(hits, 1 / of_4b.shape[1], 1 / 2),
        "4B/reversal_share": outcome(reversals, 1 / (of_4b.shape[1] - 1), 1.0, rows=errors),
    }


def _positions(heard: np.ndarray, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    count, pair = len(texts.first), questions.heard_pair
    first, second = cosines(heard, texts.first), cosines(heard, texts.second)
    both = top_two(np.hstack([first, second]), pair + np.array([0, count]))
    of_first, of_second = choice(first, pair[:, 0]), choice(second, pair[:, 1])
    swapped = choice(first, pair[:, 1]) * choice(second, pair[:, 0])
    return {
        "5A": outcome(both, 1 / comb(2 * count, 2), 1 / 6),
        "5B": outcome(of_first * of_second, 1 / count**2, 1 / 4),
        "5B/first": outcome(of_first, 1 / count, 1 / 2),
        "5B/second": outcome(of_second, 1 / count, 1 / 2),
        "5B/swapped": outcome(swapped, 1 / count**2, 1 / 4),
    }


def metric_of(connective: str) -> str:
    """The metric of order accuracy with a connective."""
    return {BEFORE: "3C", AFTER: "6A"}.get(connective, f"6B/{connective.replace(' ', '_')}")


def _connectives(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    heard, right = audio.heard(questions), questions.heard_forward
    ways = {
        words: _order_share(heard, *(texts.captions[of[:, way]] for way in (0, 1)), right)
        for words, of in questions.orders.items()
    }
    # The same verdict as with "before" is the same share of being right.
    before = ways[BEFORE]
    agree = {words: of * before + (1 - of) * (1 - before) for words, of in ways.items()}
    found = {}
    for words in CONNECTIVES[1:]:
        found[metric_of(words)] = outcome(ways[words], 1 / 2, 1 / 2)
        found[f"{metric_of(words)}/consistency"] = outcome(agree[words], 1 / 2, 1 / 2)
    mean = _mean_over(CONNECTIVES[2:])
    return found | {
        "6B": outcome(mean(ways), 1 / 2, 1 / 2),
        "6B/consistency": outcome(mean(agree), 1 / 2, 1 / 2),
        "unseen_connectives": outcome(_mean_over(UNSEEN_CONNECTIVES)(ways), 1 / 2, 1 / 2),
    }


def _mean_over(connectives: tuple[str, ...]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    return lambda shares: np.column_stack([shares[words] for words in connectives])


__all__ = [
    "SceneAudio",
    "Texts",
    "confusion",
    "metric_of",
    "order_accuracy",
    "own_captions",
    "scene_tasks",
    "single_sounds",
]
