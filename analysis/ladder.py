"""From a space to a smaller one, constraint by constraint: suggested, confirmed afresh, decided.

What trained networks suggest is only a suggestion; a sample drawn from the smaller space decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.comparison import Comparison, compare
from analysis.constraints import ENOUGH, Candidate, Observed, Screening, candidates, screen
from analysis.pooling import same_draws
from analysis.power import MOST_DEVIATION, more_networks, networks_needed
from anynet.errors import InputError
from anynet.space import DesignSpace

Outcome = Literal["improvement", "simplification", "refused"]

DECISIONS = 16
"""Decisions that one error rate is shared by: about twice the steps from AnyNetX_A to a RegNet."""
LEAST_SHRINKAGE = 1.5
"""A simplification that leaves out less is not worth the networks that confirm it."""
DOUBT = 0.5
"""Part of delta by which a candidate must promise to be better, to come before those that leave
out most. One that is surely this much worse is not tried, nor one that looks worse by delta: a
stricter screening missed spaces that were equal (`benchmarks/derive.py`)."""


@dataclass(frozen=True)
class Rules:
    """What a ladder decides by.

    `delta`: points of error within which two spaces are equivalent. `alpha`: the chance that any
    of the `decisions` accepts a constraint that makes the space worse by delta or more, or calls
    an equal space better. `power`: the chance that a decision recognizes an equal space. `most`
    networks a space are trained for more than that: for spaces that are better by less than delta.
    """

    delta: float
    alpha: float = 0.05
    decisions: int = DECISIONS
    power: float = 0.9
    most: int = 600

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise InputError(f"delta: {self.delta:g} must be above 0 points of error")
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha: {self.alpha:g} must lie between 0 and 1")
        if self.decisions < 1:
            raise InputError(f"decisions: {self.decisions} must be 1 or more")

    @property
    def confidence(self) -> float:
        """Of each interval (Bonferroni): all hold together at 1 - alpha."""
        return 1 - self.alpha / self.decisions

    def networks(self, observed: Observed) -> int:
        """Networks a space that a decision takes, from the spread of a sample.

        At least those with which an equal space is recognized with the power asked for; more, up
        to `most`, for one that is better by half of delta, the hardest to call either. Not below
        `ENOUGH`: a sample without spread may be one that has not seen it. Raises InputError where
        delta is so small that no number is enough.
        """
        spread = observed.deviation
        if spread == 0:
            return ENOUGH
        equal, between = (
            networks_needed(
                min(spread, MOST_DEVIATION),
                effect=effect,
                delta=self.delta,
                power=self.power,
                confidence=self.confidence,
            )
            for effect in (0.0, self.delta / 2)
        )
        if equal is None:
            raise InputError(
                f"delta: {self.delta:g}: no number of networks tells so little where errors have a "
                f"standard deviation of {spread:.3g} points"
            )
        most = self.most if between is None else min(between, self.most)
        return max(equal, most, ENOUGH)


@dataclass(frozen=True, eq=False)
class Step:
    """A candidate that was tried: what suggested it, what a fresh sample of it said, and so."""

    base: DesignSpace
    candidate: Candidate
    screening: Screening
    comparison: Comparison
    """Of the smaller space, a, with the one before, b; its sample suggested nothing."""
    outcome: Outcome
    more: tuple[int, int] | None = None
    """Of an undecided one: networks of the smaller space and of the one before that would decide
    it, if the difference and the spread are what they look like; None where no number is known."""

    @property
    def undecided(self) -> bool:
        """Whether more networks might accept it: what was refused is known to be no better."""
        return self.comparison.verdict == "undecided"


@dataclass(frozen=True, eq=False)
class Ladder:
    """The steps in the order they were tried, and the sample of the space that is left."""

    rules: Rules
    start: DesignSpace
    steps: tuple[Step, ...]
    end: Observed
    waiting: tuple[tuple[Candidate, Screening], ...]
    """What is promising and was not tried, the most promising first."""

    @property
    def accepted(self) -> tuple[Step, ...]:
        """The steps that led to the space that is left."""
        return tuple(step for step in self.steps if step.outcome != "refused")


Confirm = Callable[[Candidate, int], Observed | None]
"""From a candidate and a number of networks to a fresh sample of its space, or None if there is
none: then it waits."""


Extra = Callable[[Observed], Sequence[Candidate]]
"""From a sample to candidates of one's own."""


