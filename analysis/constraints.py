"""Candidate constraints of a space, and what networks that are trained already say of each.

The vocabulary is the papers': a setting shared by all stages, widths and depths that do not
decrease or increase, ranges from the bootstrap of the best, the quantized line, bounds of cost as
functions of flops. Nothing says here which of them are good: what the errors say decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace
from scipy import stats

from analysis.comparison import compare
from analysis.ranges import BestRange, best_ranges
from anynet.choices import DEFAULTS
from anynet.errors import InputError
from anynet.line_fit import DEEPEST, fit_lines
from anynet.ranges import Range
from anynet.sampling import PLURAL, Population
from anynet.space import Constraint, DesignSpace, LineRanges, Parameter

Floats = npt.NDArray[np.float64]
Kind = Literal["shared", "order", "range", "line", "limit"]

ENOUGH = 20
"""Networks that satisfy a constraint, from which their own errors are asked, not a regression."""
CHANCE = 0.05
"""A best range is a candidate where a setting without effect has one so narrow this rarely."""


@dataclass(frozen=True, eq=False)
class Observed:
    """A trained sample of a space.

    `drawn` as `Population.drawn` holds it; `depths` and `widths`, (n, stages), are resolved;
    `costs` has params, flops and activations, (n,). `errors` (n,) in percent, without NaN;
    `weights` (n,), where the networks do not count equally.
    """

    space: DesignSpace
    drawn: Mapping[str, npt.NDArray[Any]]
    depths: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]
    costs: Mapping[str, npt.NDArray[Any]]
    errors: Floats
    weights: Floats | None = None
    fits: dict[str, Floats] = field(default_factory=dict, repr=False)
    """e_fit of the networks, once it was asked for."""

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def e_fit(self) -> Floats:
        """Distance of each network to the nearest line (DNDS, section 3.3); NaN if too deep."""
        if "e_fit" not in self.fits:
            found = np.full(len(self), np.nan)
            rows = np.flatnonzero(self.depths.sum(axis=1) <= DEEPEST)
            if len(rows):
                found[rows] = fit_lines(self.depths[rows], self.widths[rows]).e_fit
            self.fits["e_fit"] = found
        return self.fits["e_fit"]

    @property
    def weighted(self) -> Floats:
        """The weights (n,), equal ones where none are given."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def deviation(self) -> float:
        """Estimated standard deviation of the errors over the space, in points."""
        if np.ptp(self.errors) == 0:  # without what rounding leaves
            return 0.0
        mean = np.average(self.errors, weights=self.weights)
        variance = float(np.average((self.errors - mean) ** 2, weights=self.weights))
        return math.sqrt(variance * len(self) / (len(self) - 1))

    def setting(self, parameter: str) -> Floats:
        """The drawn values of a setting: (n, stages), or (n, 1) of a space with a line."""
        name = parameter if self.space.line is not None else PLURAL[parameter]
        column = np.asarray(self.drawn[name], dtype=float)
        return column[:, None] if column.ndim == 1 else column


def observe(population: Population, errors: npt.ArrayLike) -> Observed:
    """A sampled population with the errors (n,) that its networks were trained to; NaN is left out.

    Raises InputError where fewer than two networks have an error.
    """
    values = np.asarray(errors, dtype=float)
    kept = np.flatnonzero(~np.isnan(values))
    if len(kept) < 2:
        raise InputError(f"{population.space.name}: {len(kept)} networks with an error, 2 at least")
    return Observed(
        population.space,
        {name: column[kept] for name, column in population.drawn.items()},
        population.depths[kept],
        population.widths[kept],
        {name: getattr(population, name)[kept] for name in ("params", "flops", "activations")},
        values[kept],
    )


@dataclass(frozen=True, eq=False)
class Candidate:
    """A space that a constraint makes of another one.

    `tag` names it among the candidates of any space, `words` says it. `distance` (n,) is how far
    each network of the sample that it was made from is from satisfying it: 0 where it does.
    """

    tag: str
    kind: Kind
    words: str
    space: DesignSpace
    distance: Floats
    shrinkage: float
    """Settings of the space over those that are left; of a limit, from the sample."""
    parameter: str | None = None
    """The setting that it is about, where it is about one."""
    best: BestRange | None = None
    """Where the range comes from."""


@dataclass(frozen=True)
class Screening:
    """What trained networks say of a candidate, before any was trained for it.

    `effect` is the mean error of networks that satisfy it, minus that of all: points of error,
    below 0 where it promises to be better; `low` and `high` at 95%. A screening decides nothing:
    the networks that suggest a constraint flatter it.
    """

    satisfying: int
    method: Literal["subset", "regression", "none"]
    """subset: the networks that satisfy it are a sample of the smaller space. regression: error
    on distance, read off at 0; where too few satisfy it."""
    effect: float
    low: float
    high: float


