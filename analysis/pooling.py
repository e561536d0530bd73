"""Networks drawn from one space that inform another: nested spaces pooled by importance weights.

Multiple importance sampling with the balance heuristic (Veach and Guibas 1995, equation 10).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from analysis.bands import effective_sizes
from analysis.edf import EDF
from anynet.choices import Choices
from anynet.density import Share, draw_settings, log_density
from anynet.errors import InputError
from anynet.limits import holds
from anynet.space import DesignSpace

Floats = npt.NDArray[np.float64]

PAYS = 1.1
"""Effective size over the target's own sample from which pooling is worth its assumptions."""
_BLOCK = 1000
"""Errors at which the variance of an EDF is computed at once."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Independent draws from `space` that lie in one window, which `share` of its draws do.

    `drawn` holds the settings as `Population.drawn` does; `errors`, in percent, is (n,), NaN for
    failed networks, which are left out. `costs` (`params`, `flops`, `activations`, `depth` of all
    blocks), (n,) each, are looked at where the spaces differ in their limits.
    """

    space: DesignSpace
    drawn: Mapping[str, npt.ArrayLike]
    errors: Floats
    share: Share
    costs: Mapping[str, npt.ArrayLike] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pooled:
    """A weighted sample of the target space.

    `errors` and `weights`, which sum to 1, are (k,): networks that the target cannot draw are
    not in it. `sources` (k,) says which sample each comes from, `used` how many of each are.
    `own` is the number of the target's own networks.
    """

    errors: Floats
    weights: Floats
    sources: npt.NDArray[np.int64]
    used: tuple[int, ...]
    own: int
    sizes: tuple[int, ...]
    _mixture: Floats
    _share_errors: Floats

    @property
    def effective_size(self) -> float:
        """Equal weights that would give a mean the same variance: 1 / Σ w² (Kish 1965)."""
        return float(1 / np.square(self.weights).sum())

    @property
    def gain(self) -> float:
        """Effective size over the target's own sample; infinite where it has none."""
        return self.effective_size / self.own if self.own else math.inf

    @property
    def pays(self) -> bool:
        """Whether pooling adds enough (`PAYS`)."""
        return self.gain >= PAYS

    def mean(self, values: Floats | None = None) -> float:
        """The weighted mean of `values` (k,), of the errors if none are given."""
        return float(self.weights @ (self.errors if values is None else values))

    def standard_error(self, values: Floats | None = None) -> float:
        """Of that mean: what the draws leave open, and what the shares' own errors add.

        Each sample is a stratum of independent draws, of which those that the target cannot draw
        count as 0; the shares enter by the derivative of the mean in their logarithms.
        """
        values = self.errors if values is None else values
        centered = self.weights * (values - self.mean(values))
        variance = 0.0
        for k, size in enumerate(self.sizes):
            if size > 1:
                part = centered[self.sources == k]
                variance += (np.square(part).sum() - part.sum() ** 2 / size) * size / (size - 1)
        return float(np.sqrt(variance + self._share_variance(values[:, None])[0]))

    def _share_variance(self, values: Floats) -> Floats:
        """What the errors of the shares add to the variance of each mean; (k, m) -> (m,)."""
        centered = self.weights[:, None] * (values - self.weights @ values)
        return np.asarray(self._share_errors**2 @ (self._mixture.T @ centered) ** 2)

    def edf(self, name: str) -> EDF:
        """The weighted EDF of the target space.

        Its `sizes` are those of the weights (`bands.effective_sizes`), which take all networks
        for draws of one mixture: of separate samples the variance is a little less. The errors of
        the shares are added.
        """
        order = np.argsort(self.errors, kind="stable")
        errors, weights = self.errors[order], self.weights[order]
        shares = np.append(0.0, np.cumsum(weights))
        sizes = effective_sizes(shares, np.append(0.0, np.cumsum(weights**2)), weights)
        variance = np.zeros(len(shares))
        for part in np.array_split(np.arange(len(errors)), 1 + len(errors) // _BLOCK):
            below = (self.errors[:, None] <= errors[part]).astype(float)
            variance[1 + part] = self._share_variance(below)
        spread = shares * (1 - shares)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.where(spread > 1e-12, spread / (spread / sizes + variance), sizes)
        return EDF(name, errors, weights, 0, total)


def pool(target: DesignSpace, samples: Sequence[Sample]) -> Pooled:
    """The samples as one weighted sample of `target`, in the window that all of them share.

    A network x that sample k of n_k draws gives with density p_k(x) has the weight
    p(x) / Σ n_k p_k(x), p the target's density; weights are then divided by their sum, which
    leaves the share of the target itself out. One of the samples must be of the target or of a
    space that contains it.

    Raises InputError where no sample can draw what the target draws, where a space has another
    structure (block, stem, strides, ...), or a line where the target has none.
    """
    for sample in samples:
        require_alike(target, sample.space)
    _require_covered(target, samples)
    kept = [np.flatnonzero(~np.isnan(sample.errors)) for sample in samples]
    pairs = list(zip(samples, kept, strict=True))
    sizes = tuple(len(rows) for rows in kept)
    target_density = np.concatenate([_density(target, *pair) for pair in pairs])
    by_source = np.array(  # (samples, networks)
        [np.concatenate([_density(s.space, *pair) for pair in pairs]) for s in samples]
    )
    errors = np.concatenate([sample.errors[rows] for sample, rows in pairs])
    sources = np.repeat(np.arange(len(samples)), sizes)

    belongs = np.isfinite(target_density)
    if not belongs.any():
        raise InputError(f"{target.name}: none of the samples has a network of this space")
    for sample in samples:
        if not sample.share.accepted:
            raise InputError(f"{sample.space.name}: no draw was counted that fits the window")
    # n_k p_k / p, over the target's share of the window
    scale = np.array([len(rows) / sample.share.value for sample, rows in pairs])
    mixture = scale[:, None] * np.exp(by_source[:, belongs] - target_density[belongs])
    weights = 1 / mixture.sum(axis=0)
    return Pooled(
        errors=errors[belongs],
        weights=weights / weights.sum(),
        sources=sources[belongs],
        used=tuple(int((sources[belongs] == k).sum()) for k in range(len(samples))),
        own=sum(len(rows) for sample, rows in pairs if same_draws(sample.space, target)),
        sizes=sizes,
        _mixture=(mixture / mixture.sum(axis=0)).T,
        _share_errors=np.array([sample.share.relative_error for sample in samples]),
    )


_STRUCTURE = ("block", "strides", "stem", "head", *Choices.__struct_fields__)
"""Fields in which pooled spaces agree; in what they draw their densities compare them."""


def require_alike(target: DesignSpace, other: DesignSpace) -> None:
    """Raise InputError where the spaces are not of one structure."""
    if (target.line is None) != (other.line is None):
        raise InputError(
            f"{other.name}: has {'no' if other.line is None else 'a'} line, other than "
            f"{target.name}: what they draw is not the same, and is not pooled"
        )
    for part in _STRUCTURE:
        its, mine = getattr(other, part), getattr(target, part)
        if mine != its:
            raise InputError(
                f"{other.name}: {part}: is {its!r}, but {mine!r} in {target.name}: networks of "
                "another structure are not pooled"
            )


def same_draws(one: DesignSpace, other: DesignSpace) -> bool:
    """Whether two spaces have the same draws, by whatever name and for whatever images."""
    changes = {part: getattr(other, part) for part in ("name", "input_channels", "classes")}
    return replace(one, **changes) == other


def contains(large: DesignSpace, small: DesignSpace) -> bool:
    """Whether every network of `small` is one of `large`, which has others too.

    A line's networks are those of stages that obey a rule, so that RegNetX is in AnyNetX; whether
    their ranges agree is not looked at. Else by 1,000 draws of a fixed seed.
    """
    if set(large.limits) - set(small.limits):
        return False
    limited = bool(set(small.limits) - set(large.limits))
    try:
        if large.line is None and small.line is not None:
            require_alike(replace(small, line=None, width=large.width), large)
            return True
        require_alike(large, small)
        drawn = draw_settings(small, 1000, np.random.default_rng(0))
        if not np.isfinite(log_density(large, drawn)).all():
            return False
        back = draw_settings(large, 1000, np.random.default_rng(0))
        return limited or not np.isfinite(log_density(small, back)).all()
    except ValueError:
        return False


def _require_covered(target: DesignSpace, samples: Sequence[Sample]) -> None:
    """Raise InputError where one of 1,000 settings that the target draws is drawn by no sample.

    The draws are a check and decide no result, so that their seed is fixed.
    """
    rng = np.random.default_rng(0)
    drawn = draw_settings(target, 1000, rng)
    reached = np.zeros(1000, dtype=bool)
    for sample in samples:
        # What a limit of the sample's own leaves out, none of it can stand for.
        if not set(sample.space.limits) - set(target.limits):
            reached |= np.isfinite(log_density(sample.space, drawn))
    if not reached.all():
        missed = 100 * (1 - reached.mean())
        raise InputError(
            f"{target.name}: about {missed:.0f}% of what it draws is drawn by no sample; pool with "
            "one of this space, or of one that contains it"
        )


def _density(space: DesignSpace, sample: Sample, rows: npt.NDArray[np.int64]) -> Floats:
    """The logarithm of the density that `space` has at rows of a sample, its limits included."""
    drawn = {name: np.asarray(column)[rows] for name, column in sample.drawn.items()}
    found = log_density(space, drawn)
    missing = [limit for limit in space.limits if limit not in sample.space.limits]
    if missing and not sample.costs:
        raise InputError(
            f"{sample.space.name}: costs of its networks are not given, and {space.name} has "
            f"limits: {missing[0]!r}"
        )
    if missing:
        costs = {name: np.asarray(column)[rows] for name, column in sample.costs.items()}
        for limit in missing:
            found = np.where(holds(limit, costs), found, -np.inf)
    return found
