"""The evidence of a ladder: as plain data for programs, read back, and in sentences for people."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from typing import Any, Literal

import msgspec

from analysis.constraints import Candidate, Screening
from analysis.ladder import Ladder, Outcome, Rules, Step
from anynet.files import read_yaml

VERSION = 1
"""Of the machine-readable form; a change of its meaning is another number."""


def ladder_data(ladder: Ladder) -> dict[str, Any]:
    """Every number of a ladder, as plain data: what stands in `space.evidence.json`."""
    end = ladder.end.space
    return {
        "version": VERSION,
        "start": {"space": ladder.start.name, "size": ladder.start.size},
        "end": {"space": end.name, "size": end.size, "networks": len(ladder.end)},
        "rules": asdict(ladder.rules) | {"confidence": ladder.rules.confidence},
        "steps": [
            {
                "base": step.base.name,
                "space": step.candidate.space.name,
                **_candidate(step.candidate, step.screening),
                "comparison": asdict(step.comparison),
                "outcome": step.outcome,
                "more_networks": step.more,
            }
            for step in ladder.steps
        ],
        "waiting": [
            {"space": candidate.space.name, **_candidate(candidate, screening)}
            for candidate, screening in ladder.waiting
        ],
    }


def _candidate(candidate: Candidate, screening: Screening) -> dict[str, Any]:
    return {
        "constraint": candidate.tag,
        "kind": candidate.kind,
        "words": candidate.words,
        "shrinkage": candidate.shrinkage,
        "range": None if candidate.best is None else asdict(candidate.best),
        "screening": {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(screening).items()
        },
    }


class Suggested(msgspec.Struct, frozen=True):
    """What an earlier sample promised: a change in points of error, None where it said nothing."""

    effect: float | None = None
    low: float | None = None
    high: float | None = None


class Compared(msgspec.Struct, frozen=True):
    """The smaller space's mean error a, the larger one's b, and b - a with its limits."""

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    n_a: int
    n_b: int


class Waiting(msgspec.Struct, frozen=True):
    """A constraint that was suggested and not tried."""

    words: str
    screening: Suggested


class Tried(Waiting, frozen=True):
    """A constraint that fresh networks decided about: of `space`, in `base`."""

    base: str
    space: str
    comparison: Compared
    outcome: Outcome

    @property
    def change(self) -> tuple[float, float, float]:
        """Points of error that the constraint adds, and their limits; below 0 it is better."""
        found = self.comparison
        return -found.difference, -found.high, -found.low


class End(msgspec.Struct, frozen=True):
    """One end of a ladder: the name of a space, and how many settings it has."""

    space: str
    size: float


class DecidedBy(msgspec.Struct, frozen=True):
    """Points within which spaces are equivalent, and the confidence of each interval."""

    delta: float
    confidence: float


class Evidence(msgspec.Struct, frozen=True):
    """What is read of `ladder_data`; other fields are passed over."""

    version: Literal[1]
    start: End
    end: End
    rules: DecidedBy
    steps: tuple[Tried, ...]
    waiting: tuple[Waiting, ...] = ()


def read_evidence(path: str | os.PathLike[str]) -> Evidence:
    """The evidence that `anynet derive` wrote. Raises InputError where it is none."""
    return read_yaml(path, Evidence)  # of which JSON is a part


def ladder_words(ladder: Ladder) -> list[str]:
    """A ladder in sentences, a paragraph a step."""
    start, end, rules = ladder.start, ladder.end.space, ladder.rules
    accepted = len(ladder.accepted)
    if accepted:
        less = start.size / end.size
        head = (
            f"{accepted} of {len(ladder.steps)} constraints tried are accepted: of the "
            f"{start.size:.2g} settings of {start.name} {end.size:.2g} are left, 1 in {less:,.3g}."
        )
    elif ladder.steps:
        tried = len(ladder.steps)
        head = (
            f"None of the {tried} constraints tried is accepted."
            if tried > 1
            else "The one constraint tried is not accepted."
        )
    else:
        head = "No constraint was tried: no fresh sample of a promising one is at hand."
    paragraphs = [f"{head} {_rules(rules)}"]
    paragraphs += [step_words(step, rules) for step in ladder.steps]
    if ladder.waiting:
        listed = "; ".join(
            f"{candidate.words} ({_promise(screening)})" for candidate, screening in ladder.waiting
        )
        paragraphs.append(f"Promising, and not confirmed by a sample of its own: {listed}.")
    return paragraphs


def _rules(rules: Rules) -> str:
    return (
        f"Spaces are equivalent within {rules.delta:.3g} points of error; each decision's interval "
        f"holds at {100 * rules.confidence:.4g}%, so that all {rules.decisions} of them hold at "
        f"{100 * (1 - rules.alpha):.4g}%."
    )


def step_words(step: Step, rules: Rules) -> str:
    """A step in a few sentences: the verdict, what suggested it, what decided it."""
    verdicts = {
        "improvement": "accepted as an improvement",
        "simplification": "accepted as a simplification",
        "refused": "refused",
    }
    comparison = step.comparison
    words = step.candidate.words
    return (
        f"{words[:1].upper()}{words[1:]}: {verdicts[step.outcome]}. "
        f"{_screened(step.candidate, step.screening, step.base.name)} "
        f"{comparison.n_a} networks drawn afresh have a mean error of {comparison.value_a:.2f}%, "
        f"{comparison.n_b} of {step.base.name} one of {comparison.value_b:.2f}%: "
        f"{_difference(-comparison.difference, -comparison.high, -comparison.low)} at "
        f"{100 * rules.confidence:.4g}%: {comparison.verdict}.{_more(step)} "
        f"It leaves 1 in {step.candidate.shrinkage:,.3g} "
        f"{'networks' if step.candidate.kind == 'limit' else 'settings'}."
    )


def _more(step: Step) -> str:
    if not step.undecided:
        return ""
    if step.more is None:
        return " How many networks would decide it is not known."
    smaller, before = step.more
    return (
        f" About {smaller} more networks of it and {before} of {step.base.name} would decide it, "
        "if the difference is what it looks like."
    )


def _screened(candidate: Candidate, screening: Screening, base: str) -> str:
    inside = f"{screening.satisfying} of the networks of {base} satisfy it"
    if screening.method == "none":
        return f"{inside}: too few to say anything."
    how = "" if screening.method == "subset" else ", judged by how far the others are from it"
    change = _difference(screening.effect, screening.low, screening.high)
    return f"{inside}{how}; that suggested {change}."


def _promise(screening: Screening) -> str:
    if screening.method == "none":
        return "no network near it"
    return _difference(screening.effect, screening.low, screening.high)


def _difference(effect: float, low: float, high: float) -> str:
    return f"a change of {effect:+.2f} points (from {low:+.2f} to {high:+.2f})"
