"""Which values of a parameter the good networks have: the papers' bootstrap, in closed form.

DNDS, section 3.2, after NDS: draw 25% of the networks with replacement, note the parameter of the
best one, 10,000 times; the middle 95% of what was noted is the range, its median the likely best
value. The limit of endless draws needs none: the best of m draws is worse than rank i with the
chance that no draw is among the i best, so it is rank i with

    P(i) = ((n - i + 1)/n)^m - ((n - i)/n)^m,

and the percentiles are those of the parameter under these chances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.edf import Floats
from anynet.errors import InputError

Ints = npt.NDArray[np.int64]

SHARE = 0.25
"""Of the networks, how many a bootstrap sample has (DNDS, section 3.2)."""
CONFIDENCE = 0.95
_NEGLIGIBLE = 2.0**-60
"""A chance that changes no digit of a sum of chances."""


@dataclass(frozen=True)
class BestRange:
    """Where a parameter lies in the best of a share of the networks."""

    low: float
    median: float
    """The likely best value."""
    high: float
    inside: float
    """Share of the population from `low` to `high`: near 1, the range says nothing."""
    n: int
    draws: int
    """Networks a bootstrap sample."""
    chance: float | None = None
    """Of a parameter that has nothing to do with the error: how often so narrow a range comes
    about, that is, with so small an `inside`. None where it was not computed."""


def best_chances(
    errors: npt.ArrayLike, draws: int, weights: npt.ArrayLike | None = None
) -> tuple[Ints, Floats]:
    """The networks that can be the best of `draws`, best first, and the chance of each.

    `errors` is of shape (n,); a network is drawn with a probability proportional to its weight
    (equal ones by default), with replacement. Networks of equal error share the chance that one
    of them is the best in proportion to their weights, as in a bootstrap that draws lots among
    them. NaN is a network without an error: it is not drawn. Those left out have a chance of
    less than 1e-18 together. Raises InputError where no network can be drawn, ValueError where
    weights are not n numbers of 0 or more.
    """
    errors = np.asarray(errors, dtype=float)
    drawn = ~np.isnan(errors)
    if weights is not None:
        weights = np.asarray(weights, dtype=float)
        if weights.shape != errors.shape or not np.isfinite(weights).all() or weights.min() < 0:
            raise ValueError(f"weights: must be {errors.shape} finite numbers of 0 or more")
        drawn &= weights > 0
    if draws < 1:
        raise InputError(f"draws: {draws} must be 1 or more")
    known = np.flatnonzero(drawn)
    if not len(known):
        raise InputError("best of no network: none has an error and a weight")
    values = errors[known]
    # Only the few best have a chance worth a digit: sorting all would be the work of it.
    share = None if weights is None else weights[known] / weights[known].sum()
    first = min(len(known), 64 + 64 * len(known) // draws)
    while True:
        if first < len(known):
            edge = np.partition(values, first - 1)[first - 1]
            some = np.flatnonzero(values <= edge)
        else:
            some = np.arange(len(known))
        part = np.full(len(some), 1 / len(known)) if share is None else share[some]
        if len(some) == len(known) or (1 - part.sum()) ** draws < _NEGLIGIBLE:
            break
        first = min(len(known), 4 * first)
    order = np.argsort(values[some], kind="stable")
    part = part[order]
    _, starts = np.unique(values[some][order], return_index=True)
    group = np.add.reduceat(part, starts)
    # The chance that no draw is among the networks up to here; what is left out has no weight.
    below = np.concatenate([[1.0], np.clip(1 - np.cumsum(group), 0, None) ** draws])
    if len(some) == len(known):
        below[-1] = 0.0
    sizes = np.diff(np.append(starts, len(some)))
    chances = part * np.repeat((below[:-1] - below[1:]) / group, sizes)
    return known[some[order]], chances / chances.sum()


def best_range(
    values: npt.ArrayLike,
    errors: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    share: float = SHARE,
    confidence: float = CONFIDENCE,
) -> BestRange:
    """The best range of one parameter, `values` of shape (n,); as `best_ranges`."""
    return best_ranges({"value": values}, errors, weights, share=share, confidence=confidence)[
        "value"
    ]


def best_ranges(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    share: float = SHARE,
    confidence: float = CONFIDENCE,
    rng: np.random.Generator | None = None,
    shuffles: int = 999,
) -> dict[str, BestRange]:
    """The best range of each parameter, an array of shape (n,), by name (DNDS, section 3.2).

    `low`, `median` and `high` are values that networks have: the least with at least
    (1 - confidence)/2, 1/2 and (1 + confidence)/2 of the chance at or below it. `weights` are
    those of the networks, as in a normalized EDF. With `rng` every range has its `chance`, from
    `shuffles` of the errors over the networks (weights stay with their networks; the chance is
    then approximate, since it takes ranks to be drawn with equal weights).

    Raises InputError where no network has an error or a share is outside (0, 1]; ValueError where
    shapes differ or a parameter is not a number.
    """
    errors = np.asarray(errors, dtype=float)
    if not 0 < share <= 1:
        raise InputError(f"share: {share:g} must be above 0, and at most 1")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: {confidence:g} must lie between 0 and 1")
    drawn = ~np.isnan(errors)
    shares: Floats | None = None
    if weights is not None:
        shares = np.asarray(weights, dtype=float)
        drawn &= shares > 0
    n = int(drawn.sum())
    draws = max(1, round(share * n))
    best, chances = best_chances(errors, draws, shares)
    levels = np.array([(1 - confidence) / 2, 0.5, (1 + confidence) / 2])
    ranks = None if rng is None else _shuffled(n, len(best), shuffles, rng)
    result = {}
    for name, given in parameters.items():
        values = np.asarray(given, dtype=float)
        if values.shape != errors.shape:
            raise ValueError(f"{name}: shape {values.shape} must be that of errors {errors.shape}")
        known = values if drawn.all() else values[drawn]
        if not np.isfinite(known).all():
            raise ValueError(f"{name}: must be a finite number for every network with an error")
        low, median, high = _percentiles(values[best], chances, levels).tolist()
        within = (known >= low) & (known <= high)
        part = None if shares is None else shares[drawn] / shares[drawn].sum()
        inside = float(within.mean() if part is None else within @ part)
        chance = None
        if ranks is not None:
            chance = _chance(inside, known, part, chances, levels[[0, 2]], ranks)
        result[name] = BestRange(low, median, high, inside, n, draws, chance)
    return result


def _percentiles(values: Floats, chances: Floats, levels: Floats) -> Floats:
    """The least value with at least each level of the chance at or below it.

    `values` is (..., k), `chances` (k,): the result is (..., levels).
    """
    order = np.argsort(values, axis=-1, kind="stable")
    below = np.cumsum(chances[order], axis=-1)
    places = (below[..., None, :] < levels[:, None] - 1e-12).sum(axis=-1)
    places = np.minimum(places, values.shape[-1] - 1)
    return np.take_along_axis(np.take_along_axis(values, order, axis=-1), places, axis=-1)


def _shuffled(n: int, count: int, shuffles: int, rng: np.random.Generator) -> Ints:
    """The first `count` networks of `shuffles` random orders of n; (shuffles, count)."""
    return np.stack([rng.choice(n, count, replace=False) for _ in range(shuffles)])


def _chance(
    inside: float,
    values: Floats,
    weights: Floats | None,
    chances: Floats,
    ends: Floats,
    ranks: Ints,
) -> float:
    """How often shuffled errors give a range with at most so much of the population inside."""
    ranges = _percentiles(values[ranks], chances, ends)
    order = np.argsort(values)
    sums = np.arange(len(values) + 1) / len(values)
    if weights is not None:
        sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    after = sums[np.searchsorted(values[order], ranges[:, 1], side="right")]
    before = sums[np.searchsorted(values[order], ranges[:, 0], side="left")]
    narrow = int((after - before <= inside + 1e-12).sum())
    return (narrow + 1) / (len(ranks) + 1)
