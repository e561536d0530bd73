"""Ledgers into one DataFrame, a row a network; its columns are defined here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from anynet.errors import InputError
from anynet.files import parse_yaml, read_text
from search.trial import Trial, last_attempts, read_trials

COLUMNS: dict[str, str] = {
    "run": "folder of the run, as given",
    "space": "name of the design space",
    "trial": "the trial within its run",
    "state": "complete, diverged, stopped or failed",
    "error": "validation error in percent; 100 where it diverged, NaN where it failed",
    "epochs": "epochs of the training",
    "rung": "level of training length",
    "params": "parameters",
    "flops": "multiply-adds",
    "activations": "outputs of conv, pooling and linear layers",
    "seconds": "seconds of training",
    "baseline": "its name, where it belongs to no space but stands beside them",
    "reason": "why it diverged, stopped or failed",
    "drawn": "the settings as sampled (dict)",
    "network": "the resolved network (Network, or a baseline's Reference)",
    "curve": "error after each epoch (tuple)",
    "promotion_probability": "that of having been promoted to this rung from the one below",
    "replicate": "which training of the same network",
    "adaptive": "whether an optimizer chose the network: such trials are not a population",
    "seed": "of the weights and of the order and augmentation of the images",
    "test_error": "error on the test split in percent; NaN where it was not measured",
}


def load_runs(runs: Sequence[str | os.PathLike[str]], *, networks: bool = True) -> pd.DataFrame:
    """The trials of runs, a row each, with the columns of `COLUMNS`.

    Without `networks` there is no such column, and blocks of a plugin need not be known.

    Of each (trial, rung) the last attempt counts. Runs stand in the order given, trials in the
    order of their names: not in that of the ledger, which is that in which they ended. Raises
    InputError where a folder is not a run, a line of a ledger is unreadable, or a run is given
    twice.
    """
    trials: list[Trial] = []
    names: list[str] = []
    seen: dict[Path, str] = {}
    for run in runs:
        name = os.fspath(run)
        place = Path(run).resolve()
        if place in seen:
            raise InputError(f"{name}: the same run as {seen[place]}")
        seen[place] = name
        recorded = last_attempts(read_trials(run, networks=networks))
        recorded.sort(key=lambda trial: (trial.trial, trial.rung))
        trials += recorded
        names += [name] * len(recorded)
    fields = [field for field in COLUMNS if field != "run" and (networks or field != "network")]
    columns: dict[str, object] = {"run": names}
    for field in fields:  # by column: a dict a row takes three times as long
        columns[field] = pd.Series([_value(trial, field) for trial in trials], dtype=_dtype(field))
    return pd.DataFrame(columns)


def baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """The baselines that have an error, at their longest training; the last of a name counts."""
    known = frame[frame["baseline"].notna() & frame["error"].notna()]
    known = known.sort_values("rung", kind="stable")
    return known.drop_duplicates("baseline", keep="last").sort_values("error", kind="stable")


def drawn_settings(frame: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """The settings of networks of one space, as `Population.drawn` holds them, as floats."""
    names = frame["drawn"].iloc[0]
    return {name: np.array([drawn[name] for drawn in frame["drawn"]], float) for name in names}


def drawn_before(frame: pd.DataFrame, known: set[tuple[str, int, str]]) -> npt.NDArray[np.bool_]:
    """Which rows are of trainings in `known` already, (n,); adds those that have an error.

    A space and a seed draw the same networks in every sweep, and train them from the same seeds:
    a second, longer sweep begins with those of the first, and none of them counts twice.
    """
    keys = [
        (space, seed, network.to_json())
        for space, seed, network in zip(
            frame["space"], frame["seed"], frame["network"], strict=True
        )
    ]
    before = np.array([key in known for key in keys], dtype=bool)
    known.update(key for key, some in zip(keys, frame["error"].notna(), strict=True) if some)
    return before


def _value(trial: Trial, field: str) -> object:
    if field == "network" and trial.network is None:
        return trial.reference
    return getattr(trial, field)


def _dtype(field: str) -> object:
    """float where None stands for NaN; object for what pandas would look into in vain."""
    if field in ("error", "test_error"):
        return float
    return object if field in ("baseline", "drawn", "network", "curve") else None


def planned_trials(run: str | os.PathLike[str]) -> int | None:
    """How many trials a run is to have in all; None where its folder does not say."""
    try:
        with open(Path(run) / "population.jsonl", "rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return None


def unfinished(frame: pd.DataFrame) -> str:
    """A note on the records of one run, where it is still going: fast networks end first."""
    if frame.empty:
        return ""
    run, recorded = str(frame["run"].iloc[0]), frame["trial"].nunique()
    planned = planned_trials(run)
    if planned is None or recorded >= planned:
        return ""
    return f"{run}: {recorded} of {planned} trials recorded so far"


def planned_names(run: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Names of the trials that a run is to have, by space, in the order they were drawn.

    Empty where its folder does not say. Raises InputError for a line that is no network.
    """
    path = Path(run) / "population.jsonl"
    names: dict[str, list[str]] = {}
    lines = read_text(path).splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            planned = msgspec.json.decode(line, type=_Planned)
        except msgspec.MsgspecError as error:
            raise InputError(f"{path}: line {number}: not a network to train: {error}") from None
        names.setdefault(planned.space, []).append(planned.trial)
    return names


class _Planned(msgspec.Struct):
    """What a line of `population.jsonl` is read for."""

    trial: str
    space: str


def run_resolution(run: str | os.PathLike[str]) -> int | None:
    """Side in pixels of the images of a run; None where its folder does not say."""
    path = Path(run) / "data.yaml"
    data = parse_yaml(read_text(path), str(path)) if path.exists() else None
    side = data.get("resolution") if isinstance(data, dict) else None
    return side if isinstance(side, int) else None
