"""The parameters of networks as a table of numbers, a row a network: what ranges, shares of
variance and trends are computed from. Its columns are defined here.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from analysis.results import drawn_settings
from anynet.errors import InputError
from anynet.line_fit import DEEPEST, fit_lines
from anynet.sampling import SINGULAR, Population

Source = Literal["drawn", "resolved", "derived", "cost"]


class Parameter(NamedTuple):
    """What a column of the table holds."""

    unit: str
    source: Source
    """drawn: the setting as sampled. resolved: what was built of it. derived: computed from the
    drawn depths and widths, or from the resolved ones where a line gave them. cost: counted."""
    what: str


PARAMETERS: dict[str, Parameter] = {
    "depth": Parameter("blocks", "drawn", "blocks in all; of one stage with its number"),
    "width": Parameter("channels", "drawn", "output channels of a stage"),
    "w0": Parameter("channels", "drawn", "initial width of the line"),
    "wa": Parameter("channels a block", "drawn", "slope of the line"),
    "wm": Parameter("", "drawn", "ratio between the levels of the line"),
    "bottleneck_ratio": Parameter("", "drawn", "width over inner width"),
    "group_width": Parameter("channels", "drawn", "channels a group"),
    "se_ratio": Parameter("", "drawn", "width of squeeze-and-excitation over the block's input"),
    "kernel": Parameter("pixels", "drawn", "side of the spatial convolution"),
    "expansion": Parameter("", "drawn", "inner width over width"),
    "growth_rate": Parameter("channels", "drawn", "channels that a dense block adds"),
    "share_1x1": Parameter("", "drawn", "share of the 1x1 branch in the output"),
    "share_3x3": Parameter("", "drawn", "share of the 3x3 branch in the output"),
    "share_5x5": Parameter("", "drawn", "share of the 5x5 branch in the output"),
    "reduce_3x3": Parameter("", "drawn", "reduction before the 3x3 branch"),
    "reduce_5x5": Parameter("", "drawn", "reduction before the 5x5 branch"),
    "resolved_depth": Parameter("blocks", "resolved", "blocks of a stage"),
    "resolved_width": Parameter("channels", "resolved", "width of a stage after the group fix"),
    "resolved_bottleneck_ratio": Parameter("", "resolved", "bottleneck ratio of a stage as built"),
    "resolved_group_width": Parameter("channels", "resolved", "group width after the group fix"),
    "width_growth": Parameter("", "derived", "last width over first; with a number, over the last"),
    "depth_growth": Parameter("", "derived", "last depth over first; with a number, over the last"),
    "e_fit": Parameter("", "derived", "mean log-ratio to the nearest line (DNDS, section 3.3)"),
    "fit_w0": Parameter("channels", "derived", "w0 of the nearest line"),
    "fit_wa": Parameter("channels a block", "derived", "wa of the nearest line"),
    "fit_wm": Parameter("", "derived", "wm of the nearest line"),
    "params": Parameter("", "cost", "parameters"),
    "flops": Parameter("multiply-adds", "cost", "multiply-adds at the resolution of the run"),
    "activations": Parameter("", "cost", "outputs of conv, pooling and linear layers"),
}
"""Columns by name. A setting of stage i of n ends in `_i`, from 1; a setting that all stages
share has no number. `width_growth_2` is the width of stage 2 over that of stage 1.

