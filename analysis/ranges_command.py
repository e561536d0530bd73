"""The command `ranges`: which parameters the good networks of populations have, and which of them
the error depends on.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from anynet.errors import InputError
from anynet.terminal import TableFormat, Whole, print_json, print_line, print_notes, print_table

if TYPE_CHECKING:
    import pandas as pd

    from analysis.factorization import Factorization
    from analysis.fidelity import Transfer
    from analysis.importance import Importance
    from analysis.ranges import BestRange
    from analysis.trends import Trends


Scale = Literal["rank", "error"]


class _Population(NamedTuple):
    name: str
    table: pd.DataFrame
    """As of `parameters.parameter_table`."""
    errors: Any
    weights: Any
    """Those of promotion; None where all are equal."""


class _Found(NamedTuple):
    population: _Population
    ranges: dict[str, BestRange]
    importance: Importance | None
    factorization: Factorization | None


def ranges(
    *runs: Annotated[str, Parameter(name="RUN[:SPACE]")],
    out: Path,
    importance: Path | None = None,
    trends: Path | None = None,
    parameters: str = "",
    share: float = 0.25,
    scale: Scale = "rank",
    regimes: Whole | None = None,
    seed: Whole = 0,
    table: TableFormat | None = None,
    json: bool = False,
) -> None:
    """Which values of each parameter the good networks have, and how much each matters.

    The range is that of the best of a quarter of the networks (DNDS, section 3.2). Shares of the
    variance of the error, of the settings as drawn, follow, and whether effects add up. Diverged
    networks count with error 100; failed ones are left out. Of a run with rungs the longest
    training counts, and ranges weigh networks by their probabilities of promotion.

    Example: anynet ranges runs/fashion:regnetx --out ranges.png

    Parameters
    ----------
    runs
        Populations: folders of runs, each with all its spaces or with one.
    out
        Figure of errors against parameters (.png, .svg or .pdf); of several populations one
        each, with its name before the ending.
    importance
        Figure of the shares of variance; as --out.
    trends
        Figure of how the best parameters move with flops, over all populations together.
    parameters
        Instead of the settings as drawn: names with commas (depth,e_fit,width_growth).
    share
        Of the networks, how many a bootstrap sample has.
    scale
        Of the error in shares of variance. rank: normal scores of its ranks. error: as it is.
    regimes
        With --trends: so many regimes of flops; else every population is one, or three of one.
    seed
        Of the shuffles that say how often chance gives so narrow a range.
    table
        Print the tables for a document: in Markdown, or in LaTeX with booktabs.
    json
        Print one JSON document.
    """
    import numpy as np

    from analysis.figures import require_format
    from analysis.range_figures import save_importance, save_ranges, save_trends

    if regimes is not None and trends is None:
        raise InputError(f"--regimes: {regimes} goes with --trends")
    if seed < 0:
        raise InputError(f"--seed: {seed} must be 0 or more")
    figures = {"--out": out, "--importance": importance, "--trends": trends}
    for option, path in figures.items():
        if path is not None:
            require_format(path, option)
    wanted = [name.strip() for name in parameters.split(",") if name.strip()]
    populations = _populations(runs)
    rng = np.random.default_rng(seed)
    found = [_analyze(one, wanted, share, scale, rng) for one in populations]
    written = []
    for one in found:
        values, name = one.population.table, one.population.name
        columns = {key: values[key].to_numpy() for key in one.ranges}
        several = name if len(found) > 1 else ""
        path = _named(out, several)
        written.append(save_ranges(columns, one.population.errors, one.ranges, path, name))
        if importance is not None and one.importance is not None:
            path = _named(importance, several)
            written.append(save_importance(one.importance, path, one.factorization))
    moved = transfers = None
    if trends is not None:
        moved, columns, flops, transfers = _trends(populations, wanted, share, regimes)
        written.append(save_trends(moved, columns, flops, trends))
    if json:
        document: dict[str, Any] = {"figures": [str(path) for path in written]}
        document["populations"] = [_document(one) for one in found]
        if moved is not None and transfers is not None:
            document["trends"] = _trends_document(moved, transfers)
        print_json(document)
        return
    for one in found:
        _print(one, table)
    if moved is not None and transfers is not None:
        _print_trends(moved, transfers, table)
    for path in written:
        print_line(path, table)


def _populations(arguments: tuple[str, ...]) -> list[_Population]:
    """The populations that RUN[:SPACE] arguments name, in their order."""
    from analysis.parameters import parameter_table
    from analysis.selection import select

    selection = select(arguments)
    print_notes(selection.notes)
    result = []
    for one in selection.populations:
        if (one.errors != one.errors).all():
            raise InputError(f"{one.name}: no trial with an error yet ({len(one.errors)} failed)")
        if one.population.note:
            print(
                f"anynet: {one.population.note}; shares of variance and trends are those of the "
                "promoted networks, unweighted",
                file=sys.stderr,
            )
        result.append(_Population(one.name, parameter_table(one.rows), one.errors, one.weights))
    return result


def _analyze(
    population: _Population, wanted: list[str], share: float, scale: Scale, rng: Any
) -> _Found:
    """Ranges of the wanted parameters, and shares of variance of the settings, where they can."""
    from analysis.factorization import factorization
    from analysis.importance import importance
    from analysis.parameters import settings
    from analysis.ranges import best_ranges

    table, errors = population.table, population.errors
    names = _columns(population, wanted)
    found = best_ranges(
        {name: table[name].to_numpy() for name in names},
        errors,
        population.weights,
        share=share,
        rng=rng,
    )
    columns = {name: table[name].to_numpy() for name in settings(table)}
    shares = whole = None
    try:
        shares = importance(columns, errors, scale=scale)
        whole = factorization(columns, errors, scale=scale)
    except InputError as error:
        print(f"anynet: {population.name}: {error}", file=sys.stderr)
    return _Found(population, found, shares, whole)


def _columns(population: _Population, wanted: list[str]) -> list[str]:
    from analysis.parameters import parameter, settings

    table = population.table
    for name in wanted:
        parameter(name)
        if name not in table:
            raise InputError(
                f"--parameters: {population.name} has no {name!r}, but {', '.join(table.columns)}"
            )
    names = wanted or settings(table)
    if not names:
        raise InputError(f"{population.name}: no setting varies")
    return names


def _trends(
    populations: list[_Population], wanted: list[str], share: float, regimes: int | None
) -> tuple[Trends, dict[str, Any], Any, list[tuple[str, str, Transfer]]]:
    """Trends over all populations, and how each regime ranks the next one, by place within it."""
    import numpy as np

    from analysis.fidelity import rank_transfer
    from analysis.trends import flops_regimes, trends

    first = populations[0]
    names = [*_columns(first, wanted), "params", "activations"]
    names = [
        name
        for name in dict.fromkeys(names)
        if all(name in population.table for population in populations)
    ]
    columns = {
        name: np.concatenate([population.table[name] for population in populations])
        for name in names
    }
    flops = np.concatenate([population.table["flops"] for population in populations])
    errors = np.concatenate([population.errors for population in populations])
    if regimes is None and len(populations) > 1:
        labels = [one.name for one in populations for _ in range(len(one.errors))]
    else:
        labels = flops_regimes(flops, 3 if regimes is None else regimes)
    found = trends(columns, errors, flops, labels, share=share)
    inner = {name: columns[name] for name in names if name not in ("params", "activations")}
    transfers = []
    for one, next_one in zip(found.regimes, found.regimes[1:], strict=False):
        sides = [
            ({name: values[regime.rows] for name, values in inner.items()}, errors[regime.rows])
            for regime in (one, next_one)
        ]
        try:
            transfer = rank_transfer(*sides[0], *sides[1], relative=True)
        except InputError as error:
            print(f"anynet: {one.name}, {next_one.name}: {error}", file=sys.stderr)
            continue
        transfers.append((one.name, next_one.name, transfer))
    return found, columns, flops, transfers


def _named(path: Path, population: str) -> Path:
    """The path of one population's figure: its name before the ending."""
    if not population:
        return path
    safe = "".join(c if c.isalnum() or c in "_.-" else "_" for c in population)
    return path.with_name(f"{path.stem}-{safe}{path.suffix}")


