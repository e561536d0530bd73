"""Confidence bands of an EDF, and intervals of what is read off it.

A sample of n networks draws F_n; the band holds F, the distribution of the whole space, on the
whole axis at once with the confidence asked for (`pointwise` holds it at one error chosen
beforehand).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaincinv, gammaln
from scipy.stats import kstwo, norm

from analysis.edf import EDF, Floats
from anynet.errors import InputError

Kind = Literal["dkw", "berk_jones", "pointwise"]
LARGEST_ERROR = 100.0
_MOST_STEPS = 8192
"""Steps of a band; one of more networks is thinned to them, and only wider for that."""
_EXACT = 1000
_EXTRAPOLATED = (125, 500)
"""Berk and Jones's level is exact up to `_EXACT` networks; beyond, it follows from these two."""


@dataclass(frozen=True, eq=False)
class Band:
    """`low` <= F <= `high` as step functions on the whole axis, each of shape (k,).

    From errors[i] up to errors[i + 1], which is not included, low[i] and high[i] hold; errors[0]
    is -inf. Both ascend and lie in [0, 1].
    """

    errors: Floats
    low: Floats
    high: Floats
    confidence: float
    kind: str

    def __call__(self, error: npt.ArrayLike) -> tuple[Floats, Floats]:
        """The least and the greatest F at each of the errors given, in percent."""
        at = np.searchsorted(self.errors, error, side="right") - 1
        return self.low[at], self.high[at]

    def quantile(self, q: float) -> tuple[float, float]:
        """Between which errors the distributions of the band reach q; 0 to 100 where none does."""
        first = int(np.searchsorted(self.high, q))
        last = int(np.searchsorted(self.low, q))
        low = self.errors[first] if 0 < first < len(self.errors) else 0.0
        high = self.errors[last] if last < len(self.errors) else LARGEST_ERROR
        return float(max(low, 0.0)), float(high)


class Interval(NamedTuple):
    """From `low` to `high`, by the method named."""

    low: float
    high: float
    method: str


