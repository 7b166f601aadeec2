"""Captions of two-sound scenes: what comes first, what comes second, or that both sound at once.

The words `before` and `while` are those of TeminAL (Sinha et al., arXiv 2408.09269), as its public code uses them. The
other ways to say it are for training with paraphrases, or for tests alone: which is which is fixed here.
"""

from typing import NamedTuple

from ..data.texts import exact_key
from ..errors import InputError
from ..processing_clap_student import label_text


BEFORE, AFTER, WHILE = "before", "after", "while"

# Of the sounds A and B of a scene: A then B, B then A, both at once. Always in this order.
RELATIONS = FORWARD, REVERSE, OVERLAY = "forward", "reverse", "overlay"


class Connective(NamedTuple):
    """The words between two class names, `{x} {words} {y}`."""

    words: str
    kind: str  # `before` where x is heard first, `after` where y is, `while` where both are heard at once


# Never in training, so that a test with them tells whether the meaning was learnt or the word.
UNSEEN_CONNECTIVES = ("after", "then", "followed by")

# For training, where it paraphrases. Many of either kind: a model that reads few of them learns these words, and takes
# any other for one or the other kind by chance. None shares its stem with an unseen word.
TRAINING = {
    BEFORE: (
        "prior to", "ahead of", "preceding", "earlier than", "sooner than", "in advance of", "in front of", "until",
        "till", "right until", "until there is", "leading into", "leading up to", "giving way to", "ending in",
        "turning into", "changing to", "succeeded by", "trailed by", "chased by", "pursued by", "replaced by",
        "superseded by", "and next", "and later", "and soon", "and eventually", "and subsequently", "and finally",
        "and in turn",
    ),
    AFTER: (
        "preceded by", "subsequent to", "later than", "succeeding", "in the wake of", "on the heels of", "behind",
        "right behind", "since", "ever since", "upon", "directly upon", "past", "immediately past", "shortly past",
        "once past", "once there was", "only once there was",
        "as soon as there was", "not before", "not until there was", "coming out of", "at the end of",
        "at the close of", "at the finish of", "in response to",
    ),
    WHILE: ("and at the same time",),
}  # fmt: skip
TRAINING_CONNECTIVES = tuple(words for ways in TRAINING.values() for words in ways)

_OTHERS = {BEFORE: (BEFORE, "then", "followed by", "and then"), AFTER: (AFTER, "following"), WHILE: (WHILE, "during")}

# The connectives that are known, by their words.
PARAPHRASES: dict[str, Connective] = {
    words: Connective(words, kind) for kind in _OTHERS for words in (*_OTHERS[kind], *TRAINING[kind])
}

SINGLE, DOUBLE = "single", "double"
_CLASSES = {SINGLE: 1, DOUBLE: 2, BEFORE: 2, AFTER: 2, WHILE: 2}


def scene_caption(class_a: str, class_b: str, relation: str, connective: str = BEFORE) -> str:
    """Says what is heard in a scene; `class_a` is the sound that is first in `forward`.

    For `forward`, "A before B", or "B after A" with a connective of that kind; for `reverse` the same with A and B
    swapped; for `overlay` "A while B". Of `overlay`, `while` takes the place of a connective that tells an order, so
    that the captions of all three relations can be asked for alike.
    """
    if relation not in RELATIONS:
        raise ValueError(f"unknown relation {relation!r}: known are {', '.join(RELATIONS)}")
    if connective not in PARAPHRASES:
        raise InputError(f"unknown connective {connective!r}: known are {', '.join(PARAPHRASES)}")
    kind = PARAPHRASES[connective].kind
    if relation == OVERLAY:
        return f"{class_a} {connective if kind == WHILE else WHILE} {class_b}"
    if kind == WHILE:
        raise InputError(f"{connective!r} tells no order: it can't caption a scene that is {relation}")
    first, second = (class_a, class_b) if relation == FORWARD else (class_b, class_a)
    return f"{first} {connective} {second}" if kind == BEFORE else f"{second} {connective} {first}"


def key_of(kind: str, *classes: str) -> int:
    """63 bits, which fit an int64: equal for captions that say the same, whatever their words, as do `B after A` and
    `A before B`.

    Args:
        kind: of a connective; `single` or `double` for captions that name one or two sounds and no order.
        classes: as the caption has them, one for `single`, else two. Case, underscores and slashes do not count;
            neither does the order of those of `while` and `double`.
    """
    if len(classes) != _CLASSES.get(kind):
        raise ValueError(f"no caption has the kind {kind!r} and {len(classes)} classes")
    names = [label_text(name).lower() for name in classes]
    if kind == AFTER:
        kind, names = BEFORE, names[::-1]
    elif kind != BEFORE:
        names.sort()
    return int(exact_key("\n".join((kind, *names))), 16) >> 1
