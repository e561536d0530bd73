"""How many networks a comparison takes, before a sweep and in the middle of one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.comparison import Comparison, parse_statistic, sample, variance
from analysis.intervals import BEST_OF_SHARE
from anynet.errors import InputError

_MOST = 10_000_000
MOST_DEVIATION = 50.0
"""Points; of numbers between 0 and 100, half of which are 0 and half 100."""
_WIDER = 1.01
"""Limits of a mean against Student's t: the wider of two ends, one of them with random error."""


def networks_needed(
    a: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    effect: float = 0.0,
    delta: float | None = None,
    statistic: str = "mean",
    power: float = 0.8,
    confidence: float = 0.95,
) -> int | None:
    """Networks of each population with which `compare` decides with a chance of `power`.

    `a` and `b` are the standard deviations of error in points, or errors of pilot populations
    (`b` left out: like `a`); a statistic other than the mean needs pilots. `effect` is the
    difference in points that is assumed to be true, 0 as a rule for equivalence within `delta`.
    With both the verdict may be either; None where no number decides (no effect, and no delta).

    By the normal approximation with Student's t for the limits. Raises InputError.
    """
    if not 0 < power < 1:
        raise InputError(f"power: {power:g} must lie between 0 and 1")
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence: {confidence:g} must lie between 0.5 and 1, below 1")
    if delta is not None and not delta > 0:
        raise InputError(f"delta: {delta:g} must be above 0 points of error")
    spread = _scaled_variance("a", a, statistic)
    spread += spread if b is None else _scaled_variance("b", b, statistic)
    chosen = parse_statistic(statistic)
    fewest = BEST_OF_SHARE * int(chosen.value) if chosen.kind == "best_of" else 2

    def freedom(n: int) -> float:
        return 2 * (1.5 * n / chosen.value - 1) if chosen.kind == "best_of" else 2 * n - 2

    needed = _least(lambda n: spread / n, freedom, abs(effect), delta, power, confidence)
    return None if needed is None else max(needed, fewest)


def more_networks(comparison: Comparison, power: float = 0.8) -> tuple[int, int] | None:
    """How many more networks of a and of b would decide a comparison that is undecided.

    Assumes that the true difference and the spread are what they look like now, and that both
    populations grow in proportion. The difference is itself uncertain: a plan, not a promise.
    None where no number up to ten millions does, or the spread is not known.
    """
    c = comparison
    if c.verdict != "undecided":
        return (0, 0)
    total = c.n_a + c.n_b
    alpha = 1 - c.confidence
    error = (c.high - c.low) / 2 / float(stats.t.isf(alpha / 2, total - 2))
    if c.high - c.low >= 200 or error == 0:
        return None
    needed = _least(
        lambda n: error**2 * total / n,
        lambda n: n - 2,
        abs(c.difference),
        c.delta,
        power,
        c.confidence,
    )
    if needed is None:
        return None
    growth = max(needed / total, 1.0)
    return tuple(max(math.ceil(n * growth) - n, 1) for n in (c.n_a, c.n_b))  # type: ignore[return-value]


def _scaled_variance(name: str, given: npt.ArrayLike, statistic: str) -> float:
    """n times the variance of the statistic; of a standard deviation its square."""
    if np.ndim(given) == 0:
        if statistic != "mean":
            raise InputError(f"{name}: a standard deviation goes with the mean, not {statistic}")
        deviation = float(given)  # type: ignore[arg-type]
        if not 0 < deviation <= MOST_DEVIATION:
            raise InputError(f"{name}: standard deviation {deviation:g} must lie in 0 ... 50")
        return deviation**2
    pilot = sample(name, given)
    return len(pilot.errors) * variance(pilot, parse_statistic(statistic))


def _least(
    variance: Callable[[int], float],
    freedom: Callable[[int], float],
    effect: float,
    delta: float | None,
    power: float,
    confidence: float,
) -> int | None:
    """The least n that decides with `power`: the interval leaves out 0, or lies within delta."""

    def decides(n: int) -> bool:
        error = math.sqrt(variance(n))
        if error == 0:
            return True
        half = _WIDER * float(stats.t.isf((1 - confidence) / 2, max(freedom(n), 1)))
        different = float(stats.norm.sf(half - effect / error))
        if effect > 0 and different >= power:
            return True
        if delta is None:
            return False
        room = delta / error - half
        within = stats.norm.cdf(room - effect / error) - stats.norm.cdf(-room - effect / error)
        return room > 0 and float(within) >= power

    if not decides(_MOST):
        return None
    low, high = 2, _MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return low