def candidates(observed: Observed) -> list[Candidate]:
    """The vocabulary, as far as it is something new for the space of a sample."""
    space = observed.space
    found: list[Candidate] = []
    if space.line is None and len(space.strides) > 1:
        found += _of_stages(observed)
        line = _line(observed)
        found += [line] if line else []
    found += _ranges(observed)
    found += _limits(observed)
    return found


def screen(candidate: Candidate, observed: Observed) -> Screening:
    """What the sample says of a candidate that was made from it."""
    satisfied = candidate.distance == 0
    n, inside = len(observed), int(satisfied.sum())
    weights = observed.weights
    if min(inside, n - inside) >= ENOUGH and candidate.kind != "line":
        part = None if weights is None else weights[satisfied]
        rest = None if weights is None else weights[~satisfied]
        found = compare(
            observed.errors[~satisfied],
            observed.errors[satisfied],
            weights_a=rest,
            weights_b=part,
            permutations=199,
        )
        # All are the two parts together: so much of the difference between the parts.
        w = observed.weighted
        outside = float(w[~satisfied].sum() / w.sum())
        return Screening(
            inside,
            "subset",
            outside * found.difference,
            outside * found.low,
            outside * found.high,
        )
    known = np.isfinite(candidate.distance)
    if known.sum() < ENOUGH or np.ptp(candidate.distance[known]) == 0:
        return Screening(inside, "none", 0.0, -math.inf, math.inf)
    return _regression(
        candidate.distance[known],
        observed.errors[known],
        inside,
        observed.weighted[known],
    )


def _regression(distance: Floats, errors: Floats, inside: int, w: Floats) -> Screening:
    """Error on distance by weighted least squares, with a spread that may differ (HC3)."""
    mean = float(w @ distance / w.sum())
    centered = distance - mean
    bread = float(w @ centered**2)
    slope = float(w @ (centered * errors) / bread)
    left = errors - (w @ errors / w.sum()) - slope * centered
    leverage = w / w.sum() + w * centered**2 / bread
    meat = float(np.square(w * centered * left / (1 - np.minimum(leverage, 0.9))).sum())
    half = float(stats.t.isf(0.025, max(len(errors) - 2, 1))) * math.sqrt(meat) / bread * mean
    effect = -slope * mean
    return Screening(inside, "regression", effect, effect - half, effect + half)


def _of_stages(observed: Observed) -> Iterator[Candidate]:
    """Settings that are in order, where nothing orders them yet; that are shared, where they
    may differ."""
    space = observed.space
    for parameter, sequences in space.sequences.items():
        if sequences.order == "shared" or sequences.distribution == "sorted":
            continue
        values = np.log2(observed.setting(parameter))
        steps = np.diff(values, axis=1)
        for rule, distance in (
            ("shared", values.std(axis=1)),
            ("non_decreasing", -np.minimum(steps, 0).sum(axis=1)),
            ("non_increasing", np.maximum(steps, 0).sum(axis=1)),
        ):
            if rule != "shared" and sequences.order != "free":
                continue
            smaller = _with(space, f"{parameter}_{rule}", Constraint(parameter, rule))  # type: ignore[arg-type]
            if smaller is None or smaller.size == space.size:
                continue
            yield Candidate(
                f"{parameter}_{rule}",
                "shared" if rule == "shared" else "order",
                f"{parameter.replace('_', ' ')} {rule.replace('_', '-')}",
                smaller,
                np.where(np.abs(distance) < 1e-12, 0.0, distance),
                space.size / smaller.size,
                parameter,
            )


