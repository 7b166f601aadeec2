"""Captions of scenes: who comes first in the words, and which captions say the same."""

import pytest

from modeling_clap_student.errors import InputError
from modeling_clap_student.temporal.captions import (
    PARAPHRASES,
    RELATIONS,
    TRAINING_CONNECTIVES,
    UNSEEN_CONNECTIVES,
    key_of,
    scene_caption,
)


@pytest.mark.parametrize(
    ("connective", "forward", "reverse", "overlay"),
    [
        ("before", "dog before rain", "rain before dog", "dog while rain"),
        ("then", "dog then rain", "rain then dog", "dog while rain"),
        ("followed by", "dog followed by rain", "rain followed by dog", "dog while rain"),
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


def test_connectives_of_tests_are_never_trained():
    """Guards against a test of unseen words that training has heard, alone or within others."""
    assert UNSEEN_CONNECTIVES == ("after", "then", "followed by")
    trained = {"before", "while", *TRAINING_CONNECTIVES}
    assert not {word for words in trained for word in words.split()} & {"after", "then", "followed"}
    assert trained | set(UNSEEN_CONNECTIVES) <= set(PARAPHRASES)
    assert {PARAPHRASES[words].kind for words in TRAINING_CONNECTIVES} == {"before", "after", "while"}
    assert all(connective.words == words for words, connective in PARAPHRASES.items())


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
