"""How the best parameters move with the regime of flops (DNDS, section 4): best ranges regime by
regime, and power laws of the good networks' parameters and costs against their flops.

DNDS reads off its figures that the best depth stays near 20 blocks, that w0, wa and g grow, that
activations go with the square root of flops and params with flops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as t_distribution

from analysis.edf import Floats
from analysis.ranges import CONFIDENCE, SHARE, BestRange, Ints, best_ranges
from anynet.errors import InputError

TOP = 0.1
"""Of each regime, the share of the networks that counts as good."""
_POWERS = {"params": 1.0, "activations": 0.5}
"""Costs as DNDS describes them (section 4): params by a line in flops, activations by one in
their square root. A classifier of 1,000 classes is in the params whatever the flops are, so a
power law of params has an exponent well below 1 where networks are small."""


@dataclass(frozen=True)
class PowerLaw:
    """value = scale · (flops / 10⁹)^exponent, as least squares of the logarithms."""

    exponent: float
    interval: tuple[float, float]
    """Of the exponent."""
    scale: float
    """The value at 10⁹ multiply-adds."""
    r2: float
    """Share of the variance of the logarithms that the law explains."""
    n: int

    def __call__(self, flops: npt.ArrayLike) -> Floats:
        """The law at flops."""
        return np.asarray(self.scale * (np.asarray(flops, dtype=float) / 1e9) ** self.exponent)


@dataclass(frozen=True)
class CostLaw:
    """value = intercept + slope · (flops / 10⁹)^power, by least squares of relative errors."""

    power: float
    intercept: float
    intercept_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]
    n: int

    def __call__(self, flops: npt.ArrayLike) -> Floats:
        """The law at flops."""
        x = np.asarray(flops, dtype=float) / 1e9
        return np.asarray(self.intercept + self.slope * x**self.power)


@dataclass(frozen=True, eq=False)
class Regime:
    """The networks of one regime of flops."""

    name: str
    rows: Ints
    """Which networks, of those given."""
    good: Ints
    """The best `TOP` of them, best first."""
    flops: tuple[float, float, float]
    """Least, median and greatest."""
    ranges: dict[str, BestRange]


@dataclass(frozen=True, eq=False)
class Trends:
    """Regimes in the order of their median flops, and laws by parameter.

    A parameter with a value of 0 or below, or the same one in all good networks, has no law.
    """

    regimes: tuple[Regime, ...]
    laws: dict[str, PowerLaw]
    costs: dict[str, CostLaw]
    """Of `params` and `activations`, where they are among the parameters."""


def flops_regimes(flops: npt.ArrayLike, count: int) -> list[str]:
    """Names of `count` regimes of as many networks each, one a network, by its flops.

    Raises InputError where there are fewer than two regimes, or too few networks or values.
    """
    values = np.asarray(flops, dtype=float)
    if count < 2:
        raise InputError(f"regimes: {count} must be 2 or more")
    edges = np.quantile(values, np.arange(1, count) / count) if len(values) else np.zeros(0)
    places = np.searchsorted(edges, values, side="right")
    if len(np.unique(places)) < count:
        raise InputError(
            f"regimes: {len(values)} networks with {len(np.unique(values))} different flops "
            f"do not make {count}"
        )
    names = []
    for place in range(count):
        inside = values[places == place]
        names.append(f"{short(inside.min())} to {short(inside.max())}")
    return [names[place] for place in places]


def short(flops: float) -> str:
    """Flops as people write them: 400M, 1.6G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if flops >= size:
            return f"{flops / size:.3g}{unit}"
    return f"{flops:.3g}"


