"""The command `curves`: error against epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from anynet.terminal import TableFormat, print_json, print_line, print_notes, print_table


def curves(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Draw error against epoch: each network, and median and middle half of each population.

    A network that diverged ends in a cross, and counts with error 100 from then on; failed ones
    are left out. Of networks that chance promoted, each stands for those that it left behind.

    Example: anynet curves runs/fashion --out curves.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure to write (.png, .svg or .pdf).
    title
        Title above the figure.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    from analysis.curves import training_curves
    from analysis.figures import require_format
    from analysis.run_figures import save_curves
    from analysis.selection import select

    require_format(out)
    selection = select(runs, networks=False)
    print_notes([*selection.notes, *(p.population.note for p in selection.populations)])
    found = [training_curves(one) for one in selection.populations]
    save_curves(found, out, title)
    if json:
        print_json(
            {
                "figure": str(out),
                "populations": [
                    {
                        "name": one.name,
                        "n": len(one),
                        "diverged": int((one.diverged >= 0).sum()),
                        "errors": _plain(one.errors),
                        "lower_quartile": _plain(one.quartiles[0]),
                        "median": _plain(one.quartiles[1]),
                        "upper_quartile": _plain(one.quartiles[2]),
                    }
                    for one in found
                ],
            }
        )
        return
    rows = []
    for one in found:
        epochs = one.errors.shape[1]
        shown = sorted({1, -(-epochs // 4), -(-epochs // 2), epochs})
        for epoch in shown:
            low, median, high = one.quartiles[:, epoch - 1]
            ended = int(((one.diverged >= 0) & (one.diverged < epoch)).sum())
            known = median == median
            middle = f"{low:.2f} to {high:.2f}" if known else "-"
            half = f"{median:.2f}" if known else "-"
            rows.append((one.name, len(one), epoch, half, middle, ended))
    print_table(
        ("population", "n", "epoch", "median %", "middle half %", "diverged"), rows, form=table
    )
    print_line(out, table)


def _plain(values: Any) -> Any:
    """Nested lists of numbers; NaN is None."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [None if value != value else value for value in values.tolist()]
