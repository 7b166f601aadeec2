"""Finds, from verdicts on some pairs, the lowest cut with a wanted share of fitting pairs, at a wanted confidence.

Among the pairs at or above a cut, the judged ones are those with the lowest lots: a uniform draw without replacement.
So the number that fits follows a hypergeometric law. It gives the exact chance of so many fits if fewer than the
wanted share of all pairs fit. Cuts are tested from the strictest on, and testing ends at the first that fails. Then
the chance that any cut passes wrongly is no more than for one test, and the loosest cut that passed can be taken. A
label with enough verdicts has its own cut; the others share one. Each has its part of the error, so the promise holds
for each of them and for all pairs together. A draw from all pairs is also a draw from a label's pairs.

Pairs that a listener can't judge are left out: the promise is about the others. Verdicts count up to the first pair,
in the order of the lots, that nobody has judged. Otherwise, choosing which pairs to judge would change the result.

Sources: Clopper and Pearson 1934, Biometrika 26; Maurer, Hothorn and Lehmacher 1995, Biometrie in der
chemisch-pharmazeutischen Industrie 6, for tests in a fixed sequence; Hoeffding 1956, Annals of Mathematical Statistics
27(4): where the number of pairs is not known, the binomial law is the safe one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from ..errors import InputError
from .advisor import rising_means
from .verdicts import CANT_TELL, DOES_NOT, FITS, Cut, Judged, Verdicts


ENOUGH = 40  # verdicts that a label needs for its own cut
CONFIDENCE = 0.95
_MOST = 5000  # the most verdicts that are asked for on one cut


@dataclass(frozen=True)
class Sample:
    """The verdicts on a uniform draw: `told` of them, `fits` that fit, out of `pairs` if that number is known."""

    fits: int
    told: int
    pairs: int | None = None

    def chance(self, precision: float) -> float:
        """The highest chance of so many fits if less than this share of all pairs fits."""
        return chance_of(self.fits, self.told, precision, self.pairs)

    def lower_bound(self, confidence: float) -> float:
        """The highest share that holds with this confidence."""
        low, high = 0.0, 1.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if self.chance(middle) <= 1 - confidence else (low, middle)
        return low


def chance_of(fits: int, told: int, precision: float, pairs: int | None = None) -> float:
    """P(X >= fits), X hypergeometric: `told` drawn from `pairs`, if just too few fit. Binomial without `pairs`."""
    if fits == 0:
        return 1.0
    if pairs is None:
        counts = range(fits, told + 1)
        logs = [_choose(told, x) + _power(precision, x) + _power(1 - precision, told - x) for x in counts]
    else:
        fitting = math.ceil(precision * pairs - 1e-9) - 1
        counts = range(max(fits, told - pairs + fitting), min(told, fitting) + 1)
        whole = _choose(pairs, told)
        logs = [_choose(fitting, x) + _choose(pairs - fitting, told - x) - whole for x in counts]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _power(base: float, exponent: int) -> float:
    return 0.0 if exponent == 0 else exponent * math.log(base) if base > 0 else -math.inf


def drawn(verdicts: Verdicts, cut: Cut, labels: Iterable[str] | None = None) -> Sample:
    """The verdicts on the draw from the pairs at or above a cut, or on those of some labels in it."""
    pairs = [pair for pair in verdicts.pairs if pair.similarity >= cut.cosine][: cut.sample]
    number = next((place for place, pair in enumerate(pairs) if not pair.verdict), len(pairs))
    pairs = pairs[:number]
    is_whole = labels is None and not any(pair.verdict == CANT_TELL for pair in pairs)
    said = [pair.verdict for pair in pairs if labels is None or pair.label in labels]
    fits = said.count(FITS)
    return Sample(fits, fits + said.count(DOES_NOT), cut.pairs if is_whole else None)


@dataclass(frozen=True)
class GroupCut:
    """The promise for some labels' pairs.

    Attributes:
        labels: None for all labels without their own cut.
        cut: the lowest cut at which the promise holds; None if it holds at none.
        sample: the verdicts on the draw from its pairs; without a cut, on the draw for the first cut tested.
        missing: about how many more verdicts the whole review needs for a cut; None if there is a cut, or if even the
            largest number would not be enough.
    """

    labels: tuple[str, ...] | None
    cut: Cut | None
    sample: Sample
    missing: int | None = None


@dataclass(frozen=True)
class Promise:
    """Cuts with at least this `precision` at this `confidence`."""

    precision: float
    confidence: float
    groups: tuple[GroupCut, ...]

    @property
    def level(self) -> float:
        """The confidence of each group's own promise."""
        return 1 - (1 - self.confidence) / len(self.groups)

    def cosine(self, label: str) -> float:
        """A label's pairs are kept at or above this cosine; infinite if nothing can be promised for the label."""
        group = next((group for group in self.groups if group.labels is not None and label in group.labels), None)
        group = group or next((group for group in self.groups if group.labels is None), None)
        return math.inf if group is None or group.cut is None else group.cut.cosine

    @property
    def lowest(self) -> float:
        """The lowest of the cuts; infinite where nothing can be promised."""
        return min((group.cut.cosine for group in self.groups if group.cut is not None), default=math.inf)


