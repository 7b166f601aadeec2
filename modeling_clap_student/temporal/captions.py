"""Captions of scenes of two sounds: what comes first, what comes second, or that both sound at once."""

from collections.abc import Sequence
from itertools import combinations

from ..data.texts import exact_key
from ..errors import InputError
from ..processing_clap_student import label_text
from .connectives import AFTER, BEFORE, CONNECTIVES, WHILE


# Of the sounds A and B of a scene: A then B, B then A, both at once. Always in this order.
RELATIONS = FORWARD, REVERSE, OVERLAY = "forward", "reverse", "overlay"

# Kinds of captions that name one sound, or two and no order.
SINGLE, DOUBLE, NAMED = "single", "double", "named"
PLACES = FIRST, SECOND, THIRD, LAST = "first", "second", "third", "last"

_ONE = (SINGLE, NAMED, *PLACES)


def scene_caption(class_a: str, class_b: str, relation: str, connective: str = BEFORE) -> str:
    """Says what is heard in a scene; `class_a` is the sound that is first in `forward`.

    For `forward`, "A before B", or "B after A" with a connective of that kind; for `reverse` the same with A and B
    swapped; for `overlay` "A while B". Of `overlay`, `while` takes the place of a connective that tells an order, so
    that the captions of all three relations can be asked for alike.
    """
    if relation not in RELATIONS:
        raise ValueError(f"unknown relation {relation!r}: known are {', '.join(RELATIONS)}")
    if connective not in CONNECTIVES:
        raise InputError(f"unknown connective {connective!r}: known are {', '.join(CONNECTIVES)}")
    known = CONNECTIVES[connective]
    if relation == OVERLAY:
        return (known if known.kind == WHILE else CONNECTIVES[WHILE]).join(class_a, class_b)
    if known.kind == WHILE:
        raise InputError(f"{connective!r} tells no order: it can't caption a scene that is {relation}")
    first, second = (class_a, class_b) if relation == FORWARD else (class_b, class_a)
    return known.join(first, second) if known.kind == BEFORE else known.join(second, first)


def key_of(kind: str, *classes: str) -> int:
    """63 bits, which fit an int64: equal for captions that say the same, whatever their words, as do `B after A` and
    `A before B`.

    Args:
        kind: of a connective; of captions that name one sound and no other `single`, or `named` where there may be
            others, or its place; `double` for two and no order.
        classes: as the caption has them: one, two, or three one after the other, with `before` or `after`. Case,
            underscores and slashes do not count; neither does the order of those of `while` and `double`.
    """
    counts = {1} if kind in _ONE else {2, 3} if kind in (BEFORE, AFTER) else {2} if kind in (WHILE, DOUBLE) else {}
    if len(classes) not in counts:
        raise ValueError(f"no caption has the kind {kind!r} and {len(classes)} classes")
    names = [label_text(name).lower() for name in classes]
    if kind == AFTER:
        kind, names = BEFORE, names[::-1]
    elif kind != BEFORE:
        names.sort()
    return int(exact_key("\n".join((kind, *names))), 16) >> 1


def facts_of(classes: Sequence[str], at_once: bool = False) -> list[int]:
    """The keys of all that is true of two or three different sounds, one after the other or two at once; the first is
    that of the whole."""
    named = [key_of(NAMED, name) for name in classes]
    if at_once:
        return [key_of(WHILE, *classes), *named]
    pairs = [key_of(BEFORE, *pair) for pair in combinations(classes, 2)] if len(classes) > 2 else []
    places = [key_of(place, name) for place, name in zip(PLACES, classes, strict=False)]
    return [key_of(BEFORE, *classes), *pairs, *places, key_of(LAST, classes[-1]), *named]
