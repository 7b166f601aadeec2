"""How sure a number is."""

from math import sqrt
from statistics import NormalDist


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, which stays within [0, 1] and holds its level for small n.

    Args:
        correct: successes.
        n: trials, at least 1.
        confidence: of the interval.

    Returns:
        its two ends.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"need 0 <= correct <= n and n >= 1, got {correct} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = correct / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, center - half), min(1.0, center + half)


__all__ = ["wilson_interval"]
