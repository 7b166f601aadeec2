"""Captions of scenes: who comes first in the words, and which captions say the same."""

import re

import pytest

from modeling_clap_student.errors import InputError
from modeling_clap_student.temporal.captions import RELATIONS, facts_of, key_of, scene_caption
from modeling_clap_student.temporal.connectives import (
    ACTIVE,
    AFTER,
    BEFORE,
    COMMON,
    CONNECTIVES,
    HELD_OUT_CONNECTIVES,
    PASSIVE,
    SEQUENCES,
    order_words,
)


@pytest.mark.parametrize(
    ("connective", "forward", "reverse", "overlay"),
    [
        ("before", "dog before rain", "rain before dog", "dog while rain"),
        ("then", "dog then rain", "rain then dog", "dog while rain"),
        ("followed by", "dog followed by rain", "rain followed by dog", "dog while rain"),
        ("first … then …", "first dog then rain", "first rain then dog", "dog while rain"),
        ("…, before that …", "rain, before that dog", "dog, before that rain", "dog while rain"),
        ("after …, …", "after dog, rain", "after rain, dog", "dog while rain"),
        (
            "ends with … and starts with …",
            "ends with rain and starts with dog",
            "ends with dog and starts with rain",
            "dog while rain",
        ),
        ("and then", "dog and then rain", "rain and then dog", "dog while rain"),
        ("prior to", "dog prior to rain", "rain prior to dog", "dog while rain"),
        ("ahead of", "dog ahead of rain", "rain ahead of dog", "dog while rain"),
        ("preceding", "dog preceding rain", "rain preceding dog", "dog while rain"),
        ("succeeded by", "dog succeeded by rain", "rain succeeded by dog", "dog while rain"),
        ("leading into", "dog leading into rain", "rain leading into dog", "dog while rain"),
        ("giving way to", "dog giving way to rain", "rain giving way to dog", "dog while rain"),
        ("and next", "dog and next rain", "rain and next dog", "dog while rain"),
        ("and later", "dog and later rain", "rain and later dog", "dog while rain"),
        ("after", "rain after dog", "dog after rain", "dog while rain"),
        ("preceded by", "rain preceded by dog", "dog preceded by rain", "dog while rain"),
        ("following", "rain following dog", "dog following rain", "dog while rain"),
        ("subsequent to", "rain subsequent to dog", "dog subsequent to rain", "dog while rain"),
        ("later than", "rain later than dog", "dog later than rain", "dog while rain"),
        ("in the wake of", "rain in the wake of dog", "dog in the wake of rain", "dog while rain"),
        ("while", None, None, "dog while rain"),
        ("and at the same time", None, None, "dog and at the same time rain"),
        ("during", None, None, "dog during rain"),
    ],
)
def test_captions_name_the_first_sound_as_first(connective, forward, reverse, overlay):
    """Guards against roles swapped by a connective: the dog is heard first in `forward`, whatever the words."""
    for relation, caption in zip(RELATIONS, (forward, reverse, overlay), strict=True):
        if caption is None:
            with pytest.raises(InputError, match="tells no order"):
                scene_caption("dog", "rain", relation, connective)
        else:
            assert scene_caption("dog", "rain", relation, connective) == caption


def test_the_default_captions():
    """Guards against other words, or another order of relations, than the method's."""
    assert RELATIONS == ("forward", "reverse", "overlay")
    captions = [scene_caption("dog", "vacuum cleaner", relation) for relation in RELATIONS]
    assert captions == ["dog before vacuum cleaner", "vacuum cleaner before dog", "dog while vacuum cleaner"]


@pytest.mark.parametrize("hold_out", [True, False])
def test_roles_and_voices_are_balanced(hold_out):
    """Guards against a model that can tell the first sound by its place in the words, or by the voice of the verb:
    exact counts of the words as often as they are said."""
    words = order_words(hold_out)
    kinds = [CONNECTIVES[word].kind for word in words]
    assert kinds.count(BEFORE) == kinds.count(AFTER) == len(words) / 2
    counts = {
        (kind, voice): sum(word in of[kind] for word in words)
        for kind in (BEFORE, AFTER)
        for voice, of in (("active", ACTIVE), ("passive", PASSIVE))
    }
    for kind in (BEFORE, AFTER):
        assert counts[kind, "active"] == counts[kind, "passive"] >= 6
    assert hold_out or len(set(counts.values())) == 1
    assert not {*ACTIVE[BEFORE], *ACTIVE[AFTER]} & {*PASSIVE[BEFORE], *PASSIVE[AFTER]}
    assert all(re.search(r"\b\w+(ed|ered) (immediately |in )?by\b", word) for of in PASSIVE.values() for word in of)
    assert not any(" by" in word for of in ACTIVE.values() for word in of)


