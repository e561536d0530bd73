"""Which parameters the error depends on: shares of its variance, of main effects and of pairs.

Every parameter enters as its mid-rank, through polynomials that are orthonormal over the
population, so nothing depends on units or on logarithms, and settings of few values are exact.
Shares are gains in adjusted R² of a linear model of these, which are unbiased (a parameter that
does nothing has 0 in the mean, and a single estimate may lie below it), with intervals by
the jackknife. Forests, as Optuna's fANOVA has them, share the noise out among the parameters
(docs/ranges.md, "Shares of variance").

Inside a window of cost parameters are correlated: a wider network there is a shallower one. So
each share comes twice: `alone`, what the parameter explains by itself with all that goes with it,
and `unique`, what the additive model loses without it. Without correlation they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import f as f_distribution
from scipy.stats import norm, rankdata

from analysis.edf import Floats
from anynet.errors import InputError

Scale = Literal["rank", "error"]

_DEGREE, _PAIR_DEGREE = 3, 2
_MOST_PAIRS = 8
"""Pairs that join the model, at most."""
_SPARE = 10
"""Networks beyond the coefficients that a model needs, at least."""


@dataclass(frozen=True)
class Share:
    """A share of the variance of the error, with its interval.

    `value` is unbiased, so it may lie below 0; the interval is cut at 0 and 1. `p` is that of
    the F test of no effect; of pairs, corrected by Holm for the number of pairs.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Effect:
    """What one parameter explains."""

    name: str
    alone: Share
    unique: Share | None
    """Given all others; None where there are too few networks for so many parameters."""


@dataclass(frozen=True)
class Interaction:
    """What a pair of parameters explains beyond the sum of all main effects."""

    first: str
    second: str
    share: Share


@dataclass(frozen=True)
class Importance:
    """Effects in the order of the parameters; pairs by p."""

    effects: tuple[Effect, ...]
    pairs: tuple[Interaction, ...]
    """Empty where there are too few networks."""
    n: int


def response(errors: npt.ArrayLike, scale: Scale = "rank") -> Floats:
    """The errors as a model takes them: centered, of variance 1.

    `rank` turns them into normal scores, so that a few diverged networks do not make up the
    variance, and an interaction that another scale of the error would remove does not count;
    `error` takes them as they are. Raises InputError where all are equal.
    """
    values = np.asarray(errors, dtype=float)
    if scale == "rank":
        values = np.asarray(norm.ppf((rankdata(values) - 0.5) / len(values)))
    values = values - values.mean()
    spread = np.sqrt((values**2).mean())
    if not len(values) or spread < 1e-12:
        raise InputError("importance: all networks have the same error")
    return np.asarray(values / spread)


def bases(parameters: Mapping[str, npt.ArrayLike], degree: int) -> dict[str, Floats]:
    """Orthonormal polynomials of each parameter's mid-ranks, (n, up to `degree`), by name.

    Columns have mean 0 and variance 1 over the networks; a parameter of k values has k - 1 at
    most, and one that does not vary has none.
    """
    result = {}
    for name, given in parameters.items():
        values = np.asarray(given, dtype=float)
        ranks = (rankdata(values) - 0.5) / len(values)
        columns = min(degree, len(np.unique(values)) - 1) + 1
        powers = np.vander(2 * ranks - 1, columns, increasing=True)
        result[name] = np.linalg.qr(powers)[0][:, 1:] * np.sqrt(len(values))
    return result


def products(first: Floats, second: Floats) -> Floats:
    """All products of a column of the one and a column of the other, centered."""
    columns = (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)
    return np.asarray(columns - columns.mean(axis=0))


def known(
    parameters: Mapping[str, npt.ArrayLike], errors: npt.ArrayLike
) -> tuple[dict[str, Floats], Floats]:
    """The parameters that vary, and errors, of the networks that have an error.

    Raises InputError where no parameter varies, ValueError where shapes differ.
    """
    values = np.asarray(errors, dtype=float)
    kept = ~np.isnan(values)
    columns = {}
    for name, given in parameters.items():
        column = np.asarray(given, dtype=float)
        if column.shape != values.shape:
            raise ValueError(f"{name}: shape {column.shape} must be that of errors {values.shape}")
        column = column[kept]
        if len(column) and (column != column[0]).any():
            columns[name] = column
    if not columns:
        raise InputError("importance: no parameter varies among the networks with an error")
    return columns, values[kept]