def decide(verdicts: Verdicts, precision: float, confidence: float = CONFIDENCE) -> Promise:
    """The lowest cuts that can be promised. The pairs of a group without a cut must be left out."""
    told = verdicts.counts
    if not told[FITS] + told[DOES_NOT]:
        raise InputError("the listeners could judge no pair, so no precision can be computed")
    loosest = verdicts.cuts[-1]
    labels = sorted({pair.label for pair in verdicts.pairs if pair.label})
    own = [label for label in labels if drawn(verdicts, loosest, [label]).told >= ENOUGH]
    rest = [label for label in labels if label not in own]
    groups = [((label,), [label]) for label in own]
    if rest or not own:
        groups.append((None, rest if own else None))
    level = (1 - confidence) / len(groups)
    return Promise(precision, confidence, tuple(_lowest(verdicts, *group, precision, level) for group in groups))


def _lowest(verdicts: Verdicts, name, labels, precision: float, level: float) -> GroupCut:
    """Tests the cuts in order. Skips those whose draw is too small to pass."""
    samples = [(cut, drawn(verdicts, cut, labels)) for cut in verdicts.cuts]
    able = [
        (cut, sample)
        for cut, sample in samples
        if chance_of(sample.told, sample.told, precision, sample.pairs) <= level
    ]
    passed = list(takewhile(lambda one: one[1].chance(precision) <= level, able))
    if passed:
        return GroupCut(name, *passed[-1])
    _, first = (able or samples)[0]
    return GroupCut(name, None, first, _missing(verdicts, first, [sample for _, sample in samples], precision, level))


def _missing(verdicts: Verdicts, first: Sample, samples: list[Sample], precision: float, level: float) -> int | None:
    """How many more verdicts in all would let the first cut pass, if as large a share fits as at the best cut."""
    rate = max((sample.fits / sample.told for sample in samples if sample.told), default=0.0)
    if rate <= precision:
        return None
    size = next((n for n in _sizes(first.told) if chance_of(int(rate * n), n, precision) <= level), None)
    judged = sum(bool(pair.verdict) for pair in verdicts.pairs)
    return None if size is None else max(1, math.ceil(judged * (size / max(first.told, 1) - 1)))


def _sizes(least: int) -> Iterable[int]:
    size = max(least, 1)
    while size < _MOST:
        yield size
        size = max(size + 1, int(size * 1.1))


def describe(group: GroupCut, promise: Promise) -> str:
    """One line: a group's cut and its draw, or what is missing for one."""
    told = f"{group.sample.fits} of {group.sample.told} judged pairs fit"
    names = "" if group.labels is None else f"{', '.join(group.labels)}: "
    if group.cut is not None:
        return (
            f"{names}threshold {group.cut.cosine:.4f}: at least {promise.precision:.1%} of the pairs fit, with "
            f"{promise.confidence:.1%} confidence ({told} of a uniform draw)"
        )
    return f"{names}left out, no threshold holds {promise.precision:.1%}. {missing_words(group)}"


def missing_words(group: GroupCut) -> str:
    """What the verdicts say, and how many more may be enough."""
    said = f"Of the most similar pairs {group.sample.fits} of {group.sample.told} fit"
    if group.missing is None:
        return f"{said}, and more verdicts would hardly help: take a lower --precision, or a set of fewer pairs"
    return (
        f"{said}; about {group.missing} more verdicts may do (clap-curate review SET --verdicts FILE --num_verdicts N)"
    )


def fitted_precisions(verdicts: Verdicts) -> np.ndarray:
    """(cuts,) the share that fits at or above each cut, forced not to rise as the cut falls; from weighted
    verdicts."""
    told = [pair for pair in verdicts.pairs if pair.verdict in (FITS, DOES_NOT)]
    cosines = np.array([cut.cosine for cut in verdicts.cuts])
    places = np.array([int((cosines > pair.similarity).sum()) for pair in told])
    weights = np.array([pair.weight for pair in told])
    fits = np.array([pair.verdict == FITS for pair in told])
    counts, sums = (np.bincount(places, values, len(cosines)) for values in (weights, weights * fits))
    means = rising_means(sums[::-1], counts[::-1])[::-1]
    sizes = np.diff([0, *(cut.pairs for cut in verdicts.cuts)])
    return (means * sizes).cumsum() / sizes.cumsum()


def weighted_precision(pairs: Iterable[Judged]) -> dict | None:
    """The share of pairs that fit, by weighted verdicts, with Wilson's 95 % interval at the effective number.

    None without verdicts. Sources: Kish 1965, Survey Sampling; Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    told = [pair for pair in pairs if pair.verdict in (FITS, DOES_NOT)]
    if not told:
        return None
    weights = np.array([pair.weight for pair in told])
    share = float(weights @ [pair.verdict == FITS for pair in told] / weights.sum())
    n, z = weights.sum() ** 2 / (weights**2).sum(), 1.96
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + side * half) / (1 + z**2 / n) for side in (-1, 1))
    shares = {"precision": share, "low": max(0.0, low), "high": min(1.0, high)}
    return {name: round(float(value), 4) for name, value in shares.items()} | {"verdicts": len(told)}
