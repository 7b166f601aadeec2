"""The tasks of ZSTE, the swap gap, and the controls that must stay at chance."""

import re
from dataclasses import dataclass
from math import comb

import numpy as np

from ...temporal.connectives import AFTER, BEFORE, HELD_OUT_CONNECTIVES
from ...utils.ranking import CUTOFFS
from .questions import (
    SENTENCES,
    WORDS,
    Outcome,
    Questions,
    choice,
    cosines,
    cosines_at,
    match_groups,
    outcome,
    recall_at_two,
    top_two,
)


@dataclass(frozen=True)
class SceneAudio:
    """Embeddings of n scenes for the three relations of their sounds: (n, dim) float32 unit vectors each."""

    forward: np.ndarray
    reverse: np.ndarray
    overlay: np.ndarray

    def ordered(self, questions: Questions) -> np.ndarray:
        """(n, dim): `forward` or `reverse`, whichever is heard."""
        return np.where(questions.heard_forward[:, None], self.forward, self.reverse)

    def own_scores(self, texts: "Texts", questions: Questions) -> np.ndarray:
        """(n, 3, 3) cosines of each scene in each relation with its own caption of each relation."""
        ways = (self.forward, self.reverse, self.overlay)
        return np.stack([cosines_at(sounds, texts.captions, questions.own_captions) for sounds in ways], axis=1)


@dataclass(frozen=True)
class Texts:
    """Embeddings of texts, float32 unit vectors."""

    classes: np.ndarray  # (classes, dim), the class prompts
    first: np.ndarray  # (classes, dim), "the first sound is …"
    second: np.ndarray  # (classes, dim), "the second sound is …"
    captions: np.ndarray  # (captions, dim), for `Questions.captions`


