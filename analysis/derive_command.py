"""The command `derive`: from runs to a smaller space, the evidence for it, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from msgspec import to_builtins

from analysis.constraints import ENOUGH, Candidate, Kind, Observed
from analysis.evidence import ladder_data, ladder_words
from analysis.ladder import DECISIONS, Ladder, Rules, climb
from analysis.pooling import contains, same_draws
from analysis.results import drawn_before, drawn_settings
from analysis.runs import Setting, read_setting, require_same_training
from analysis.selection import Selected, select
from anynet.density import log_density
from anynet.errors import InputError
from anynet.files import to_json, to_yaml, write_text
from anynet.limits import holds
from anynet.space import DesignSpace
from anynet.terminal import Whole, print_json, print_notes, print_table


def derive(
    *runs: Annotated[Path, Parameter(name="RUN")],
    out: Path,
    start: str | None = None,
    delta: float | None = None,
    alpha: float = 0.05,
    power: float = 0.9,
    decisions: Whole = DECISIONS,
    confirm: Path | None = None,
    json: bool = False,
) -> None:
    """Constraints that the evidence of runs supports, and the space they leave.

    The networks of a space suggest constraints; a sample drawn afresh from the smaller space
    decides: accepted where its mean error is less (an improvement) or equal within DELTA (a
    simplification), refused otherwise. Samples are the populations of the runs, by whatever name.
    What is promising and has no sample yet is listed, and --confirm writes the sweep file for it:
    train that, and derive again from all runs.

    Writes the space, and beside it its evidence as .evidence.json and .evidence.md.

    Example: anynet derive runs/a runs/b --out space.yaml --confirm next.yaml

    Parameters
    ----------
    runs
        Folders of runs, all of one data set, recipe, number of epochs and window.
    out
        File of the space (.yaml).
    start
        The space to begin with; left out, the largest of the runs.
    delta
        Points of error within which two spaces are equivalent; left out, a third of the standard
        deviation of the errors of the first space.
    alpha
        Chance that any of the decisions is wrong.
    power
        Chance that an equal space is recognized, for the numbers of networks that are asked for.
    decisions
        Decisions that share alpha.
    confirm
        Sweep file to write, for the most promising constraint without a sample.
    json
        Print one JSON document.
    """
    if not runs:
        raise InputError("RUN: give at least one run")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out: {out}: must end in .yaml")
    if confirm is not None:
        if confirm.suffix not in (".yaml", ".yml"):
            raise InputError(f"--confirm: {confirm}: must end in .yaml")
        if confirm.resolve() == out.resolve():
            raise InputError(f"--confirm: {confirm}: must be another file than --out")
    settings = {str(run): read_setting(run) for run in runs}
    for other in settings.values():
        require_same_training(next(iter(settings.values())), other)
    selection = select([str(run) for run in runs])
    print_notes(selection.notes)
    samples = _samples(selection.populations, settings)
    first = _start(samples, start)
    if delta is None:
        delta = first.deviation / 3
        if not delta > 0:
            raise InputError(f"--delta: give it; all errors of {first.space.name} are the same")
    rules = Rules(delta=delta, alpha=alpha, decisions=decisions, power=power)

    def sample(candidate: Candidate, _: int) -> Observed | None:
        return next((s for s in samples if same_draws(s.space, candidate.space)), None)

    def given(observed: Observed) -> list[Candidate]:
        return [
            candidate
            for other in samples
            if (candidate := _as_candidate(observed, other.space)) is not None
        ]

    ladder = climb(first, sample, rules, given)
    paragraphs = ladder_words(ladder)
    end = ladder.end.space
    write_text(out, end.to_yaml("\n".join(_wrapped(paragraphs))))
    written = [out, out.with_suffix(".evidence.json"), out.with_suffix(".evidence.md")]
    data = ladder_data(ladder) | {"runs": [str(run) for run in runs]}
    write_text(written[1], to_json(data) + "\n")
    title = f"# {end.name}: what the evidence says"
    write_text(written[2], "\n\n".join([title, *paragraphs]) + "\n")
    if confirm is not None:
        written += _write_confirmation(confirm, ladder, list(settings.values()))
    if json:
        print_json(data | {"written": [str(path) for path in written]})
        return
    _print(ladder, paragraphs)
    for path in written:
        print(path)


def _samples(selected: Sequence[Selected], settings: Mapping[str, Setting]) -> list[Observed]:
    """A sample a space: populations of equal spaces, in whatever runs, are one.

    What two runs both drew from one seed counts once, and is said.
    """
    found: list[Observed] = []
    trained: set[tuple[str, int, str]] = set()
    for one in selected:
        space = settings[one.run].space(one.space)
        repeated = drawn_before(one.rows, trained)
        if repeated.any():
            note = f"{repeated.sum()} networks are those of another run, drawn from the same seed"
            print_notes([f"{one.run}: {space.name}: {note}: they count once"])
        if repeated.all():
            continue
        observed = _observed(space, one, ~repeated)
        known = next((i for i, s in enumerate(found) if same_draws(s.space, space)), None)
        if known is None:
            found.append(observed)
        else:
            found[known] = _joined(found[known], observed)
    return found


def _observed(space: DesignSpace, one: Selected, wanted: npt.NDArray[np.bool_]) -> Observed:
    """The wanted networks of a population that have an error at its longest training."""
    kept = wanted & ~np.isnan(one.errors)
    if kept.sum() < 2:
        raise InputError(
            f"{one.run}: {space.name}: {kept.sum()} networks with an error, 2 at least"
        )
    rows, weights = one.rows[kept], one.weights
    return Observed(
        space,
        drawn_settings(rows),
        np.array([network.depths for network in rows["network"]]),
        np.array([network.widths for network in rows["network"]]),
        {name: rows[name].to_numpy() for name in ("params", "flops", "activations")},
        one.errors[kept],
        None if weights is None else weights[kept],
    )


def _joined(one: Observed, other: Observed) -> Observed:
    """Two samples of one space as one."""
    both = [one, other]
    return changed(
        one,
        drawn={name: np.concatenate([s.drawn[name] for s in both]) for name in one.drawn},
        depths=np.concatenate([s.depths for s in both]),
        widths=np.concatenate([s.widths for s in both]),
        costs={name: np.concatenate([s.costs[name] for s in both]) for name in one.costs},
        errors=np.concatenate([s.errors for s in both]),
        weights=None
        if one.weights is None and other.weights is None
        else np.concatenate([s.weighted for s in both]),
        fits={},
    )


def _start(samples: Sequence[Observed], name: str | None) -> Observed:
    if name is not None:
        for sample in samples:
            if sample.space.name == name:
                return sample
        listed = ", ".join(sample.space.name for sample in samples)
        raise InputError(f"--start: {name!r} is not a space of the runs, which have {listed}")
    free = [sample for sample in samples if sample.space.line is None] or list(samples)
    return max(free, key=lambda sample: sample.space.size)


def _as_candidate(observed: Observed, other: DesignSpace) -> Candidate | None:
    """A space of the runs as a candidate of another, if it is a smaller one of the same kind."""
    space = observed.space
    if other.size > space.size or not contains(space, other):
        return None
    kind: Kind = "order"
    shrinkage = space.size / other.size
    if space.line is None and other.line is not None:
        kind, words, distance = "line", f"the quantized lines of {other.name}", observed.e_fit
    else:
        words = f"the constraints of {other.name}"
        inside = np.isfinite(log_density(other, observed.drawn))
        costs = {**observed.costs, "depth": observed.depths.sum(axis=1)}
        for limit in set(other.limits) - set(space.limits):
            inside &= holds(limit, costs)
        distance = np.where(inside, 0.0, 1.0)
        if shrinkage == 1:  # limits alone, which no number of settings tells of
            kind, shrinkage = "limit", len(observed) / max(int(inside.sum()), 1)
    return Candidate(f"space:{other.name}", kind, words, other, distance, shrinkage)


def _write_confirmation(path: Path, ladder: Ladder, settings: Sequence[Setting]) -> list[Path]:
    """The sweep that decides the most promising constraint, or the one that is undecided.

    Of its space, and of the one before where that has too few networks.
    """
    undecided = [step for step in ladder.steps if step.undecided and step.base is ladder.end.space]
    needed = ladder.rules.networks(ladder.end)
    short = needed - len(ladder.end)
    if ladder.waiting:
        candidate, _ = ladder.waiting[0]
    elif undecided:
        step = min(undecided, key=lambda step: -step.comparison.difference)
        candidate = step.candidate
        more = step.more or (needed, needed)
        needed = max(ENOUGH, min(max(more), ladder.rules.most))
        short = needed
    else:
        print_notes(["nothing is left to confirm: no sweep file is written"])
        return []
    spaces = [candidate.space, *([ladder.end.space] if short > 0 else [])]
    sweep = {k: v for k, v in settings[0].sweep.items() if k not in ("space", "baselines")}
    sweep |= {
        "space": [to_builtins(space) for space in spaces],
        "networks": needed,
        # Another seed than any before: what decides is drawn afresh.
        "seed": 1 + max(int(setting.sweep.get("seed", 0)) for setting in settings),
    }
    comment = (
        f"Decides whether {ladder.end.space.name} may become smaller: {candidate.words}.\n"
        f"Planned for a chance of {100 * ladder.rules.power:g}% of a decision."
    )
    write_text(path, to_yaml(sweep, comment))
    return [path]


def _print(ladder: Ladder, paragraphs: Sequence[str]) -> None:
    for line in _wrapped(paragraphs):
        print(line)
    if ladder.steps:
        print()
        print_table(
            ("constraint", "suggested", "n", "n before", "change", "from", "to", ""),
            [
                (
                    step.candidate.tag,
                    f"{step.screening.effect:+.2f}",
                    step.comparison.n_a,
                    step.comparison.n_b,
                    f"{-step.comparison.difference:+.2f}",
                    f"{-step.comparison.high:+.2f}",
                    f"{-step.comparison.low:+.2f}",
                    step.outcome,
                )
                for step in ladder.steps
            ],
            title="points of error of the smaller space against the one before",
        )
    print()


def _wrapped(paragraphs: Sequence[str], width: int = 96) -> list[str]:
    import textwrap

    lines: list[str] = []
    for paragraph in paragraphs:
        lines += ["", *textwrap.wrap(paragraph, width)]
    return lines[1:]
