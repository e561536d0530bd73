"""Error against cost: which networks none beats in both, and how baselines stand to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.selection import Selected
from anynet.errors import InputError
from search.trial import DIVERGED_ERROR

Cost = Literal["flops", "params", "activations", "seconds"]
COSTS: tuple[Cost, ...] = ("flops", "params", "activations", "seconds")


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """Networks by error and `cost`, in the order of the populations.

    Columns of `networks`: `population`, `run`, `trial`, `error`, `epochs`, `COSTS`, `front`
    (whether it is on the Pareto front of all populations together) and `own_front` (on that of
    its own). Those of `baselines`, by error: `name`, `error`, `epochs`, `COSTS`; `rival_error`,
    the least error of a network that costs no more, and `rival_cost`, the least cost of one that
    is no worse, both NaN where there is none.
    """

    cost: Cost
    networks: pd.DataFrame
    baselines: pd.DataFrame

    @property
    def front(self) -> pd.DataFrame:
        """The networks of the front, from the cheapest to the best."""
        front = self.networks[self.networks["front"]]
        return front.sort_values([self.cost, "error"], kind="stable")


def pareto_front(costs: npt.ArrayLike, errors: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which of n networks are on the front; both of shape (n,), lower is better.

    A network is on it unless another is at least as good in both and better in one; of equal
    ones all are. NaN and diverged networks (error 100) never are.
    """
    cost, error = np.asarray(costs, dtype=float), np.asarray(errors, dtype=float)
    if cost.shape != error.shape or cost.ndim != 1:
        raise ValueError(f"costs, errors: shapes {cost.shape} and {error.shape} must both be (n,)")
    front = np.zeros(len(cost), dtype=bool)
    able = np.flatnonzero(~np.isnan(cost) & (error < DIVERGED_ERROR))
    order = able[np.lexsort((error[able], cost[able]))]
    # By cost, then error: on the front is what lies below all before it, or equals the last that
    # does.
    before = np.minimum.accumulate(np.append(np.inf, error[order]))[:-1]
    below = error[order] < before
    last = np.maximum.accumulate(np.where(below, np.arange(len(order)), 0))
    same = (error[order] == error[order][last]) & (cost[order] == cost[order][last])
    front[order[below | same]] = True
    return front


def tradeoff(selected: Sequence[Selected], baselines: pd.DataFrame, cost: Cost) -> Tradeoff:
    """Error against cost of populations, at the longest training of each.

    `baselines` are rows of `results.baselines`. Networks without an error are left out; `seconds`
    are those of the training that the error is of. Raises InputError where none is left.
    """
    parts = []
    for one in selected:
        last = one.trials.sort_values(["rung", "replicate"], kind="stable")
        last = last.drop_duplicates(["trial", "rung"]).drop_duplicates("trial", keep="last")
        last = last.set_index("trial").loc[one.population.networks["trial"]].reset_index()
        part = last[["run", "trial", "epochs", *COSTS]].assign(error=one.errors)
        part.insert(0, "population", one.name)
        part = part[part["error"].notna()]
        part["own_front"] = pareto_front(part[cost], part["error"])
        parts.append(part)
    networks = pd.concat(parts, ignore_index=True)
    if networks.empty:
        raise InputError("no network of the populations has an error")
    networks["front"] = pareto_front(networks[cost], networks["error"])
    beside = baselines[["error", "epochs", *COSTS]].reset_index(drop=True)
    beside.insert(0, "name", baselines["baseline"].to_numpy())
    costs, errors = networks[cost].to_numpy(float), networks["error"].to_numpy()
    rivals = [
        (_least(errors[costs <= row[cost]]), _least(costs[errors <= row["error"]]))
        for _, row in beside.iterrows()
    ]
    beside["rival_error"] = [error for error, _ in rivals]
    beside["rival_cost"] = [least for _, least in rivals]
    return Tradeoff(cost, networks, beside)


def _least(values: npt.NDArray[np.float64]) -> float:
    return float(values.min()) if len(values) else float("nan")
