"""The command `assumptions`: a page on how well d2l's four assumptions held on runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import Whole, print_json, print_notes


def assumptions(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    evidence: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = (),
    out: Path | None = None,
    seed: Whole = 0,
    json: bool = False,
) -> None:
    """Say how well the four assumptions behind design spaces hold on your data.

    That principles exist, that a few epochs rank networks, that small networks stand for large
    ones, that effects of settings add up (d2l, section 8.8.2). For each: words first, then
    numbers with intervals, and what would settle it where the data cannot say.

    Example: anynet assumptions runs/fashion --out assumptions.html

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    evidence
        Files that `anynet derive` wrote; else a larger space is compared with a constrained one.
    out
        Page to write (.md or .html); without it the page is printed.
    seed
        Of the resamples of networks that regrets have their intervals from.
    json
        Print one JSON document.
    """
    import numpy as np

    from analysis.assumptions import assess
    from analysis.findings import html, page
    from analysis.selection import select
    from analysis.trends import short
    from anynet.files import write_text

    if seed < 0:
        raise InputError(f"--seed: {seed} must be 0 or more")
    if out is not None and out.suffix.lower() not in (".md", ".html"):
        raise InputError(f"--out: {out}: must end in .md or .html")
    selection = select(runs)
    print_notes(selection.notes)
    findings = assess(selection.populations, evidence, rng=np.random.default_rng(seed))
    populations = []
    for one in selection.populations:
        flops = one.rows["flops"]
        epochs = f"{one.population.epochs} epoch" + "s" * (one.population.epochs > 1)
        known = int(np.isfinite(one.errors).sum())
        populations.append(
            (
                one.name,
                f"{known} networks with an error after {epochs}, {short(flops.min())} to "
                f"{short(flops.max())} flops",
            )
        )
    text = page(findings, populations)
    if out is not None:
        title = "How well the four assumptions hold"
        write_text(out, html(text, title) if out.suffix.lower() == ".html" else text)
    if json:
        print_json(
            {
                "page": None if out is None else str(out),
                "populations": [one.name for one in selection.populations],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    elif out is None:
        print(text, end="")
    else:
        for finding in findings:
            print(f"{finding.number}. {finding.title}: {finding.verdict}")
        print(out)
