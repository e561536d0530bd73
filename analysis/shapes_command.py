"""The command `shapes`: width by block of the best and the worst networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import TableFormat, Whole, print_json, print_line, print_notes, print_table


def shapes(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    best: Whole = 5,
    worst: Whole = 5,
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Draw width by block of the best and the worst networks of each population.

    Dashed is the quantized line nearest to the network (DNDS, section 3.3 and figure 8), e_fit
    the mean logarithm of the ratio between both: 0.1 is about 10%. Networks that diverged are
    among the worst.

    Example: anynet shapes runs/fashion:anynetx_a --best 5 --worst 5 --out shapes.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure to write (.png, .svg or .pdf).
    best
        How many of the best.
    worst
        How many of the worst.
    title
        Title above the figure.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    from analysis.figures import require_format
    from analysis.run_figures import save_shapes
    from analysis.selection import select
    from analysis.shapes import shapes as shapes_of

    require_format(out)
    for option, count in (("--best", best), ("--worst", worst)):
        if count < 0:
            raise InputError(f"{option}: {count} must be 0 or more")
    if best + worst == 0:
        raise InputError("--best: 0, with --worst 0, leaves nothing to draw")
    selection = select(runs)
    print_notes([*selection.notes, *(p.population.note for p in selection.populations)])
    several = len(selection.populations) > 1
    groups, document = [], []
    for population in selection.populations:
        chosen = shapes_of(population.rows, best, worst)
        for kind, found in zip(("best", "worst"), chosen, strict=True):
            if found:
                groups.append((f"{population.name}, {kind}" if several else kind, found))
        document.append(
            {"name": population.name}
            | {
                kind: [
                    asdict(shape)
                    | {
                        "widths": shape.widths.tolist(),
                        "line": None if shape.line is None else shape.line.tolist(),
                    }
                    for shape in found
                ]
                for kind, found in zip(("best", "worst"), chosen, strict=True)
            }
        )
    if not groups:
        raise InputError("no network of the populations has an error")
    save_shapes(groups, out, title)
    if json:
        print_json({"figure": str(out), "populations": document})
        return
    print_table(
        ("group", "trial", "error %", "blocks", "widths", "e_fit"),
        [
            (
                name,
                shape.trial,
                f"{shape.error:.2f}",
                len(shape.widths),
                f"{shape.widths.min()} to {shape.widths.max()}",
                "-" if shape.e_fit is None else f"{shape.e_fit:.3f}",
            )
            for name, found in groups
            for shape in found
        ],
        form=table,
    )
    print_line(out, table)
