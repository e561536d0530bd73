"""The command `edf`: the error distributions of populations, as a figure and a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import TableFormat, Whole, print_json, print_line, print_notes, print_table

if TYPE_CHECKING:
    from analysis.bands import Band
    from analysis.edf import EDF, Population
    from analysis.nested_runs import PooledSpace
    from analysis.rungs import Estimate
    from analysis.selection import Selection


BandOption = Literal["auto", "dkw", "berk_jones", "pointwise", "none"]
ComplexityOption = Literal["flops", "params", "activations"]
RungsOption = Literal["assisted", "hajek", "horvitz_thompson"]
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def edf(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    band: BandOption = "auto",
    confidence: float = 0.95,
    normalize: ComplexityOption | None = None,
    bins: Whole | None = None,
    merge_empty: Annotated[bool, Parameter(negative="")] = False,
    rungs: RungsOption | None = None,
    pool: Annotated[bool, Parameter(negative="")] = False,
    title: str = "",
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Draw the error distributions (EDFs) of the populations of runs.

    A run that is still going is drawn as far as it is. Diverged networks count with error 100;
    failed ones are left out, and the legend says how many. Of a run with rungs the longest
    training is drawn, estimated for all networks from those that were promoted by chance.

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
    rungs
        How a run with rungs is estimated. assisted (if not said): with what the short trainings
        predict. hajek: by the probabilities of promotion alone. horvitz_thompson: by these
        without normalization.
    pool
        Let nested spaces share their networks, by importance weights, where that pays.
    title
        Title above the figure.
    table
        Print the table for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document with the distributions.
    """
    from analysis.figures import require_format, save_edfs
    from analysis.selection import select

    require_format(out)
    for option, given in (("--bins", bins is not None), ("--merge-empty", merge_empty)):
        if given and normalize is None:
            raise InputError(f"{option}: goes with --normalize")
    if pool and normalize is not None:
        raise InputError("--pool: does not go with --normalize: each has weights of its own")
    if not 0 < confidence < 1:
        raise InputError(f"--confidence: {confidence} must lie between 0 and 1")
    selection = select(runs, networks=pool)
    if rungs is not None and all(one.population.rungs == 1 for one in selection.populations):
        raise InputError(f"--rungs: {rungs} goes with runs with rungs, and none of these has any")
    if normalize is not None:
        curves, notes = _normalized(selection, normalize, bins, merge_empty, rungs)
    elif pool:
        curves, notes = _pooled(selection)
    else:
        curves = [_curve(one.population, rungs or "assisted") for one in selection.populations]
        notes = []
    notes = [*selection.notes, *(curve.note for curve in curves if curve.note), *notes]
    described = [_described(curve, confidence) for curve in curves]
    bands = [] if band == "none" else [curve.band(confidence, band) for curve in curves]
    for curve, document in zip(curves, described, strict=True):
        few = int((curve.edf.errors >= 100).sum())
        if 0 < few < 5 and document["mean_method"] not in ("band", "mixture"):
            notes.append(
                f"{curve.edf.name}: of error 100 the mean has only {few}, so that its interval "
                "says too little; the median's holds"
            )
    print_notes(notes)
    beside = selection.baselines
    named = list(zip(beside["baseline"].tolist(), beside["error"].tolist(), strict=True))
    save_edfs([curve.edf for curve in curves], out, title, bands, named)
    if json:
        for document, curve in zip(described, curves, strict=True):
            weights = curve.edf.weights
            document["errors"] = curve.edf.errors.tolist()
            document["weights"] = None if weights is None else weights.tolist()
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
    if pool:
        _print_pooled(curves, table)
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
        form=table,
    )
    for name, error in named:
        print_line(f"baseline {name}: {error:.2f}%", table)
    for key in ("median", "mean"):
        methods = dict.fromkeys(d[f"{key}_method"] for d in described)
        print_line(f"interval of the {key} by {', '.join(methods)}", table)
    print_line("as: the number of equal networks that vary as much", table)
    print_line(out, table)


