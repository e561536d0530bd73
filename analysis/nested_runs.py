"""The nested spaces of runs, pooled: what each space gains from the networks of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.edf import EDF, edf
from analysis.pooling import PAYS, Pooled, Sample, pool, require_alike, same_draws
from analysis.results import drawn_before, drawn_settings
from analysis.runs import Setting, read_setting, require_same_training
from analysis.selection import Selected
from anynet.density import DRAWS, share
from anynet.errors import InputError

COSTS = ("params", "flops", "activations")
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PooledSpace:
    """A space with what its own networks and those of the others say of it.

    `edf` is the pooled one where that pays, else the space's own. `pooled` is None where no other
    space is like it; `others` are the spaces that gave networks.
    """

    name: str
    edf: EDF
    own: int
    pooled: Pooled | None
    others: tuple[str, ...]

    @property
    def pays(self) -> bool:
        """Whether `edf` is pooled."""
        return self.pooled is not None and self.pooled.pays

    @property
    def note(self) -> str:
        """What pooling did, in a sentence."""
        if self.pooled is None:
            return f"{self.name}: no other space has its structure, so that nothing is pooled"
        size, gain = self.pooled.effective_size, self.pooled.gain
        given = ", ".join(self.others) or "the others"
        if not self.others:
            return f"{self.name}: no network of another space is one of it; nothing is gained"
        if not self.pays:
            return (
                f"{self.name}: with {given} its {self.own} networks would count as {size:.0f} "
                f"({gain:.2f} times as many): below {PAYS:g}, too little to gain; not pooled"
            )
        return (
            f"{self.name}: with networks of {given} its own {self.own} count as {size:.0f}, "
            f"{gain:.2f} times as many"
        )


def pool_populations(selected: Sequence[Selected], draws: int = DRAWS) -> list[PooledSpace]:
    """Each space of populations, pooled with those of them that are of its structure.

    Spaces and windows are those of the runs' folders; runs must have been trained alike. The
    share of each space that its window holds is counted over `draws` draws of a fixed seed. Runs
    of one and the same space are one sample, named after the first; what they both have drawn
    from one seed counts once.

    Raises InputError for populations with rungs, and where a folder does not say how a run came
    about or two were trained differently.
    """
    settings: dict[str, Setting] = {}
    firsts: list[Selected] = []
    samples: list[Sample] = []
    shares = {}
    known: set[tuple[str, int, str]] = set()
    for one in selected:
        if one.population.rungs > 1:
            raise InputError(
                f"--pool: {one.name}: was trained in rungs; networks are pooled that were all "
                "trained to the end"
            )
        if one.run not in settings:
            settings[one.run] = read_setting(one.run)
            require_same_training(next(iter(settings.values())), settings[one.run])
        setting = settings[one.run]
        space = setting.space(one.space)
        if space not in shares:
            rng = np.random.default_rng(0)
            windows = {name: setting.window.get(name) for name in COSTS}
            shares[space] = share(space, rng, **windows, resolution=setting.resolution, draws=draws)
        new = ~drawn_before(one.rows, known)
        sample = Sample(
            space,
            {name: column[new] for name, column in drawn_settings(one.rows).items()},
            one.errors[new],
            shares[space],
            {name: column[new] for name, column in _costs(one.rows).items()},
        )
        same = next((i for i, s in enumerate(samples) if same_draws(s.space, space)), None)
        if same is None:
            firsts.append(one)
            samples.append(sample)
        else:
            samples[same] = _joined(samples[same], sample)
    return _pooled(firsts, samples)


def _joined(one: Sample, other: Sample) -> Sample:
    """Two samples of one space as one."""

    def both(first: Mapping[str, npt.ArrayLike], second: Mapping[str, npt.ArrayLike]) -> Columns:
        return {name: np.concatenate([first[name], second[name]]) for name in first}

    return changed(
        one,
        drawn=both(one.drawn, other.drawn),
        errors=np.concatenate([one.errors, other.errors]),
        costs=both(one.costs, other.costs),
    )


def _pooled(selected: Sequence[Selected], samples: Sequence[Sample]) -> list[PooledSpace]:
    result: list[PooledSpace] = []
    for i, (one, sample) in enumerate(zip(selected, samples, strict=True)):
        own = edf(one.name, sample.errors)
        alike = [j for j, other in enumerate(samples) if _alike(sample, other)]
        if alike == [i]:
            result.append(PooledSpace(one.name, own, len(own), None, ()))
            continue
        found = pool(sample.space, [samples[j] for j in alike])
        others = tuple(
            selected[j].name for j, used in zip(alike, found.used, strict=True) if used and j != i
        )
        whole = changed(found.edf(one.name), failed=own.failed) if found.pays else own
        result.append(PooledSpace(one.name, whole, found.own, found, others))
    return result


def _alike(one: Sample, other: Sample) -> bool:
    try:
        require_alike(one.space, other.space)
    except InputError:
        return False
    return True


def _costs(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    costs = {name: rows[name].to_numpy(float) for name in COSTS}
    depths = [sum(stage.depth for stage in network.stages) for network in rows["network"]]
    return costs | {"depth": np.array(depths, float)}
