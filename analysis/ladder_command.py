"""The command `ladder`: draw what a derived space was decided by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import TableFormat, print_json, print_line, print_table


def ladder(
    evidence: Annotated[Path, Parameter(name="EVIDENCE")],
    /,
    *,
    out: Path,
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Draw what a derived space was decided by: a row a constraint that was tried.

    The change of the mean error that the constraint makes, with its interval, beside what had
    suggested it; accepted as an improvement, accepted as a simplification, or refused.

    Example: anynet ladder space.evidence.json --out ladder.png

    Parameters
    ----------
    evidence
        The file .evidence.json that stands beside a derived space.
    out
        Figure to write (.png, .svg or .pdf).
    title
        Title above the figure.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    from analysis.evidence import read_evidence
    from analysis.figures import require_format
    from analysis.ladder_figure import save_ladder

    require_format(out)
    found = read_evidence(evidence)
    if not found.steps and not found.waiting:
        raise InputError(f"{evidence}: steps: no constraint was tried or is promising")
    save_ladder(found, out, title)
    if json:
        steps = [
            {"words": step.words, "outcome": step.outcome}
            | dict(zip(("change", "low", "high"), step.change, strict=True))
            for step in found.steps
        ]
        print_json({"figure": str(out), "delta": found.rules.delta, "steps": steps})
        return
    print_table(
        ("constraint", "outcome", "change", "interval", "suggested", "error %", "before %", "n"),
        [
            (
                step.words,
                step.outcome,
                f"{step.change[0]:+.2f}",
                f"{step.change[1]:+.2f} to {step.change[2]:+.2f}",
                "-" if step.screening.effect is None else f"{step.screening.effect:+.2f}",
                f"{step.comparison.value_a:.2f}",
                f"{step.comparison.value_b:.2f}",
                f"{step.comparison.n_a} / {step.comparison.n_b}",
            )
            for step in found.steps
        ],
        form=table,
    )
    print_line(
        f"points of error; equivalent within {found.rules.delta:.3g}, each interval at "
        f"{100 * found.rules.confidence:.4g}%; {len(found.waiting)} more were suggested",
        table,
    )
    print_line(out, table)
