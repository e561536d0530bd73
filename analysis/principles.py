"""Do principles exist (assumption 1; d2l, section 8.8.2): constraints that make a space better, or
smaller and no worse?
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from analysis.comparison import compare
from analysis.evidence import DecidedBy, Evidence, Tried
from analysis.findings import ALPHA, Finding, Measurement, Verdict
from analysis.pooling import contains
from analysis.runs import read_setting, require_same_training
from analysis.selection import Selected
from anynet.errors import InputError
from anynet.files import decode, parse_yaml, read_text
from anynet.space import DesignSpace

_MOST = 5000
"""Networks; that a question takes more is said as that."""


_OUTCOMES: dict[str, Verdict] = {
    "improvement": "holds",
    "simplification": "holds",
    "refused": "undecided",
}


def principles(selected: Sequence[Selected], ladders: Sequence[Evidence]) -> Finding:
    """Assumption 1: constraints that make a space better, or smaller and no worse.

    By ladders, else by each population whose space contains that of another: the differences of
    their mean and median errors, as `compare` has them.
    """
    rows: list[Measurement] = []
    settle: list[str] = []
    notes: list[str] = []
    words: list[str] = []
    for ladder in ladders:
        kept = [step for step in ladder.steps if step.outcome != "refused"]
        better = [step for step in kept if step.outcome == "improvement"]
        smaller = ladder.start.size / max(ladder.end.size, 1)
        rows += [_laddered(step, ladder.rules) for step in ladder.steps]
        if not kept:
            tried = f"{len(ladder.steps)} constraint{'s' * (len(ladder.steps) != 1)} tried"
            words.append(f"Of {tried} on {ladder.start.space} none is accepted.")
            continue
        words.append(
            f"Of {len(ladder.steps)} constraints tried on {ladder.start.space}, {len(better)} made "
            f"its networks better and {len(kept) - len(better)} made the space smaller without "
            f"making them worse by {ladder.rules.delta:.3g} points; what is left is 1 setting in "
            f"{smaller:,.3g}."
        )
    if ladders:
        verdict = _exist(rows)
        if verdict != "holds":
            settle.append(
                "More constraints, or more networks a constraint: none that was tried is accepted."
            )
        notes.append("Each interval holds at the ladder's own confidence, so that all of them do.")
    else:
        pairs, words = _nested(selected)
        for large, small in pairs:
            found = _compared(large, small, 1 - ALPHA / len(pairs))
            rows += found
            words.append(_compared_words(found, large.name, small.name))
            if found[0].verdict == "undecided":
                settle.append(_more_networks(found[0]))
        verdict = _exist(rows[::2])
        if rows:
            notes.append(
                "A constrained space against a larger one judges all of its constraints together; "
                "anynet derive tries them one by one, and writes what --evidence takes. The "
                "intervals of all means hold together at 95%, and so do those of all medians. The "
                "verdict is the mean's; the median stands beside it because a few networks that "
                "learned nothing can make a mean."
            )
        else:
            words.append("No population is of a space that contains the space of another.")
            settle = [
                "Populations of a space and of a constrained one in the same window of cost, or "
                "the evidence of anynet derive (--evidence)."
            ]
    return Finding(
        1,
        "General design principles exist",
        "many networks that follow them are good, so that finding them is worth more than finding "
        "one network",
        verdict,
        tuple(words),
        tuple(rows),
        tuple(settle),
        tuple(notes),
    )


def _exist(rows: Sequence[Measurement]) -> Verdict:
    """Principles exist if one constraint is one; that some are none says nothing."""
    verdicts = {row.verdict for row in rows}
    if "holds" in verdicts:
        return "holds"
    if not verdicts:
        return "no data"
    return "does not hold" if verdicts == {"does not hold"} else "undecided"


def _laddered(step: Tried, rules: DecidedBy) -> Measurement:
    comparison = step.comparison
    verdict = _OUTCOMES[step.outcome]
    if step.outcome == "refused" and comparison.high < 0:
        verdict = "does not hold"
    return Measurement(
        f"{step.space} in {step.base}",
        f"{step.words} ({step.outcome}): mean error lower by",
        comparison.difference,
        comparison.low,
        comparison.high,
        f"{comparison.n_a} and {comparison.n_b}",
        verdict,
        "points",
        rules.confidence,
    )


def _compared(large: Selected, small: Selected, confidence: float) -> list[Measurement]:
    """By how much the mean and the median error of the constrained space are lower."""
    edfs = [one.population.edf() for one in (large, small)]
    rows = []
    for what in ("mean", "median"):
        found = compare(
            edfs[1].errors,
            edfs[0].errors,
            statistic=what,
            confidence=confidence,
            weights_a=edfs[1].weights,
            weights_b=edfs[0].weights,
        )
        verdicts: dict[str, Verdict] = {"better": "holds", "worse": "does not hold"}
        rows.append(
            Measurement(
                of=f"{small.name} in {large.name}",
                what=f"{what} error lower by",
                value=found.difference,
                low=found.low,
                high=found.high,
                n=f"{found.n_a} and {found.n_b}",
                verdict=verdicts.get(found.verdict, "undecided"),
                unit="points",
                confidence=confidence,
            )
        )
    return rows


def _compared_words(rows: Sequence[Measurement], large: str, small: str) -> str:
    mean, median = rows
    says = {
        "holds": f"The constraints of {small} make its networks better than those of {large}",
        "does not hold": f"The constraints of {small} make its networks worse than those of "
        f"{large}",
    }.get(mean.verdict, f"Whether the networks of {small} are better than those of {large} is open")
    if mean.verdict == "undecided" and median.verdict in ("holds", "does not hold"):
        side = "lower" if median.verdict == "holds" else "higher"
        says += f" in the mean; the median is {side}"
    return f"{says}."


def _more_networks(row: Measurement) -> str:
    reach = (row.high - row.low) / 2
    if abs(row.value) < reach / 30:
        return f"{row.of}: they look alike; how many networks would tell them apart is unknown."
    largest = max(int(n) for n in row.n.split(" and "))
    needed = largest * (reach / abs(row.value)) ** 2
    number = f"about {float(f'{needed:.2g}'):,.0f}" if needed < _MOST else f"more than {_MOST:,}"
    return f"{row.of}: {number} networks of each, if the means are what they look like now."


def _nested(selected: Sequence[Selected]) -> tuple[list[tuple[Selected, Selected]], list[str]]:
    """Pairs (larger, constrained) of populations, and why some that are nested do not compare.

    Of a chain of spaces, each with the next, and the largest with the smallest.
    """
    spaces = [_space(one) for one in selected]
    every = range(len(selected))
    nested = {(i, j) for i, j in permutations(every, 2) if _contains(spaces[i], spaces[j])}
    larger, smaller = {i for i, _ in nested}, {j for _, j in nested}
    pairs, reasons = [], []
    for i, j in sorted(nested):
        between = any((i, k) in nested and (k, j) in nested for k in every)
        if between and (i in smaller or j in larger):
            continue  # of a chain its steps, and all of it
        large, small = selected[i], selected[j]
        try:
            if large.run != small.run:
                require_same_training(read_setting(large.run), read_setting(small.run))
        except InputError as error:
            reasons.append(f"{small.name} and {large.name} are not compared: {error}.")
            continue
        pairs.append((large, small))
    return pairs, reasons


def _space(one: Selected) -> DesignSpace | None:
    """The space of a population as its run's sweep.yaml has it; None where there is none."""
    path = Path(one.run) / "sweep.yaml"
    if not path.exists():
        return None
    data = parse_yaml(read_text(path), str(path))
    for i, entry in enumerate((data or {}).get("space") or ()):
        space = decode(entry, DesignSpace, str(path), f"space[{i}]")
        if space.name == one.space:
            return space
    return None


def _contains(large: DesignSpace | None, small: DesignSpace | None) -> bool:
    return large is not None and small is not None and contains(large, small)
