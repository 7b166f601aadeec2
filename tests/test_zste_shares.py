"""How right an answer is where scores tie: against every order that the ties leave open, tried out one by one."""

from itertools import permutations

import numpy as np
import pytest

from modeling_clap_student.evaluation.zste.questions import (
    choice,
    cosines,
    cosines_at,
    match_groups,
    recall_at_two,
    top_two,
)
from modeling_clap_student.evaluation.zste.tasks import found_within


def ranked(scores, tie_breaks) -> list[int]:
    """Candidates, best first."""
    return sorted(range(len(scores)), key=lambda place: (scores[place], tie_breaks[place]), reverse=True)


@pytest.fixture
def scores() -> np.ndarray:
    """(60, 5) with many ties."""
    return np.random.default_rng(0).integers(0, 3, size=(60, 5)).astype(np.float32)


def test_ties_count_as_the_odds_of_guessing(scores):
    """Guards against a first candidate that wins ties, and a tie of three that counts as one of two."""
    rng = np.random.default_rng(1)
    right = rng.integers(5, size=len(scores))
    pair = np.array([rng.permutation(5)[:2] for _ in scores])
    orders = list(permutations(range(5)))
    for row, of in enumerate(scores.tolist()):
        best = [ranked(of, order) for order in orders]
        hits = np.mean([order[0] == right[row] for order in best])
        both = np.mean([set(order[:2]) == set(pair[row]) for order in best])
        each = [np.mean([one in order[:2] for order in best]) for one in pair[row]]
        some = slice(row, row + 1)
        assert choice(scores[some], right[some])[0] == pytest.approx(hits)
        assert top_two(scores[some], pair[some])[0] == pytest.approx(both)
        assert recall_at_two(scores[some], pair[some])[0] == pytest.approx(each)
    assert np.array_equal(choice(scores, 2), choice(scores, np.full(60, 2)))


def test_groups_of_two_with_ties():
    """Guards against a product of odds that are not independent: all alike, it would be 1/16 in place of 1/6."""
    groups = np.array([*np.ndindex(2, 2, 2, 2), (0, 1, 2, 3), (3, 1, 0, 2)], dtype=np.float32).reshape(-1, 2, 2)
    text, audio, both = match_groups(groups)
    for row, ((a, b), (c, d)) in enumerate(groups.tolist()):
        found = []
        for order in permutations(range(4)):
            s00, s01, s10, s11 = ((value, rank) for value, rank in zip((a, b, c, d), order, strict=True))
            found.append((s00 > s01 and s11 > s10, s00 > s10 and s11 > s01))
        assert text[row] == pytest.approx(np.mean([f for f, _ in found]))
        assert audio[row] == pytest.approx(np.mean([g for _, g in found]))
        assert both[row] == pytest.approx(np.mean([f and g for f, g in found]))
    assert match_groups(np.zeros((1, 2, 2)))[2][0] == pytest.approx(1 / 6)
    assert match_groups(np.zeros((1, 3, 3)))[2][0] == pytest.approx(1 / 60)


def test_groups_of_three_with_ties_against_noise():
    """Guards against a count of orders that is right for two alone."""
    rng = np.random.default_rng(2)
    groups = np.stack([np.eye(3) * 2, np.eye(3) + rng.integers(0, 2, (3, 3)), [[1, 1, 0], [1, 1, 0], [0, 0, 1]]])
    _, _, both = match_groups(groups)
    for group, share in zip(groups, both, strict=True):
        noisy = group + 1e-3 * rng.random((40_000, 3, 3))
        right = np.ones(len(noisy), dtype=bool)
        for i in range(3):
            for j in range(3):
                right &= (i == j) | ((noisy[:, i, i] > noisy[:, i, j]) & (noisy[:, i, i] > noisy[:, j, i]))
        assert share == pytest.approx(right.mean(), abs=0.01)
    assert both[0] == 1 and both[2] == pytest.approx(1 / 6)


def test_retrieval_of_tied_clips():
    """Guards against a clip of another scene with the same caption that counts as wrong, and ties in row order."""
    texts = np.array([[1, 0], [0, 1]], dtype=np.float32)
    # The first text: three clips tie at the top, one of them its own; the second: its own comes behind two.
    audio = np.array([[1, 0], [1, 0], [1, 0], [0, 0.5], [0, 1], [0, 1]], dtype=np.float32)
    key = np.array([0, 7, 7, 1, 7, 7])
    found = found_within(texts, np.array([0, 1]), audio, key)
    assert found[1].tolist() == pytest.approx([1 / 3, 0]) and found[5].tolist() == pytest.approx([1, 1])
    several = found_within(texts, np.array([0, 1]), audio, np.array([0, 0, 7, 1, 7, 7]))
    assert several[1][0] == pytest.approx(2 / 3)


def test_equal_vectors_have_equal_cosines():
    """Guards against last bits that break ties where two captions are one, so that an order-blind model is right."""
    rng = np.random.default_rng(3)
    audio = rng.normal(size=(300, 64)).astype(np.float32)
    texts = np.repeat(rng.normal(size=(150, 64)).astype(np.float32), 2, axis=0)
    scores = cosines(audio, texts)
    assert np.array_equal(scores[:, ::2], scores[:, 1::2])
    numbers = rng.integers(300, size=(300, 7))
    assert np.allclose(cosines_at(audio, texts, numbers), np.take_along_axis(audio @ texts.T, numbers, 1), atol=1e-4)
