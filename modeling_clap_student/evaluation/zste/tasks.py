"""The tasks of ZSTE, the swap gap, and the controls that must stay at chance."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np

from ...temporal.captions import AFTER, BEFORE, UNSEEN_CONNECTIVES
from ...utils.ranking import CUTOFFS
from .questions import (
    CONNECTIVES,
    Outcome,
    Questions,
    choice,
    cosines,
    cosines_at,
    matched,
    outcome,
    recall_at_two,
    top_two,
)


_CHUNK = 256  # captions that look for their scenes at a time


def swap_gap(heard: np.ndarray, captions: np.ndarray, questions: Questions) -> dict[str, Outcome]:
    """Captions that look for the scenes that they describe, as they are and wrong in two ways.

    `original` says what is heard, `reversed` has its two sounds swapped, `replaced` has "after" for "before". The gaps
    are R@k of `original` minus that of the others, which is 0 for a model that ignores order, or all words but nouns.
    Each time the scenes looked for are those that `original` describes, of which there may be several; scenes of one
    caption are one query.

    Args:
        heard: (n, dim) unit vectors, of each scene in the order that is heard.
        captions: (captions, dim) unit vectors.
        questions: of the n scenes.

    Source: after Wu et al. 2023, arXiv 2303.10667, and SynCaps, arXiv 2409.00851.
    """
    pair = questions.heard_pair
    key = pair[:, 0] * len(questions.class_names) + pair[:, 1]
    keys, rows = np.unique(key, return_index=True)
    own = np.where(questions.heard_forward[rows], 0, 1)
    other = 1 - own
    wordings = {
        "original": questions.orders[BEFORE][rows, own],
        "reversed": questions.orders[BEFORE][rows, other],
        "replaced": questions.orders[AFTER][rows, other],  # "A before B" -> "A after B"
    }
    found = {words: found_within(captions[wording], keys, heard, key) for words, wording in wordings.items()}
    wanted = _count(key)[rows]
    alike = _count(np.sort(pair, axis=1) @ [len(questions.class_names), 1])[rows]
    everything = np.full(len(rows), len(heard))
    outcomes = {}
    for k in CUTOFFS:
        chance, blind = (_guessed(wanted, among, k).mean() for among in (everything, alike))
        for words in wordings:
            outcomes[f"6C/{words}_R@{k}"] = outcome(found[words][k], chance, float(blind), rows=rows)
        for words in ("reversed", "replaced"):
            minus = found[words][k][:, None]
            outcomes[f"6C/{words}_gap_R@{k}"] = outcome(found["original"][k], 0.0, 0.0, minus=minus, rows=rows)
    return outcomes


def _count(keys: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) how often each is there."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[place]


def found_within(
    texts: np.ndarray, text_keys: np.ndarray, audio: np.ndarray, audio_keys: np.ndarray
) -> dict[int, np.ndarray]:
    """Whether a text finds a clip of its own key among the first k.

    Args:
        texts, audio: (t, dim) and (n, dim) unit vectors.
        text_keys, audio_keys: (t,) and (n,) int, equal for texts and clips that belong together.

    Returns:
        k -> (t,) float64 in [0, 1], the probability where equal cosines stand in random order.
    """
    parts: dict[int, list[np.ndarray]] = {k: [] for k in CUTOFFS}
    turned = audio.T.astype(np.float64)
    for start in range(0, len(texts), _CHUNK):
        some = slice(start, start + _CHUNK)
        scores = (texts[some] @ turned).astype(np.float32)
        own = text_keys[some, None] == audio_keys
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ahead = ((scores > best) & ~own).sum(axis=1)
        tied_own, tied = ((scores == best) & own).sum(axis=1), (scores == best).sum(axis=1)
        for k in CUTOFFS:
            parts[k].append(_guessed(tied_own, tied, k - ahead))
    return {k: np.concatenate(arrays) for k, arrays in parts.items()}


def _guessed(wanted: np.ndarray, among: np.ndarray, draws: np.ndarray | int) -> np.ndarray:
    """The probability to draw one of some wanted items, at least, when so many are drawn among others.

    Args:
        wanted, among: (n,) int, how many are wanted, and how many there are, these included.
        draws: (n,) int; none below 1.
    """
    missed = np.ones(len(wanted))
    for drawn in range(max(CUTOFFS)):
        left = np.maximum(among - drawn, 1)
        missed *= np.where(drawn < draws, np.maximum(among - wanted - drawn, 0) / left, 1.0)
    return 1 - missed


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
    every = np.column_stack(
        [choice(cosines_at(sounds, texts.captions, captions), way) for way, sounds in enumerate(ways)]
    )
    return {
        "3A": outcome(choice(scores, right), 1 / 3, 1 / 2),
        "3B": outcome(every, 1 / 3, 2 / 3),
        "3C": outcome(choice(scores[:, :2], right), 1 / 2, 1 / 2),
    }


def confusion(audio: SceneAudio, texts: Texts, questions: Questions) -> np.ndarray:
    """Of task 3B: (3, 4) int, row what is heard (forward, reverse, overlay), column the caption chosen, or a tie."""
    table = np.zeros((3, 4), dtype=np.int64)
    for way, sounds in enumerate((audio.forward, audio.reverse, audio.overlay)):
        scores = cosines_at(sounds, texts.captions, own_captions(questions))
        tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
        table[way] = np.bincount(np.where(tied, 3, scores.argmax(axis=1)), minlength=4)
    return table


def _groups(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    ways = (audio.forward, audio.reverse, audio.overlay)
    scores = np.stack([cosines_at(sounds, texts.captions, own_captions(questions)) for sounds in ways], axis=1)
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
        words: _order_share(heard, *(texts.captions[pairs[:, way]] for way in (0, 1)), right)
        for words, pairs in questions.orders.items()
    }
    # The same verdict as with "before" is the same share of being right.
    before = ways[BEFORE]
    agree = {words: share * before + (1 - share) * (1 - before) for words, share in ways.items()}
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


# control -> its name in a table, and what it does.
CONTROLS = {
    "shuffled_audio": ("shuffled", "each scene has the audio of another one"),
    "bag_of_words": ("bag of words", "the words of each caption stand in alphabetical order"),
    "time_averaged": ("averaged", "both orders are the mean of the embeddings of the two sounds, each heard alone"),
    "second_softer": ("2nd −6 dB", "the sound heard second is softer: the louder one comes first"),
    "second_louder": ("2nd +6 dB", "the sound heard second is louder"),
}
GAIN_DB = 6.0


@dataclass(frozen=True)
class ControlAudio:
    """Embeddings of n scenes, (n, dim) float32 unit vectors each.

    Attributes:
        plain: of the scenes as they are.
        first_alone, second_alone: of the two parts of `forward`, each heard alone.
        softer, louder: (forward, reverse) whose second sound is 6 dB softer, or louder.
    """

    plain: SceneAudio
    first_alone: np.ndarray
    second_alone: np.ndarray
    softer: tuple[np.ndarray, np.ndarray]
    louder: tuple[np.ndarray, np.ndarray]


def control_tasks(
    audio: ControlAudio, texts: Texts, sorted_texts: Texts, questions: Questions, seed: int = 0
) -> dict[str, dict[str, Outcome]]:
    """control -> metric -> its outcome, whose ties should be shared: without order, all is ties.

    Args:
        audio: of the scenes, at least 2.
        texts, sorted_texts: as they are, and with their words in alphabetical order.
        questions: of the scenes.
        seed: of which scene gets which other one's audio.
    """
    plain = audio.plain
    other = derangement(len(plain.forward), seed)
    averaged = unit(audio.first_alone + audio.second_alone)
    settings = {
        "shuffled_audio": (SceneAudio(plain.forward[other], plain.reverse[other], plain.overlay[other]), texts),
        "bag_of_words": (plain, sorted_texts),
        "time_averaged": (SceneAudio(averaged, averaged, plain.overlay), texts),
        "second_softer": (SceneAudio(*audio.softer, plain.overlay), texts),
        "second_louder": (SceneAudio(*audio.louder, plain.overlay), texts),
    }
    return {control: scene_tasks(*setting, questions) for control, setting in settings.items()}


def derangement(count: int, seed: int) -> np.ndarray:
    """(count,) int, a permutation drawn from a seed that leaves none of 2 or more items in its place."""
    order = np.random.default_rng(seed).permutation(count)
    moved = np.empty(count, dtype=np.int64)
    moved[order] = np.roll(order, 1)  # one cycle through all
    return moved


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, dim) -> the same, of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
