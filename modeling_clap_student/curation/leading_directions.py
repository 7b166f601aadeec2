"""Upper bounds of inner products from a few numbers a vector: most pairs need no more to be excluded.

Embeddings spread over few directions: of 1024, some dozens carry nearly all. With B the orthonormal leading directions
(dim, count) of a sample, x = Bᵀv a vector's coordinates along them and e = v - Bx its remainder, by Cauchy and Schwarz

    q·k = x·x' + e·e' <= x·x' + |e| |e'| = [x, |e|]·[x', |e'|].

So the remainder's length, as one more coordinate, makes the product of short vectors an upper bound. A pair whose
bound lies below a floor does.

**Rounding.** Coordinates are computed in float64, with directions that are orthonormal to 2⁻⁴⁰, and rounded to
float32 once: they err by at most 2⁻²³ |v|. That changes x·x' and the products of coordinates and remainders by less
than 2⁻²¹ |q| |k| in all, and |e|² by less than 2⁻²¹ |v|². Adding 2⁻²⁰ |v|² to the square of the remainder covers both,
since √(a + b) √(c + d) >= √(ac) + √(bd).
"""

import numpy as np
import torch


FEWEST_PAIRS = 2**28  # with fewer, looking for directions costs more than it saves
COUNTS = (31, 63, 127, 255)  # of directions; with the remainder's, numbers of coordinates that multiply well
MOST = 0.8  # part of the plain product's cost up to which bounds are used
_SAMPLE = 1024  # vectors of each set

# What a single inner product costs, and a float64 multiplication, in elements and multiplications of the plain
# product of 1024 dimensions. Measured on one core of an AMD EPYC (AVX2; AVX-512 bfloat16).
_SINGLE = {torch.float32: 25, torch.bfloat16: 100}
_DOUBLE = {torch.float32: 2, torch.bfloat16: 8}


class LeadingDirections:
    """Makes the short vectors. `directions`: (dim, count) float64, orthonormal columns."""

    def __init__(self, directions: torch.Tensor):
        self.directions = directions

    def bounding(self, vectors: torch.Tensor) -> torch.Tensor:
        """(rows, dim) float32 -> (rows, count + 1) float32, whose inner products are at least the vectors' own."""
        rows, count = len(vectors), self.directions.shape[1]
        short = torch.empty(rows, count + 1)
        for part, target in zip(vectors.split(_SAMPLE), short.split(_SAMPLE), strict=True):
            exact = part.double()
            target[:, :count] = exact @ self.directions
            square = exact.square().sum(1)
            remainder = (square - target[:, :count].double().square().sum(1)).clamp(min=0)
            target[:, count] = (remainder + square * 2.0**-20).sqrt() * (1 + 2.0**-22)
        return short


def leading_directions(queries, keys: torch.Tensor, floor: float, dtype: torch.dtype) -> LeadingDirections | None:
    """Directions that make the search for pairs above a floor faster; None if none do, or there are few pairs.

    The number of directions is the one with the lowest cost on a sample that they were not made from. A flat spectrum
    has none.

    Args:
        queries: (rows, dim), anything that can be sliced into arrays or tensors of float32.
        keys: (rows, dim) float32.
        dtype: of the product.
    """
    pairs, dim = len(queries) * len(keys), keys.shape[1]
    counts = [count for count in COUNTS if count < dim // 2]
    if pairs < FEWEST_PAIRS or not counts or not np.isfinite(floor):
        return None
    made_from, checked_on = zip(*(_two_samples(side) for side in (queries, keys)), strict=True)
    if made_from[0].shape[1] != dim or not all(bool(sample.isfinite().all()) for sample in made_from):
        return None  # the scan says what is wrong
    directions = _principal(torch.cat(made_from), counts[-1])
    best, lowest = None, MOST
    for count in counts:
        candidate = LeadingDirections(directions[:, :count].contiguous())
        bounds = candidate.bounding(checked_on[0]) @ candidate.bounding(checked_on[1]).T
        left = float((bounds >= floor).float().mean())
        setup = _DOUBLE[dtype] * count * (len(queries) + len(keys)) / pairs
        cost = (count + 1) / dim + setup + left * _SINGLE[dtype]
        if cost < lowest:
            best, lowest = candidate, cost
    return best


def _two_samples(vectors) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors evenly spaced, and those halfway between them."""
    step = max(2, len(vectors) // _SAMPLE)
    return tuple(torch.as_tensor(vectors[first::step], dtype=torch.float32).cpu() for first in (0, step // 2))


def _principal(sample: torch.Tensor, count: int) -> torch.Tensor:
    """(dim, count) float64: orthonormal, nearly the directions with the largest sums of squares, the largest first.

    Source: Halko, Martinsson & Tropp 2011, Finding Structure with Randomness, arXiv 0909.4061, algorithm 4.4.
    """
    basis = torch.randn(sample.shape[1], count, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        basis = torch.linalg.qr(sample.T @ (sample @ basis)).Q
    basis = torch.linalg.qr(basis.double()).Q
    along = sample @ basis.float()
    _, turn = torch.linalg.eigh((along.T @ along).double())
    return basis @ turn.flip(1)
