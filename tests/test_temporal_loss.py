"""The temporal contrastive loss: published values, loops in float64, closed forms.

Guards against weights on the wrong blocks, an epsilon in place of a true zero, the mean taken over the wrong weights,
and equal captions that push each other away.
"""

import math

import pytest
import torch

from modeling_clap_student.losses import contrastive_loss, temporal_contrastive_loss


def by_loops(logits, num_blocks, same, cross, block_weights, keys):
    """The definition, term by term: the means over the rows and over the columns. Alphas are (time, overlap)."""
    n = len(logits)
    size = n // num_blocks
    totals = []
    for matrix in (logits, logits.T):
        total = mass = 0.0
        for i in range(n):
            denominator = 0.0
            for j in range(n):
                if j != i and keys[j] == keys[i]:
                    continue
                kind = 1 if 2 in (i // size, j // size) else 0
                weight = 1.0 if i // size == j // size else (same if i % size == j % size else cross)[kind]
                denominator += weight * math.exp(matrix[i, j])
            weight_of_row = block_weights[i // size]
            total += weight_of_row * (math.log(denominator) - matrix[i, i].item())
            mass += weight_of_row
        totals.append(total / mass)
    return tuple(totals)


def specified():
    """S_ij = cos(0.7 i + 1.3 j) + 2 [i = j]: three blocks of two."""
    i = torch.arange(6, dtype=torch.float64)
    return torch.cos(0.7 * i[:, None] + 1.3 * i) + 2 * torch.eye(6, dtype=torch.float64)


@pytest.mark.parametrize(
    ("same", "cross", "rows", "columns", "expected"),
    [
        (1, 1, 0.694899, 0.672534, 0.683717),
        (0, 1, 0.472512, 0.470853, 0.471683),
        (1, 0, 0.476170, 0.433341, 0.454755),
        (0, 0, 0.174388, 0.139252, 0.156820),
        (0.5, 2, 0.784105, 0.777190, 0.780647),
    ],
)
def test_specified_values(same, cross, rows, columns, expected):
    loss = temporal_contrastive_loss(specified(), 3, same, cross)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    # The loops that the other tests trust have the specified halves.
    halves = by_loops(specified(), 3, (same, same), (cross, cross), [1.0] * 3, range(6))
    assert halves == pytest.approx((rows, columns), abs=1e-6)


@pytest.mark.parametrize(("same", "cross", "terms"), [(1, 1, 6), (1, 0, 4), (0, 0, 2)])
def test_without_information_the_loss_counts_candidates(same, cross, terms):
    assert temporal_contrastive_loss(torch.zeros(6, 6), 3, same, cross).item() == pytest.approx(math.log(terms))


def test_floor_of_an_order_blind_tower():
    """Forward and reverse indistinguishable, all else perfect: two of three blocks stay at log 2."""
    size, high = 5, 50.0
    item = torch.arange(size).repeat(3)
    group = torch.tensor([0, 0, 1]).repeat_interleave(size)
    logits = high * ((item[:, None] == item) & (group[:, None] == group)).double()
    assert temporal_contrastive_loss(logits, 3).item() == pytest.approx(2 / 3 * math.log(2), abs=1e-9)


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_equals_loops(num_blocks, size):
    generator = torch.Generator().manual_seed(num_blocks * 10 + size)
    n = num_blocks * size
    logits = torch.randn(n, n, generator=generator, dtype=torch.float64)
    keys = torch.randint(0, max(2, n // 2), (n,), generator=generator)
    weights = [1.0, 0.5, 2.0][:num_blocks]
    same, cross = (0.3, 0.0), (2.0, 0.7)
    loss = temporal_contrastive_loss(logits, num_blocks, same, cross, weights, keys)
    rows, columns = by_loops(logits, num_blocks, same, cross, weights, keys.tolist())
    assert loss.item() == pytest.approx((rows + columns) / 2, abs=1e-12)


def test_one_block_is_the_contrastive_loss():
    logits = torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert temporal_contrastive_loss(logits, 1).item() == pytest.approx(contrastive_loss(logits).item(), abs=1e-12)


@pytest.mark.parametrize("alphas", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_gradients_stay_finite_where_negatives_are_left_out(alphas):
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
    temporal_contrastive_loss(logits, 3, *alphas, keys=torch.tensor([1, 1, 2, 3, 4, 4])).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0  # the same caption


def test_low_precision_is_computed_as_given():
    logits = specified().float()
    assert temporal_contrastive_loss(logits, 3).item() == pytest.approx(0.683717, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((4, 6), {"num_blocks": 2}, "square"),
        ((5, 5), {"num_blocks": 2}, "equal blocks"),
        ((8, 8), {"num_blocks": 4}, "equal blocks"),
        ((4, 4), {"num_blocks": 2, "alpha_same": -1.0}, "alpha_same"),
        ((4, 4), {"num_blocks": 2, "alpha_cross": (1.0, 1.0, 1.0)}, "alpha_cross"),
        ((4, 4), {"num_blocks": 2, "block_weights": [1.0]}, "block_weights"),
        ((4, 4), {"num_blocks": 2, "block_weights": [0.0, 0.0]}, "block_weights"),
        ((4, 4), {"num_blocks": 2, "keys": torch.arange(3)}, "keys"),
    ],
)
def test_wrong_input_is_refused(shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        temporal_contrastive_loss(torch.zeros(shape), **arguments)


def test_captions_that_are_true_are_no_negatives():
    """Guards against "the first sound is A" that pushes "A before B" away, or a false caption that is left out: the
    definition in float64, with several facts a scene."""
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(9, 9, generator=generator, dtype=torch.float64)
    keys = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 1])
    facts = torch.tensor(
        [[1, 5, 5], [2, 2, 2], [3, 7, 1], [4, 1, 8], [5, 1, 1], [6, 6, 6], [7, 3, 3], [8, 2, 2], [1, 9, 9]]
    )
    total = 0.0
    for i in range(9):
        row = sum(math.exp(logits[i, j]) for j in range(9) if j == i or keys[j] not in facts[i])
        column = sum(math.exp(logits[j, i]) for j in range(9) if j == i or keys[i] not in facts[j])
        total += math.log(row) + math.log(column) - 2 * logits[i, i].item()
    loss = temporal_contrastive_loss(logits, 3, keys=keys, facts=facts)
    assert loss.item() == pytest.approx(total / 18, abs=1e-12)
    own = temporal_contrastive_loss(logits, 3, keys=keys, facts=keys[:, None])
    assert own.item() == temporal_contrastive_loss(logits, 3, keys=keys).item() != loss.item()
    with pytest.raises(ValueError, match="facts"):
        temporal_contrastive_loss(logits, 3, keys=keys, facts=facts[:8])