def single_sounds(clips: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> Outcome:
    """Task 1A, the class of a single clip: (clips, dim) and (classes, dim) unit vectors, (clips,) class numbers."""
    return outcome(choice(cosines(clips, classes), truth), 1 / len(classes))


def scene_tasks(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    """All tasks but 1A: metric -> its outcome. Of several metrics, the one named like the task is the strictest."""
    sounds, own_scores = audio.ordered(questions), audio.own_scores(texts, questions)
    return {
        **_both_sounds("2A", "2B", audio.overlay, texts, questions),
        **_both_sounds("2C", "2D", sounds, texts, questions),
        **_own_captions(own_scores, questions),
        **_groups(own_scores),
        **_candidates(audio, texts, questions),
        **_positions(sounds, texts, questions),
        **_connectives(sounds, texts, questions),
        **_swap_gap(sounds, texts.captions, questions),
    }


def _both_sounds(exact: str, recall: str, sounds: np.ndarray, texts: Texts, questions: Questions) -> dict:
    scores, count = cosines(sounds, texts.classes), len(texts.classes)
    return {
        exact: outcome(top_two(scores, questions.pair), 1 / comb(count, 2)),
        recall: outcome(recall_at_two(scores, questions.pair), 2 / count),
    }


def _own_captions(own_scores: np.ndarray, questions: Questions) -> dict[str, Outcome]:
    right = np.where(questions.heard_forward, 0, 1)
    scores = own_scores[np.arange(len(right)), right]
    every = np.column_stack([choice(own_scores[:, way], way) for way in range(3)])
    return {
        "3A": outcome(choice(scores, right), 1 / 3, 1 / 2),
        "3B": outcome(every, 1 / 3, 2 / 3),
        "3C": outcome(choice(scores[:, :2], right), 1 / 2, 1 / 2),
    }


def confusion(audio: SceneAudio, texts: Texts, questions: Questions) -> np.ndarray:
    """For task 3B: (3, 4) int. Row: what is heard (forward, reverse, overlay). Column: the chosen caption, or a
    tie."""
    scores = audio.own_scores(texts, questions)
    tied = (scores == scores.max(axis=2, keepdims=True)).sum(axis=2) > 1
    choices = np.where(tied, 3, scores.argmax(axis=2))
    return np.stack([np.bincount(choices[:, way], minlength=4) for way in range(3)])


def _groups(own_scores: np.ndarray) -> dict[str, Outcome]:
    outcomes = {}
    for task, group, alone, both in (("3D", own_scores[:, :2, :2], 1 / 4, 1 / 6), ("3E", own_scores, 1 / 27, 1 / 60)):
        text_right, audio_right, both_right = match_groups(group)
        outcomes[f"{task}/text"] = outcome(text_right, alone, 1 / 4)
        outcomes[f"{task}/audio"] = outcome(audio_right, alone, 1 / 4)
        outcomes[task] = outcome(both_right, both, 1 / 6)
    return outcomes


def _candidates(audio: SceneAudio, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    candidates_4a, candidates_4b = questions.candidates_4a, questions.candidates_4b
    reverse = questions.orders[BEFORE][:, 1:]
    ambiguous = (candidates_4a == reverse).any(axis=1)  # the reversal is a candidate: order-blind models guess
    right = np.where(questions.heard_forward, 0, 1)
    scores = cosines_at(audio.ordered(questions), texts.captions, candidates_4b)
    hits = choice(scores, right)
    errors = np.flatnonzero(hits < 1)
    reversals = choice(scores, 1 - right)[errors]
    hits_4a = choice(cosines_at(audio.forward, texts.captions, candidates_4a), 0)
    return {
        "4A": outcome(hits_4a, 1 / candidates_4a.shape[1], 1 - ambiguous.mean() / 2),
        "4B": outcome(hits, 1 / candidates_4b.shape[1], 1 / 2),
        "4B/reversal_share": outcome(reversals, 1 / (candidates_4b.shape[1] - 1), 1.0, rows=errors),
    }


def _positions(sounds: np.ndarray, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    count, pair = len(texts.first), questions.heard_pair
    first, second = cosines(sounds, texts.first), cosines(sounds, texts.second)
    both = top_two(np.hstack([first, second]), pair + np.array([0, count]))
    first_right, second_right = choice(first, pair[:, 0]), choice(second, pair[:, 1])
    swapped = choice(first, pair[:, 1]) * choice(second, pair[:, 0])
    return {
        "5A": outcome(both, 1 / comb(2 * count, 2), 1 / 6),
        "5B": outcome(first_right * second_right, 1 / count**2, 1 / 4),
        "5B/first": outcome(first_right, 1 / count, 1 / 2),
        "5B/second": outcome(second_right, 1 / count, 1 / 2),
        "5B/swapped": outcome(swapped, 1 / count**2, 1 / 4),
    }


def three_sounds(audio: np.ndarray, captions: np.ndarray, questions: Questions, rows: np.ndarray) -> Outcome:
    """Task 7A: which of the six orders of three sounds is heard.

    Args:
        audio: (items, dim), scenes with a third sound, in the order from `questions`.
        captions: (captions, dim), for `Questions.captions`.
        rows: (items,) int, the scenes of these items in the questions; may be empty.
    """
    if not len(rows) or not questions.three.shape[1]:
        return outcome(np.empty(0), 1 / 6, 1 / 6, rows=np.empty(0, int))
    scores = cosines_at(audio, captions, questions.three[rows])
    return outcome(choice(scores, questions.three_heard[rows]), 1 / 6, 1 / 6, rows=rows)


def metric_of(connective: str) -> str:
    """The metric of order accuracy with a connective."""
    words = "_".join(re.findall(r"\w+", connective))
    return {BEFORE: "3C", AFTER: "6A"}.get(connective, f"{'6E' if connective in SENTENCES else '6B'}/{words}")


# Task -> the connectives that it averages over.
MEANS = {"6B": WORDS[2:], "6D": HELD_OUT_CONNECTIVES, "6E": SENTENCES}


def _connectives(sounds: np.ndarray, texts: Texts, questions: Questions) -> dict[str, Outcome]:
    shares = {
        words: _order_share(sounds, *(texts.captions[pairs[:, way]] for way in (0, 1)), questions.heard_forward)
        for words, pairs in questions.orders.items()
    }
    # Agreeing with the verdict for "before" means an equal share of being right.
    before = shares[BEFORE]
    consistency = {words: share * before + (1 - share) * (1 - before) for words, share in shares.items()}
    rights = {}
    for words in (*WORDS[1:], *SENTENCES):
        rights[metric_of(words)] = shares[words]
        rights[f"{metric_of(words)}/consistency"] = consistency[words]
    for metric, connectives in MEANS.items():
        rights[metric] = np.column_stack([shares[words] for words in connectives])
        rights[f"{metric}/consistency"] = np.column_stack([consistency[words] for words in connectives])
    return {metric: outcome(right, 1 / 2, 1 / 2) for metric, right in rights.items()}


def order_accuracy(
    audio_forward: np.ndarray,
    audio_reverse: np.ndarray,
    text_forward: np.ndarray,
    text_reverse: np.ndarray,
    forward_heard: np.ndarray,
) -> np.ndarray:
    """Task 3C, from (n, dim) unit vectors: (n,) bool, whether the caption with the right order is nearer than the
    caption with the other order. A tie is wrong.

    Source: the time-order accuracy of Bagad et al. 2023, arXiv 2301.02074.
    """
    audio = np.where(forward_heard[:, None], audio_forward, audio_reverse)
    return _order_share(audio, text_forward, text_reverse, forward_heard) == 1


def _order_share(audio, text_forward, text_reverse, forward_heard) -> np.ndarray:
    ways = np.stack([text_forward, text_reverse], axis=1)
    scores = np.einsum("nd,nwd->nw", audio, ways, dtype=np.float64).astype(np.float32)
    return choice(scores, np.where(forward_heard, 0, 1))


_CHUNK = 256  # captions per block


def _swap_gap(sounds: np.ndarray, captions: np.ndarray, questions: Questions) -> dict[str, Outcome]:
    """Captions search the scenes that they describe: as they are, and wrong in two ways.

    `original` says what is heard. `reversed` has its two sounds swapped. `replaced` has "after" for "before". The gaps
    are R@k of `original` minus that of the others. They are 0 for a model that ignores order, or all words but nouns.
    All three search the scenes that `original` describes, perhaps several. Scenes with one caption are one query.

    Source: after Wu et al. 2023, arXiv 2303.10667, and SynCaps, arXiv 2409.00851.
    """
    pair, num_classes = questions.heard_pair, len(questions.class_names)
    key = pair @ [num_classes, 1]
    keys, rows = np.unique(key, return_index=True)
    own = np.where(questions.heard_forward[rows], 0, 1)
    wordings = {
        "original": questions.orders[BEFORE][rows, own],
        "reversed": questions.orders[BEFORE][rows, 1 - own],
        "replaced": questions.orders[AFTER][rows, 1 - own],  # "A before B" -> "A after B"
    }
    shares = {words: found_within(captions[wording], keys, sounds, key) for words, wording in wordings.items()}
    matching = _count(key)[rows]
    alike = _count(np.sort(pair, axis=1) @ [num_classes, 1])[rows]  # scenes with the same sounds, in either order
    everything = np.full(len(rows), len(sounds))
    outcomes = {}
    for k in CUTOFFS:
        chance, blind = (float(_guess_share(matching, scenes, k).mean()) for scenes in (everything, alike))
        for words in wordings:
            outcomes[f"6C/{words}_R@{k}"] = outcome(shares[words][k], chance, blind, rows=rows)
        for words in ("reversed", "replaced"):
            minus = shares[words][k][:, None]
            outcomes[f"6C/{words}_gap_R@{k}"] = outcome(shares["original"][k], 0.0, 0.0, minus=minus, rows=rows)
    return outcomes


def _count(keys: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) how often each value occurs."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[place]


def found_within(
    texts: np.ndarray, text_keys: np.ndarray, audio: np.ndarray, audio_keys: np.ndarray
) -> dict[int, np.ndarray]:
    """Whether a text (t, dim) finds a clip (n, dim) with its own key among the first k. Both are unit vectors.

    Returns k -> (t,) float64 in [0, 1], the probability if equal cosines are in random order.
    """
    parts: dict[int, list[np.ndarray]] = {k: [] for k in CUTOFFS}
    turned = audio.T.astype(np.float64)
    for start in range(0, len(texts), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        scores = (texts[chunk] @ turned).astype(np.float32)
        own = text_keys[chunk, None] == audio_keys
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ahead = ((scores > best) & ~own).sum(axis=1)
        tied_own, tied = ((scores == best) & own).sum(axis=1), (scores == best).sum(axis=1)
        for k in CUTOFFS:
            parts[k].append(_guess_share(tied_own, tied, k - ahead))
    return {k: np.concatenate(arrays) for k, arrays in parts.items()}


def _guess_share(right: np.ndarray, total: np.ndarray, draws: np.ndarray | int) -> np.ndarray:
    """The probability that `draws` items (0 if negative) out of `total`, without replacement, contain a right one."""
    missed = np.ones(len(right))
    for number in range(max(CUTOFFS)):
        remaining = np.maximum(total - number, 1)
        missed *= np.where(number < draws, np.maximum(total - right - number, 0) / remaining, 1.0)
    return 1 - missed


# control -> its name in a table, and a description.
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
    """Embeddings of n scenes, (n, dim) float32 unit vectors each."""

    plain: SceneAudio  # the scenes as they are
    first_alone: np.ndarray  # the two parts of `forward`, each heard alone
    second_alone: np.ndarray
    softer: tuple[np.ndarray, np.ndarray]  # (forward, reverse) with the second sound 6 dB softer
    louder: tuple[np.ndarray, np.ndarray]


def control_tasks(
    audio: ControlAudio, texts: Texts, sorted_texts: Texts, questions: Questions, seed: int = 0
) -> dict[str, dict[str, Outcome]]:
    """Control -> metric -> its outcome. Ties should be shared: without order, everything is a tie.

    `sorted_texts` have their words in alphabetical order. The seed decides which scene gets the audio of which other
    one.
    """
    plain = audio.plain
    strangers = derangement(len(plain.forward), seed)
    averaged = audio.first_alone + audio.second_alone
    averaged /= np.maximum(np.linalg.norm(averaged, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    shuffled = SceneAudio(plain.forward[strangers], plain.reverse[strangers], plain.overlay[strangers])
    settings = {
        "shuffled_audio": (shuffled, texts),
        "bag_of_words": (plain, sorted_texts),
        "time_averaged": (SceneAudio(averaged, averaged, plain.overlay), texts),
        "second_softer": (SceneAudio(*audio.softer, plain.overlay), texts),
        "second_louder": (SceneAudio(*audio.louder, plain.overlay), texts),
    }
    return {control: scene_tasks(*setting, questions) for control, setting in settings.items()}


def derangement(count: int, seed: int) -> np.ndarray:
    """(count,) int, a permutation from a seed that leaves no item in its place, for 2 or more items."""
    order = np.random.default_rng(seed).permutation(count)
    permutation = np.empty(count, dtype=np.int64)
    permutation[order] = np.roll(order, 1)  # one cycle through all
    return permutation
