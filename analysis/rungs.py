"""The EDF at the longest training, of a population that was trained so far only in part.

All networks have a cheap error; some were promoted, each with a known probability, and have the
long one as well. Three estimates of F, the distribution of the long error over the whole space:
by inverse probabilities (Horvitz and Thompson 1952), the same normalized (Hájek), and assisted
by what the cheap errors of all networks predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from analysis.bands import (
    LARGEST_ERROR,
    PSEUDO,
    Band,
    Interval,
    ascending_band,
    band_mean,
    berk_jones_level,
    divergence_limit,
)
from analysis.edf import EDF, Floats, Population, edf
from anynet.errors import InputError

Estimator = Literal["horvitz_thompson", "hajek", "assisted"]
_MOST_STEPS = 1000
"""Errors at which an estimate is computed; a band of more is only wider for it."""
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Promoted:
    """n networks with a cheap error each, some of them with a long one; all arrays are (n,).

    `long` is NaN where a network was not promoted. `probability` is that with which it was
    promoted all the way, in (0, 1], given all cheap errors. A network that diverged on the way
    has long error 100 and probability 1: no longer training would mend it. Failed ones are not
    here. Promotions are independent, or a random share of each stratum of cheap errors.
    """

    name: str
    cheap: Floats
    long: Floats
    probability: Floats

    def __post_init__(self) -> None:
        if not len(self.cheap) == len(self.long) == len(self.probability):
            raise InputError(f"{self.name}: cheap, long and probability differ in length")
        if np.isnan(self.cheap).any():
            raise InputError(f"{self.name}: a network without a cheap error cannot be promoted")
        if np.isnan(self.long).all():
            raise InputError(f"{self.name}: no network was promoted yet")
        bad = ~((self.probability > 0) & (self.probability <= 1))
        if bad.any():
            raise InputError(
                f"{self.name}: promotion_probability: {self.probability[bad][0]} must lie in (0, 1]"
            )

    def __len__(self) -> int:
        return len(self.cheap)


@dataclass(frozen=True, eq=False)
class Estimate:
    """F at each of `errors`, (k,) ascending with -inf first; ascending and within [0, 1].

    `deviations` (k,) are standard deviations, `sizes` (k,) such that F(1 - F)/size is their
    square. `mass` is what the estimate came to before it
    was cut at 1 (1 but for Horvitz and Thompson's), `assistance` how much of the prediction was
    used, from 0 to 1. `level_size` is the number of networks whose Berk and Jones level the band
    takes; `thinned` whether `errors` are not all that were seen.
    """

    name: str
    estimator: Estimator
    errors: Floats
    shares: Floats
    deviations: Floats
    sizes: Floats
    mass: float
    assistance: float
    networks: int
    promoted: int
    level_size: int
    thinned: bool
    mean: float
    mean_deviation: float
    """Standard deviation of the mean error over the space as estimated."""

    def __call__(self, error: npt.ArrayLike) -> Floats:
        """F at each of the errors given, in percent."""
        return self.shares[np.searchsorted(self.errors, error, side="right") - 1]

    def band(self, confidence: float = 0.95) -> Band:
        """The band after Berk and Jones's with `sizes` for n, as a weighted EDF's."""
        c = berk_jones_level(self.level_size, confidence)
        high = divergence_limit(self.shares, c / self.sizes)
        low = 1 - divergence_limit(1 - self.shares, c / self.sizes)
        if abs(self.mass - 1) > 1e-9:
            # What is not normalized varies at F = 1 too, which no coin does: as a Gaussian there.
            reach = np.sqrt(2 * c) * self.deviations
            low, high = np.minimum(low, self.shares - reach), np.maximum(high, self.shares + reach)
        if self.thinned:  # between two errors only what bounds F at the next one does
            high = np.append(high[1:], 1.0)
        return ascending_band(self.errors, low, high, confidence, f"{self.estimator}, berk_jones")

    def mean_interval(self, confidence: float = 0.95) -> Interval:
        """Where the mean error of the space lies: Student's, of as many as were promoted.

        What is not normalized has the least and the greatest mean in its band. As every interval
        of a mean that looks at the sample alone it says too little where few networks diverged.
        """
        if self.estimator == "horvitz_thompson" or self.promoted < 3:
            return band_mean(self.band(confidence))
        reach = float(student.ppf((1 + confidence) / 2, self.promoted - 1)) * self.mean_deviation
        low, high = np.clip([self.mean - reach, self.mean + reach], 0, LARGEST_ERROR)
        return Interval(float(low), float(high), "Student's t")

    def edf(self, sample: Promoted, failed: int = 0) -> EDF:
        """The estimate as a weighted EDF of the networks of `sample` that have a long error.

        Equal errors, and where `thinned` those between two of `errors`, share the step there.
        What a mass below 1 leaves is given to the largest error. `failed` as of an EDF.
        """
        long = np.sort(sample.long[~np.isnan(sample.long)])
        step = np.searchsorted(self.errors[1:], long)
        heights = np.diff(self.shares)
        heights[-1] += 1 - self.shares[-1]
        weights = heights[step] / np.bincount(step, minlength=len(heights))[step]
        return EDF(sample.name, long, weights, failed, self.sizes[np.append(0, step + 1)])


def from_population(population: Population) -> Promoted:
    """The networks of a run with rungs, by their errors at the lowest and the longest one.

    Failed ones, which have no error, are left out.
    """
    table = population.networks
    failed = table["error"].isna() & (table["weight"] > 0)
    table = table[~failed & table["cheap"].notna()]
    return Promoted(
        population.name,
        table["cheap"].to_numpy(float),
        table["error"].to_numpy(float),
        table["probability"].to_numpy(float),
    )


def promoted_edf(sample: Promoted) -> EDF:
    """The normalized (Hájek) estimate as a weighted EDF of the promoted networks.

    Σ 1[e_i <= e]/π_i over Σ 1/π_i, a ratio: its bias is of the order of 1/n_promoted, times the
    standard error small, and it vanishes where Σ 1/π_i is n in every sample, as it is for
    shares of strata.
    """
    known = ~np.isnan(sample.long)
    return edf(sample.name, sample.long[known], 1 / sample.probability[known])


def estimate(sample: Promoted, estimator: Estimator = "assisted", seed: int = 0) -> Estimate:
    """The distribution of the long error over the space that the n networks were drawn from.

    `horvitz_thompson`: 1/n Σ 1[e_i <= e]/π_i, unbiased, and above 1 by chance where promotions
    are independent (it is cut there, which alone is not unbiased); for shares of strata it is the
    same as the next. `hajek`: see `promoted_edf`.

    `assisted`: a prediction g_i(e) of P(long <= e) from the cheap error, for everybody, corrected
    by what the promoted ones show: 1/n Σ a g_i + Σ w_i (1[e_i <= e] - a g_i), w_i as Hájek's (a
    difference estimator; prediction-powered inference of Angelopoulos et al. 2023). g is fitted
    on the other folds (`seed` draws them), so that it knows nothing of what corrects it, and a,
    one number in [0, 1], is the one of least variance: a cheap error that tells nothing costs
    nothing (up to a bias of the order of 1/n_promoted).

    The variance is F(1 - F)/n, of n networks drawn from the space, plus that of independent
    promotions; shares of strata vary less. `PSEUDO` networks are added in the tails, where none
    may have been promoted, as in `effective_sizes`, and as far as a prediction is used
    everywhere: it is surprised by so few networks that their number is uncertain.
    """
    if estimator not in get_args(Estimator):
        raise InputError(
            f"estimator: {estimator!r} must be one of {', '.join(get_args(Estimator))}"
        )
    known = ~np.isnan(sample.long)
    n, long, pi = len(sample), sample.long[known], sample.probability[known]
    errors = np.unique(long)
    thinned = len(errors) > _MOST_STEPS
    if thinned:
        errors = errors[np.unique(np.linspace(0, len(errors) - 1, _MOST_STEPS).astype(int))]
    below = (long[:, None] <= errors).astype(float)
    weights = 1 / (n * pi)
    mass = float(weights.sum())
    normalized = estimator != "horvitz_thompson" or abs(mass - 1) < 1e-9
    if normalized:
        weights /= mass
    shares = weights @ below
    residual = below
    factor = 0.0
    squares = (1 - pi) * weights**2
    if estimator == "assisted":
        everybody, own = _predict(sample, errors, seed)
        # Σ over errors of the variance is a parabola in a; both sides are centered as Hájek's are.
        left = below - shares
        right = own - weights @ own
        per_error = np.diff(shares, append=1.0) + 1 / len(errors)
        covariance = squares @ (left * right) @ per_error
        factor = float(np.clip(covariance / max(squares @ right**2 @ per_error, 1e-300), 0, 1))
        residual = below - factor * own
        shares = factor * everybody + weights @ residual
    if normalized:
        residual = residual - weights @ residual
    shares = np.sort(np.clip(np.append(0.0, shares), 0, 1))  # rearranged: never farther from F
    if normalized:
        shares[-1] = 1.0
    sampling = np.append(0.0, squares @ residual**2)
    unit = float((weights**2).sum()) / weights.sum() ** 2
    smooth = (shares + PSEUDO * unit) / (1 + 2 * PSEUDO * unit)
    spread = smooth * (1 - smooth)
    hidden = PSEUDO * float(weights @ squares) / weights.sum()
    tail = (1 - 2 * smooth) ** 2  # 1 in the tails, where a share tells least of its variance
    variance = spread / n + sampling + hidden * np.maximum(tail, factor)
    mean, mean_variance = _mean(errors, shares[1:], squares, residual, n)
    size = int(known.sum())
    if estimator == "assisted":
        plain = spread / n + np.append(0.0, squares @ (below - weights @ below) ** 2)
        size = _level_size(
            size, np.diff(shares, prepend=0.0) * unit, variance, plain + hidden * tail
        )
    return Estimate(
        sample.name,
        estimator,
        np.append(-np.inf, errors),
        shares,
        np.sqrt(variance),
        spread / variance,
        mass if estimator == "horvitz_thompson" else 1.0,
        factor,
        n,
        int(known.sum()),
        size,
        thinned,
        mean,
        float(np.sqrt(mean_variance)),
    )


def _mean(
    errors: Floats, shares: Floats, squares: Floats, residual: Floats, n: int
) -> tuple[float, float]:
    """The mean of a distribution with `shares` at `errors`, both (k,), and its variance.

    A mean is a sum over gaps between errors, e_k - Σ (e_j+1 - e_j) F(e_j), and so varies as the
    shares do together: that of n draws of the space, and of promotion by the `residual` (m, k)
    of each promoted network.
    """
    heights = np.diff(shares, prepend=0.0)
    heights[-1] += 1 - shares[-1]
    mean = float(heights @ errors)
    drawn = float(heights @ (errors - mean) ** 2) / n
    return mean, drawn + float(squares @ (residual[:, :-1] @ np.diff(errors)) ** 2)


def _level_size(size: int, steps: Floats, variance: Floats, plain: Floats) -> int:
    """The number of equal networks over whose EDF an assisted estimate's band has as much to hold.

    What is left after a prediction is local: it forgets itself over a shorter stretch of errors
    than a plain EDF does, so the band is tried more often. Time on the clock on which either is a
    stationary process is the sum of squared `steps` over the variance; of an EDF it is 2 ln n.
    """
    longer = float((steps / variance - steps / plain).sum()) / 2
    return max(size, int(float(f"{size * np.exp(np.clip(longer, 0, 12)):.2g}")))


def _predict(sample: Promoted, errors: Floats, seed: int) -> tuple[Floats, Floats]:
    """P(long <= e | cheap) at each of k errors: its mean over everybody, (k,), and (m, k).

    On normal scores of the ranks, which neither diverged networks nor the scale of errors upset:
    an isotonic regression of the long on the cheap error, and around it the residuals of the
    promoted networks nearest in cheap error. Each fold's networks are predicted from the others.
    """
    known = ~np.isnan(sample.long)
    n, m = len(sample), int(known.sum())
    position = rankdata(sample.cheap) / n
    order = np.argsort(sample.long[known], kind="stable")
    ordered = sample.long[known][order]
    inverse = 1 / sample.probability[known]
    cumulative = np.cumsum(inverse[order]) / inverse.sum()
    middle = np.append(0, cumulative[:-1]) / 2 + cumulative / 2
    scores = norm.ppf(middle)
    score = np.empty(m)
    score[order] = scores
    # An error as a score: halfway to the score of the next larger long error.
    at = np.searchsorted(ordered, errors, side="right")
    limits = np.append((scores[:-1] + scores[1:]) / 2, np.inf)[at - 1]

    fold = np.random.default_rng(seed).permutation(n) % _FOLDS
    promoted = np.flatnonzero(known)
    everybody = np.zeros(len(errors))
    own = np.zeros((m, len(errors)))
    for number in range(_FOLDS):
        fit = np.flatnonzero(fold[promoted] != number)
        if len(fit) < 2:
            continue  # nothing to learn from: g = 0 there, which is allowed
        fit = fit[np.argsort(position[promoted[fit]], kind="stable")]
        x, y = position[promoted[fit]], score[fit]
        line = isotonic_regression(y, weights=inverse[fit]).x
        near = min(len(fit), max(8, min(len(fit) // 6, 50)))
        residual = y - line
        members = np.flatnonzero(fold == number)
        first = np.clip(np.searchsorted(x, position[members]) - near // 2, 0, len(fit) - near)
        nearest = first[:, None] + np.arange(near)
        guess = np.interp(position[members], x, line)[:, None] + residual[nearest]
        share = inverse[fit][nearest]
        share = share / share.sum(axis=1, keepdims=True)
        steps = np.searchsorted(limits, guess, side="left")  # first error that is not below
        everybody += np.cumsum(np.bincount(steps.ravel(), share.ravel(), len(errors) + 1))[:-1] / n
        inside = known[members]
        rows = np.searchsorted(promoted, members[inside])
        flat = (np.arange(len(rows))[:, None] * (len(errors) + 1) + steps[inside]).ravel()
        table = np.bincount(flat, share[inside].ravel(), len(rows) * (len(errors) + 1))
        own[rows] = np.cumsum(table.reshape(len(rows), len(errors) + 1), axis=1)[:, :-1]
    return everybody, own