class _Curve(NamedTuple):
    """A distribution to be drawn, and what it rests on: an estimate over rungs, or a pool."""

    edf: EDF
    note: str = ""
    estimate: Estimate | None = None
    pooled: PooledSpace | None = None

    def band(self, confidence: float, kind: BandOption) -> Band:
        from analysis.bands import band

        if kind == "none":
            raise ValueError("band: none is none")
        if self.estimate is None:
            return band(self.edf, confidence, kind)
        if kind in ("auto", "berk_jones"):
            return self.estimate.band(confidence)
        if self.estimate.estimator == "horvitz_thompson":
            raise InputError(
                f"--band: {kind} goes with estimates that are normalized, not with horvitz_thompson"
            )
        return band(self.edf, confidence, kind)


def _curve(population: Population, rungs: RungsOption) -> _Curve:
    """The EDF of a population; of one with rungs as they are estimated."""
    from analysis.rungs import estimate, from_population

    if population.rungs == 1:
        return _Curve(population.edf())
    sample = from_population(population)
    found = estimate(sample, rungs)
    failed = int((population.networks["error"].isna() & (population.networks["weight"] > 0)).sum())
    how = {
        "assisted": "; the others are estimated with what the short trainings predict "
        f"(assisted; {100 * found.assistance:.0f}% of the prediction is used)",
        "hajek": "; they weigh by their probabilities of promotion (hajek)",
        "horvitz_thompson": "; they weigh by their probabilities of promotion, which come to "
        f"{100 * found.mass:.0f}% (horvitz_thompson)",
    }
    return _Curve(found.edf(sample, failed), population.note + how[rungs], found)


def _normalized(
    selection: Selection,
    complexity: ComplexityOption,
    bins: int | None,
    merge_empty: bool,
    rungs: RungsOption | None,
) -> tuple[list[_Curve], list[str]]:
    from analysis.normalize import normalized_edfs

    if rungs not in (None, "hajek"):
        raise InputError(f"--rungs: {rungs} does not go with --normalize, which takes hajek")
    found = [one.population for one in selection.populations]
    edfs, notes = normalized_edfs(
        found, complexity, 5 if bins is None else bins, "merge" if merge_empty else "refuse"
    )
    weigh = "; they weigh by their probabilities of promotion (hajek)"
    curves = [
        _Curve(edf, one.note and one.note + weigh) for edf, one in zip(edfs, found, strict=True)
    ]
    return curves, list(notes)


def _pooled(selection: Selection) -> tuple[list[_Curve], list[str]]:
    from analysis.nested_runs import pool_populations

    spaces = pool_populations(selection.populations)
    notes = []
    if not any(space.pays for space in spaces):
        notes = ["--pool: nothing is gained; every space is drawn from its own networks alone"]
    return [_Curve(one.edf, one.note, pooled=one) for one in spaces], notes


def _print_pooled(curves: list[_Curve], form: TableFormat | None) -> None:
    rows = []
    for curve in curves:
        if (space := curve.pooled) is None:
            continue
        found = space.pooled
        size = "-" if found is None else round(found.effective_size)
        gain = "-" if found is None else f"{found.gain:.2f}"
        rows.append((space.name, space.own, size, gain, "yes" if space.pays else "no"))
    print_table(("space", "own n", "pooled as", "gain", "pooled"), rows, form=form)
    if form is None:
        print()


def _described(curve: _Curve, confidence: float) -> dict[str, Any]:
    """What the table and the JSON document say of a distribution."""
    from analysis.bands import mean_interval, quantile_interval

    one, found, space = curve.edf, curve.estimate, curve.pooled
    mean = found.mean_interval(confidence) if found else mean_interval(one, confidence)
    median = quantile_interval(one, 0.5, confidence)
    document = {
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
    if found is not None:
        document["rungs"] = {
            "estimator": found.estimator,
            "networks": found.networks,
            "promoted": found.promoted,
            "assistance": found.assistance,
        }
    if space is not None:
        document["pooled"] = {
            "own": space.own,
            "pays": space.pays,
            "effective_n": None if space.pooled is None else space.pooled.effective_size,
            "gain": None if space.pooled is None else space.pooled.gain,
            "spaces": list(space.others),
        }
    return document