def trends(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    flops: npt.ArrayLike,
    regimes: npt.ArrayLike,
    *,
    share: float = SHARE,
    top: float = TOP,
    confidence: float = CONFIDENCE,
) -> Trends:
    """Best ranges by regime, and power laws against flops over the good networks of all.

    `parameters` are arrays of shape (n,) by name, as are `errors` in percent (NaN: left out),
    `flops` and `regimes`, the name of the regime of each network: a run sampled in a window of
    its own, or one of `flops_regimes`. Errors are compared within a regime only. Raises
    InputError where a regime has no network with an error.
    """
    errors, flops = np.asarray(errors, dtype=float), np.asarray(flops, dtype=float)
    labels = np.asarray(regimes, dtype=object)
    columns = {name: np.asarray(values, dtype=float) for name, values in parameters.items()}
    if not 0 < top <= 1:
        raise InputError(f"top: {top:g} must be above 0, and at most 1")
    found = []
    for name in dict.fromkeys(labels.tolist()):
        rows = np.flatnonzero(labels == name)
        known = rows[~np.isnan(errors[rows])]
        if not len(known):
            raise InputError(f"{name}: no network with an error yet")
        good = known[np.argsort(errors[known], kind="stable")][: max(1, round(top * len(known)))]
        ranges = best_ranges(
            {key: values[rows] for key, values in columns.items()},
            errors[rows],
            share=share,
            confidence=confidence,
        )
        low, middle, high = np.quantile(flops[rows], [0, 0.5, 1]).tolist()
        found.append(Regime(name, rows, good, (low, middle, high), ranges))
    found.sort(key=lambda regime: regime.flops[1])
    chosen = np.concatenate([regime.good for regime in found])
    laws = {}
    for key, values in columns.items():
        law = power_law(flops[chosen], values[chosen], confidence=confidence)
        if law is not None:
            laws[key] = law
    costs = {}
    for key, power in _POWERS.items():
        cost = key in columns and cost_law(flops[chosen], columns[key][chosen], power, confidence)
        if cost:
            costs[key] = cost
    return Trends(tuple(found), laws, costs)


def power_law(
    flops: npt.ArrayLike, values: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> PowerLaw | None:
    """The power law of values against flops, both (n,); None where there is none to fit.

    That is where n is below 4, a value is not above 0, or either side is constant. The interval
    is Student's with the HC3 error (MacKinnon and White, 1985), which holds where values scatter
    more in one regime than in another.
    """
    x, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    if len(x) < 4 or not (y > 0).all() or not (x > 0).all():
        return None
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = np.log(x / 1e9), np.log(y)
    design = np.stack([np.ones_like(x), x], axis=1)
    (constant, exponent), reach, residuals = _least_squares(design, y, confidence)
    return PowerLaw(
        exponent=exponent,
        interval=(exponent - reach[1], exponent + reach[1]),
        scale=float(np.exp(constant)),
        r2=1 - float((residuals**2).sum() / ((y - y.mean()) ** 2).sum()),
        n=len(x),
    )


def cost_law(
    flops: npt.ArrayLike, values: npt.ArrayLike, power: float, confidence: float = CONFIDENCE
) -> CostLaw | None:
    """The line of a cost in a power of flops; None and intervals as of `power_law`.

    Errors are relative ones: each network weighs as the inverse square of what the line gives
    it, or of its own value at first.
    """
    x, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    if power_law(x, y) is None:
        return None
    x = (x / 1e9) ** power
    fitted = y
    for _ in range(10):
        design = np.stack([1 / fitted, x / fitted], axis=1)
        (intercept, slope), reach, _ = _least_squares(design, y / fitted, confidence)
        line = intercept + slope * x
        if not (line > 0).all():
            break  # as it is: a line through 0 has no relative errors
        fitted = line
    return CostLaw(
        power=power,
        intercept=intercept,
        intercept_interval=(intercept - reach[0], intercept + reach[0]),
        slope=slope,
        slope_interval=(slope - reach[1], slope + reach[1]),
        n=len(x),
    )


def _least_squares(
    design: Floats, y: Floats, confidence: float
) -> tuple[tuple[float, float], tuple[float, float], Floats]:
    """The two coefficients, how far their intervals reach, and the residuals."""
    inverse = np.linalg.pinv(design)
    first, second = (inverse @ y).tolist()
    residuals = y - design @ (inverse @ y)
    leverage = np.einsum("ij,ji->i", design, inverse)
    pulled = residuals / np.maximum(1 - leverage, 1e-9)
    t = float(t_distribution.ppf((1 + confidence) / 2, len(y) - 2))
    reach = (t * np.sqrt(inverse**2 @ pulled**2)).tolist()
    return (first, second), (reach[0], reach[1]), residuals
