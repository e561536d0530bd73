"""The empirical distribution function of the error of a population (NDS, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from anynet.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EDF:
    """F(e) = share of networks with error at most e (NDS, equation 1, there with "below").

    `errors` ascending, in percent, shape (n,): diverged networks are in it with error 100;
    `failed` networks, which have no error, are not, and are counted.
    """

    name: str
    errors: Floats
    failed: int

    def __len__(self) -> int:
        return len(self.errors)

    def __call__(self, error: npt.ArrayLike) -> Floats:
        """F at each of the errors given, in percent."""
        return np.searchsorted(self.errors, error, side="right") / len(self.errors)

    @property
    def minimum(self) -> float:
        """The least error."""
        return float(self.errors[0])

    @property
    def mean(self) -> float:
        """The mean error, diverged networks included."""
        return float(self.errors.mean())


def edf(name: str, errors: npt.ArrayLike) -> EDF:
    """The EDF of errors in percent; NaN stands for a failed network.

    Raises InputError where no network has an error.
    """
    values = np.asarray(errors, dtype=float)
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        raise InputError(f"{name}: no trial with an error yet ({len(values)} failed)")
    return EDF(name, known, len(values) - len(known))


def edfs_by_population(frame: pd.DataFrame) -> list[EDF]:
    """One EDF a population, that is a run and space, in the order of the frame (see `results`).

    A name is as short as keeps them apart: the space, else the run, else both. Raises
    InputError where there is no trial, or where one population mixes fidelities.
    """
    if frame.empty:
        raise InputError("no trial has ended yet")
    populations = frame.groupby(["run", "space"], sort=False)
    keys: list[tuple[str, str]] = [(str(run), str(space)) for (run, space), _ in populations]
    runs, spaces = zip(*keys, strict=True)
    result = []
    for (run, space), (_, part) in zip(keys, populations, strict=True):
        lengths = sorted(part["epochs"].unique().tolist())
        if len(lengths) > 1:
            raise InputError(
                f"{run}: {space}: trainings of {lengths} epochs are not one population"
            )
        if len(set(spaces)) == len(spaces):
            name = space
        else:
            name = run if len(set(runs)) == len(runs) else f"{run}: {space}"
        result.append(edf(name, part["error"]))
    return result
