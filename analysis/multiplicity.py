"""Several comparisons under one error rate: a fixed family, and a ladder of unknown length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Adjustment = Literal["holm", "bonferroni", "fixed_sequence"]


def adjust(p_values: npt.ArrayLike, method: Adjustment = "holm") -> npt.NDArray[np.float64]:
    """Adjusted p values, in the order given: at most alpha are called different at level alpha.

    The chance of any false call in the family is then at most alpha, however the comparisons
    depend on each other (those of a ladder share populations).

    holm: for a family fixed beforehand (Holm 1979). bonferroni: the same, less powerful, one
    factor for all. fixed_sequence: for comparisons in an order fixed beforehand, each made only
    if all before it called a difference; none costs anything (Maurer, Hothorn and Lehmacher 1995).
    """
    p = np.asarray(p_values, dtype=float)
    if method == "fixed_sequence":
        return np.maximum.accumulate(p)
    if method == "bonferroni":
        return np.minimum(p * len(p), 1.0)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    result = np.empty_like(p)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return result


def rung_alpha(alpha: float, rung: int) -> float:
    """The level of the comparison at rung 1, 2, ... of a ladder whose length is not known.

    6 alpha / (pi rung)^2: all rungs together spend alpha, so the chance of any false call is at
    most alpha, wherever one stops, however rungs depend on each other. Raises ValueError for a
    rung below 1.
    """
    if rung < 1:
        raise ValueError(f"rung {rung}: rungs count from 1")
    return 6 * alpha / (np.pi * rung) ** 2


def descend(p_values: Sequence[float], alpha: float = 0.05) -> int:
    """How many rungs of a ladder are called different if it ends at the first that is not.

    Each rung is tested at the whole alpha; the chance of any false call is at most alpha because
    the first rung without a difference has to be called one (see `adjust`, fixed_sequence).
    """
    passed = adjust(p_values, "fixed_sequence") <= alpha if len(p_values) else np.zeros(0, bool)
    return int(passed.sum())
