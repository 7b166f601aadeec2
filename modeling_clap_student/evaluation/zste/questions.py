"""What a model is asked about scenes: every caption there is to choose from, as numbers, the same for all models."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ...temporal.captions import AFTER, BEFORE, WHILE, scene_caption
from ...temporal.scenes import Scene


CONNECTIVES = (BEFORE, AFTER, "then", "followed by", "preceded by")  # of tasks 3, 6A and 6B
NUM_CANDIDATES = 50
_OTHER_CLASSES = 5  # beside a scene's own two, whose captions stand among its candidates
_SEED = 0
FIRST, SECOND = (f"In this concatenated sound, the {place} sound is {{}}" for place in ("first", "second"))


@dataclass(frozen=True)
class Questions:
    """Of n scenes; classes and captions are numbers of the two lists.

    Attributes:
        class_names: the set's classes.
        captions: all that any scene needs, each once.
        pair: (n, 2) int, the classes A and B, A first in `forward`.
        heard_forward: (n,) bool, of tasks where one of the two orders is heard: `forward`, else `reverse`; half each.
        seen: (n,) bool, whether the class pair may occur in training.
        orders: connective -> (n, 2) int, the captions of `forward` and of `reverse`.
        overlay: (n,) int, the caption "A while B".
        candidates_4a: (n, c) int, captions none of them twice: the true one of `forward`, `overlay`, others.
        candidates_4b: (n, c) int, the same: those of `forward`, of `reverse`, `overlay`, others.
    """

    class_names: list[str]
    captions: list[str]
    pair: np.ndarray
    heard_forward: np.ndarray
    seen: np.ndarray
    orders: dict[str, np.ndarray]
    overlay: np.ndarray
    candidates_4a: np.ndarray
    candidates_4b: np.ndarray

    def select(self, rows: np.ndarray) -> "Questions":
        """Of some of the scenes."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.type is np.ndarray}
        return replace(self, **arrays, orders={words: of[rows] for words, of in self.orders.items()})

    @property
    def heard_pair(self) -> np.ndarray:
        """(n, 2) int: the class heard first, the class heard second."""
        return np.where(self.heard_forward[:, None], self.pair, self.pair[:, ::-1])


def hears_forward(count: int, seed: int = _SEED) -> np.ndarray:
    """(count,) bool: of which scenes `forward` is heard, drawn from a seed, half of them."""
    return np.random.default_rng(seed).permutation(count) % 2 == 0


def ask(scenes: Sequence[Scene], class_names: Sequence[str]) -> Questions:
    """The questions of some scenes, a pure function of them and of the classes.

    The candidates of tasks 4A and 4B are `NUM_CANDIDATES` captions "X before Y" and "X while Y" over the scene's two
    classes and five others, drawn from a seed. Of a set with too few classes, all such captions are candidates.

    Args:
        scenes: of classes in `class_names`.
        class_names: the set's classes, at least 2.
    """
    number = {name: place for place, name in enumerate(class_names)}
    captions: dict[str, int] = {}

    def caption(first: str, second: str, relation: str, connective: str) -> int:
        return captions.setdefault(scene_caption(first, second, relation, connective), len(captions))

    pairs = [(scene.class_a, scene.class_b) for scene in scenes]
    orders = {
        words: np.array([[caption(*pair, way, words) for way in ("forward", "reverse")] for pair in pairs])
        for words in CONNECTIVES
    }
    overlay = np.array([caption(*pair, "overlay", WHILE) for pair in pairs])

    def candidates(forced: Sequence[tuple[int, int, str]], scene: Scene, task: int) -> list[int]:
        rng = np.random.default_rng([_SEED, task, scene.id])
        a, b = number[scene.class_a], number[scene.class_b]
        others = [place for place in rng.permutation(len(class_names)).tolist() if place not in (a, b)]
        some = [a, b, *others[:_OTHER_CLASSES]]
        free = [(x, y, words) for x in some for y in some if x != y for words in (BEFORE, WHILE)]
        free = [each for each in free if each not in forced]
        drawn = [free[place] for place in rng.permutation(len(free))[: NUM_CANDIDATES - len(forced)]]
        return [
            caption(class_names[x], class_names[y], "overlay" if words == WHILE else "forward", words)
            for x, y, words in [*forced, *drawn]
        ]

    numbers = [tuple(number[name] for name in pair) for pair in pairs]
    forced_4a = [[(a, b, BEFORE), (a, b, WHILE)] for a, b in numbers]
    forced_4b = [[(a, b, BEFORE), (b, a, BEFORE), (a, b, WHILE)] for a, b in numbers]
    of_4a, of_4b = (
        np.array([candidates(of, scene, task) for of, scene in zip(forced, scenes, strict=True)])
        for task, forced in enumerate((forced_4a, forced_4b))
    )
    return Questions(
        class_names=list(class_names),
        captions=list(captions),
        pair=np.array(numbers),
        heard_forward=hears_forward(len(scenes)),
        seen=np.array([scene.seen_pair for scene in scenes]),
        orders=orders,
        overlay=overlay,
        candidates_4a=of_4a,
        candidates_4b=of_4b,
    )


def bag_of_words(text: str) -> str:
    """A text whose words stand in the order of the alphabet, so that their order says nothing."""
    return " ".join(sorted(text.split()))


__all__ = [
    "CONNECTIVES",
    "FIRST",
    "NUM_CANDIDATES",
    "SECOND",
    "Questions",
    "ask",
    "bag_of_words",
    "hears_forward",
]
