"""Classes from a few clips, and yes or no: against brute force, and against what the plain way gets wrong."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeling_clap_student import InputError
from modeling_clap_student.classes_clap_student import NONE, answer_each, best_thresholds, class_vectors, highest_share


DIM, CLASSES = 64, 12


@pytest.fixture
def space():
    """Clips and texts as CLAP has them: each kind around a place of its own, and a text near its clips by little."""
    torch.manual_seed(0)
    audio_place, text_place = 2 * F.normalize(torch.randn(2, DIM), dim=1)
    meaning = torch.randn(CLASSES, DIM) / DIM**0.5
    texts = F.normalize(text_place + meaning + 0.9 * torch.randn(CLASSES, DIM) / DIM**0.5, dim=1)

    def clips(number, count):
        return F.normalize(audio_place + meaning[number] + 0.8 * torch.randn(count, DIM) / DIM**0.5, dim=1)

    return texts, clips


def accuracy(vectors, clips, classes, count=200):
    return np.mean([((clips(n, count) @ vectors.T).argmax(dim=1) == n).float().mean().item() for n in classes])


def test_a_few_clips_are_better_than_a_name(space):
    """Guards against vectors that forget the clips."""
    texts, clips = space
    examples = {str(number): clips(number, 8) for number in range(CLASSES)}
    vectors = torch.stack(list(class_vectors(examples, texts).values()))
    assert accuracy(vectors, clips, range(CLASSES)) > accuracy(texts, clips, range(CLASSES)) + 0.1


def test_classes_of_clips_do_not_swallow_those_of_names(space):
    """Guards against prototypes that win against every name, because clips lie nearer to clips than to texts."""
    texts, clips = space
    half = range(CLASSES // 2)
    examples = {str(number): clips(number, 8) for number in half}
    fitted = torch.stack(list(class_vectors(examples, texts[: CLASSES // 2]).values()))
    plain = torch.stack([F.normalize(embeds.mean(dim=0), dim=0) for embeds in examples.values()])
    names = range(CLASSES // 2, CLASSES)
    mixed = torch.cat([fitted, texts[CLASSES // 2 :]])
    assert accuracy(torch.cat([plain, texts[CLASSES // 2 :]]), clips, names) < 0.05
    assert accuracy(mixed, clips, names) > 0.7 * accuracy(texts, clips, names)
    assert accuracy(mixed, clips, range(CLASSES)) > accuracy(texts, clips, range(CLASSES))


def test_one_clip_a_class(space):
    """Guards against a mean of no clip, which is NaN."""
    texts, clips = space
    vectors = class_vectors({str(n): clips(n, 1) for n in range(CLASSES)}, texts)
    assert all(vector.isfinite().all() for vector in vectors.values())


def test_the_share_of_a_pool_that_says_yes():
    cosines = torch.randn(1000, 3) * torch.tensor([1.0, 0.1, 3.0]) + torch.tensor([0.0, 0.5, -1.0])
    thresholds = highest_share(cosines, 0.02)
    assert ((cosines >= thresholds).float().mean(dim=0) - 0.02).abs().max() <= 0.001
    with pytest.raises(InputError, match=r"a share of 0.02 of 10 clips is less than one clip"):
        highest_share(cosines[:10], 0.02)
    for share in (0, 1, -1, float("nan")):
        with pytest.raises(InputError, match="share is above 0 and below 1"):
            highest_share(cosines, share)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_that_of_brute_force(seed):
    """Guards against a cut between equal cosines, clips that were not judged, and one clip too few or too many."""
    rng = np.random.default_rng(seed)
    cosines = torch.tensor(rng.choice(np.linspace(-1, 1, 21), size=(40, 2)), dtype=torch.float32)
    answers = [{"a": bool(rng.random() < (c + 1) / 2)} if rng.random() < 0.8 else {} for c in cosines[:, 0]]
    for answer in answers[::2]:
        answer["b"] = bool(rng.random() < 0.4)
    thresholds = best_thresholds(cosines, answers, ["a", "b"])

    def f1(label, column, cut):
        judged = [(bool(c >= cut), a[label]) for c, a in zip(cosines[:, column], answers, strict=True) if label in a]
        return 2 * sum(y and f for y, f in judged) / (sum(y for y, _ in judged) + sum(f for _, f in judged))

    for column, label in enumerate("ab"):
        best = max(f1(label, column, cut) for cut in cosines[:, column].unique())
        assert f1(label, column, thresholds[column]) == pytest.approx(best)


def test_answers_that_do_not_do():
    cosines = torch.zeros(2, 1)
    for answers, words in (
        ([{"a": True}], "1 answers for 2 clips"),
        ([{"a": True}, {"b": True}], "answers name 'b', which is not among the labels"),
        ([{"a": False}, {}], "no clip was judged to be 'a'"),
    ):
        with pytest.raises(InputError, match=words):
            best_thresholds(cosines, answers, ["a"])


def test_yes_and_no_and_none():
    """A clip at the threshold is one half; what fits no label is `none of these`."""
    cosines = torch.tensor([[0.5, 0.1], [0.3, 0.2], [0.0, 0.0], [0.6, 0.6]])
    rows = answer_each(cosines, torch.tensor([0.3, 0.4]), 10.0, ["dog", "rain"])
    expected = [
        [1 / (1 + np.exp(-10 * (c - t))) for c, t in zip(row, (0.3, 0.4), strict=True)] for row in cosines.tolist()
    ]
    for row, (dog, rain) in zip(rows, expected, strict=True):
        assert list(row) == ["dog", "rain", NONE]
        assert list(row.values()) == pytest.approx([dog, rain, 1 - max(dog, rain)], abs=1e-6)
    assert [row[NONE] < 0.5 for row in rows] == [True, False, False, True]
    assert all(0 <= value <= 1 for value in itertools.chain.from_iterable(row.values() for row in rows))
