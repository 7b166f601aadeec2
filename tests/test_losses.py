"""The objectives against references written out in float64, element by element."""

import math

import numpy as np
import pytest
import torch

from modeling_clap_student.losses import contrastive_loss, soft_contrastive_loss, soft_targets


def reference_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean over rows of -Σ y log softmax, one number at a time."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        log_sum = row.max() + math.log(sum(math.exp(x - row.max()) for x in row))
        total -= sum(y * (x - log_sum) for x, y in zip(row, target, strict=True))
    return total / len(logits)


def reference_kl(targets: np.ndarray, logits: np.ndarray) -> float:
    """Mean over rows of Σ y (log y - log softmax), 0 log 0 = 0."""
    entropy = -sum(y * math.log(y) for y in targets.ravel() if y > 0) / len(targets)
    return reference_cross_entropy(logits, targets) - entropy


def reference_soft_targets(cosines: np.ndarray, weight: float, kind: str, temperature: float) -> np.ndarray:
    rows = []
    for i, row in enumerate(cosines):
        soft = [math.exp(c / temperature) for c in row] if kind == "softmax" else [max(c, 0.0) for c in row]
        if kind != "none":
            soft = [s / math.fsum(soft) for s in soft]
        rows.append([(1 - weight) * (i == j) + weight * s for j, s in enumerate(soft)])
    return np.array(rows)


@pytest.fixture
def batch():
    """(logits, audio cosines, text cosines), float64; the cosines hold negative ones."""
    rng = np.random.default_rng(3)

    def unit(*shape):
        vectors = rng.normal(size=shape)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    student, caption, teacher_audio, teacher_text = unit(7, 5), unit(7, 5), unit(7, 5), unit(7, 5)
    assert (teacher_audio @ teacher_audio.T).min() < -0.2
    return 14.3 * student @ caption.T, teacher_audio @ teacher_audio.T, teacher_text @ teacher_text.T


def test_contrastive_loss_is_the_mean_of_both_directions(batch):
    """Guards against one direction being computed twice, as transformers' ClapModel does."""
    logits = batch[0]
    eye = np.eye(len(logits))
    expected = (reference_cross_entropy(logits, eye) + reference_cross_entropy(logits.T, eye)) / 2
    assert contrastive_loss(torch.tensor(logits)).item() == pytest.approx(expected, abs=1e-12)
    assert abs(reference_cross_entropy(logits, eye) - reference_cross_entropy(logits.T, eye)) > 1e-3


def test_positives_share_the_target(batch):
    """Guards against duplicate captions and clips being pushed apart as negatives."""
    logits = batch[0]
    positives = np.eye(7, dtype=bool)
    positives[0, 3] = positives[3, 0] = True  # one caption on two clips
    positives[1, 5] = True  # not symmetric: rows and columns must not be mixed up
    rows = positives / positives.sum(axis=1, keepdims=True)
    columns = positives.T / positives.T.sum(axis=1, keepdims=True)
    expected = (reference_cross_entropy(logits, rows) + reference_cross_entropy(logits.T, columns)) / 2
    assert contrastive_loss(torch.tensor(logits), torch.tensor(positives)).item() == pytest.approx(expected, abs=1e-12)


