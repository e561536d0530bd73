"""Error against epoch of the networks of a population, its median and quartiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.edf import Floats, edf
from analysis.selection import Selected
from anynet.errors import InputError
from search.trial import DIVERGED_ERROR


@dataclass(frozen=True, eq=False)
class Curves:
    """The training of n networks over k epochs.

    `errors` (n, k) in percent after each epoch, NaN where it was not measured. `diverged` (n,):
    the epochs that those which diverged had ended before, -1 for all others. `quartiles` (3, k):
    the lower one, the median and the upper one over all networks, NaN where too few are known.
    """

    name: str
    errors: Floats
    diverged: npt.NDArray[np.int64]
    quartiles: Floats

    def __len__(self) -> int:
        return len(self.errors)


def training_curves(selected: Selected) -> Curves:
    """The curves of a population; failed networks are left out.

    Quartiles are of all networks: one that diverged counts with error 100 from then on, one that
    was not promoted is stood for by those that were, weighted by their probabilities. A rung that
    goes on with a training continues its curve; one that trains anew, longer, has its own, and
    then quartiles are of the longest rung's alone. Raises InputError where there is no curve.
    """
    trials = selected.trials.sort_values(["rung", "replicate"], kind="stable")
    trials = trials.drop_duplicates(["trial", "rung"])
    failed = set(trials["trial"][trials["state"] == "failed"])
    trials = trials[~trials["trial"].isin(failed)]
    starts = {rung: _start(part) for rung, part in trials.groupby("rung")}
    anew = len(starts) > 1 and starts[max(starts)] == 0
    longest = int(trials["epochs"].max()) if len(trials) else 0
    errors, weights, diverged = [], [], []
    for _, records in trials.groupby("trial", sort=False):
        error, weight = np.full(longest, np.nan), np.zeros(longest)
        probability, stop = 1.0, -1
        for record in records.itertuples():
            probability *= record.promotion_probability
            known = np.asarray(record.curve, dtype=float)
            start = starts[record.rung]
            if anew:
                error[:], weight[:] = np.nan, 0
            end = min(start + len(known), longest)
            error[start:end] = known[: end - start]
            weight[start:end] = 1 / probability
            if record.state == "diverged":
                stop = end
                weight[0 if anew else end :] = 1 / probability
            elif anew and record.rung != max(starts):
                weight[:] = 0
        errors.append(error)
        weights.append(weight)
        diverged.append(stop)
    if not errors or not np.isfinite(errors).any():
        raise InputError(f"{selected.name}: no trial has a curve")
    table, stops = np.array(errors), np.array(diverged)
    counted = table.copy()
    for row, stop in zip(counted, stops, strict=True):
        if stop >= 0:
            row[stop:] = DIVERGED_ERROR
    return Curves(selected.name, table, stops, _quartiles(counted, np.array(weights)))


def _start(records: pd.DataFrame) -> int:
    """The epochs before the first one of a rung's curves: none, or those of the rung before."""
    whole = records[records["state"] == "complete"]
    gaps = whole["epochs"] - whole["curve"].map(len)
    return max(int(gaps.min()), 0) if len(gaps) else 0


def _quartiles(errors: Floats, weights: Floats) -> Floats:
    found = np.full((3, errors.shape[1]), np.nan)
    for epoch in range(errors.shape[1]):
        known = ~np.isnan(errors[:, epoch]) & (weights[:, epoch] > 0)
        if known.any():
            one = edf("", errors[known, epoch], weights[known, epoch])
            found[:, epoch] = [one.quantile(q) for q in (0.25, 0.5, 0.75)]
    return found
