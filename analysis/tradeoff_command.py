"""The command `tradeoff`: error against cost, and the networks that no other one beats in both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from anynet.terminal import TableFormat, print_json, print_line, print_notes, print_table

if TYPE_CHECKING:
    from analysis.tradeoff import Tradeoff

CostOption = Literal["flops", "params", "activations", "seconds"]


def tradeoff(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    cost: CostOption = "flops",
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Draw error against cost: networks, their Pareto front, and the baselines beside them.

    A network is on the front if none is better in one of both and at least as good in the other;
    one that diverged never is. Errors are those of the longest training, on the validation
    images. The front is of the luckiest networks: trained again, they are a little worse.

    Example: anynet tradeoff runs/fashion --cost params --out tradeoff.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure to write (.png, .svg or .pdf).
    cost
        The cost that errors are drawn against, on a logarithmic axis. seconds: of the training.
    title
        Title above the figure.
    table
        Print the tables for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    from analysis.figures import require_format
    from analysis.run_figures import save_tradeoff
    from analysis.selection import select
    from analysis.tradeoff import tradeoff as tradeoff_of

    require_format(out)
    selection = select(runs, networks=False)
    found = tradeoff_of(selection.populations, selection.baselines, cost)
    notes = [*selection.notes, *(p.population.note for p in selection.populations)]
    lengths = sorted({*found.networks["epochs"].tolist(), *found.baselines["epochs"].tolist()})
    if len(lengths) > 1:
        listed = ", ".join(map(str, lengths))
        notes.append(f"trainings of {listed} epochs stand in one figure")
    print_notes(notes)
    save_tradeoff(found, out, title)
    if json:
        print_json({"figure": str(out), "notes": [n for n in notes if n]} | _document(found))
        return
    costs = ("flops", "params", "activations")
    rows = [
        (
            row["trial"],
            row["population"],
            f"{row['error']:.2f}",
            *(row[c] for c in costs),
            _time(row),
        )
        for row in _rows(found.front)
    ]
    heads = (*costs, "seconds")
    print_table(("on the front", "population", "error %", *heads), rows, form=table)
    if len(found.baselines):
        if table is None:
            print()
        print_table(
            ("baseline", "error %", *heads, "best at its cost %", f"least {cost} for its error"),
            [
                (
                    row["name"],
                    f"{row['error']:.2f}",
                    *(row[c] for c in costs),
                    _time(row),
                    "-" if row["rival_error"] is None else f"{row['rival_error']:.2f}",
                    "-" if row["rival_cost"] is None else _number(row["rival_cost"]),
                )
                for row in _rows(found.baselines)
            ],
            form=table,
        )
    print_line(out, table)


def _time(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']:.1f}"


def _number(value: float) -> Any:
    return int(value) if value == int(value) else f"{value:.1f}"


def _rows(frame: Any) -> list[dict[str, Any]]:
    """Rows as plain data; NaN is None."""
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _document(found: Tradeoff) -> dict[str, Any]:
    columns = [name for name in found.networks if name not in ("front", "own_front")]
    return {
        "cost": found.cost,
        "front": _rows(found.front[columns]),
        "networks": _rows(found.networks),
        "baselines": _rows(found.baselines),
    }