def _print(found: _Found, form: TableFormat | None) -> None:
    effects = {e.name: e for e in found.importance.effects} if found.importance else {}
    rows = []
    for name, one in found.ranges.items():
        effect = effects.get(name)
        alone = _share(effect.alone) if effect else "-"
        unique = _share(effect.unique) if effect and effect.unique else "-"
        chance = "-" if one.chance is None else f"{one.chance:.3f}"
        ends = f"{one.low:.4g} to {one.high:.4g}"
        inside = f"{100 * one.inside:.0f}%"
        rows.append((name, f"{one.median:.4g}", ends, inside, chance, unique, alone))
    n = next(iter(found.ranges.values()))
    print_table(
        ("parameter", "best", "95% range", "inside", "chance", "given all others", "alone"),
        rows,
        f"{found.population.name}: {n.n} networks, the best of {n.draws} drawn",
        form,
    )
    if found.importance is not None:
        for pair in found.importance.pairs[:5]:
            if pair.share.p < 0.05:
                share = _share(pair.share)
                print_line(
                    f"interaction of {pair.first} and {pair.second}: {share}, p {pair.share.p:.2g}",
                    form,
                )
    if found.factorization is not None:
        whole = found.factorization
        print_line(whole.statement(), form)
        print_line(
            f"held out, main effects predict R² {whole.held_out_main:.2f}, "
            f"with pairs {whole.held_out_pairs:.2f}",
            form,
        )