def band(edf: EDF, confidence: float = 0.95, kind: Kind | Literal["auto"] = "auto") -> Band:
    """The band that holds F with at least the confidence given; `auto` is Berk and Jones's.

    `dkw`: F_n ± d of constant width, with d the exact quantile of Kolmogorov's statistic, which
    is what the inequality of Dvoretzky, Kiefer and Wolfowitz bounds. `berk_jones`: all F with
    n K(F_n(e), F(e)) <= c at every e, K the Kullback-Leibler divergence of two coins (Owen 1995):
    far narrower in the tails, one of which holds the good networks, and wider in the middle
    (of 500 networks by a quarter at the median).
    `pointwise`: Clopper and Pearson's interval at each error alone. With equal weights all three
    hold for any n and any distribution, ties included (then with more than the confidence).

    Weights make F_n(e) vary as if there were another number of networks, n(e), at each error
    (`effective_sizes`). `berk_jones` and `pointwise` use n(e) for n; `dkw` the number that equal
    networks of the largest variance have. These are approximations, which hold what they say in
    simulations (docs/statistics.md). Raises InputError for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"--confidence: {confidence} must lie between 0 and 1")
    if kind == "auto":
        kind = "berk_jones"
    if kind not in get_args(Kind):
        raise InputError(f"--band: {kind!r} must be one of auto, {', '.join(get_args(Kind))}")
    errors, shares, sizes = _steps(edf)
    kept, until = _thinned(len(errors))
    if kind == "dkw":
        most = (shares * (1 - shares) / sizes).max()
        size = len(edf) if edf.weights is None else max(int(1 / (4 * most) + 1e-6), 1)
        distance = _kolmogorov_distance(size, confidence)
        low, high = shares[kept] - distance, shares[until] + distance
    elif kind == "pointwise":
        tail = (1 - confidence) / 2
        low = _clopper_pearson(shares[kept], sizes[kept], tail)
        high = 1 - _clopper_pearson(1 - shares[until], sizes[until], tail)
    else:
        c = berk_jones_level(len(edf), confidence)
        low = 1 - divergence_limit(1 - shares[kept], c / sizes[kept])
        high = divergence_limit(shares[until], c / sizes[until])
    return ascending_band(errors[kept], low, high, confidence, kind)


@lru_cache(maxsize=1024)
def _kolmogorov_distance(n: int, confidence: float) -> float:
    return float(kstwo.ppf(confidence, n))


def ascending_band(errors: Floats, low: Floats, high: Floats, confidence: float, kind: str) -> Band:
    """A Band of bounds that hold from each error on, clipped and made to ascend.

    F ascends, so that what bounds it at one error bounds it on the other side too: nothing is lost.
    """
    low = np.maximum.accumulate(np.clip(low, 0, 1))
    high = np.minimum.accumulate(np.clip(high, 0, 1)[::-1])[::-1]
    low[0], high[-1] = 0.0, 1.0
    return Band(errors, low, high, confidence, kind)


def _thinned(steps: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The steps of a band, and up to which of all steps each goes.

    Of more than `_MOST_STEPS` a quarter is kept at either end, where one reads, the rest evenly.
    """
    if steps <= _MOST_STEPS:
        every = np.arange(steps)
        return every, every
    ends = _MOST_STEPS // 4
    even = np.linspace(ends, steps - 1 - ends, _MOST_STEPS // 2).astype(int)
    kept = np.unique(np.r_[:ends, even, steps - ends : steps])
    return kept, np.append(kept[1:], steps) - 1


def _steps(edf: EDF) -> tuple[Floats, Floats, Floats]:
    """Different errors, -inf first, F from each on, and the effective sizes there."""
    last = np.flatnonzero(np.append(np.diff(edf.errors) > 0, True))
    errors = np.append(-np.inf, edf.errors[last])
    shares = edf.steps[np.append(0, last + 1)]
    if edf.sizes is not None:
        return errors, shares, edf.sizes[np.append(0, last + 1)]
    if edf.weights is None:
        return errors, shares, np.full(len(errors), float(len(edf)))
    squares = np.append(0.0, np.cumsum(edf.weights**2)[last])
    return errors, shares, effective_sizes(shares, squares, edf.weights)


PSEUDO = norm.ppf(0.975) ** 2 / 2
"""Networks imagined on either side of an error, as Agresti and Coull do at 95%."""


def effective_sizes(shares: Floats, squares: Floats, weights: Floats) -> Floats:
    """n(e) with F(1 - F)/n(e) the variance of the self-normalized weighted EDF at each step.

    `shares` is F, `squares` Σ w² of the networks up to there, both (k,); `weights` (n,) sum to
    1. The variance of Σ w (1[e_i <= e] - F) is Σ w² (1[e_i <= e] - F)². In a tail that has seen
    few networks it would be too small, for one of large weight may be missing by chance: to each
    side `PSEUDO` networks are added, of the cubic mean over the mass of the weights (with the
    quadratic mean a 95% band of the benchmark held 93%). Equal weights give n.
    """
    unit = (weights**2).sum()
    square = (weights**4).sum() ** (2 / 3)
    total = 1 + 2 * PSEUDO * unit
    smooth = (shares + PSEUDO * unit) / total
    below = squares + PSEUDO * square
    above = squares[-1] - squares + PSEUDO * square
    variance = (below * (1 - smooth) ** 2 + above * smooth**2) / total
    return smooth * (1 - smooth) / variance


def _clopper_pearson(shares: Floats, sizes: Floats, tail: float) -> Floats:
    """The lower limit at each step; for an effective size as Korn and Graubard (1998) do."""
    below, above = shares * sizes, (1 - shares) * sizes
    low = betaincinv(np.maximum(below, 1e-9), above + 1, tail)
    return np.where(below > 1e-9, low, 0.0)


# Intervals of what is read off an EDF --------------------------------------------------------


def quantile_interval(edf: EDF, q: float, confidence: float = 0.95) -> Interval:
    """Where the q-quantile of the space lies, in percent.

    With equal weights between two order statistics, by binomial tails, which holds for any n;
    with weights the errors at which the pointwise band reaches q (Woodruff 1952). An end is 0 or
    100 where the sample is too small to say more.
    """
    if not 0 < q < 1:
        raise InputError(f"quantile: {q} must lie between 0 and 1")
    low, high = band(edf, confidence, "pointwise").quantile(q)
    return Interval(low, high, "order statistics" if edf.weights is None else "Woodruff")


MeanMethod = Literal["auto", "bootstrap_t", "mixture", "band"]


def mean_interval(
    edf: EDF, confidence: float = 0.95, method: MeanMethod = "auto", seed: int = 0
) -> Interval:
    """Where the mean error of the space lies, in percent.

    `bootstrap_t` is good where no network diverges. A few diverged networks make a mean, and
    `mixture` takes them apart: Clopper and Pearson's interval of the share that has error 100 and
    the bootstrap-t of the mean of the others, put together by the squares of their reaches (MOVER,
    Zou and Donner 2008). It allows for diverged networks where none was seen too, and then is
    several times as wide. So `auto` takes `mixture` where one was seen, else `bootstrap_t`, which
    takes it that there are none (docs/statistics.md has figures). `band` knows nothing of what
    errors look like: the least and the greatest mean in Berk and Jones's band (Anderson 1969).
    """
    if method not in get_args(MeanMethod):
        raise InputError(f"method: {method!r} must be one of {', '.join(get_args(MeanMethod))}")
    if method == "mixture" or (method == "auto" and edf.errors[-1] >= LARGEST_ERROR):
        return _mixture_interval(edf, confidence, seed)
    return _mean_interval(edf, edf.errors, LARGEST_ERROR, confidence, method == "band", seed)


def _mixture_interval(edf: EDF, confidence: float, seed: int) -> Interval:
    """Of the mean (1 - p) r + 100 p, with p the share of diverged networks, r the others' mean."""
    seen = edf.errors >= LARGEST_ERROR
    rest = edf.errors[~seen]
    if len(rest) < _FEW:
        return _mean_interval(edf, edf.errors, LARGEST_ERROR, confidence, True, seed)
    _, shares, sizes = _steps(edf)
    at = slice(-2, -1) if seen.any() else slice(-1, None)
    share, size = 1 - shares[at], sizes[at]
    tail = (1 - confidence) / 2
    least = float(_clopper_pearson(share, size, tail)[0])
    most = 1 - float(_clopper_pearson(1 - share, size, tail)[0])
    weights = None if edf.weights is None else edf.weights[~seen] / edf.weights[~seen].sum()
    others = EDF(edf.name, rest, weights)
    low, high, _ = _mean_interval(others, rest, LARGEST_ERROR, confidence, False, seed)
    p = float(share[0])
    gap = LARGEST_ERROR - others.mean
    mean = others.mean + p * gap
    below = np.hypot((1 - p) * (others.mean - low), (p - least) * gap)
    above = np.hypot((1 - p) * (high - others.mean), (most - p) * gap)
    ends = np.clip([mean - below, mean + above], 0, LARGEST_ERROR)
    return Interval(float(ends[0]), float(ends[1]), "mixture")


def area_interval(
    edf: EDF,
    limit: float,
    confidence: float = 0.95,
    method: Literal["bootstrap_t", "band"] = "bootstrap_t",
    seed: int = 0,
) -> Interval:
    """Where the area up to `limit` percent (`EDF.area`) lies; as `mean_interval`.

    Errors above the limit count as the limit, so that diverged networks upset it far less.
    """
    if method not in ("bootstrap_t", "band"):
        raise InputError(f"method: {method!r} must be one of bootstrap_t, band")
    if not limit > 0:
        raise InputError(f"limit: {limit} must be above 0")
    lost = np.minimum(1.0, edf.errors / limit)
    low, high, how = _mean_interval(edf, lost, 1.0, confidence, method == "band", seed)
    return Interval(1 - high, 1 - low, how)


_FEW = 10
"""Of fewer networks a resample knows nothing: what the band says is taken."""
_RESAMPLED = 2000
_DRAWS = 1999


def _mean_interval(
    edf: EDF, values: Floats, largest: float, confidence: float, by_band: bool, seed: int
) -> Interval:
    """Of the mean of `values`, (n,) ascending with the errors, which lie in [0, largest]."""
    if by_band or len(edf) < _FEW or values[0] == values[-1]:
        return band_mean(band(EDF(edf.name, values, edf.weights), confidence), largest)
    weights = np.full(len(edf), 1 / len(edf)) if edf.weights is None else edf.weights
    mean = float(weights @ values)
    spread = float(np.sqrt(weights**2 @ (values - mean) ** 2))
    tails = np.array([(1 + confidence) / 2, (1 - confidence) / 2])
    if len(edf) <= _RESAMPLED:
        how = "bootstrap-t"
        t = _bootstrap_t(values, weights, mean, np.random.default_rng(seed))
        quantiles = np.quantile(t, tails)
    else:
        how = "Hall"  # the expansion that the bootstrap follows, of so many the same
        skew = (weights**3 @ (values - mean) ** 3) / spread**3
        z = norm.ppf(tails)
        quantiles = 3 / skew * (np.cbrt(1 + skew * (z - skew / 6)) - 1) if abs(skew) > 1e-6 else z
    low, high = np.clip(mean - quantiles * spread, 0, largest)
    return Interval(float(low), float(high), how)


def band_mean(held: Band, largest: float = LARGEST_ERROR) -> Interval:
    """The least and the greatest mean of the distributions in a band on [0, largest]."""
    steps = np.diff(np.append(np.maximum(held.errors, 0), largest))
    return Interval(float(steps @ (1 - held.high)), float(steps @ (1 - held.low)), "band")


def _bootstrap_t(values: Floats, weights: Floats, mean: float, rng: np.random.Generator) -> Floats:
    """Studentized means of resamples, (`_DRAWS`,)."""
    result = np.empty(_DRAWS)
    rows = max(1, 2_000_000 // len(values))
    for start in range(0, _DRAWS, rows):
        drawn = rng.integers(0, len(values), (min(rows, _DRAWS - start), len(values)))
        weight = weights[drawn]
        weight /= weight.sum(axis=1, keepdims=True)
        value = values[drawn]
        means = (weight * value).sum(axis=1)
        spreads = np.sqrt((weight**2 * (value - means[:, None]) ** 2).sum(axis=1))
        # A constant resample leaves its t without bounds; it is given the largest that is finite.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (means - mean) / spreads
        finite = t[np.isfinite(t)]
        bound = np.abs(finite).max(initial=0.0)
        result[start : start + len(drawn)] = np.nan_to_num(t, nan=0.0, posinf=bound, neginf=-bound)
    return result


# Berk and Jones ------------------------------------------------------------------------------


def divergence_limit(share: Floats, level: Floats | float) -> Floats:
    """The greatest q with K(share, q) <= level, K(p, q) = p ln(p/q) + (1-p) ln((1-p)/(1-q)).

    By Newton's method from above: K is convex in q, so that it never overshoots.
    """
    p = np.asarray(share, dtype=float)
    level = np.broadcast_to(level, p.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(p > 0, p * np.log(p), 0) + np.where(p < 1, (1 - p) * np.log1p(-p), 0)
        # K >= 2 (q - p)², and K >= its value with q = 1 in the first term: two starts.
        rest = np.exp((entropy - level) / (1 - p))
        q = np.minimum(p + np.sqrt(level / 2), 1 - rest)
        for _ in range(60):
            value = entropy - np.where(p > 0, p * np.log(q), 0) - (1 - p) * np.log1p(-q) - level
            step = value * q * (1 - q) / (q - p)
            step = np.where(np.isfinite(step), step, 0)
            q = q - step
            if np.abs(step).max(initial=0) < 1e-13:
                break
    return np.where(p < 1, np.clip(q, p, 1), 1.0)


@lru_cache(maxsize=256)
def berk_jones_level(n: int, confidence: float) -> float:
    """The c with P(n K(F_n(e), F(e)) <= c for all e) = confidence, for n networks.

    Exact up to n = 1000 (the passage of a Poisson process between two boundaries, as in Moscovich
    and Nadler 2017). Away from the tails the statistic is the maximum of a stationary process over
    a time that grows as ln n, so that -ln P at a fixed c is linear in ln n: beyond n = 1000 the
    line through 125 and 500 is followed. At n = 20,000 the exact confidence of the 95% level so
    found is 94.985%.
    """
    goal = np.log(-np.log(confidence))
    first, second = _EXTRAPOLATED

    def excess(c: float) -> float:
        if n <= _EXACT:
            return float(np.log(-np.log(_inside(n, c))) - goal)
        a, b = -np.log(_inside(first, c)), -np.log(_inside(second, c))
        slope = max(b - a, 0.0) / np.log(second / first)
        return float(np.log(b + slope * np.log(n / second)) - goal)

    low, high = 0.3, 40.0
    guess = 2.2 - np.log(1 - confidence)
    for step in (0.5, 1.0, 2.0):  # a bracket near the answer saves half of the evaluations
        if guess > step and excess(guess - step) > 0 > excess(guess + step):
            low, high = guess - step, guess + step
            break
    return float(brentq(excess, low, high, xtol=1e-4))


_LEAST = 1e-300
"""Stands for a probability of 0, which has no logarithm."""


def _inside(n: int, c: float) -> float:
    """P(n K(F_n, F) <= c everywhere) for n uniform numbers.

    It is P(low_i <= U_(i) <= high_i for all i). A Poisson process of rate n, given that it has n
    events in [0, 1], is that sample: the probabilities of its counts are carried from one
    boundary time to the next, and those outside of the boundaries are set to 0.
    """
    limit = divergence_limit(np.arange(n + 1) / n, c / n)
    latest, earliest = limit[:-1], 1 - limit[:-1][::-1]
    times = np.sort(np.concatenate([earliest, latest, [1.0]]))
    least = np.searchsorted(latest, times, side="right")
    most = np.searchsorted(earliest, times, side="left")
    least[-1] = most[-1] = n
    means = n * np.diff(times, prepend=0.0)
    lengths = (means + 9 * np.sqrt(means) + 12).astype(int)
    counts = np.arange(lengths.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts > 0, counts * np.log(means)[:, None], 0.0)
    jumps = np.exp(logs - means[:, None] - gammaln(counts + 1))
    state, first = np.ones(1), 0
    for jump, length, low, high in zip(
        jumps, lengths.tolist(), least.tolist(), most.tolist(), strict=True
    ):
        state = np.convolve(state, jump[:length])
        state = state[low - first : high - first + 1]
        if not len(state):
            return _LEAST
        first = low
    whole = np.exp(n * np.log(n) - n - gammaln(n + 1))
    return float(np.clip(state[0] / whole, _LEAST, 1 - 1e-15))
