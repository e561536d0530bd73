"""Which of two populations is better: by how much, how sure, in one of four words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.expected_best import best_variance, expected_best
from analysis.intervals import (
    BEST_OF_SHARE,
    Interval,
    Sample,
    best_difference,
    mean,
    mean_difference,
    mean_variance,
    quantile,
    quantile_difference,
    quantile_variance,
)
from anynet.errors import InputError

Verdict = Literal["equivalent", "better", "worse", "undecided"]

PERMUTATIONS = 4999


@dataclass(frozen=True)
class Statistic:
    """The number of a population that is compared; in points of error, lower is better.

    mean. quantile: the error that a share (`value`) of the networks do not exceed. area: the mean
    of min(error, limit), `value` the limit in percent; the area of NDS is 1 - that / limit.
    best_of: the expected least error of `value` networks.
    """

    kind: Literal["mean", "quantile", "area", "best_of"]
    value: float = 0.0

    def __str__(self) -> str:
        if self.kind == "mean":
            return "mean"
        if self.kind == "quantile" and self.value == 0.5:
            return "median"
        return f"{self.kind}:{self.value:g}"

    @property
    def words(self) -> str:
        """The number in words, as in "mean error lower by"."""
        if self.kind == "quantile":
            return "median error" if self.value == 0.5 else f"{100 * self.value:g}% quantile"
        if self.kind == "area":
            return f"mean error cut at {self.value:g}%"
        return "mean error" if self.kind == "mean" else f"expected best of {self.value:g}"


def parse_statistic(text: str) -> Statistic:
    """A statistic from mean, median, quantile:SHARE, area:LIMIT or best_of:M. Raises InputError."""
    kind, _, value = text.partition(":")
    if text in ("mean", "median"):
        return Statistic("mean") if text == "mean" else Statistic("quantile", 0.5)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if kind == "quantile" and 0 < number < 1:
        return Statistic("quantile", number)
    if kind == "area" and 0 < number <= 100:
        return Statistic("area", number)
    if kind == "best_of" and number >= 1 and number == int(number):
        return Statistic("best_of", number)
    raise InputError(
        f"statistic: {text!r} must be mean, median, quantile:SHARE (between 0 and 1), "
        "area:LIMIT (percent) or best_of:M (a whole number)"
    )


@dataclass(frozen=True)
class Comparison:
    """Two populations, a and b, in one statistic.

    `difference` is b's minus a's in points of error: positive where a is better. It and its
    limits hold at `confidence`; `p_value` is below 1 - confidence where 0 lies outside.
    """

    statistic: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    """Of a: equivalent to b, better, worse, or undecided."""
    n_a: int
    n_b: int
    delta: float | None
    """Points of error; within them populations are equivalent."""
    confidence: float


def judge(low: float, high: float, delta: float | None) -> Verdict:
    """The word for a difference that lies between `low` and `high`, in this order.

    Equivalent, where all of it lies within +-delta; else better or worse, where 0 lies outside;
    else undecided. So a difference too small to matter is not called one, however sure it is.
    """
    if delta is not None and -delta <= low and high <= delta:
        return "equivalent"
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "undecided"


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    statistic: str = "mean",
    delta: float | None = None,
    confidence: float = 0.95,
    weights_a: npt.ArrayLike | None = None,
    weights_b: npt.ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    permutations: int | None = None,
) -> Comparison:
    """Compare two populations by their errors in percent, shape (n_a,) and (n_b,).

    Errors lie in 0 ... 100, a diverged network has 100, failed ones are left out beforehand.
    Weights need not sum to 1. `rng` draws the permutations of mean and area (seed 0 where it is
    left out: the same populations then give the same numbers).

    Error rates, as measured by benchmarks/comparison_rates.py, stand in docs/comparisons.md:
    equal populations are called better or worse in at most 1 - confidence of samples, and so are
    populations that differ by delta or more called equivalent.

    Raises InputError for fewer than two networks, an error outside 0 ... 100, weights that are
    negative or all 0, and for a statistic, delta or confidence that is none.
    """
    chosen = parse_statistic(statistic)
    alpha = _alpha(confidence, delta)
    first, second = sample("a", a, weights_a), sample("b", b, weights_b)
    rng = np.random.default_rng(0) if rng is None else rng
    # A level that few permutations can reach would never be reached.
    draws = permutations or max(PERMUTATIONS, math.ceil(20 / alpha) - 1)
    interval = _interval(chosen, first, second, alpha, rng, draws)
    return Comparison(
        str(chosen),
        estimate(first, chosen),
        estimate(second, chosen),
        interval.difference,
        interval.low,
        interval.high,
        interval.p_value,
        judge(interval.low, interval.high, delta),
        len(first.errors),
        len(second.errors),
        delta,
        confidence,
    )


def estimate(of: Sample, statistic: Statistic) -> float:
    """The statistic of one population, in points of error. Raises InputError for a best of > n."""
    if statistic.kind == "quantile":
        return quantile(of, statistic.value)
    if statistic.kind == "best_of":
        if statistic.value > len(of.errors):
            raise InputError(
                f"statistic: best_of:{statistic.value:g} needs at least as many networks, "
                f"and a population has {len(of.errors)}"
            )
        return expected_best(of.errors, int(statistic.value), of.weights)
    return mean(_cut(of, statistic))


def variance(of: Sample, statistic: Statistic) -> float:
    """Estimated variance of `estimate`. Raises InputError for a best of more than n / 3."""
    if statistic.kind == "quantile":
        return quantile_variance(of, statistic.value)
    if statistic.kind == "best_of":
        if BEST_OF_SHARE * statistic.value > len(of.errors):
            raise InputError(
                f"statistic: best_of:{statistic.value:g} needs three times as many networks to "
                f"say how much it varies, and a population has {len(of.errors)}"
            )
        return best_variance(of.errors, int(statistic.value), of.weights)
    return mean_variance(_cut(of, statistic))


def sample(name: str, errors: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Sample:
    """Checked errors and weights of a population. Raises InputError that names it."""
    values = np.asarray(errors, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"{name}: {values.size} networks; a population has at least 2")
    wrong = ~((values >= 0) & (values <= 100))
    if wrong.any():
        raise InputError(f"{name}: error {values[wrong][0]:g} must lie between 0 and 100")
    if weights is None:
        return Sample(values, None)
    shares = np.asarray(weights, dtype=float)
    if shares.shape != values.shape or not (shares >= 0).all() or not np.isfinite(shares).all():
        raise InputError(f"{name}: weights must be one number of at least 0 a network")
    kept = shares > 0  # a network without weight is no member
    if kept.sum() < 2:
        raise InputError(f"{name}: {kept.sum()} networks with a weight; at least 2 are needed")
    return Sample(values[kept], shares[kept])


def _alpha(confidence: float, delta: float | None) -> float:
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence: {confidence:g} must lie between 0.5 and 1, below 1")
    if delta is not None and not 0 < delta <= 100:
        raise InputError(f"delta: {delta:g} must lie between 0 and 100 points of error, above 0")
    return 1 - confidence


def _interval(
    statistic: Statistic,
    a: Sample,
    b: Sample,
    alpha: float,
    rng: np.random.Generator,
    permutations: int,
) -> Interval:
    if statistic.kind == "quantile":
        return quantile_difference(a, b, statistic.value, alpha)
    if statistic.kind == "best_of":
        for one in (a, b):
            estimate(one, statistic)
        return best_difference(a, b, int(statistic.value), alpha)
    return mean_difference(_cut(a, statistic), _cut(b, statistic), alpha, rng, permutations)


def _cut(of: Sample, statistic: Statistic) -> Sample:
    if statistic.kind == "mean":
        return of
    return Sample(np.minimum(of.errors, statistic.value), of.weights)