def _nothing(observed: Observed) -> Sequence[Candidate]:
    return ()


def promising(
    observed: Observed, rules: Rules, tried: Sequence[str] = (), extra: Extra = _nothing
) -> list[tuple[Candidate, Screening]]:
    """The candidates of a sample that are worth a confirmation, the most promising first.

    Those that promise to be better come first, by how much; then what leaves out most. What
    looks worse, and what leaves out too little without being better, is not among them. Nor is a
    setting that all stages share, as long as an order of it, which says less, promises to be
    better: whether it is equal beyond that is the next question. What was asked for (`extra`)
    comes last, whatever it promises.
    """
    better: list[tuple[float, Candidate, Screening]] = []
    smaller: list[tuple[float, Candidate, Screening]] = []
    given = extra(observed)
    asked = [(c, screen(c, observed)) for c in given if c.tag not in tried]
    for candidate in candidates(observed):
        # One that was given goes by its name there, so that it is not tried again by another.
        if candidate.tag in tried or any(same_draws(candidate.space, c.space) for c in given):
            continue
        found = screen(candidate, observed)
        hopeless = found.effect > rules.delta or found.low > DOUBT * rules.delta
        if found.method == "none" or hopeless:
            continue
        if found.high < 0 and found.effect < -DOUBT * rules.delta:
            better.append((found.effect, candidate, found))
        elif candidate.shrinkage >= LEAST_SHRINKAGE:
            smaller.append((-candidate.shrinkage, candidate, found))
    ordered = sorted(better, key=_first) + sorted(smaller, key=_first)
    in_order = {c.parameter for _, c, _ in better if c.kind == "order"}
    suggested = [
        (candidate, found)
        for _, candidate, found in ordered
        if not (candidate.kind == "shared" and candidate.parameter in in_order)
    ]
    return suggested + sorted(asked, key=lambda row: row[1].effect)


def _first(row: tuple[float, Candidate, Screening]) -> float:
    return row[0]


def decide(fresh: Observed, base: Observed, rules: Rules) -> tuple[Comparison, Outcome]:
    """Whether a smaller space may take the place of one that contains it.

    A simplification where their mean errors are equivalent within delta, an improvement where the
    smaller one's is less; refused otherwise, and where nothing is sure.
    """
    comparison = compare(
        fresh.errors,
        base.errors,
        delta=rules.delta,
        confidence=rules.confidence,
        weights_a=fresh.weights,
        weights_b=base.weights,
    )
    outcomes: dict[str, Outcome] = {"better": "improvement", "equivalent": "simplification"}
    return comparison, outcomes.get(comparison.verdict, "refused")


def climb(start: Observed, confirm: Confirm, rules: Rules, extra: Extra = _nothing) -> Ladder:
    """Try candidates until none is promising, or the decisions are used up.

    The sample that confirmed a constraint is the one that suggests the next. A constraint that
    was refused is not tried again.
    """
    current = start
    steps: list[Step] = []
    tried: list[str] = []
    waiting: list[tuple[Candidate, Screening]] = []
    while len(steps) < rules.decisions:
        waiting = promising(current, rules, tried, extra)
        needed = rules.networks(current)
        found = ((c, s, sample) for c, s in waiting if (sample := confirm(c, needed)) is not None)
        first = next(found, None)
        if first is None:
            break
        candidate, screening, fresh = first
        comparison, outcome = decide(fresh, current, rules)
        more = more_networks(comparison, rules.power) if comparison.verdict == "undecided" else None
        steps.append(Step(current.space, candidate, screening, comparison, outcome, more))
        if outcome == "refused":
            tried.append(candidate.tag)
        else:
            current = fresh
    else:
        waiting = promising(current, rules, tried, extra)
    return Ladder(rules, start.space, tuple(steps), current, tuple(waiting))