def _share(share: Any) -> str:
    value = max(100 * share.value, 0.0)
    return f"{value:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _print_trends(
    found: Trends, transfers: list[tuple[str, str, Transfer]], form: TableFormat | None
) -> None:
    names = list(found.regimes[0].ranges)
    rows = []
    for name in names:
        law = found.laws.get(name)
        power = "-"
        if law is not None:
            power = f"{law.exponent:.2f} ({law.interval[0]:.2f} to {law.interval[1]:.2f})"
        medians = [f"{regime.ranges[name].median:.4g}" for regime in found.regimes]
        rows.append((name, *medians, power))
    print_table(("best", *(r.name for r in found.regimes), "power of flops"), rows, form=form)
    for name, cost in found.costs.items():
        root = "F^0.5" if cost.power == 0.5 else "F"
        slope, offset = cost.slope / 1e6, cost.intercept / 1e6
        print_line(
            f"{name} of the good networks: {offset:.2f}M + {slope:.2f}M {root} "
            f"({cost.slope_interval[0] / 1e6:.2f} to {cost.slope_interval[1] / 1e6:.2f}), "
            "F in GFLOPs",
            form,
        )
    for first, second, transfer in transfers:
        print_line(
            f"effects in {first} rank {second} with rho {transfer.spearman:.2f} "
            f"({transfer.spearman_interval[0]:.2f} to {transfer.spearman_interval[1]:.2f}), "
            f"its own, held out, with {transfer.own:.2f}",
            form,
        )


def _document(found: _Found) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": found.population.name,
        "ranges": {name: asdict(one) for name, one in found.ranges.items()},
        "effects": None,
        "pairs": None,
        "factorization": None,
    }
    if found.importance is not None:
        document["effects"] = [asdict(effect) for effect in found.importance.effects]
        document["pairs"] = [asdict(pair) for pair in found.importance.pairs]
    if found.factorization is not None:
        statement = found.factorization.statement()
        document["factorization"] = asdict(found.factorization) | {"statement": statement}
    return document


def _trends_document(found: Trends, transfers: list[tuple[str, str, Transfer]]) -> dict[str, Any]:
    return {
        "regimes": [
            {
                "name": regime.name,
                "n": len(regime.rows),
                "flops": list(regime.flops),
                "ranges": {name: asdict(one) for name, one in regime.ranges.items()},
            }
            for regime in found.regimes
        ],
        "power_laws": {name: asdict(law) for name, law in found.laws.items()},
        "cost_laws": {name: asdict(law) for name, law in found.costs.items()},
        "transfers": [
            {"from": first, "to": second} | asdict(transfer)
            for first, second, transfer in transfers
        ],
    }
