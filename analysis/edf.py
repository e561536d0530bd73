"""The empirical distribution function of the error of a population (NDS, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from anynet.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EDF:
    """F(e) = weight of the networks with error at most e (NDS, equation 1, there with "below").

    `errors` ascending, in percent, shape (n,): diverged networks are in it with error 100;
    `failed` networks, which have no error, are not, and are counted. `weights` (n,) are positive
    (of an estimate that rests on more than these networks: 0 or more) and sum to 1; None stands
    for equal ones. `sizes` (n + 1,), below the first error and at each: how many equal networks
    would vary as much there, where the weights do not say so by themselves.
    """

    name: str
    errors: Floats
    weights: Floats | None = None
    failed: int = 0
    sizes: Floats | None = None

    def __len__(self) -> int:
        return len(self.errors)

    def __call__(self, error: npt.ArrayLike) -> Floats:
        """F at each of the errors given, in percent."""
        return self.steps[np.searchsorted(self.errors, error, side="right")]

    @cached_property
    def steps(self) -> Floats:
        """F below the first error and at each, shape (n + 1,); of ties the last one counts."""
        n = len(self.errors)
        if self.weights is None:
            return np.arange(n + 1) / n
        steps = np.concatenate([[0.0], np.cumsum(self.weights)])
        steps[-1] = 1.0
        return steps

    @property
    def minimum(self) -> float:
        """The least error."""
        return float(self.errors[0])

    @property
    def mean(self) -> float:
        """The mean error, diverged networks included."""
        return float(np.average(self.errors, weights=self.weights))

    @property
    def effective_size(self) -> float:
        """Kish's (Σw)² / Σw²: how many equal networks would vary as much as these.

        With `sizes`: the same, in the mean of the variance over F.
        """
        if self.weights is None:
            return float(len(self))
        if self.sizes is None:
            return float(1 / (self.weights**2).sum())
        spread = self.weights * self.steps[1:] * (1 - self.steps[1:])
        return float(spread.sum() / (spread / self.sizes[1:]).sum()) if spread.any() else 1.0

    def quantile(self, q: float) -> float:
        """The least error e with F(e) >= q, in percent; 0 < q <= 1."""
        # A sum of weights may miss a share that it equals by rounding.
        at = int(np.searchsorted(self.steps[1:], q * (1 - 1e-12), side="left"))
        return float(self.errors[min(at, len(self) - 1)])

    def area(self, limit: float) -> float:
        """1 - Σ w min(1, e / limit), the area under F up to `limit` percent as a share (NDS)."""
        return float(1 - np.average(np.minimum(1, self.errors / limit), weights=self.weights))


def edf(name: str, errors: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> EDF:
    """The EDF of errors in percent; NaN stands for a failed network.

    `weights` in any unit, one a network. A network of weight 0 is not of the population: it is
    dropped, and counts neither as one nor as failed. Raises InputError where no network has an
    error, and where a weight is negative or not a number.
    """
    values = np.asarray(errors, dtype=float)
    known = ~np.isnan(values)
    if weights is None:
        left = values[known]
        left.sort()
        _require_some(name, len(left), len(values))
        return EDF(name, left, None, len(values) - len(left))
    weight = np.asarray(weights, dtype=float)
    if weight.shape != values.shape:
        raise InputError(f"{name}: weights: {weight.shape} must have the shape {values.shape}")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        raise InputError(f"{name}: weights: {weight[bad][0]} must be a number of at least 0")
    member = weight > 0
    _require_some(name, int((known & member).sum()), int(member.sum()))
    order = np.argsort(values[known & member], kind="stable")
    weight_known = weight[known & member][order]
    failed = int((member & ~known).sum())
    if (weight_known == weight_known[0]).all():
        return EDF(name, values[known & member][order], None, failed)
    return EDF(name, values[known & member][order], weight_known / weight_known.sum(), failed)


def _require_some(name: str, known: int, all_: int) -> None:
    if not known:
        raise InputError(f"{name}: no trial with an error yet ({all_} failed)")


# Populations of runs --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Population:
    """The networks of a run and space, a row each, in the order of the frame.

    Columns of `networks`: `trial`; `params`, `flops`, `activations`; `cheap`, the error at the
    lowest rung; `error`, that at the longest (NaN where it was not promoted so far or failed);
    `probability`, that of having come as far as it did; `weight`, 1/probability, and 0 where the
    error is still unknown because the network was not promoted. `epochs` are those of `error`.
    """

    name: str
    networks: pd.DataFrame
    epochs: int
    rungs: int

    @property
    def note(self) -> str:
        """What a reader must know of how the population was trained; empty without rungs."""
        if self.rungs == 1:
            return ""
        ended = int(self.networks["error"].notna().sum())
        return (
            f"{self.name}: {ended} of {len(self.networks)} networks came to an end, at "
            f"{self.epochs} epochs or before"
        )

    def edf(self) -> EDF:
        """The EDF at the longest training, by inverse probabilities of promotion (normalized)."""
        weight = self.networks["weight"].to_numpy()
        errors = self.networks["error"].to_numpy()
        return edf(self.name, errors, None if (weight == 1).all() else weight)


def populations(frame: pd.DataFrame) -> list[Population]:
    """One population a run and space, in the order of the frame (see `results`).

    A name is as short as keeps them apart: the space, else the run, else both. Baselines belong
    to none. Of a trial that was trained several times (`replicate`) the first training counts; a
    network that was drawn twice is two trials. Raises InputError where there is no trial, where
    an optimizer chose trials or some were stopped early, and where one rung mixes training
    lengths.
    """
    frame = frame[frame["baseline"].isna()]
    if frame.empty:
        raise InputError("no trial has ended yet")
    groups = frame.groupby(["run", "space"], sort=False)
    keys: list[tuple[str, str]] = [(str(run), str(space)) for (run, space), _ in groups]
    runs, spaces = zip(*keys, strict=True)
    result = []
    for (run, space), (_, part) in zip(keys, groups, strict=True):
        if len(set(spaces)) == len(spaces):
            name = space
        else:
            name = run if len(set(runs)) == len(runs) else f"{run}: {space}"
        result.append(_population(name, f"{run}: {space}", part))
    return result


def edfs_by_population(frame: pd.DataFrame) -> list[EDF]:
    """The EDF of each of `populations`."""
    return [population.edf() for population in populations(frame)]


def _population(name: str, where: str, part: pd.DataFrame) -> Population:
    """The networks of one population; `where` is what errors call it."""
    adaptive = int(part["adaptive"].sum())
    if adaptive:
        raise InputError(
            f"{where}: adaptive: {adaptive} of {len(part)} trials were chosen by an optimizer, so "
            "they are no sample of the space and have no EDF"
        )
    stopped = int((part["state"] == "stopped").sum())
    if stopped:
        raise InputError(
            f"{where}: state: {stopped} of {len(part)} trials were stopped early, so their errors "
            "are not those of the whole training; an EDF needs all, or promotions by chance"
        )
    part = part.sort_values("replicate", kind="stable").drop_duplicates(["trial", "rung"])
    part = part.loc[part.index.sort_values()]
    for _, rung in part.groupby("rung"):
        lengths = sorted(rung["epochs"].unique().tolist())
        if len(lengths) > 1:
            raise InputError(f"{where}: trainings of {lengths} epochs are not one population")
    probability = part["promotion_probability"]
    bad = ~((probability > 0) & (probability <= 1))
    if bad.any():
        raise InputError(
            f"{where}: {part['trial'][bad].iloc[0]}: promotion_probability: "
            f"{probability[bad].iloc[0]} must lie in (0, 1]"
        )
    levels = np.sort(part["rung"].unique())
    part = part.sort_values("rung", kind="stable")
    first = part.drop_duplicates("trial").set_index("trial")
    lost = first.index[first["rung"] > levels[0]]
    if len(lost):
        raise InputError(f"{where}: {lost[0]}: rung: has no record of rung {levels[0]}")
    last = part.drop_duplicates("trial", keep="last").set_index("trial").loc[first.index]
    product = part.groupby("trial")["promotion_probability"].prod().loc[first.index]
    # One that diverged or failed on the way went as far as it can.
    ended = (last["rung"] == levels[-1]) | last["state"].isin(["diverged", "failed"])
    networks = first[["params", "flops", "activations"]].assign(
        cheap=first["error"],
        error=last["error"].where(ended),
        probability=product,
        weight=(1 / product).where(ended, 0.0),
    )
    return Population(name, networks.reset_index(), int(last["epochs"].max()), len(levels))