class _Model:
    """A least-squares fit of y (of mean 0) on the mean and columns, given as orthonormal `q`.

    `without` is the adjusted R² without each network in turn, from residuals and leverages.
    """

    def __init__(self, y: Floats, q: Floats) -> None:
        n = len(y)
        self.y, self.q = y, q
        residuals = y - q @ (q.T @ y)
        self.size = q.shape[1]
        self.free = n - self.size
        self.sse = float(residuals @ residuals)
        leverage = np.minimum((q**2).sum(axis=1), 1 - 1e-9)
        total = float(y @ y)
        self.adjusted = 1 - (self.sse / self.free) / (total / (n - 1))
        sses = self.sse - residuals**2 / (1 - leverage)
        totals = total - y**2 * n / (n - 1)
        self.without = 1 - (sses / (self.free - 1)) / (totals / (n - 2))

    def plus(self, columns: Floats) -> _Model:
        """The model with more columns; those that it has already add nothing."""
        new = columns - self.q @ (self.q.T @ columns)
        new -= self.q @ (self.q.T @ new)
        left, singular, _ = np.linalg.svd(new, full_matrices=False)
        kept = singular > 1e-9 * np.sqrt((columns**2).sum())
        return _Model(self.y, np.concatenate([self.q, left[:, kept]], axis=1))


def _gain(small: _Model, large: _Model, confidence: float) -> Share:
    """What the larger model explains beyond the smaller one."""
    n = len(large.y)
    value = large.adjusted - small.adjusted
    without = large.without - small.without
    spread = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    z = float(norm.ppf((1 + confidence) / 2))
    low, high = (float(np.clip(value + sign * z * spread, 0, 1)) for sign in (-1, 1))
    added, p = large.size - small.size, 1.0
    if added:
        ratio = (small.sse - large.sse) / added / max(large.sse / large.free, 1e-300)
        p = float(f_distribution.sf(ratio, added, large.free))
    return Share(value, low, high, p)


def importance(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    *,
    scale: Scale = "rank",
    confidence: float = 0.95,
) -> Importance:
    """Shares of the variance of the error by parameter and by pair of parameters.

    `parameters` are arrays of shape (n,), `errors` too, in percent (NaN: no error, left out);
    those that do not vary are left out. Polynomials have degree 3, or less where there are too
    few networks for all parameters; pairs have products of degree 2 in each. Raises
    InputError where nothing varies, or where there are fewer than 14 networks.
    """
    columns, values = known(parameters, errors)
    n = len(values)
    if n < _SPARE + _DEGREE + 1:
        raise InputError(f"importance: {n} networks with an error, {_SPARE + _DEGREE + 1} at least")
    y = response(values, scale)
    degree = _affordable(columns, n)
    by_name = bases(columns, degree or _DEGREE)
    mean = _Model(y, np.full((n, 1), 1 / np.sqrt(n)))
    whole = mean.plus(np.concatenate(list(by_name.values()), axis=1)) if degree else None
    effects = []
    for name, basis in by_name.items():
        alone = _gain(mean, mean.plus(basis), confidence)
        unique = None
        if whole is not None:
            others = [mean.q, *(other for key, other in by_name.items() if key != name)]
            unique = _gain(mean.plus(np.concatenate(others, axis=1)), whole, confidence)
        effects.append(Effect(name, alone, unique))
    pairs = () if whole is None else _pairs(columns, whole, confidence)
    return Importance(tuple(effects), pairs, n)


def _affordable(columns: Mapping[str, Floats], n: int) -> int:
    """The largest degree that leaves two networks a coefficient; 0 where none does."""
    for degree in range(_DEGREE, 0, -1):
        size = 1 + sum(min(degree, len(np.unique(column)) - 1) for column in columns.values())
        if n >= max(2 * size, size + _SPARE):
            return degree
    return 0


def _pairs(
    columns: Mapping[str, Floats], main: _Model, confidence: float
) -> tuple[Interaction, ...]:
    """All pairs whose products leave the model enough networks, most certain first.

    One after the other, the most certain pair joins the model that the others are judged
    beside: left in the rest, a strong interaction makes the error's variance depend on
    its parameters, and pairs with either of them seem to interact. Corrected by Holm: the i-th
    of k pairs has k - i times its p, and at least that of the one before it.
    """
    low = bases(columns, _PAIR_DEGREE)
    left = {pair: products(low[pair[0]], low[pair[1]]) for pair in combinations(low, 2)}
    found: list[Interaction] = []
    model, floor, joining = main, 0.0, True
    shares: dict[tuple[str, str], Share] = {}
    while left:
        if joining:
            shares = {
                pair: _gain(model, model.plus(added), confidence)
                for pair, added in left.items()
                if model.free - added.shape[1] >= _SPARE
            }
        if not shares:
            break
        pair = min(shares, key=lambda name: shares[name].p)
        share = shares.pop(pair)
        floor = max(floor, min(1.0, share.p * (len(shares) + 1)))
        found.append(Interaction(*pair, replace(share, p=floor)))
        joining = floor < 1 - confidence and len(found) < _MOST_PAIRS
        added = left.pop(pair)
        if joining:
            model = model.plus(added)
    return tuple(found)