def test_positives_stop_the_push():
    """Guards against a gradient that still drives two equal captions apart."""
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    contrastive_loss(logits, torch.ones(2, 2, dtype=torch.bool)).backward()
    assert torch.equal(logits.grad, torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["l1", "softmax", "none"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_soft_targets_match_the_reference(batch, kind, weight):
    """Guards against a wrong mixture or normalisation, at both ends of the weight too."""
    temperature = 0.2 if kind == "softmax" else None
    got = soft_targets(torch.tensor(batch[1]), weight, kind, temperature)
    np.testing.assert_allclose(got.numpy(), reference_soft_targets(batch[1], weight, kind, 0.2), atol=1e-12)


@pytest.mark.parametrize(("kind", "temperature"), [("l1", None), ("softmax", 0.1)])
def test_rows_sum_to_one(batch, kind, temperature):
    """Guards against targets whose mass grows with the batch, as in the authors' code."""
    sums = soft_targets(torch.tensor(batch[1]), 0.3, kind, temperature).sum(dim=1)
    np.testing.assert_allclose(sums.numpy(), 1, atol=1e-12)


def test_raw_rows_exceed_one(batch):
    """Guards against `none` being normalised in silence: it is the authors' own form."""
    assert soft_targets(torch.tensor(batch[1]), 1.0, "none").sum(dim=1).min() > 1


@pytest.mark.parametrize("kind", ["l1", "softmax", "none"])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_soft_contrastive_loss_matches_the_reference(batch, kind, weight):
    """Guards against swapped audio and text targets, NaN from negative cosines, and a missing half."""
    logits, audio, text = batch
    temperature = 0.2 if kind == "softmax" else None
    audio_rows, text_rows = (reference_soft_targets(c, weight, kind, 0.2) for c in (audio, text))
    expected = (reference_kl(audio_rows, logits) + reference_kl(text_rows, logits.T)) / 2
    targets = [soft_targets(torch.tensor(c), weight, kind, temperature) for c in (audio, text)]
    assert soft_contrastive_loss(torch.tensor(logits), *targets).item() == pytest.approx(expected, abs=1e-11)
    assert abs(soft_contrastive_loss(torch.tensor(logits), *targets[::-1]).item() - expected) > 1e-3


def test_no_soft_labels_is_the_contrastive_loss(batch):
    """Guards against a soft-label path that changes anything at weight 0."""
    logits, audio, text = (torch.tensor(m) for m in batch)
    got = soft_contrastive_loss(logits, soft_targets(audio, 0.0), soft_targets(text, 0.0))
    assert got.item() == pytest.approx(contrastive_loss(logits).item(), abs=1e-14)


def test_no_soft_labels_with_positives_has_the_contrastive_gradient(batch):
    """Guards against positives that the soft-label path forgets. The values differ by the targets' entropy alone."""
    positives = torch.eye(7, dtype=torch.bool)
    positives[0, 3] = positives[3, 0] = True
    gradients = []
    for loss in (
        lambda c: contrastive_loss(c, positives),
        lambda c: soft_contrastive_loss(
            c,
            soft_targets(torch.tensor(batch[1]), 0.0, positives=positives),
            soft_targets(torch.tensor(batch[2]), 0.0, positives=positives.T),
        ),
    ):
        logits = torch.tensor(batch[0], requires_grad=True)
        loss(logits).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients, atol=1e-14, rtol=0)


@pytest.mark.parametrize("kind", ["l1", "none"])
def test_negative_cosines_stay_finite(kind):
    """Guards against y log y of a negative y: a NaN loss whose gradients look healthy."""
    cosines = torch.tensor([[1.0, -0.9, -0.1], [-0.9, 1.0, 0.0], [-0.1, 0.0, 1.0]])
    logits = torch.randn(3, 3, requires_grad=True)
    targets = soft_targets(cosines, 1.0, kind)
    loss = soft_contrastive_loss(logits, targets, targets)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and loss > -1e-6


def test_float32_is_close_to_float64(batch):
    """Guards against an unstable softmax at a large logit scale."""
    logits, audio, text = (torch.tensor(m) for m in batch)
    targets = [soft_targets(c, 0.3) for c in (audio, text)]
    exact = soft_contrastive_loss(100 * logits, *targets)
    rough = soft_contrastive_loss(100 * logits.float(), *(t.float() for t in targets))
    assert rough.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: contrastive_loss(torch.zeros(2, 3)), "square"),
        (lambda: contrastive_loss(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool)), "diagonal"),
        (lambda: contrastive_loss(torch.zeros(2, 2), torch.ones(3, 3, dtype=torch.bool)), "shape"),
        (lambda: soft_targets(torch.eye(2), 1.5), r"\[0, 1\]"),
        (lambda: soft_targets(torch.eye(2), 0.3, "l2"), "l1, softmax, none"),
        (lambda: soft_targets(torch.eye(2), 0.3, "softmax"), "temperature"),
        (lambda: soft_targets(torch.eye(2), 0.3, "l1", 0.1), "temperature"),
        (lambda: soft_contrastive_loss(torch.eye(2), -torch.eye(2), torch.eye(2)), "negative"),
    ],
)
def test_wrong_input_is_named(call, words):
    """Guards against shapes and options that would broadcast or be ignored."""
    with pytest.raises(ValueError, match=words):
        call()
