"""Task 6C: do captions find their scenes less well when they say the other order? If not, a model ignores order."""

import numpy as np

from ...temporal.captions import AFTER, BEFORE
from ..retrieval import CUTOFFS
from .outcomes import Outcome, outcome
from .questions import Questions


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
    found = {words: found_within(captions[of], keys, heard, key) for words, of in wordings.items()}
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
    return {k: np.concatenate(of) for k, of in parts.items()}


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


__all__ = ["found_within", "swap_gap"]
