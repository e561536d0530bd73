"""Intervals for the difference of one number between two populations, tight or not.

The number is a mean, a quantile, or the expected best of m. The methods were chosen by simulated
coverage on skewed, tied and heavy-tailed errors of 20 to 500 networks (docs/comparisons.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.expected_best import best_variance, expected_best

Floats = npt.NDArray[np.float64]

BEST_OF_SHARE = 3
"""The best of m has an interval where there are so many times m networks."""

TINY = 1e-9
"""Points of error; differences below it are rounding."""


class Sample(NamedTuple):
    """Networks of one population: errors in percent and weights, shape (n,) each.

    `weights` is None where all networks count alike.
    """

    errors: Floats
    weights: Floats | None

    @property
    def effective(self) -> float:
        """How many networks of equal weight say as much (Kish): (sum w)^2 / sum w^2."""
        if self.weights is None:
            return float(len(self.errors))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


class Interval(NamedTuple):
    """An estimate of b - a with its limits; `p_value` is below alpha where 0 lies outside."""

    difference: float
    low: float
    high: float
    p_value: float


def mean(sample: Sample) -> float:
    """The (weighted) mean error."""
    return float(np.average(sample.errors, weights=sample.weights))


def mean_variance(sample: Sample) -> float:
    """Estimated variance of the (weighted) mean."""
    n = len(sample.errors)
    weights = np.ones(n) if sample.weights is None else sample.weights
    squares = (weights**2 * (sample.errors - mean(sample)) ** 2).sum()
    return float(squares / weights.sum() ** 2 * n / (n - 1))


def quantile(sample: Sample, share: float) -> float:
    """The error that `share` of the networks do not exceed; halfway where two errors qualify."""
    values, reached = _distribution(sample)
    first = int(np.searchsorted(reached, share - TINY))
    second = int(np.searchsorted(reached, share + TINY, side="right"))
    return float(values[first] + values[min(second, len(values) - 1)]) / 2


def quantile_limits(sample: Sample, share: float) -> tuple[Floats, Floats]:
    """What the quantile may be, and with which chance, shape (k,) each.

    R of the n networks lie below the quantile, R binomial: so it is at least the R-th error and
    at most the next, exactly, for every distribution with ties and lumps. Of both ends each has
    half the chance (as in a mid p value). 0 and 100 stand before the first and behind the last.
    Weights enter through the effective number of networks (Korn and Graubard 1998).
    """
    values, reached = _distribution(sample)
    n = round(sample.effective)
    rank = np.arange(n + 2)
    inner = np.searchsorted(reached, np.clip(rank, 1, n) / n - TINY)
    ends = np.where(rank < 1, 0.0, np.where(rank > n, 100.0, values[inner]))
    chance = np.convolve(stats.binom.pmf(rank[:-1], n, share), [0.5, 0.5])
    kept = chance > 1e-12
    return ends[kept], chance[kept] / chance[kept].sum()


def quantile_variance(sample: Sample, share: float) -> float:
    """Estimated variance of `quantile` (like Maritz and Jarrett 1978, by ranks)."""
    ends, chance = quantile_limits(sample, share)
    return float(chance @ (ends - chance @ ends) ** 2)


def mean_difference(
    a: Sample, b: Sample, alpha: float, rng: np.random.Generator, permutations: int
) -> Interval:
    """Mean of b minus mean of a; the wider end of two intervals.

    One inverts the studentized permutation test (Janssen 1997; Chung and Romano 2013) over
    shifts: where the populations are equal its level is exact, whatever the tails, the ties and
    the two sizes, and Welch's is not: of 20 networks against 200 of a population that diverges in
    4%, its 95% interval holds the truth in 57% of samples. The other is Welch's: where the shapes
    differ, the tail of one population says little about that of the other.
    """
    difference = mean(b) - mean(a)
    of_a, of_b = mean_variance(a), mean_variance(b)
    error = float(np.sqrt(of_a + of_b))
    freedom = _freedom(of_a, of_b, *(max(one.effective - 1, 1.0) for one in (a, b)))
    half = error * float(stats.t.isf(alpha / 2, freedom))
    welch = _two_sided(difference, error, freedom)
    tails = _PermutationTails(a, b, rng, permutations)
    upper, lower = tails(0.0)

    def end(side: int, excluded: bool, far: float) -> float:
        # 0 is always one end of the search, so that the interval and the p value agree.
        within, outside = (difference, 0.0) if excluded else (within_zero[side], far)
        return _boundary(lambda shift: tails(shift)[side] > alpha / 2, within, outside)

    within_zero = (min(difference, 0.0), max(difference, 0.0))
    low = end(0, difference > 0 and upper <= alpha / 2, -100.0)
    high = end(1, difference < 0 and lower <= alpha / 2, 100.0)
    return Interval(
        difference,
        max(min(low, difference - half), -100.0),
        min(max(high, difference + half), 100.0),
        max(min(1.0, 2 * min(upper, lower)), welch),
    )


def quantile_difference(a: Sample, b: Sample, share: float, alpha: float) -> Interval:
    """Quantile of b minus that of a, by convolution of the limits of both.

    Adding half-widths in squares instead (MOVER) leaves out the truth in up to a quarter of
    samples where one EDF jumps at that share and the other is smooth.
    """
    ends_a, chance_a = quantile_limits(a, share)
    ends_b, chance_b = quantile_limits(b, share)
    chance = np.outer(chance_b, chance_a).ravel()
    ends = np.subtract.outer(ends_b, ends_a).ravel()
    tails = chance[ends <= TINY].sum(), chance[ends >= -TINY].sum()
    return Interval(
        quantile(b, share) - quantile(a, share),
        -_upper(-ends, chance, alpha / 2),
        _upper(ends, chance, alpha / 2),
        min(1.0, 2 * float(min(tails))),
    )


def best_difference(a: Sample, b: Sample, m: int, alpha: float) -> Interval:
    """Expected best of m of b minus that of a, by jackknife and Student's t.

    The best of m rests on the n / m best networks or so, and the jackknife's variance on no
    more: it has 1.5 n / m - 1 degrees of freedom. (With n - 1, equal populations of 40 and 400
    are called different in 8% of samples at m = 10.) Where m exceeds a third of either
    population the interval is everything.
    """
    difference = expected_best(b.errors, m, b.weights) - expected_best(a.errors, m, a.weights)
    if BEST_OF_SHARE * m > min(a.effective, b.effective):
        return Interval(difference, -100.0, 100.0, 1.0)
    of_a, of_b = (best_variance(one.errors, m, one.weights) for one in (a, b))
    freedom = _freedom(of_a, of_b, *(1.5 * one.effective / m - 1 for one in (a, b)))
    error = float(np.sqrt(of_a + of_b))
    half = error * float(stats.t.isf(alpha / 2, freedom))
    p_value = _two_sided(difference, error, freedom)
    return Interval(difference, difference - half, difference + half, p_value)


class _PermutationTails:
    """One-sided p values of the hypothesis that b is a, shifted by some points.

    A shift enters the sums over a permuted group linearly, so each permutation is drawn once,
    as eight sums, and every shift is tested with all of them.
    """

    def __init__(self, a: Sample, b: Sample, rng: np.random.Generator, permutations: int) -> None:
        self.sizes = (len(a.errors), len(b.errors))
        total = sum(self.sizes)
        in_a = np.zeros(total, dtype=np.int8)
        in_a[: self.sizes[0]] = 1
        e = np.concatenate([a.errors, b.errors])
        e = e - np.median(e)
        w = np.concatenate([unit_weights(a), unit_weights(b)])
        terms = np.stack([w, w * e, w * in_a, w**2, w**2 * e, (w * e) ** 2, w**2 * in_a])
        terms = np.concatenate([terms, [w**2 * in_a * e]])
        self.all = terms.sum(axis=1)
        self.observed = terms @ in_a.astype(float)
        rows = max(1, 2_000_000 // total)
        sums = []
        for start in range(0, permutations, rows):
            group = np.tile(in_a, (min(rows, permutations - start), 1))
            rng.permuted(group, axis=1, out=group)
            sums.append(terms @ group.T.astype(float))
        self.sums = np.concatenate(sums, axis=1)

    def __call__(self, shift: float) -> tuple[float, float]:
        """Share of permutations, the observed one among them, that are as far up, and down."""
        permuted, observed = (
            self._statistic(self.sums, shift),
            self._statistic(self.observed, shift),
        )
        slack = TINY * max(1.0, abs(float(observed))) if np.isfinite(observed) else 0.0
        count = len(permuted) + 1
        return (
            (1 + int((permuted >= observed - slack).sum())) / count,
            (1 + int((permuted <= observed + slack).sum())) / count,
        )

    def _statistic(self, sums: Floats, shift: float) -> Floats:
        of_a, variance_a = _moments(sums, shift, self.sizes[0])
        of_b, variance_b = _moments((self.all - sums.T).T, shift, self.sizes[1])
        gap = of_b - of_a
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.abs(gap) < TINY, 0.0, gap / np.sqrt(variance_a + variance_b))


def _moments(sums: Floats, shift: float, n: int) -> tuple[Floats, Floats]:
    """Mean of a permuted group after the shift, and the variance of that mean."""
    w, we, wg, w2, w2e, w2e2, w2g, w2ge = sums
    average = (we + shift * wg) / w
    first = w2e + shift * w2g
    second = w2e2 + 2 * shift * w2ge + shift**2 * w2g
    spread = np.maximum(second - 2 * average * first + average**2 * w2, 0.0)
    return average, spread / w**2 * n / (n - 1)


def unit_weights(sample: Sample) -> Floats:
    """Weights of mean 1: their scale is each population's own affair."""
    if sample.weights is None:
        return np.ones(len(sample.errors))
    return sample.weights / sample.weights.mean()


