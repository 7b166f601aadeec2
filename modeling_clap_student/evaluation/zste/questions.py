"""The questions about scenes, as numbers that are the same for all models, and the value of one answer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import permutations
from math import factorial

import numpy as np

from ...temporal.captions import FORWARD, OVERLAY, REVERSE, scene_caption
from ...temporal.connectives import AFTER, BEFORE, CONNECTIVES, WHILE
from ...temporal.scenes import Scene


@dataclass(frozen=True)
class Outcome:
    """One metric's items, before ties are decided. An item's value is the mean of its parts."""

    shares: np.ndarray  # (items, parts) float64 in [0, 1], how right each part is, with random ties
    chance: float  # the value of random embeddings
    order_blind: float | None  # the value of a perfect model that ignores order; None if not known
    minus: np.ndarray | None = None  # (items, parts), shares to subtract, for a metric that is a difference
    rows: np.ndarray | None = None  # (items,) int, the scenes of the items; None for all, in order

    def values(self, share_ties: bool = False) -> np.ndarray:
        """(items,) bool if items are only right or wrong, else float64.

        With `share_ties`, a tie counts as the probability of guessing right among the tied. Otherwise it is wrong.
        """
        values = _means(self.shares, share_ties)
        return values if self.minus is None else values.astype(float) - _means(self.minus, share_ties)

    def select(self, scenes: np.ndarray) -> "Outcome":
        """The same for the scenes where a mask, (scenes,) bool, is true."""
        items = scenes if self.rows is None else scenes[self.rows]
        minus = None if self.minus is None else self.minus[items]
        rows = None if self.rows is None else self.rows[items]
        return Outcome(self.shares[items], self.chance, self.order_blind, minus, rows)


def _means(shares: np.ndarray, share_ties: bool) -> np.ndarray:
    right = shares if share_ties else shares == 1
    if right.shape[1] == 1:
        right = right[:, 0]
        return right == 1 if np.isin(right, (0, 1)).all() else right
    return right.mean(axis=1)


def outcome(shares: np.ndarray, chance: float, order_blind: float | None = 1.0, **arrays) -> Outcome:
    """An `Outcome` from shares (items,) or (items, parts)."""
    return Outcome(shares if shares.ndim == 2 else shares[:, None], float(chance), order_blind, **arrays)


_ROWS = 128


def cosines(audio: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n, dim), (k, dim) unit vectors -> (n, k) float32.

    Summed in float64, then rounded. So the library's order of summation can't make or break a tie.
    """
    return (audio.astype(np.float64) @ texts.T.astype(np.float64)).astype(np.float32)