def _line(observed: Observed) -> Candidate | None:
    """The quantized line, once all that it implies is there: what it adds to that is the question.

    Its networks have settings that all stages share and widths that do not decrease.
    """
    space = observed.space
    orders = {name: sequences.order for name, sequences in space.sequences.items()}
    if orders.get("width") not in ("non_decreasing", "increasing"):
        return None
    shared = [name for name in orders if name not in ("depth", "width")]
    if any(orders[name] != "shared" for name in shared):
        return None
    domains = {name: getattr(space, name) for name in shared}
    constants = {name: getattr(space, name) for name in space.constants}
    widths, depths = space.tables["width"].values, space.tables["depth"].values
    stages = len(space.strides)
    top = float(min(256, 8 * (widths.max() // 8)))
    deepest = float(min(DEEPEST - 1, depths.max() * stages))
    if top < 16 or deepest <= stages:
        return None
    kept = tuple(
        c
        for c in space.constraints
        if c.parameter in shared and c.rule in ("fixed", "ranged") and c.stages is None
    )
    line = DesignSpace(
        name=_name(space, "line"),
        depth=Range(stages, deepest),
        line=LineRanges(
            w0=Range(8, top, step=8, draw="log_uniform"),
            wa=Range(8, top, step=0.1, draw="log_uniform"),
            wm=Range(1.5, 3, step=0.001, draw="log_uniform"),
        ),
        constraints=kept,
        limits=space.limits,
        block=space.block,
        strides=space.strides,
        stem=space.stem,
        head=space.head,
        input_channels=space.input_channels,
        classes=space.classes,
        **domains,
        **constants,
        **{name: getattr(space, name) for name in DEFAULTS.__struct_fields__},
    )
    return Candidate(
        "line",
        "line",
        "widths on a quantized line",
        line,
        observed.e_fit,
        space.size / line.size,
    )


def _ranges(observed: Observed) -> Iterator[Candidate]:
    """Best ranges of the settings that are one number a network, where they are narrow."""
    space = observed.space
    single = {
        name: observed.setting(name)[:, 0]
        for name, sequences in space.sequences.items()
        if space.line is not None or sequences.order == "shared"
    }
    single = {name: values for name, values in single.items() if np.ptp(values) > 0}
    rng = np.random.default_rng(0)  # of the `chance` of a range: which candidates, no result
    found = best_ranges(single, observed.errors, observed.weights, rng=rng) if single else {}
    for name, best in found.items():
        if best.chance is None or best.chance > CHANCE:
            continue
        values = space.tables[name].values
        low = best.low if best.low > values.min() else None
        high = best.high if best.high < values.max() else None
        if low is None and high is None:
            continue
        smaller = _with(
            space, f"{name}_range", Constraint(_parameter(name), "ranged", low=low, high=high)
        )
        if smaller is None or smaller.size == space.size:
            continue
        yield Candidate(
            f"{name}_range",
            "range",
            f"{name.replace('_', ' ')} {_between(low, high)}",
            smaller,
            _outside(single[name], low, high),
            space.size / smaller.size,
            name,
            best,
        )


def _limits(observed: Observed) -> Iterator[Candidate]:
    """Bounds of what has no setting of its own: all blocks; params and activations over flops."""
    space, costs = observed.space, observed.costs
    gf = costs["flops"] / 1e9
    measures: dict[str, tuple[Floats, Callable[[float | None, float | None], str]]] = {
        "params": (
            costs["params"] / costs["flops"],
            lambda low, high: f"params <= {high:.4g} * flops",
        ),
        "activations": (
            costs["activations"] / 1e6 / np.sqrt(gf),
            lambda low, high: f"activations <= {high:.4g}e6 * sqrt(flops / 1e9)",
        ),
    }
    if space.line is None:
        measures["depth"] = (
            observed.depths.sum(axis=1).astype(float),
            lambda low, high: " <= ".join(
                [*([f"{low:g}"] if low is not None else []), "depth"]
                + ([f"{high:g}"] if high is not None else [])
            ),
        )
    taken = {name for name in measures if any(name in limit for limit in space.limits)}
    measures = {name: m for name, m in measures.items() if name not in taken and np.ptp(m[0]) > 0}
    if not measures:
        return
    rng = np.random.default_rng(0)
    best = best_ranges(
        {name: values for name, (values, _) in measures.items()},
        observed.errors,
        observed.weights,
        rng=rng,
    )
    for name, (values, write) in measures.items():
        found = best[name]
        if found.chance is None or found.chance > CHANCE:
            continue
        low = found.low if name == "depth" and found.low > values.min() else None
        high = found.high if found.high < values.max() else None
        if low is None and high is None:
            continue
        text = write(low, high)
        distance = _outside(values, low, None if high is None else _readable(high))
        inside = float(np.mean(distance == 0))
        yield Candidate(
            f"{name}_limit",
            "limit",
            text,
            replace(space, name=_name(space, f"{name}_limit"), limits=(*space.limits, text)),
            distance,
            1 / max(inside, 1 / len(observed)),
            best=found,
        )


def _readable(value: float) -> float:
    """The number as a limit writes it."""
    return float(f"{value:.4g}")


def _outside(values: Floats, low: float | None, high: float | None) -> Floats:
    """How many doublings values are below `low` or above `high`."""
    distance = np.zeros(len(values))
    if low is not None:
        distance += np.maximum(np.log2(low / values), 0)
    if high is not None:
        distance += np.maximum(np.log2(values / high), 0)
    return distance


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"


def _with(space: DesignSpace, tag: str, constraint: Constraint) -> DesignSpace | None:
    """The space with one more constraint; None where that leaves nothing."""
    kept = tuple(c for c in space.constraints if not _implies(constraint, c))
    try:
        return replace(space, name=_name(space, tag), constraints=(*kept, constraint))
    except ValueError:
        return None


def _implies(new: Constraint, old: Constraint) -> bool:
    """Whether a candidate, which narrows what a space draws, says all that an older rule does."""
    if new.parameter != old.parameter or old.stages is not None:
        return False
    orders = ("non_decreasing", "non_increasing")
    return (new.rule == "shared" and old.rule in orders) or new.rule == old.rule == "ranged"


def _name(space: DesignSpace, tag: str) -> str:
    """A name for a space with one more constraint: the root's, their number, and the last."""
    root, *rest = space.name.split("+")
    number = int(rest[0]) if rest and rest[0].isdigit() else 0
    return f"{root[:50]}+{number + 1}+{tag}"


def _parameter(name: str) -> Parameter:
    return name  # type: ignore[return-value]
