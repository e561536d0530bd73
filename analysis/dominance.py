"""Two whole error distributions: are they the same (KS), and does one dominate the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.intervals import Floats, Sample, unit_weights

Order = Literal["A dominates", "B dominates", "cross", "undecided"]


@dataclass(frozen=True)
class KS:
    """The Kolmogorov-Smirnov test: the largest distance of two EDFs, a share, and its p value."""

    distance: float
    p_value: float


@dataclass(frozen=True)
class Dominance:
    """Whether one population has the larger share of networks at every level of error.

    `lead_a` is the most by which the EDF of a is above that of b, `lead_b` the reverse.
    """

    order: Order
    lead_a: float
    lead_b: float
    confidence: float


class _Curves(NamedTuple):
    """Both EDFs at every different error: shape (levels,) each."""

    ends: npt.NDArray[np.int64]
    """How many networks of both lie at or below it."""
    of_a: Floats
    of_b: Floats

    @property
    def lead(self) -> Floats:
        return self.of_a - self.of_b


def ks_test(a: Sample, b: Sample, rng: np.random.Generator, permutations: int = 4999) -> KS:
    """Two-sample KS test.

    Without weights the p value is exact given the ties, because paths of the two EDFs are
    compared where errors differ only (Schröer and Trenkler 1995); that of `scipy.stats.ks_2samp`
    is too large where many errors are equal. With weights it is a permutation test of networks
    together with their weights.
    """
    curves = _curves(a, b)
    distance = float(np.abs(curves.lead).max())
    if a.weights is None and b.weights is None:
        sizes = len(a.errors), len(b.errors)
        return KS(distance, _path_share(*sizes, curves.ends, distance, two_sided=True))
    return KS(distance, _permuted_share(a, b, curves.ends, distance, rng, permutations))


def dominance(a: Sample, b: Sample, confidence: float = 0.95) -> Dominance:
    """First-order dominance of populations; a word is wrong in at most 1 - confidence of samples.

    "A dominates": at every level of error between the 10% and 90% quantiles of both together,
    the share of networks of a is significantly the larger. All these one-sided tests must reject,
    so none needs a correction, and the hypothesis that is rejected is that somewhere there a is
    not ahead (Davidson and Duclos 2013). Beyond that range no sample can tell: both EDFs are near
    0 or 1. "cross": a is ahead somewhere and b elsewhere, each by a one-sided KS test at half the
    level (with weights by its large-sample form and the effective number of networks).
    """
    curves = _curves(a, b)
    lead_a, lead_b = (max(0.0, float((sign * curves.lead).max())) for sign in (1, -1))
    mixed = (curves.of_a + curves.of_b) / 2
    scores = _scores(a, b, curves)[(mixed >= 0.1) & (mixed <= 0.9)]
    critical = float(stats.norm.isf(1 - confidence))
    order: Order = "undecided"
    if len(scores) and scores.min() > critical:
        order = "A dominates"
    elif len(scores) and scores.max() < -critical:
        order = "B dominates"
    else:
        level = (1 - confidence) / 2
        sides = sorted([(lead_a, a, b), (lead_b, b, a)], key=lambda side: side[0])
        if all(_one_sided(x, y, curves.ends, lead) <= level for lead, x, y in sides):
            order = "cross"
    return Dominance(order, lead_a, lead_b, confidence)


def _curves(a: Sample, b: Sample) -> _Curves:
    both = np.sort(np.concatenate([a.errors, b.errors]))
    ends = np.flatnonzero(np.append(np.diff(both) > 0, True)) + 1
    levels = both[ends - 1]
    return _Curves(ends, _reached(a, levels), _reached(b, levels))


def _reached(of: Sample, levels: Floats) -> Floats:
    order = np.argsort(of.errors, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(unit_weights(of)[order])])
    return summed[np.searchsorted(of.errors[order], levels, side="right")] / summed[-1]


def _scores(a: Sample, b: Sample, curves: _Curves) -> Floats:
    """(F_a - F_b) / its standard error at each level, by Agresti and Caffo (one added to each)."""
    shares, variances = [], []
    for of, reached in ((a, curves.of_a), (b, curves.of_b)):
        n = of.effective
        share = (reached * n + 1) / (n + 2)
        shares.append(share)
        variances.append(share * (1 - share) / (n + 2))
    return (shares[0] - shares[1]) / np.sqrt(variances[0] + variances[1])


def _one_sided(a: Sample, b: Sample, ends: npt.NDArray[np.int64], lead: float) -> float:
    """The p value of the KS test that looks at how far a leads alone."""
    if a.weights is None and b.weights is None:
        return _path_share(len(a.errors), len(b.errors), ends, lead, two_sided=False)
    size = a.effective * b.effective / (a.effective + b.effective)
    return float(np.exp(-2 * size * lead**2))


def _path_share(
    n_a: int, n_b: int, ends: npt.NDArray[np.int64], distance: float, *, two_sided: bool
) -> float:
    """Share of orders of the networks in which the EDFs part by `distance` or more.

    Networks are laid in order of error, each of a or b with the chance that what is left has;
    chances of a path are followed by the number of a so far, and taken out where a level of
    error ends and the distance is reached.
    """
    chance = np.zeros(n_a + 1)
    chance[0] = 1.0
    level_ends = np.zeros(n_a + n_b + 1, dtype=bool)
    level_ends[ends] = True
    count = np.arange(n_a + 1)
    reached = 0.0
    for step in range(1, n_a + n_b + 1):
        left = n_a + n_b - step + 1
        of_a = chance * (n_a - count) / left
        chance = chance - of_a
        chance[1:] += of_a[:-1]
        chance[chance < 1e-200] = 0.0  # numbers near the smallest there are take many times longer
        if level_ends[step]:
            apart = count / n_a - (step - count) / n_b
            far = (np.abs(apart) if two_sided else apart) >= distance - 1e-9
            reached += float(chance[far].sum())
            chance[far] = 0.0
    return min(reached, 1.0)


def _permuted_share(
    a: Sample,
    b: Sample,
    ends: npt.NDArray[np.int64],
    distance: float,
    rng: np.random.Generator,
    permutations: int,
) -> float:
    errors = np.concatenate([a.errors, b.errors])
    weights = np.concatenate([unit_weights(a), unit_weights(b)])
    in_a = np.arange(len(errors)) < len(a.errors)
    order = np.argsort(errors, kind="stable")
    weights = weights[order]
    far = 1
    for _ in range(permutations):
        group = rng.permutation(in_a)
        mine, other = np.cumsum(weights * group), np.cumsum(weights * ~group)
        lead = mine[ends - 1] / mine[-1] - other[ends - 1] / other[-1]
        far += bool(np.abs(lead).max() >= distance - 1e-9)
    return far / (permutations + 1)
