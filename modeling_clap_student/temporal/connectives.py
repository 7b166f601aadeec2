"""The words by which a caption says what is heard first: those of training, and those of tests alone.

A connective stands between two sounds, or holds a `…` for each. In either direction there are as many, as many of them
active verbs ("precedes") and as many passive ones ("preceded by"): neither a word's place nor its voice gives away
which sound comes first. `before` and `while` are those of TeminAL (Sinha et al., arXiv 2408.09269), as its public code
uses them.
"""

from typing import NamedTuple


BEFORE, AFTER, WHILE = "before", "after", "while"
SOUND = "…"  # stands for one


class Connective(NamedTuple):
    words: str
    kind: str  # `before` where the sound named first is heard first, `after` where it is second, `while`: both at once

    def join(self, *sounds: str) -> str:
        """The caption of two sounds (or as many as there are `…`), in the order in which they are named."""
        words = self.words if SOUND in self.words else f"{SOUND} {self.words} {SOUND}"
        pieces = words.split(SOUND)
        named = [piece + sound for piece, sound in zip(pieces, sounds, strict=False)]
        return "".join([*named, *pieces[len(sounds) :]])


# Of verbs, (active, passive); the first column of words is of kind `before`, the second of kind `after`.
_ACTIVE = (
    ("precedes", "succeeds"), ("heralds", "trails"), ("introduces", "chases"),
    ("announces", "pursues"), ("ushers in", "replaces"), ("prefaces", "supersedes"),
)  # fmt: skip
_PASSIVE = (
    ("succeeded by", "preceded by"), ("trailed by", "heralded by"), ("chased by", "introduced by"),
    ("pursued by", "announced by"), ("replaced by", "ushered in by"), ("superseded by", "prefaced by"),
)  # fmt: skip

# Many of either kind: a model that reads few of them learns these words, and takes any other for one or the other kind
# by chance. None shares its stem with a word that `--hold_out_connectives` holds out.
_RARE = (
    ("prior to", "subsequent to"), ("ahead of", "behind"), ("earlier than", "later than"),
    ("sooner than", "right behind"), ("in advance of", "in the wake of"), ("in front of", "on the heels of"),
    ("until", "since"), ("till", "ever since"), ("until there is", "once there was"), ("right until", "past"),
    ("leading into", "coming out of"), ("leading up to", "in response to"), ("giving way to", "upon"),
    ("ending in", "at the end of"), ("turning into", "at the close of"), ("changing to", "at the finish of"),
    ("and next", "as soon as there was"), ("and later", "not before"), ("and soon", "not until there was"),
    ("and eventually", "only once there was"), ("and subsequently", "shortly past"), ("and in turn", "once past"),
)  # fmt: skip

# What people say; held out, all of it, with `--hold_out_connectives`.
_COMMON = (
    ("then", "after"), ("and then", "following"), ("and after that", "…, before that …"),
    ("…, after that …", "…, and before that …"), ("first … then …", "last …, first …"),
    ("first … and then …", "ends with … and starts with …"), ("starts with … and ends with …", "… last, … first"),
    ("begins with … and ends with …", "ends with … and begins with …"), ("… first, … second", "… second, … first"),
    ("… at the beginning, … at the end", "… at the end, … at the beginning"), ("after …, …", "before …, …"),
)  # fmt: skip
_COMMON_ACTIVE = (("comes before", "comes after"), ("goes before", "follows"), ("happens before", "happens after"))
_COMMON_PASSIVE = (
    ("followed by", "which is preceded by"), ("is followed by", "is preceded by"),
    ("…, followed by …", "…, preceded by …"),
)  # fmt: skip

AT_ONCE = ("and at the same time",)
_OTHERS = {BEFORE: ("preceding",), AFTER: ("succeeding",)}  # known, and in no training


def _column(number: int, *tables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(pair[number] for table in tables for pair in table)


ACTIVE, PASSIVE = (
    {BEFORE: _column(0, *tables), AFTER: _column(1, *tables)}
    for tables in ((_COMMON_ACTIVE, _ACTIVE), (_COMMON_PASSIVE, _PASSIVE))
)
COMMON, RARE = (
    {BEFORE: _column(0, *tables), AFTER: _column(1, *tables)}
    for tables in ((_COMMON, _COMMON_ACTIVE, _COMMON_PASSIVE), (_RARE, _ACTIVE, _PASSIVE))
)

# Of those that evaluation asks with, what `--hold_out_connectives` keeps from training, with all that is common.
HELD_OUT_CONNECTIVES = (AFTER, "then", "followed by")

# Of three sounds, by kind: (the words of training, those of training without the common words).
SEQUENCES = {
    BEFORE: (
        ("… before … before …", "…, then …, then …", "first …, then …, last …", "… followed by … followed by …"),
        ("… before … before …",),
    ),
    AFTER: (
        ("… after … after …", "…, before that …, before that …", "last …, before that …, first …"),
        ("… preceded by … preceded by …",),
    ),
}

# The connectives that are known, by their words.
CONNECTIVES: dict[str, Connective] = {
    words: Connective(words, kind)
    for kind in (BEFORE, AFTER)
    for words in (kind, *COMMON[kind], *RARE[kind], *_OTHERS[kind], *SEQUENCES[kind][0], *SEQUENCES[kind][1])
} | {words: Connective(words, WHILE) for words in (WHILE, *AT_ONCE, "during")}

# How often "before" and "after" themselves, and the other common words, stand among the words of training.
_PLAIN, _COMMON_TIMES = 35, 4


def order_words(hold_out: bool) -> tuple[str, ...]:
    """The words for an order, as often as captions that paraphrase say them: as many name first what is heard first as
    second, and as many are active as passive. `hold_out`: without the common ones."""
    if hold_out:
        return (*RARE[BEFORE], *RARE[AFTER])
    return tuple(
        word for kind in (BEFORE, AFTER) for word in (*[kind] * _PLAIN, *_COMMON_TIMES * COMMON[kind], *RARE[kind])
    )
