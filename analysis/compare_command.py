"""The command `compare`: a verdict in one sentence, then every number it can rest on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from cyclopts import Parameter

from analysis import comparison
from analysis.comparison import Comparison, Statistic, parse_statistic, sample
from analysis.dominance import Order, dominance, ks_test
from analysis.edf import EDF, Population, populations
from analysis.intervals import Floats
from analysis.multiplicity import adjust
from analysis.power import more_networks
from analysis.results import load_runs, planned_names
from analysis.selection import split
from analysis.sequential import Sequential, complete_prefix, sequential_compare
from anynet.errors import InputError
from anynet.files import read_text
from anynet.terminal import TableFormat, print_json, print_line, print_table

POWER = 0.8


def compare(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    statistic: str = "mean",
    delta: float | None = None,
    confidence: float = 0.95,
    sequential: bool = False,
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Say which of two populations is better, by how much, and how sure that is.

    Equivalent: the whole interval of the difference lies within +-DELTA. Else better or worse: it
    leaves out 0. Else undecided. Diverged networks count with error 100; failed ones are left
    out; promoted ones count by how probable that was. The sentence is about the statistic given;
    the other lines of the table are for looking around, with p values adjusted (Holm) for there
    being several.

    Example: anynet compare runs/fashion:anynetx_a runs/fashion:regnetx --delta 0.5

    Parameters
    ----------
    runs
        Two populations; or one run of two spaces.
    statistic
        mean, median, quantile:SHARE, area:LIMIT (mean error cut at LIMIT percent), or best_of:M
        (expected least error of M networks).
    delta
        Points of error within which populations are equivalent; left out, none are called so.
    confidence
        Of the intervals; equal populations are called different in at most the rest.
    sequential
        Compare means (or areas) of a run that is still going, with limits that hold however
        often one looks; networks are taken in the order they were drawn.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    chosen = parse_statistic(statistic)
    frames = _frames(runs)
    found = populations(pd.concat(frames))
    both = [population.edf() for population in found]
    _check(found, both)
    _say_other_images(frames)
    if sequential and table is not None:
        raise InputError(f"--table: {table} does not go with --sequential, which prints none")
    if sequential:
        for population in found:
            if population.rungs > 1:
                raise InputError(
                    f"--sequential: {population.name}: was trained in rungs, and promotion is not "
                    "in the order in which networks were drawn"
                )
        _compare_so_far(frames, both, chosen, delta, confidence, json)
    else:
        for frame in frames:
            _say_going(frame)
        _compare_whole(both, chosen, delta, confidence, table, json)


def _compare_whole(
    both: Sequence[EDF],
    chosen: Statistic,
    delta: float | None,
    confidence: float,
    table: TableFormat | None,
    json: bool,
) -> None:
    a, b = (one.errors for one in both)
    rows = [
        comparison.compare(
            a,
            b,
            statistic=which,
            delta=delta,
            confidence=confidence,
            weights_a=both[0].weights,
            weights_b=both[1].weights,
        )
        for which in _statistics(str(chosen), a, b)
    ]
    first = rows[0]
    sample_a, sample_b = (sample(one.name, one.errors, one.weights) for one in both)
    ks = ks_test(sample_a, sample_b, np.random.default_rng(0))
    order = dominance(sample_a, sample_b, confidence)
    *adjusted, ks_adjusted = adjust([*(row.p_value for row in rows), ks.p_value]).tolist()
    more = more_networks(first, POWER)
    if json:
        print_json(
            {
                "populations": [
                    {"name": one.name, "n": len(one), "failed": one.failed} for one in both
                ],
                "verdict": asdict(first),
                "more_networks": {"power": POWER, "of_each": more},
                "statistics": [
                    asdict(row) | {"p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)
                ],
                "ks": asdict(ks) | {"p_adjusted": ks_adjusted},
                "dominance": asdict(order),
            }
        )
        return
    names = [one.name for one in both]
    print_line(_sentence(names, chosen, first, f"p {_p(first.p_value)}"), table)
    if first.verdict == "undecided":
        print_line(_how_many(more), table)
    if delta is None:
        print_line("nothing is called equivalent without --delta", table)
    if table is None:
        print()
    print_table(
        ("statistic", *names, "lower by", "from", "to", "p", "p (Holm)", ""),
        [
            (
                row.statistic,
                *(round(x, 2) + 0.0 for x in (row.value_a, row.value_b, row.difference)),
                *_limits(row),
                _p(row.p_value),
                _p(p),
                row.verdict,
            )
            for row, p in zip(rows, adjusted, strict=True)
        ],
        form=table,
    )
    if table is None:
        print()
    distance = f"Kolmogorov-Smirnov distance {ks.distance:.3f}, p {_p(ks.p_value)}"
    print_line(f"{distance} (Holm {_p(ks_adjusted)})", table)
    print_line(f"first-order dominance: {_dominance(order.order, names)}", table)
    for one in both:
        failed = f", {one.failed} failed left out" if one.failed else ""
        print_line(f"{one.name}: n = {len(one)}{failed}", table)


def _compare_so_far(
    frames: Sequence[pd.DataFrame],
    both: Sequence[EDF],
    chosen: Statistic,
    delta: float | None,
    confidence: float,
    json: bool,
) -> None:
    if chosen.kind not in ("mean", "area"):
        raise InputError(f"--statistic: {chosen} has no sequential form; take mean or area:LIMIT")
    orders = [_in_order(frame) for frame in frames]
    for one, order in zip(both, orders, strict=True):
        if len(order) < 2:
            raise InputError(f"{one.name}: {len(order)} networks without a gap before them so far")
    waiting = [len(one) - len(order) for one, order in zip(both, orders, strict=True)]
    result = sequential_compare(
        *orders,
        delta=delta,
        confidence=confidence,
        limit=chosen.value if chosen.kind == "area" else 100.0,
    )
    names = [one.name for one in both]
    if json:
        populations = [
            {"name": one.name, "n": len(order), "waiting": later, "failed": one.failed}
            for one, order, later in zip(both, orders, waiting, strict=True)
        ]
        print_json(
            {"populations": populations, "statistic": str(chosen)} | {"verdict": asdict(result)}
        )
        return
    print(_sentence(names, chosen, result, "holds however often one looks"))
    if result.verdict != "undecided":
        print(f"decided after {result.decided_at} pairs")
    elif result.more_pairs is not None:
        print(f"about {result.more_pairs} more pairs would decide it, if they are like these")
    if delta is None:
        print("nothing is called equivalent without --delta")
    print(f"{result.pairs} pairs, in the order in which networks were drawn")
    for name, later in zip(names, waiting, strict=True):
        if later:
            print(f"{name}: {later} networks wait for one that was drawn before them")


def _frames(arguments: tuple[str, ...]) -> list[pd.DataFrame]:
    """The trials of two populations. Raises InputError where they are not two."""
    wanted = [split(argument) for argument in arguments]
    whole = len({os.path.realpath(run) for run, _ in wanted}) == 1
    if whole and wanted and all(space is None for _, space in wanted):
        wanted = wanted[:1]
    if not wanted or len(wanted) > 2:
        raise InputError(
            f"RUN[:SPACE]: {len(wanted)} populations; give two, or one run of two spaces"
        )
    loaded: dict[str, pd.DataFrame] = {}
    found: list[pd.DataFrame] = []
    for run, space in wanted:
        frame = loaded.setdefault(os.path.realpath(run), load_runs([run], networks=False))
        frame = frame[frame["baseline"].isna()]
        if frame.empty:
            raise InputError(f"{run}: no trial has ended yet")
        spaces = sorted(frame["space"].unique())
        if space is not None and space not in spaces:
            raise InputError(f"{run}: has no space {space!r}, but {', '.join(spaces)}")
        if len(wanted) == 1 and space is None:
            if len(spaces) != 2:
                one = f"has trials of one space alone ({spaces[0]}); give another population"
                several = f"has {len(spaces)} spaces ({', '.join(spaces)}); name two populations"
                raise InputError(f"{run}: {several if len(spaces) > 1 else one}, as in RUN:SPACE")
            found = [frame[frame["space"] == name] for name in spaces]
        elif space is None and len(spaces) > 1:
            raise InputError(
                f"{run}: has the spaces {', '.join(spaces)}; name one, as in {run}:{spaces[0]}"
            )
        else:
            found.append(frame[frame["space"] == (space or spaces[0])])
    if len(found) == 1:
        raise InputError(f"{arguments[0]}: one population; give another to compare it with")
    if all(found[0].iloc[0][field] == found[1].iloc[0][field] for field in ("run", "space")):
        raise InputError(f"{arguments[1]}: the same population as {arguments[0]}")
    return found


def _check(found: Sequence[Population], both: Sequence[EDF]) -> None:
    """Raises InputError where the two are no populations of one kind."""
    for one in both:
        if len(one) < 2:
            raise InputError(f"{one.name}: 1 network with an error; a population has at least 2")
    lengths = [population.epochs for population in found]
    if lengths[0] != lengths[1]:
        raise InputError(
            f"{both[0].name}, {both[1].name}: trained for {lengths[0]} and {lengths[1]} epochs; "
            "errors after trainings of different length do not compare"
        )


def _in_order(frame: pd.DataFrame) -> list[float]:
    """Errors in the order in which networks were drawn, up to the first that has not ended."""
    run, space = str(frame.iloc[0]["run"]), str(frame.iloc[0]["space"])
    planned = planned_names(run).get(space)
    if planned is None:
        raise InputError(f"{run}: has no population.jsonl, which gives the order of its networks")
    return complete_prefix(planned, dict(zip(frame["trial"], frame["error"], strict=True)))


def _say_other_images(frames: Sequence[pd.DataFrame]) -> None:
    """Say on standard error that errors were measured on different images."""
    runs = [Path(str(frame.iloc[0]["run"])) for frame in frames]
    data = [run / "data.yaml" for run in runs]
    if all(path.exists() for path in data) and len({read_text(path) for path in data}) > 1:
        print(
            f"anynet: {runs[0]}, {runs[1]}: trained on other images (data.yaml differs); "
            "the difference may be that of the images",
            file=sys.stderr,
        )


def _say_going(frame: pd.DataFrame) -> None:
    """Say on standard error that a population is not whole yet."""
    run, space = str(frame.iloc[0]["run"]), str(frame.iloc[0]["space"])
    planned = len(planned_names(run).get(space, []))
    ended = frame["trial"].nunique()
    if ended < planned:
        print(
            f"anynet: {run}: {space}: {ended} of {planned} networks have ended, fast ones "
            "first; --sequential takes them in order",
            file=sys.stderr,
        )


def _statistics(chosen: str, a: Floats, b: Floats) -> list[str]:
    """The statistics of the table, the chosen one first.

    The limit of the area, and m, depend on both populations in the same way.
    """
    limit = float(np.quantile(np.concatenate([a, b]), 0.75, method="higher"))
    most = min(25, min(len(a), len(b)) // 4)
    usual = ["mean", "quantile:0.25", "median", "quantile:0.75"]
    usual += [f"area:{limit:.3g}"] * (limit >= 0.01) + [f"best_of:{most}"] * (most >= 2)
    return [chosen, *(one for one in usual if one != chosen)]


def _sentence(
    names: Sequence[str], chosen: Statistic, result: Comparison | Sequential, basis: str
) -> str:
    """The verdict, the effect in points, and its limits."""
    a, b = names
    sign = -1 if result.difference < 0 else 1
    low, high = (
        round(x, 2) + 0.0 for x in sorted((sign * result.low, sign * result.high))
    )  # no -0
    relation = "higher" if sign < 0 else "lower"
    effect = f"{relation} by {abs(result.difference):.2f} points "
    if high - low < 200:
        effect += f"({100 * result.confidence:g}% interval {low:.2f} to {high:.2f}, {basis})"
    else:
        effect += "(too few networks for an interval)"
    if result.verdict in ("better", "worse"):
        return f"{a} is {result.verdict} than {b}: {chosen.words} {effect}"
    if result.verdict == "equivalent":
        head = f"{a} and {b} are equivalent within {result.delta:g} points"
    else:
        head = f"undecided between {a} and {b}"
    return f"{head}: {chosen.words} of {a} {effect}"


def _how_many(more: tuple[int, int] | None) -> str:
    if more is None:
        return "how many more networks would decide it cannot be told"
    more_a, more_b = more
    number = (
        f"{more_a} more networks of each" if more_a == more_b else f"{more_a} and {more_b} more"
    )
    return (
        f"about {number} would decide it with a chance of {100 * POWER:g}%, "
        "if difference and spread are what they look like now"
    )


def _limits(row: Comparison) -> tuple[float | str, float | str]:
    """The limits of a row; where they are all that errors can be, none."""
    if row.high - row.low >= 200:
        return "-", "-"
    return round(row.low, 2) + 0.0, round(row.high, 2) + 0.0  # no -0


def _p(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def _dominance(order: Order, names: Sequence[str]) -> str:
    if order in ("A dominates", "B dominates"):
        return f"{names[0] if order == 'A dominates' else names[1]} dominates"
    return "they cross" if order == "cross" else "undecided"