def cosines_at(audio: np.ndarray, texts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(n, dim), (k, dim) unit vectors and (n, c) rows of the texts, each item's candidates -> (n, c) float32."""
    scores = np.empty(numbers.shape, dtype=np.float32)
    for start in range(0, len(audio), _ROWS):  # gathers the texts of one block at a time
        rows = slice(start, start + _ROWS)
        scores[rows] = np.einsum("nd,ncd->nc", audio[rows], texts[numbers[rows]], dtype=np.float64)
    return scores


# The functions below say how right a choice by scores (n, candidates) is: (n,) float64 in [0, 1], the probability if
# ties are broken at random. `pair` is (n, 2) int, two different columns.


def choice(scores: np.ndarray, right: np.ndarray | int) -> np.ndarray:
    """Whether the best candidate is the right one: (n,) int, its column, or one column for all."""
    right = np.broadcast_to(right, len(scores))
    own = np.take_along_axis(scores, right[:, None], axis=1)
    return np.where((scores > own).any(axis=1), 0.0, 1 / (scores == own).sum(axis=1))


def top_two(scores: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Whether the two best candidates are the two right ones."""
    own = np.take_along_axis(scores, pair, axis=1)
    lower = own.min(axis=1, keepdims=True)
    greater = (scores > lower).sum(axis=1)  # including the better one of the two, unless they are equal
    tied = (scores == lower).sum(axis=1)
    equal = own[:, 0] == own[:, 1]
    # Two places if all tie at the top, or one place if they tie for the second.
    share = np.where(equal, 2 / (tied * np.maximum(tied - 1, 1)), 1 / tied)
    return np.where(greater == np.where(equal, 0, 1), share, 0.0)


def recall_at_two(scores: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """(n, 2), whether each of two right candidates is among the two best."""
    own = np.take_along_axis(scores, pair, axis=1)[:, :, None]
    greater = (scores[:, None] > own).sum(axis=2)
    tied = (scores[:, None] == own).sum(axis=2)
    return np.clip(2 - greater, 0, tied) / tied


def match_groups(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether captions and clips of a group find each other, (n,) each. CompA's text score: every clip finds its
    caption. Audio score: every caption finds its clip. Group score: both.

    `scores` are (n, m, m), each clip (row) with each caption (column). The i-th clip and caption belong together.

    Source: Ghosh et al. 2023, arXiv 2310.08753 (CompA), after Thrush et al. 2022, arXiv 2204.03162 (Winoground).
    """
    size = scores.shape[1]
    text = np.prod([choice(scores[:, i], i) for i in range(size)], axis=0)
    audio = np.prod([choice(scores[:, :, i], i) for i in range(size)], axis=0)
    group = text * audio
    # One tie may be in a row and a column. Then the product is not the probability of both.
    for row in np.flatnonzero((group > 0) & (group < 1)):
        ranks = np.unique(scores[row], return_inverse=True)[1]
        group[row] = _group_share(tuple(ranks.ravel().tolist()), size)
    return text, audio, group


@cache
def _group_share(ranks: tuple[int, ...], size: int) -> float:
    """The share of the orders allowed by equal ranks in which each diagonal entry comes after its row and column."""
    below = {
        i * (size + 1): {*range(i * size, (i + 1) * size), *range(i, size * size, size)} - {i * (size + 1)}
        for i in range(size)
    }

    @cache
    def count_orders(placed: frozenset[int], cells: frozenset[int]) -> int:
        fitting = (cell for cell in cells if below.get(cell, set()) <= placed)
        return sum(count_orders(placed | {cell}, cells - {cell}) for cell in fitting) if cells else 1

    share, placed = 1.0, frozenset()
    for rank in sorted(set(ranks)):
        tied = frozenset(cell for cell in range(size * size) if ranks[cell] == rank)
        share *= count_orders(placed, tied) / factorial(len(tied))
        placed |= tied
    return share


WORDS = (BEFORE, AFTER, "then", "followed by", "preceded by")  # for tasks 3, 6A and 6B
SENTENCES = ("first … then …", "starts with … and ends with …", "ends with … and starts with …", "…, before that …")
ASKED = (*WORDS, *SENTENCES)  # the sentences are task 6E's
NUM_CANDIDATES = 50
_OTHER_CLASSES = 5  # classes beside a scene's own two whose captions are candidates
_SEED = 0
FIRST, SECOND = (f"In this concatenated sound, the {place} sound is {{}}" for place in ("first", "second"))


@dataclass(frozen=True)
class Questions:
    """The questions about n scenes. Classes and captions are indices into the two lists. Candidates differ."""

    class_names: list[str]
    captions: list[str]  # all captions that any scene needs, each once
    pair: np.ndarray  # (n, 2) int, the classes A and B, A first in `forward`
    heard_forward: np.ndarray  # (n,) bool, whether tasks with one order hear `forward`; half of them
    seen: np.ndarray  # (n,) bool, whether the class pair may occur in training
    orders: dict[str, np.ndarray]  # connective -> (n, 2) int, the captions of `forward` and of `reverse`
    overlay: np.ndarray  # (n,) int, the caption "A while B"
    candidates_4a: np.ndarray  # (n, c) int, captions: for `forward`, `overlay`, others
    candidates_4b: np.ndarray  # (n, c) int, captions: for `forward`, `reverse`, `overlay`, others
    three: np.ndarray  # (n, 6) int, captions for the orders of three sounds; (n, 0) without a third class
    three_heard: np.ndarray  # (n,) int, the order that is heard; each equally often

    def select(self, rows: np.ndarray) -> "Questions":
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.type is np.ndarray}
        return replace(self, **arrays, orders={words: captions[rows] for words, captions in self.orders.items()})

    @property
    def heard_pair(self) -> np.ndarray:
        """(n, 2) int: the class heard first, the class heard second."""
        return np.where(self.heard_forward[:, None], self.pair, self.pair[:, ::-1])

    @property
    def own_captions(self) -> np.ndarray:
        """(n, 3) int, the captions for `forward`, `reverse` and `overlay`."""
        return np.column_stack([self.orders[BEFORE], self.overlay])


def hears_forward(count: int) -> np.ndarray:
    """(count,) bool: whether `forward` is heard in a scene. True for half of them, drawn from a seed."""
    return np.random.default_rng(_SEED).permutation(count) % 2 == 0


ORDERS_OF_THREE = tuple(permutations(range(3)))
_THREE = CONNECTIVES["…, then …, then …"]


def hears_three(count: int) -> np.ndarray:
    """(count,) int: which of `ORDERS_OF_THREE` is heard in a scene with a third sound, drawn from a seed."""
    return np.random.default_rng(_SEED + 1).permutation(count) % len(ORDERS_OF_THREE)


def ask(scenes: Sequence[Scene], class_names: Sequence[str], thirds: Sequence[str] = ()) -> Questions:
    """The questions about some scenes. They depend only on the scenes and on the classes (at least 2, with theirs).

    The candidates of tasks 4A and 4B are `NUM_CANDIDATES` captions "X before Y" and "X while Y" over the scene's two
    classes and five others, drawn from a seed. In a set with too few classes, all such captions are candidates.
    `thirds` are the classes of the scenes' third sounds, if there are any.
    """
    number = {name: place for place, name in enumerate(class_names)}
    captions: dict[str, int] = {}

    def caption(first: str, second: str, relation: str, connective: str) -> int:
        return captions.setdefault(scene_caption(first, second, relation, connective), len(captions))

    names = [(scene.class_a, scene.class_b) for scene in scenes]
    orders = {
        words: np.array([[caption(*pair, way, words) for way in (FORWARD, REVERSE)] for pair in names])
        for words in ASKED
    }
    overlay = np.array([caption(*pair, OVERLAY, WHILE) for pair in names])
    pairs = [(number[a], number[b]) for a, b in names]

    def candidates(with_reversal: bool, scene: Scene, a: int, b: int) -> list[int]:
        rng = np.random.default_rng([_SEED, int(with_reversal), scene.id])
        strangers = [place for place in rng.permutation(len(class_names)).tolist() if place not in (a, b)]
        classes = [a, b, *strangers[:_OTHER_CLASSES]]
        forced = [(a, b, BEFORE), (b, a, BEFORE), (a, b, WHILE)] if with_reversal else [(a, b, BEFORE), (a, b, WHILE)]
        free = [(x, y, words) for x in classes for y in classes if x != y for words in (BEFORE, WHILE)]
        free = [fact for fact in free if fact not in forced]
        sample = [free[place] for place in rng.permutation(len(free))[: NUM_CANDIDATES - len(forced)]]
        return [
            caption(class_names[x], class_names[y], OVERLAY if words == WHILE else FORWARD, words)
            for x, y, words in [*forced, *sample]
        ]

    candidates_4a, candidates_4b = (
        np.array([candidates(with_reversal, scene, *pair) for scene, pair in zip(scenes, pairs, strict=True)])
        for with_reversal in (False, True)
    )
    three = [
        [captions.setdefault(_THREE.join(*(sounds[n] for n in order)), len(captions)) for order in ORDERS_OF_THREE]
        for sounds in ((*pair, third) for pair, third in zip(names, thirds, strict=False))
    ]
    return Questions(
        class_names=list(class_names),
        captions=list(captions),
        pair=np.array(pairs),
        heard_forward=hears_forward(len(scenes)),
        seen=np.array([scene.seen_pair for scene in scenes]),
        orders=orders,
        overlay=overlay,
        candidates_4a=candidates_4a,
        candidates_4b=candidates_4b,
        three=np.array(three) if three else np.empty((len(scenes), 0), int),
        three_heard=hears_three(len(scenes)),
    )


def bag_of_words(text: str) -> str:
    """A text with its words in alphabetical order, so that their order says nothing."""
    return " ".join(sorted(text.split()))