Drawn settings have the plain names, because constraints speak of them (docs/design.md, "Drawn and
resolved"): `width_1` is what a rule on the width of stage 1 sees.
"""

_COSTS = ("params", "flops", "activations")
_RESOLVED = ("depth", "width", "bottleneck_ratio", "group_width")
_LINE = ("w0", "wa", "wm")


def parameter(name: str) -> Parameter:
    """What the column `name` holds. Raises InputError where there is no such parameter."""
    known = PARAMETERS.get(name) or PARAMETERS.get(re.sub(r"_[1-9]\d*$", "", name))
    if known is None:
        raise InputError(f"parameter {name!r}: must be one of {', '.join(PARAMETERS)}")
    return known


def parameter_table(frame: pd.DataFrame, *, lines: bool = True) -> pd.DataFrame:
    """The parameters of the networks of one population, from its trials (see `results`).

    The rows and index are those of the frame, the columns those of `PARAMETERS` that the space
    has. Without `lines` those of the nearest line, which take about a second per 1,000 networks,
    are left out. Raises InputError where the frame is of several spaces, or empty.
    """
    spaces = frame["space"].unique().tolist()
    if len(spaces) != 1:
        raise InputError(f"parameters: one space at a time, not {', '.join(spaces) or 'none'}")
    drawn = drawn_settings(frame)
    stages = [network.stages for network in frame["network"]]
    resolved: dict[str, Any] = {}
    for name in _RESOLVED:
        values = [[getattr(stage, name) for stage in network] for network in stages]
        if None not in values[0]:
            resolved[name] = np.array(values, dtype=float)
    return _table(drawn, resolved, {name: frame[name] for name in _COSTS}, frame.index, lines)


def population_parameters(population: Population, *, lines: bool = True) -> pd.DataFrame:
    """The parameters of a sampled population; as `parameter_table`."""
    settings = {SINGULAR[name]: column for name, column in population.settings.items()}
    resolved = {"depth": population.depths, "width": population.widths} | settings
    costs = {name: getattr(population, name) for name in _COSTS}
    kept = {name: np.asarray(resolved[name], float) for name in _RESOLVED if name in resolved}
    index = pd.RangeIndex(len(population))
    drawn = {name: column.astype(float) for name, column in population.drawn.items()}
    return _table(drawn, kept, costs, index, lines)


def varying(table: pd.DataFrame, sources: tuple[Source, ...] = ("drawn",)) -> list[str]:
    """The columns from these sources that take more than one value, in the table's order.

    Of stages' depths and their sum all are kept; a column that repeats another is not.
    """
    names: list[str] = []
    seen: set[bytes] = set()
    for name in table.columns:
        values = table[name].to_numpy()
        key = values.tobytes()
        if parameter(name).source in sources and key not in seen and (values != values[0]).any():
            names.append(name)
            seen.add(key)
    return names


def settings(table: pd.DataFrame) -> list[str]:
    """The drawn settings that vary and can be chosen one by one: without the sum of the depths."""
    names = varying(table)
    return [name for name in names if name != "depth"] if "depth_1" in names else names


def _table(drawn: Any, resolved: Any, costs: Any, index: pd.Index, lines: bool) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    by_stage = {SINGULAR[name]: c for name, c in drawn.items() if c.ndim == 2}
    alone = {name: column for name, column in drawn.items() if column.ndim == 1}
    depths = by_stage.get("depth", resolved["depth"])
    widths = by_stage.get("width", resolved["width"])
    columns["depth"] = alone.pop("depth") if "depth" in alone else depths.sum(axis=1)
    for name in _LINE:
        if name in alone:
            columns[name] = alone.pop(name)
    for name, values in by_stage.items():
        columns |= _stages(name, values)
    columns |= alone
    for name, values in resolved.items():
        columns |= {f"resolved_{n}": c for n, c in _stages(name, values).items()}
    for name, values in (("width_growth", widths), ("depth_growth", depths)):
        if values.shape[1] > 1:
            columns[name] = values[:, -1] / values[:, 0]
            for i in range(1, values.shape[1]):
                columns[f"{name}_{i + 1}"] = values[:, i] / values[:, i - 1]
    if lines and "wa" not in columns and depths.sum(axis=1).max() <= DEEPEST:
        fit = fit_lines(depths.astype(np.int64), widths.astype(np.int64))
        columns |= {"e_fit": fit.e_fit, "fit_w0": fit.w0, "fit_wa": fit.wa, "fit_wm": fit.wm}
    for name, column in costs.items():
        columns[name] = np.asarray(column, dtype=float)
    return pd.DataFrame({n: np.asarray(c, float) for n, c in columns.items()}, index=index)


def _stages(name: str, values: Any) -> dict[str, Any]:
    """A setting by stage; as one column where all stages of all networks share it."""
    shared = values.shape[1] > 1 and (values == values[:, :1]).all()
    if shared and name not in ("depth", "width"):
        return {name: values[:, 0]}
    return {f"{name}_{i + 1}": column for i, column in enumerate(values.T)}