def _distribution(sample: Sample) -> tuple[Floats, Floats]:
    """Sorted errors, and the share of weight up to each."""
    order = np.argsort(sample.errors, kind="stable")
    reached = np.cumsum(unit_weights(sample)[order])
    return sample.errors[order], reached / reached[-1]


def _freedom(variance_a: float, variance_b: float, freedom_a: float, freedom_b: float) -> float:
    """Degrees of freedom of a sum of variances (Welch and Satterthwaite)."""
    if variance_a + variance_b == 0:
        return freedom_a + freedom_b
    shares = variance_a**2 / freedom_a + variance_b**2 / freedom_b
    return (variance_a + variance_b) ** 2 / shares


def _two_sided(difference: float, error: float, freedom: float) -> float:
    """The p value of Student's t; of a difference without spread 0, of none 1."""
    if abs(difference) <= TINY:
        return 1.0
    return float(2 * stats.t.sf(abs(difference) / error, freedom)) if error > 0 else 0.0


def _upper(values: Floats, chance: Floats, level: float) -> float:
    """The largest value that, with those above it, has a chance of more than `level`."""
    order = np.argsort(-values, kind="stable")
    place = int(np.searchsorted(np.cumsum(chance[order]), level, side="right"))
    value = float(values[order][min(place, len(order) - 1)])
    return 0.0 if abs(value) <= TINY else value


def _boundary(inside: Callable[[float], bool], within: float, outside: float) -> float:
    """Where a range that holds `within` ends on the way to `outside`, by bisection."""
    if inside(outside):
        return outside
    while abs(outside - within) > 1e-6 * max(abs(outside + within), 1e-6):
        middle = (within + outside) / 2
        if inside(middle):
            within = middle
        else:
            outside = middle
    return within
