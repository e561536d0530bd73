"""How well each of d2l's four assumptions on design spaces (section 8.8.2) held on given data.

The first, that principles exist, stands in `principles.py`; what a finding is in `findings.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.edf import Floats
from analysis.evidence import read_evidence
from analysis.factorization import factorization
from analysis.fidelity import Agreement, Transfer, agreement_by_rung, rank_agreement, rank_transfer
from analysis.findings import ALPHA, Finding, Measurement, Verdict, together
from analysis.parameters import parameter_table, settings
from analysis.principles import principles
from analysis.selection import Selected
from analysis.trends import flops_regimes, short
from anynet.errors import InputError

RANKS_WELL, RANKS_POORLY = 0.8, 0.5
"""Spearman's rho of a brief training: it ranks well from the first on, poorly below the other.
A choice: in docs/statistics.md brief trainings save at 0.99, and nothing at 0.25."""
APART = 2.0
"""Regimes of cost whose median flops are nearer than this factor are one regime."""
_SHARES = (0.25, 0.5)
"""Of the epochs, where a curve is looked at before its end."""


def assess(
    selected: Sequence[Selected], evidence: Sequence[Path] = (), *, rng: np.random.Generator
) -> list[Finding]:
    """The four findings. `evidence` are the files that `anynet derive` writes.

    Raises InputError where such a file cannot be read. `rng` draws the resamples of regrets.
    """
    return [
        principles(selected, [read_evidence(path) for path in evidence]),
        few_epochs(selected, rng),
        transfer(selected),
        factorize(selected),
    ]


# Assumption 2 ---------------------------------------------------------------------------------


def few_epochs(selected: Sequence[Selected], rng: np.random.Generator) -> Finding:
    """Assumption 2: the ranks of brief trainings, of rungs or of a curve before its end."""
    rows: list[Measurement] = []
    words: list[str] = []
    notes: list[str] = []
    for one in selected:
        by_rungs = one.population.rungs > 1
        try:
            found = (_rungs if by_rungs else _curves)(one, rng, 1 - ALPHA / len(selected))
        except InputError as error:
            words.append(f"{one.name}: {error}.")
            continue
        if not found:
            words.append(f"{one.name} was trained for one epoch: there is nothing shorter.")
            continue
        rows += found
        words.append(found[0].of + ": " + _fidelity_words(found[0], found[1]))
        notes.append(_OF_RUNGS if by_rungs else _OF_CURVES)
    if rows:
        notes.append(
            f"Holds: rho of at least {RANKS_WELL:g} over its whole interval, for the briefest "
            f"training; does not hold: of less than {RANKS_POORLY:g}. What picking costs: points "
            "of error by which the best of a quarter of the networks is missed in the mean."
        )
    ranks = [row for row in rows if row.what.startswith("rho")]
    firsts = [
        next(row for row in ranks if row.of == of) for of in dict.fromkeys(r.of for r in ranks)
    ]
    verdict = together(firsts)
    settle = []
    if verdict in ("undecided", "no data"):
        settle.append(
            "The same networks trained briefly and long: one sweep file with two numbers of "
            "epochs, in two runs (anynet fidelity pairs them); about 100 networks tell a rho of "
            "0.9 from one of 0.8."
        )
    return Finding(
        2,
        "Networks need not be trained to convergence",
        "a few epochs rank networks as the whole training does",
        verdict,
        tuple(words),
        tuple(rows),
        tuple(settle),
        tuple(dict.fromkeys(notes)),
    )


_OF_RUNGS = (
    "Of a rung the networks count that reached the last one. Where promotion chose the better "
    "ones they lie closer together, and agreement over all networks is higher."
)
_OF_CURVES = (
    "An epoch of a curve is not a short training: its learning rate is still that of the long one. "
    "How a training ranks that is short by its own schedule only such trainings show."
)


def _agreed(one: str, what: str, found: Agreement, confidence: float) -> list[Measurement]:
    low, high = found.spearman_interval
    verdict: Verdict = "undecided"
    if low >= RANKS_WELL:
        verdict = "holds"
    elif high < RANKS_POORLY:
        verdict = "does not hold"
    elif low >= RANKS_POORLY and high < RANKS_WELL:
        verdict = "holds in part"
    n = str(found.n)
    return [
        Measurement(
            one, f"rho of {what}", found.spearman, low, high, n, verdict, confidence=confidence
        ),
        Measurement(
            of=one,
            what=f"picking by {what} costs",
            value=found.regret,
            low=found.regret_interval[0],
            high=found.regret_interval[1],
            n=n,
            verdict=verdict,
            unit="points",
            confidence=confidence,
        ),
    ]


def _rungs(one: Selected, rng: np.random.Generator, confidence: float) -> list[Measurement]:
    epochs = one.trials.groupby("rung")["epochs"].first()
    rows = []
    for rung, found in agreement_by_rung(one.trials, rng=rng, confidence=confidence).items():
        rows += _agreed(
            one.name, f"{epochs[rung]} of {epochs.iloc[-1]} epochs (rung)", found, confidence
        )
    return rows


def _curves(one: Selected, rng: np.random.Generator, confidence: float) -> list[Measurement]:
    whole = one.population.epochs
    rows = []
    for epoch in sorted({max(1, round(share * whole)) for share in _SHARES} - {whole}):
        early = curve_at(one.rows, epoch)
        rows += _agreed(
            one.name,
            f"epoch {epoch} of {whole} (curve)",
            rank_agreement(early, one.errors, rng=rng, confidence=confidence),
            confidence,
        )
    return rows


def curve_at(rows: pd.DataFrame, epoch: int) -> Floats:
    """The error after `epoch` epochs of each training, (n,), NaN where it is not known.

    A network that had diverged by then has error 100.
    """
    found = []
    for curve, state in zip(rows["curve"], rows["state"], strict=True):
        if len(curve) >= epoch:
            found.append(float(curve[epoch - 1]))
        else:
            found.append(100.0 if state == "diverged" else math.nan)
    return np.array(found)


def _fidelity_words(rank: Measurement, regret: Measurement) -> str:
    what = rank.what.removeprefix("rho of ")
    said = {
        "holds": f"the ranking after {what} is much like the final one",
        "holds in part": f"the ranking after {what} is somewhat like the final one",
        "does not hold": f"the ranking after {what} says little of the final one",
    }.get(rank.verdict, f"how much the ranking after {what} says of the final one is open")
    return f"{said}; picking the best by it costs {regret.value:.2f} points."


# Assumption 3 ---------------------------------------------------------------------------------


def transfer(selected: Sequence[Selected]) -> Finding:
    """Assumption 3: the effects of settings among small networks rank larger ones.

    Between populations of one space in windows at least `APART` from each other, else between the
    halves of a population where those are.
    """
    rows: list[Measurement] = []
    words: list[str] = []
    by_space: dict[str, list[Selected]] = {}
    for one in selected:
        by_space.setdefault(one.space, []).append(one)
    pairs = [pair for members in by_space.values() for pair in _regimes(members)]
    apart = sum(factor >= APART for _, _, factor, _ in pairs)
    for (small, a), (large, b), factor, of in pairs:
        if factor < APART:
            words.append(
                f"{of}: its networks are of one size (the larger half has {factor:.2f} times "
                "the flops of the smaller), which says nothing of transfer."
            )
            continue
        confidence = 1 - ALPHA / apart
        try:
            found = rank_transfer(small, a, large, b, relative=True, confidence=confidence)
        except InputError as error:
            words.append(f"{of}: {error}.")
            continue
        verdict = _transferred(found)
        for what, value, interval, n in (
            (
                "rho of the smaller ones' effects",
                found.spearman,
                found.spearman_interval,
                f"{found.n[0]} and {found.n[1]}",
            ),
            (
                "rho of the larger ones' own, held out",
                found.own,
                found.own_interval,
                str(found.n[1]),
            ),
        ):
            rows.append(Measurement(of, what, value, *interval, n, verdict, confidence=confidence))
        words.append(f"{of}: {_transfer_words(verdict)} ({factor:.1f} times the flops).")
    verdict = together(rows[::2])
    settle = []
    if not rows:
        settle.append(
            "Populations of one space in two windows of flops at least a factor of "
            f"{APART:g}, better 4, apart, of about 100 networks each."
        )
    elif verdict == "undecided":
        settle.append("More networks in each window; 150 gave rho to ±0.04 where it was 0.86.")
    notes = []
    if rows:
        notes.append(
            "A setting stands for its rank within its window, because widths and depths grow with "
            "flops. Of the larger ones' own effects each network is predicted from the others. "
            f"Holds: the smaller ones' effects rank, and with at least {RANKS_WELL:g} of the rho "
            "of the larger ones' own."
        )
    return Finding(
        3,
        "What holds for small networks transfers to large ones",
        "small networks can stand for large ones in the search for principles",
        verdict,
        tuple(words),
        tuple(rows),
        tuple(settle),
        tuple(notes),
    )


_Side = tuple[dict[str, Floats], Floats]


def _regimes(members: Sequence[Selected]) -> list[tuple[_Side, _Side, float, str]]:
    """Pairs of regimes, the smaller first, with the ratio of their median flops and a name."""
    result = []
    ordered = sorted(members, key=_median_flops)
    far = [
        (one, two)
        for one, two in pairwise(ordered)
        if _median_flops(two) >= APART * _median_flops(one)
    ]
    for one, two in far:
        factor = _median_flops(two) / _median_flops(one)
        result.append((_side(one), _side(two), factor, f"{one.name} to {two.name}"))
    if far:
        return result
    for one in ordered:
        columns, errors = _side(one)
        flops = one.rows["flops"].to_numpy(float)
        try:
            labels = np.array(flops_regimes(flops, 2))
        except InputError:
            continue
        lower = labels == labels[flops.argmin()]
        medians = [float(np.median(flops[part])) for part in (lower, ~lower)]
        sides = [
            ({name: column[part] for name, column in columns.items()}, errors[part])
            for part in (lower, ~lower)
        ]
        of = one.name
        if medians[1] >= APART * medians[0]:
            of += f", {short(medians[0])} to {short(medians[1])}"
        result.append((sides[0], sides[1], medians[1] / medians[0], of))
    return result


def _median_flops(one: Selected) -> float:
    return float(one.rows["flops"].median())


def _side(one: Selected) -> _Side:
    table = parameter_table(one.rows, lines=False)
    return {name: table[name].to_numpy() for name in settings(table)}, one.errors


def _transferred(found: Transfer) -> Verdict:
    (low, high), own = found.spearman_interval, found.own_interval
    if own[0] <= 0:  # not even their own effects rank them, so none can
        return "undecided"
    if low > 0:
        return "holds" if found.spearman >= RANKS_WELL * found.own else "holds in part"
    return "does not hold" if high < RANKS_POORLY * own[0] else "undecided"


def _transfer_words(verdict: Verdict) -> str:
    return {
        "holds": "what the smaller networks teach ranks the larger ones about as well as what "
        "they teach themselves",
        "holds in part": "what the smaller networks teach ranks the larger ones, but not as well "
        "as what they teach themselves",
        "does not hold": "what the smaller networks teach does not rank the larger ones",
    }.get(verdict, "too few networks to say whether what the smaller ones teach ranks the larger")


# Assumption 4 ---------------------------------------------------------------------------------


def factorize(selected: Sequence[Selected]) -> Finding:
    """Assumption 4: the effects of settings add up (`factorization`, of the ranks of errors)."""
    rows: list[Measurement] = []
    words: list[str] = []
    notes: list[str] = []
    for one in selected:
        try:
            found = factorization(*_side(one), confidence=1 - ALPHA / len(selected))
        except InputError as error:
            words.append(f"{one.name}: {error}.")
            continue
        verdict: Verdict = "undecided"
        if found.p < 1 - found.confidence:
            verdict = "holds in part" if found.additive > RANKS_WELL else "does not hold"
        elif found.additive_interval[0] >= RANKS_WELL:
            verdict = "holds"
        n = str(found.n)
        for what, share, ends in (
            ("main effects", found.main, found.main_interval),
            ("pairs", found.pairs, found.pairs_interval),
            ("additive, of what both explain", found.additive, found.additive_interval),
        ):
            low, high = (100 * end for end in ends)
            rows.append(
                Measurement(
                    one.name, what, 100 * share, low, high, n, verdict, "%", found.confidence
                )
            )
        words.append(f"{one.name}: {found.statement().split(':')[0]} (p {found.p:.2g}).")
        if one.weights is not None:
            notes.append(f"{one.name}: of the promoted networks, unweighted.")
    verdict = together(rows[::3])
    if rows:
        notes.append(
            f"Holds: at least {100 * RANKS_WELL:g}% of what is explained is additive, over its "
            f"whole interval, and no interaction shows (p {ALPHA:g} over the populations); in "
            "part: one shows, and the estimate is above that share. Of the ranks of errors, so "
            "that no few networks are all of the variance."
        )
    settle = []
    if verdict in ("undecided", "no data"):
        settle.append(
            "About 300 networks of one space: they show interactions of 30% of the variance, and "
            "half of the time those of 10% (docs/ranges.md)."
        )
    return Finding(
        4,
        "Aspects of a design factorize",
        "the effects of settings can be found one by one, because they add up",
        verdict,
        tuple(words),
        tuple(rows),
        tuple(settle),
        tuple(notes),
    )
