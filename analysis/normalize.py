"""Weights that give several populations the same distribution of complexity (NDS, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from analysis.edf import EDF, Floats, Population, edf
from anynet.errors import InputError

Complexity = Literal["flops", "params", "activations"]
Spacing = Literal["log", "linear"]
Empty = Literal["refuse", "merge"]


@dataclass(frozen=True, eq=False)
class Normalized:
    """Weights of each population's networks, (n,) each, 0 outside of the bins, sum 1.

    `edges` are the k + 1 bounds of the bins that all populations share; `counts[p][j]` how many
    networks of population p are in bin j; `notes` what was merged or left out, a line each.
    """

    weights: tuple[Floats, ...]
    edges: Floats
    counts: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


def normalize(
    names: Sequence[str],
    complexities: Sequence[npt.ArrayLike],
    weights: Sequence[npt.ArrayLike] | None = None,
    *,
    complexity: Complexity = "flops",
    bins: int = 10,
    spacing: Spacing = "log",
    empty: Empty = "refuse",
) -> Normalized:
    """Weigh each network 1/(k m_j), m_j the networks of its population in its bin of k.

    `complexities` are one array a population. `weights` are what its networks weigh before (by
    their probabilities of promotion; 0 where one has no error, and so fills no bin): m_j is then
    their sum, and 1/(k m_j) what they are multiplied by.

    The `bins` are of equal width between the least and the greatest complexity that all
    populations reach, in its logarithm, as one draws widths and depths, or linearly. What lies
    outside is compared to nothing, gets weight 0, and is said. A bin that some population has no
    network in is an error, or is merged with the neighbor of fewer networks, and said; it then
    weighs as much as the bins it consists of, so that each complexity keeps its share.

    Raises InputError where a bin is empty, where the populations do not overlap, and for a
    complexity that is not positive.
    """
    for option, given, kinds in (
        ("complexity", complexity, Complexity),
        ("spacing", spacing, Spacing),
        ("empty", empty, Empty),
    ):
        if given not in get_args(kinds):
            raise InputError(f"{option}: {given!r} must be one of {', '.join(get_args(kinds))}")
    if bins < 1:
        raise InputError(f"bins: {bins} must be at least 1")
    values = [np.asarray(v, dtype=float) for v in complexities]
    before = [np.ones(len(v)) for v in values]
    if weights is not None:
        before = [np.asarray(w, dtype=float) for w in weights]
    masks = [w > 0 for w in before]
    for name, value, mask in zip(names, values, masks, strict=True):
        if not mask.any():
            raise InputError(f"{name}: no trial with an error yet")
        if not (value[mask] > 0).all():
            raise InputError(f"{name}: {complexity}: {value[mask].min():g} must be above 0")
    edges = _edges(names, [v[m] for v, m in zip(values, masks, strict=True)], bins, spacing)
    inside = [m & (v >= edges[0]) & (v <= edges[-1]) for v, m in zip(values, masks, strict=True)]
    notes = [
        f"{name}: {int((m & ~i).sum())} of {int(m.sum())} networks have {complexity} that another "
        "population does not reach; they are left out"
        for name, m, i in zip(names, masks, inside, strict=True)
        if (m & ~i).any()
    ]
    places = [np.clip(np.searchsorted(edges, v, side="right") - 1, 0, bins - 1) for v in values]
    counts = np.array(
        [np.bincount(p[i], minlength=bins) for p, i in zip(places, inside, strict=True)]
    )
    groups = [[j] for j in range(bins)]
    if (counts == 0).any():
        if empty == "refuse":
            population, place = np.argwhere(counts == 0)[0]
            raise InputError(
                f"{names[population]}: no network with {complexity} from {edges[place]:.4g} to "
                f"{edges[place + 1]:.4g} (bin {place + 1} of {bins}): take fewer bins, or merge "
                "empty ones"
            )
        groups = _merged(counts)
        joined = [
            f"{edges[g[0]]:.4g} to {edges[g[-1] + 1]:.4g} ({len(g)} bins)"
            for g in groups
            if len(g) > 1
        ]
        notes.append(f"{complexity}: empty bins merged: {', '.join(joined)}")
    group_of = np.empty(bins, int)
    for number, group in enumerate(groups):
        group_of[group] = number
    shares = np.array([len(group) / bins for group in groups])
    result = []
    for weight, place, member in zip(before, places, inside, strict=True):
        weight = np.where(member, weight, 0.0)
        mass = np.bincount(group_of[place], weight, len(groups))
        result.append(weight * (shares / mass)[group_of[place]])
    bounds = np.append([edges[group[0]] for group in groups], edges[-1])
    together = [[int(row[group].sum()) for group in groups] for row in counts]
    return Normalized(tuple(result), bounds, tuple(map(tuple, together)), tuple(notes))


def normalized_edfs(
    populations: Sequence[Population],
    complexity: Complexity,
    bins: int = 5,
    empty: Empty = "refuse",
) -> tuple[list[EDF], tuple[str, ...]]:
    """The EDFs of populations with `normalize`'s weights, and its notes."""
    errors = [p.networks["error"].to_numpy() for p in populations]
    before = [p.networks["weight"].to_numpy() for p in populations]
    normalized = normalize(
        [p.name for p in populations],
        [p.networks[complexity].to_numpy() for p in populations],
        [np.where(np.isnan(e), 0.0, w) for e, w in zip(errors, before, strict=True)],
        complexity=complexity,
        bins=bins,
        empty=empty,
    )
    result = []
    for population, e, w, weights in zip(
        populations, errors, before, normalized.weights, strict=True
    ):
        failed = np.isnan(e) & (w > 0)
        result.append(edf(population.name, e, np.where(failed, 1.0, weights)))
    return result, normalized.notes


def _edges(names: Sequence[str], values: Sequence[Floats], bins: int, spacing: Spacing) -> Floats:
    """The bounds of the bins over what all populations reach, (bins + 1,)."""
    least = [v.min() for v in values]
    greatest = [v.max() for v in values]
    low, high = max(least), min(greatest)
    if low > high:
        first, second = names[int(np.argmin(greatest))], names[int(np.argmax(least))]
        raise InputError(
            f"{first} ends at {high:.4g} and {second} begins at {low:.4g}: populations that do "
            "not overlap in complexity cannot be normalized"
        )
    edges = (np.linspace if spacing == "linear" else np.geomspace)(low, high, bins + 1)
    edges[0], edges[-1] = low, high  # without rounding: the least and the greatest are inside
    return edges


def _merged(counts: npt.NDArray[np.int64]) -> list[list[int]]:
    """Neighboring bins joined until every population has a network in each; (p, k) -> groups.

    Raises InputError where even all bins together leave a population without one.
    """
    groups = [[j] for j in range(counts.shape[1])]
    while True:
        sums = [counts[:, g].sum(axis=1) for g in groups]
        bad = next((i for i, s in enumerate(sums) if (s == 0).any()), None)
        if bad is None:
            return groups
        sides = [i for i in (bad - 1, bad + 1) if 0 <= i < len(groups)]
        if not sides:
            raise InputError("a population has no network in the complexities that all reach")
        other = min(sides, key=lambda i: int(sums[i].sum()))
        first, second = min(bad, other), max(bad, other)
        groups[first : second + 1] = [groups[first] + groups[second]]
