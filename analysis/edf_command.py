"""The command `edf`: the error distributions of populations, as a figure and a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import Whole, print_json, print_table

if TYPE_CHECKING:
    from analysis.edf import EDF


BandOption = Literal["auto", "dkw", "berk_jones", "pointwise", "none"]
ComplexityOption = Literal["flops", "params", "activations"]
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def edf(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    band: BandOption = "auto",
    confidence: float = 0.95,
    normalize: ComplexityOption | None = None,
    bins: Whole | None = None,
    merge_empty: Annotated[bool, Parameter(negative="")] = False,
    title: str = "",
    json: bool = False,
) -> None:
    """Draw the error distributions (EDFs) of the populations of runs.

    A run that is still going is drawn as far as it is. Diverged networks count with error 100;
    failed ones are left out, and the legend says how many. Of a run with rungs the longest
    training is drawn, weighted by the probabilities of promotion.

    Example: anynet edf runs/fashion --out edf.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure to write (.png, .svg or .pdf).
    band
        What to shade. berk_jones: where the whole distribution of the space lies, narrow in the
        low errors. dkw: the same, of one width. pointwise: at each error alone. auto is
        berk_jones.
    confidence
        Of the band and of the intervals in the table.
    normalize
        Weigh networks so that all populations have the same distribution of this complexity.
    bins
        Bins of that complexity (5).
    merge_empty
        Merge bins in which a population has no network, instead of refusing them.
    title
        Title above the figure.
    json
        Print one JSON document with the distributions.
    """
    from analysis.bands import band as band_of
    from analysis.figures import require_format, save_edfs
    from analysis.normalize import normalized_edfs
    from analysis.selection import select

    require_format(out)
    for option, given in (("--bins", bins is not None), ("--merge-empty", merge_empty)):
        if given and normalize is None:
            raise InputError(f"{option}: goes with --normalize")
    selection = select(runs, networks=False)
    found = [one.population for one in selection.populations]
    notes = [*selection.notes]
    notes += [note for population in found if (note := population.note)]
    if normalize is None:
        edfs = [population.edf() for population in found]
    else:
        edfs, more = normalized_edfs(
            found, normalize, 5 if bins is None else bins, "merge" if merge_empty else "refuse"
        )
        notes += more
    bands = [] if band == "none" else [band_of(one, confidence, band) for one in edfs]
    described = [_described(one, confidence) for one in edfs]
    notes += [
        f"{one.name}: of error 100 the mean has only {few}, so that its interval says too little; "
        "the median's holds"
        for one, document in zip(edfs, described, strict=True)
        if 0 < (few := int((one.errors >= 100).sum())) < 5 and document["mean_method"] != "band"
    ]
    for note in notes:
        print(f"anynet: {note}", file=sys.stderr)
    beside = selection.baselines
    named = list(zip(beside["baseline"].tolist(), beside["error"].tolist(), strict=True))
    save_edfs(edfs, out, title, bands, named)
    if json:
        for document, one in zip(described, edfs, strict=True):
            document["errors"] = one.errors.tolist()
            document["weights"] = None if one.weights is None else one.weights.tolist()
        for document, held in zip(described, bands, strict=False):
            document["band"] = {
                "kind": held.kind,
                "errors": [0.0, *held.errors[1:].tolist()],
                "low": held.low.tolist(),
                "high": held.high.tolist(),
            }
        print_json(
            {
                "figure": str(out),
                "confidence": confidence,
                "normalized": normalize,
                "notes": notes,
                "populations": described,
                "baselines": [{"name": name, "error": error} for name, error in named],
            }
        )
        return
    level = f"at {100 * confidence:g}%"
    print_table(
        ("population", "n", "as", "min %", "5% at", "median %", level, "mean %", level, "failed"),
        [
            (
                d["name"],
                d["n"],
                round(d["effective_n"]),
                f"{d['min']:.2f}",
                f"{d['quantiles']['0.05']:.2f}",
                f"{d['median']:.2f}",
                "{:.2f}-{:.2f}".format(*d["median_interval"]),
                f"{d['mean']:.2f}",
                "{:.2f}-{:.2f}".format(*d["mean_interval"]),
                d["failed"],
            )
            for d in described
        ],
    )
    for name, error in named:
        print(f"baseline {name}: {error:.2f}%")
    methods = {key: described[0][f"{key}_method"] for key in ("median", "mean")}
    print(
        f"intervals: median by {methods['median']}, mean by {methods['mean']}; "
        "as: the number of equal networks that vary as much"
    )
    print(out)


def _described(one: EDF, confidence: float) -> dict[str, Any]:
    """What the table and the JSON document say of an EDF."""
    from analysis.bands import mean_interval, quantile_interval

    mean, median = mean_interval(one, confidence), quantile_interval(one, 0.5, confidence)
    return {
        "name": one.name,
        "n": len(one),
        "effective_n": one.effective_size,
        "failed": one.failed,
        "min": one.minimum,
        "mean": one.mean,
        "mean_interval": [mean.low, mean.high],
        "mean_method": mean.method,
        "median": one.quantile(0.5),
        "median_interval": [median.low, median.high],
        "median_method": median.method,
        "quantiles": {f"{q:g}": one.quantile(q) for q in _QUANTILES},
    }
