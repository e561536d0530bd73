"""The command `fidelity`: does a short training rank networks as a long one does?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import TableFormat, Whole, print_json, print_line, print_notes, print_table

if TYPE_CHECKING:
    import pandas as pd

    from analysis.edf import Floats
    from analysis.fidelity import Agreement
    from analysis.selection import Selected


class Pair(NamedTuple):
    """Networks trained cheaply and long: a name, what to call both trainings, both errors."""

    name: str
    trainings: tuple[str, str]
    cheap: Floats
    long: Floats
    found: Agreement


def fidelity(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    top: float = 0.1,
    confidence: float = 0.95,
    seed: Whole = 0,
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Whether a short training ranks networks as a long one does.

    Of a run with rungs each rung is compared with the last one. Of several runs, networks that
    are the same are compared: the training of most epochs with each shorter one. Kendall's tau,
    Spearman's rho, how much of the true top is found, and what picking by the short training
    costs.

    Example: anynet fidelity runs/short runs/long --out fidelity.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure to write (.png, .svg or .pdf), a panel a pair of trainings.
    top
        The share of the networks that counts as the top.
    confidence
        Of the intervals.
    seed
        Of the resamples that the interval of the regret is from.
    title
        Title above the figure.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    from analysis.figures import require_format
    from analysis.range_figures import save_agreements
    from analysis.selection import select

    require_format(out)
    if seed < 0:
        raise InputError(f"--seed: {seed} must be 0 or more")
    if not 0 < top < 1:
        raise InputError(f"--top: {top:g} must lie between 0 and 1")
    if not 0 < confidence < 1:
        raise InputError(f"--confidence: {confidence:g} must lie between 0 and 1")
    selection = select(runs)
    print_notes(selection.notes)
    pairs = _pairs(selection.populations, top, confidence, seed)
    panels = [(pair.cheap, pair.long, pair.found, pair.trainings, pair.name) for pair in pairs]
    save_agreements(panels, out, title)
    if json:
        print_json(
            {
                "figure": str(out),
                "confidence": confidence,
                "pairs": [
                    {
                        "name": pair.name,
                        "cheap": pair.trainings[0],
                        "long": pair.trainings[1],
                        **asdict(pair.found),
                        "errors": [pair.cheap.tolist(), pair.long.tolist()],
                    }
                    for pair in pairs
                ],
            }
        )
        return
    print_table(
        (
            "networks",
            "short",
            "long",
            "n",
            "tau",
            f"at {100 * confidence:g}%",
            "rho",
            f"at {100 * confidence:g}%",
            f"top {100 * top:g}% found",
            "regret",
        ),
        [
            (
                pair.name,
                *pair.trainings,
                pair.found.n,
                f"{pair.found.kendall:.3f}",
                "{:.3f} to {:.3f}".format(*pair.found.kendall_interval),
                f"{pair.found.spearman:.3f}",
                "{:.3f} to {:.3f}".format(*pair.found.spearman_interval),
                f"{100 * pair.found.recall:.0f}%",
                f"{pair.found.regret:.2f}",
            )
            for pair in pairs
        ],
        form=table,
    )
    print_line(
        "regret: points of error that the best of a quarter of the networks, picked by the short "
        "training, is worse by",
        table,
    )
    print_line(out, table)


def _pairs(selected: Sequence[Selected], top: float, confidence: float, seed: int) -> list[Pair]:
    """All that can be compared. Raises InputError where nothing can."""
    import numpy as np

    from analysis.fidelity import paired, rank_agreement

    result, reasons = [], []
    for name, trainings, cheap, long in _trainings(selected):
        try:
            errors = paired(cheap, long)
            rng = np.random.default_rng(seed)
            found = rank_agreement(*errors, rng=rng, top=top, confidence=confidence)
        except InputError as error:
            reasons.append(f"{name}: {error}")
            continue
        result.append(Pair(name, trainings, *errors, found))
    if not result:
        raise InputError(
            reasons[0]
            if reasons
            else "RUN: fidelity needs a run with rungs, or two runs of the same networks"
        )
    for reason in reasons:
        print(f"anynet: {reason}", file=sys.stderr)
    return result


def _trainings(
    selected: Sequence[Selected],
) -> list[tuple[str, tuple[str, str], pd.DataFrame, pd.DataFrame]]:
    """A name, both trainings and their records: of each rung with the last, and run by run."""
    found = []
    for one in selected:
        trials = one.trials.sort_values("replicate", kind="stable")
        rungs = sorted(trials["rung"].unique().tolist())
        last = trials[trials["rung"] == rungs[-1]]
        for rung in rungs[:-1]:
            cheap = trials[trials["rung"] == rung]
            names = (_epochs(cheap), _epochs(last))
            found.append((one.name, names, cheap, last))
    alike: dict[str, list[Selected]] = {}
    spaces = [one.space for one in selected]
    # Two populations alone are compared whatever their spaces are called.
    pooled = len(selected) == 2 and len(set(spaces)) == 2 and selected[0].run != selected[1].run
    for one in selected:
        alike.setdefault("" if pooled else one.space, []).append(one)
    for space, group in alike.items():
        group = sorted(group, key=lambda one: one.population.epochs)
        long = group[-1]
        for cheap in group[:-1]:
            names = (_epochs(cheap.trials), _epochs(long.trials))
            if names[0] == names[1]:
                names = (f"{names[0]}, {cheap.run}", f"{names[1]}, {long.run}")
            found.append((space or cheap.space, names, cheap.rows, long.rows))
    return found


def _epochs(trials: pd.DataFrame) -> str:
    epochs = int(trials["epochs"].max())
    return f"{epochs} epochs" if epochs != 1 else "1 epoch"
