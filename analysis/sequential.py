"""Comparing two populations while they grow: error rates that hold however often one looks.

Networks are taken in the order of the population and paired: the first of a with the first of b.
Not in the order in which they ended: small and fast networks end first, so what has ended of a
run that is still going is no random part of it; `complete_prefix` leaves what has gaps before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.comparison import Verdict, judge, sample
from anynet.errors import InputError

Floats = npt.NDArray[np.float64]
Method = Literal["symmetric", "bounded"]

_TUNED_FOR = 100
"""Pairs at which intervals are narrowest; at a quarter and at four times as many, 5% wider."""
_PILOT = 10
_LONGEST = 100_000


@dataclass(frozen=True)
class Sequential:
    """What two populations show so far; the limits hold at all times together.

    `difference` is the mean of b minus that of a in points of error, positive where a is better.
    Over a sweep, whatever the number of looks, the chance that the limits ever leave out the
    truth, and so of ever giving a wrong verdict, is at most 1 - confidence.
    """

    difference: float
    low: float
    high: float
    verdict: Verdict
    pairs: int
    decided_at: int | None
    """Pairs after which it was first decided: a sweep could have stopped there."""
    more_pairs: int | None
    """How many more would decide it if pairs go on as they were; None where no number does."""
    delta: float | None
    confidence: float
    method: Method


def sequential_compare(
    a_in_order: npt.ArrayLike,
    b_in_order: npt.ArrayLike,
    *,
    delta: float | None = None,
    confidence: float = 0.95,
    limit: float = 100.0,
    method: Method = "symmetric",
) -> Sequential:
    """Compare the mean errors of two populations as far as they are, in their order.

    Errors are in percent, shape (n,); the longer population is cut to the shorter. With `limit`
    errors count up to it (the statistic area:LIMIT), which spares the comparison the tails.

    symmetric: the difference of a pair of equal populations is as likely d as -d, so that
    exp(r S - r^2 V / 2), with S and V the sums of d and d^2, mixed over r normal, is a
    supermartingale (de la Peña 1999; Howard and others 2021). Equal populations are called
    different with a chance of at most 1 - confidence, exactly, with any tails and ties. Limits
    of a difference that is not 0 hold exactly where populations differ by a shift, else for
    large n, like those of Student's t.

    bounded: by betting (Waudby-Smith and Ramdas 2024), for all errors between 0 and `limit`,
    exactly; much wider at first, and narrower than symmetric only where many networks diverge.

    Raises InputError as `compare` does.
    """
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence: {confidence:g} must lie between 0.5 and 1, below 1")
    if delta is not None and not 0 < delta <= 100:
        raise InputError(f"delta: {delta:g} must lie between 0 and 100 points of error, above 0")
    if not 0 < limit <= 100:
        raise InputError(f"limit: {limit:g} must lie between 0 and 100 percent, above 0")
    a, b = sample("a", a_in_order).errors, sample("b", b_in_order).errors
    pairs = min(len(a), len(b))
    differences = np.minimum(b[:pairs], limit) - np.minimum(a[:pairs], limit)
    alpha = 1 - confidence

    def evidence(shift: float) -> Floats:
        """Running evidence against a mean difference of `shift`; excluded from log 1/alpha on."""
        if method == "bounded":
            return _bets(differences, shift, limit, alpha)
        return _symmetric(differences - shift, alpha)

    threshold = float(np.log(1 / alpha))
    mean = float(differences.mean())
    # Where the mean itself was once excluded, limits failed: those of now are the honest ones.
    since = 0 if (evidence(mean) < threshold).all() else pairs - 1

    def kept(shift: float) -> bool:
        return bool((evidence(shift)[since:] < threshold).all())

    def end(far: float) -> float:
        """The last difference from the mean towards `far` that is kept."""
        inside, outside = mean, far
        if mean * far < 0:  # 0 lies on the way
            inside, outside = (0.0, far) if kept(0.0) else (mean, 0.0)
        if kept(outside):
            return outside
        while abs(outside - inside) > 1e-6 * limit:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if kept(middle) else (inside, middle)
        return inside

    low, high = end(-limit), end(limit)
    verdict = judge(low, high, delta)
    decided = [_first(evidence(0.0), threshold)]
    if delta is not None:
        both = [_first(evidence(side), threshold) for side in (delta, -delta)]
        decided += [max(at for at in both if at is not None)] if None not in both else []
    known = [at for at in decided if at is not None]
    more = None
    if verdict == "undecided" and method == "symmetric":
        more = _more_pairs(differences, delta, alpha)
    return Sequential(
        mean,
        low,
        high,
        verdict,
        pairs,
        min(known, default=None),
        more,
        delta,
        confidence,
        method,
    )


def complete_prefix(planned: Sequence[str], errors: Mapping[str, float]) -> list[float]:
    """Errors of the planned networks, in their order, up to the first that has not ended.

    `errors` holds those that have ended, NaN where one failed: it is passed over.
    """
    ended = itertools.takewhile(errors.__contains__, planned)
    return [errors[name] for name in ended if not math.isnan(errors[name])]


def _rate(alpha: float) -> float:
    """The variance of r, for differences of unit size, that suits `_TUNED_FOR` pairs."""
    twice = 2 * np.log(1 / alpha)
    return float(twice + np.log1p(twice)) / _TUNED_FOR


def _symmetric(differences: Floats, alpha: float) -> Floats:
    """Log evidence that differences are not symmetric about 0, after each, shape (pairs,).

    r is normal with a variance scaled by the mean square of the first differences that are not 0.
    Of symmetric differences sizes say nothing on signs, so this choice costs nothing.
    """
    some = differences[differences != 0][:_PILOT]
    if not len(some):
        return np.zeros(len(differences))
    scaled = differences / np.sqrt((some**2).mean())
    return _mixture(np.cumsum(scaled), np.cumsum(scaled**2), alpha)


def _mixture(total: Floats, squares: Floats, alpha: float) -> Floats:
    spread = 1 + _rate(alpha) * squares
    return _rate(alpha) * total**2 / (2 * spread) - np.log(spread) / 2


def _bets(differences: Floats, shift: float, limit: float, alpha: float) -> Floats:
    """Log capital of two gamblers, one on a larger and one on a smaller mean than `shift`.

    Waudby-Smith and Ramdas, section 4: hedged capital with predictable plug-in bets, truncated
    at half of what may be lost.
    """
    x = (differences + limit) / (2 * limit)
    at = min(max((shift + limit) / (2 * limit), 1e-9), 1 - 1e-9)
    count = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (count + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    bets = np.sqrt(2 * np.log(2 / alpha) / (before * count * np.log1p(count)))
    up = np.cumsum(np.log1p(np.minimum(bets, 0.5 / at) * (x - at)))
    down = np.cumsum(np.log1p(-np.minimum(bets, 0.5 / (1 - at)) * (x - at)))
    return np.logaddexp(up, down) - np.log(2)


def _first(evidence: Floats, threshold: float) -> int | None:
    """After how many pairs the evidence first reached the threshold."""
    reached = np.flatnonzero(evidence >= threshold)
    return int(reached[0]) + 1 if len(reached) else None


def _more_pairs(differences: Floats, delta: float | None, alpha: float) -> int | None:
    """Pairs that are missing if mean and mean square of the differences stay what they are."""
    longest = np.arange(len(differences) + 1, _LONGEST + 1)

    def needed(shift: float) -> float:
        moved = differences - shift
        some = moved[moved != 0][:_PILOT]
        if not len(some):
            return np.inf
        moved = moved / np.sqrt((some**2).mean())
        grown = _mixture(longest * moved.mean(), longest * (moved**2).mean(), alpha)
        reached = np.flatnonzero(grown >= np.log(1 / alpha))
        return float(longest[reached[0]]) if len(reached) else np.inf

    ends = [needed(0.0)]
    if delta is not None and abs(differences.mean()) < delta:
        ends.append(max(needed(delta), needed(-delta)))
    least = min(ends)
    return int(least) - len(differences) if np.isfinite(least) else None
