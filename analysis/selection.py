"""Which populations the RUN[:SPACE] arguments of a command name, and what each is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.edf import Floats, Population, populations
from analysis.results import baselines, load_runs, unfinished
from anynet.errors import InputError


@dataclass(frozen=True, eq=False)
class Selected:
    """One population of a run: what `edf.populations` says of it, and its trials.

    `trials` are all its records, of every rung, with the columns of `results`.
    """

    run: str
    space: str
    population: Population
    trials: pd.DataFrame

    @property
    def name(self) -> str:
        """As short as keeps the selected populations apart."""
        return self.population.name

    @property
    def errors(self) -> Floats:
        """At the longest training, (n,); NaN where the network failed or was not promoted."""
        return self.population.networks["error"].to_numpy(float)

    @property
    def weights(self) -> Floats | None:
        """1/probability of promotion, (n,), 0 for those that wait; None where all are equal."""
        weights = self.population.networks["weight"].to_numpy(float)
        return None if (weights == 1).all() else weights

    @cached_property
    def rows(self) -> pd.DataFrame:
        """A row a network in the order of `errors` and `weights`, with the columns of `results`.

        Settings, network, costs and `curve` are those of its first record, `error` is as above.
        """
        first = self.trials.sort_values(["rung", "replicate"], kind="stable")
        first = first.drop_duplicates("trial").set_index("trial")
        rows = first.loc[self.population.networks["trial"]].reset_index()
        return rows.assign(error=self.errors)


@dataclass(frozen=True, eq=False)
class Selection:
    """Populations in the order of the arguments.

    `baselines` are the records beside them (`results.baselines`), `notes` lines on runs that are
    still going: fast networks end first.
    """

    populations: tuple[Selected, ...]
    baselines: pd.DataFrame
    notes: tuple[str, ...]


def select(arguments: Sequence[str], *, networks: bool = True) -> Selection:
    """The populations that RUN[:SPACE] arguments name; of a RUN alone all of its spaces.

    A path that exists is a run, colons and all. Baselines belong to no population. Without
    `networks` `rows` have no such column (`results.load_runs`).

    Raises InputError where no argument is given, a space is unknown, a population is given twice
    or has no trial yet, and for what is no population (`edf.populations`): trials that an
    optimizer chose, or that were stopped early.
    """
    if not arguments:
        raise InputError("RUN[:SPACE]: give at least one run")
    loaded: dict[str, pd.DataFrame] = {}
    wanted: dict[tuple[str, str], pd.DataFrame] = {}
    for argument in arguments:
        run, space = split(argument)
        place = os.path.realpath(run)
        if place not in loaded:
            loaded[place] = load_runs([run], networks=networks)
        frame = loaded[place]
        frame = frame[frame["baseline"].isna()]
        known = frame["space"].unique().tolist()
        if not known:
            raise InputError(f"{run}: no trial has ended yet")
        if space is not None and space not in known:
            raise InputError(f"{argument}: {space!r} is not in {run}, which has {', '.join(known)}")
        for name in known if space is None else [space]:
            if (place, name) in wanted:
                raise InputError(f"{argument}: {name} is given twice")
            wanted[place, name] = frame[frame["space"] == name]
    found = populations(pd.concat(wanted.values()))
    selected = [
        Selected(str(part["run"].iloc[0]), space, population, part)
        for ((_, space), part), population in zip(wanted.items(), found, strict=True)
    ]
    notes = [note for frame in loaded.values() if (note := unfinished(frame))]
    beside = pd.concat([frame[frame["baseline"].notna()] for frame in loaded.values()])
    return Selection(tuple(selected), baselines(beside), tuple(notes))


def split(argument: str) -> tuple[str, str | None]:
    """The run and the space of RUN[:SPACE]; a path that exists is a run, colons and all."""
    if os.path.exists(argument) or ":" not in argument:
        return argument, None
    run, _, space = argument.rpartition(":")
    return run, space
