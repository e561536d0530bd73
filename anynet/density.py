"""How likely a space draws given settings, and what share of its draws lies in a window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anynet.errors import InputError
from anynet.sampling import CHUNK, PLURAL, fitting, resolution_for
from anynet.space import DesignSpace, Window

Floats = npt.NDArray[np.float64]

DRAWS = 1_000_000
"""Draws that a share is estimated from: a share of 2% has a relative error of 0.7% then."""


class Share(NamedTuple):
    """The share of a space's draws that fit, counted over `draws` of them."""

    accepted: int
    draws: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.accepted / self.draws

    @property
    def relative_error(self) -> float:
        """Standard error of the share over the share (binomial); infinite where nothing fit."""
        if not self.accepted:
            return math.inf
        return math.sqrt((1 - self.value) / self.accepted)


def draw_settings(space: DesignSpace, n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """`n` draws of the settings of `space`, before any window, as `Population.drawn` holds them.

    Of a space with a line, lines with another number of stages are among them.
    """
    columns = {_name(space, name): s.draw(n, rng) for name, s in space.sequences.items()}
    return columns if space.line is None else {name: c[:, 0] for name, c in columns.items()}


def log_density(space: DesignSpace, drawn: Mapping[str, npt.ArrayLike]) -> Floats:
    """Natural logarithm of the probability that `space` draws settings, before any window, (n,).

    `drawn` holds settings as `Population.drawn` does: (n, stages) by plural name, or (n,) of a
    line. -inf where the space never draws them. In a space with a line it is the probability of
    the line, those with another number of stages included: `share` has the other factor.

    Raises InputError where a setting that the space draws is not there.
    """
    columns = {name: _column(values) for name, values in drawn.items()}
    if not columns:
        raise InputError(f"drawn: no settings, but {space.name} draws {_listed(space)}")
    found = np.zeros(len(next(iter(columns.values()))))
    for name, sequences in space.sequences.items():
        column = columns.pop(_name(space, name), None)
        if column is None or column.shape[1] != len(sequences.allowed):
            raise InputError(
                f"drawn: {name} of {len(sequences.allowed)} stages is not there, but {space.name} "
                f"draws {_listed(space)}"
            )
        found = found + sequences.log_probability(column)
    for name, column in columns.items():  # what another space draws and this one does not
        constant = next((v for k, v in space.constants.items() if _name(space, k) == name), None)
        if constant is None:
            raise InputError(f"drawn: {name}, but {space.name} draws {_listed(space)}")
        found = np.where((column == constant).all(axis=1), found, -np.inf)
    return found


def share(
    space: DesignSpace,
    rng: np.random.Generator,
    *,
    flops: Window | None = None,
    params: Window | None = None,
    activations: Window | None = None,
    resolution: int | None = None,
    draws: int = DRAWS,
) -> Share:
    """The share of a space's draws that lie in the windows and within its limits, by counting.

    At least `draws` independent draws, rounded up to whole chunks. Of a space with a line, draws
    with another number of stages are draws that do not fit.
    """
    resolution = resolution_for(space, resolution)
    windows = {"params": params, "flops": flops, "activations": activations}
    accepted, chunks = 0, math.ceil(draws / CHUNK)
    for _ in range(chunks):
        accepted += len(fitting(space, windows, resolution, rng)[1])
    return Share(accepted, chunks * CHUNK)


def _column(values: npt.ArrayLike) -> Floats:
    column = np.asarray(values, dtype=float)
    return column[:, None] if column.ndim == 1 else column


def _name(space: DesignSpace, parameter: str) -> str:
    """What `Population.drawn` calls a parameter: the plural where every stage has its own."""
    return parameter if space.line is not None else PLURAL[parameter]


def _listed(space: DesignSpace) -> str:
    return ", ".join(_name(space, name) for name in space.sequences)