def test_connectives_that_are_held_out_are_in_no_caption_of_training():
    """Guards against a test of unseen words that training has heard, alone, within others, or in another form."""
    held_out, all_words = set(order_words(True)), set(order_words(False))
    assert HELD_OUT_CONNECTIVES == ("after", "then", "followed by") and set(HELD_OUT_CONNECTIVES) <= all_words
    assert not any(re.search(r"after|then|follow|first|last|second|start|end with", word) for word in held_out)
    common = {word for of in COMMON.values() for word in of}
    assert not held_out & common and all_words == held_out | common | {AFTER, BEFORE}
    assert not {sequence for of in SEQUENCES.values() for sequence in of[True]} & common
    said = " ".join(word for of in SEQUENCES.values() for word in of[True])
    assert not re.search(r"after|then|follow|first|last", said)
    assert all(connective.words == words for words, connective in CONNECTIVES.items())


def test_every_connective_is_read_in_both_directions():
    """Guards against a connective that names a sound twice, none, or the same order for both."""
    for words, connective in CONNECTIVES.items():
        if connective.kind == "while" or words.count("…") == 3:
            continue
        forward, reverse = (scene_caption("dog", "rain", way, words) for way in ("forward", "reverse"))
        assert forward != reverse and "…" not in forward + reverse
        assert reverse == forward.replace("dog", "#").replace("rain", "dog").replace("#", "rain")
        named_first = min(("dog", "rain"), key=forward.index)
        assert (named_first == "dog") is (connective.kind == BEFORE), words


def test_what_is_true_of_a_scene():
    """Guards against a caption that is true and counts as a negative, and the other way round."""
    two, three = facts_of(["dog", "rain"]), facts_of(["dog", "rain", "hen"])
    assert set(two) == {
        key_of("before", "dog", "rain"), key_of("first", "dog"), key_of("second", "rain"), key_of("last", "rain"),
        key_of("named", "dog"), key_of("named", "rain"),
    }  # fmt: skip
    assert set(three) == {
        key_of("before", "dog", "rain", "hen"), key_of("before", "dog", "rain"), key_of("before", "rain", "hen"),
        key_of("after", "hen", "dog"), key_of("first", "dog"), key_of("second", "rain"), key_of("third", "hen"),
        key_of("last", "hen"), *(key_of("named", name) for name in ("dog", "rain", "hen")),
    }  # fmt: skip
    assert set(facts_of(["dog", "rain"], at_once=True)) == {
        key_of("while", "rain", "dog"), key_of("named", "dog"), key_of("named", "rain")
    }  # fmt: skip
    assert two[0] == key_of("before", "dog", "rain") and three[0] == key_of("after", "hen", "rain", "dog")


def test_keys_are_equal_for_captions_that_say_the_same_alone():
    """Guards against two captions of one meaning that count as negatives, and against orders that count as one."""
    same = [
        {key_of("before", "dog", "sea waves"), key_of("after", "sea waves", "dog")},
        {key_of("before", "sea waves", "dog"), key_of("after", "dog", "sea waves")},
        {key_of("while", "dog", "sea waves"), key_of("while", "sea waves", "dog")},
        {key_of("double", "dog", "sea waves"), key_of("double", "sea waves", "dog")},
        {key_of("single", "dog")},
        {key_of("single", "sea waves")},
        {key_of("before", "dog sea", "waves")},
        {key_of("while", "dog sea", "waves")},
    ]
    assert [len(keys) for keys in same] == [1] * len(same)
    assert len(set().union(*same)) == len(same)
    assert key_of("before", "Dog", "sea_waves") == key_of("before", "dog", "sea waves")


def test_keys_fit_an_int64():
    """Guards against keys that a tensor can't hold."""
    keys = [key_of("before", f"a {a}", f"b {b}") for a in range(40) for b in range(40)]
    assert len(set(keys)) == 1600 and all(type(key) is int and 0 <= key < 2**63 for key in keys)
    assert max(keys) > 2**61  # all bits are used


def test_what_is_no_caption_is_refused():
    """Guards against a typing error that gives some other caption or key."""
    with pytest.raises(InputError, match="unknown connective 'befor': known are before, then"):
        scene_caption("dog", "rain", "forward", "befor")
    with pytest.raises(ValueError, match="unknown relation 'w'"):
        scene_caption("dog", "rain", "w")
    for kind, classes in (("single", ("dog", "rain")), ("before", ("dog",)), ("then", ("dog", "rain")), ("while", ())):
        with pytest.raises(ValueError, match="no caption has the kind"):
            key_of(kind, *classes)
