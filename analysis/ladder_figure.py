"""The figure of a ladder of constraints, drawn from its evidence: the file `.evidence.json` that
stands beside a derived space.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.evidence import Evidence, Waiting
from analysis.figures import COLORS, GRAY, NARROW, few_ticks, legend_below, save_panels
from analysis.ladder import Outcome

_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "improvement": (COLORS[2], "o"),
    "simplification": (COLORS[0], "s"),
    "refused": (COLORS[1], "X"),
}
_MOST_WAITING = 8
"""Constraints that were suggested and not tried: so many rows, the most promising."""
_WORDS = 27
"""Characters of a constraint in a line beside the Axes."""


def draw_ladder(evidence: Evidence, ax: Axes) -> None:
    """A row a constraint: the change of the mean error with its interval, by outcome in color and
    marker; within the shaded band spaces are equivalent. A ring is what had suggested it; at the
    right are the networks of the smaller space and of the larger one. Below a line stands what is
    promising and was not tried.
    """
    tried, waiting = evidence.steps, evidence.waiting[:_MOST_WAITING]
    delta = evidence.rules.delta
    limits = [-delta, delta, *(limit for step in tried for limit in step.change)]
    rows: list[Waiting] = [*tried, *waiting]
    effects = [row.screening.effect for row in rows]
    known = [effect for effect in effects if effect is not None]
    low, high = min(limits), max(limits)
    span = high - low
    # A promise far beyond what was found would squeeze it.
    low = max(min([low, *known]), low - span)
    high = min(max([high, *known]), high + span)
    margin = 0.05 * (high - low)
    ax.axvspan(-delta, delta, color=GRAY, alpha=0.15, linewidth=0)
    ax.axvline(0, color=GRAY, linewidth=0.8)
    for row, step in enumerate(tried):
        color, marker = _OUTCOMES[step.outcome]
        center, *ends = step.change
        ax.plot(ends, [-row, -row], "-", color=color, linewidth=1.5, solid_capstyle="butt")
        ax.plot(center, -row, marker, color=color, markersize=5, markeredgewidth=0, zorder=4)
    for row, effect in enumerate(effects):
        if effect is not None:
            ax.plot(
                np.clip(effect, low, high),
                -row,
                "o",
                color=GRAY,
                markersize=3.8,
                markerfacecolor="white",
                markeredgewidth=0.8,
                zorder=3,
            )
    if tried and waiting:
        ax.axhline(0.5 - len(tried), color=GRAY, linewidth=0.6, linestyle="-")
    sizes = [f"{step.comparison.n_a} / {step.comparison.n_b}" for step in tried]
    for row, text in enumerate([*sizes, *(["not tried"] * len(waiting))]):
        ax.annotate(
            text,
            (1, -row),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color="black" if row < len(tried) else GRAY,
            annotation_clip=False,
        )
    ax.annotate(
        "n",
        (1, 1),
        (3, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize="small",
        annotation_clip=False,
    )
    ax.set_yticks([-row for row in range(len(rows))], [fill(row.words, _WORDS) for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(0.6 - len(rows), 0.6)
    ax.xaxis.set_major_locator(few_ticks())
    ax.set_xlabel("change of the mean error (points)")
    legend_below(ax, _handles(evidence, bool(known)))


def _handles(evidence: Evidence, suggested: bool) -> list[Any]:
    outcomes = {step.outcome for step in evidence.steps}
    percent = f"{100 * evidence.rules.confidence:.4g}%"
    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=color,
            marker=marker,
            linestyle="-",
            linewidth=1.5,
            markersize=5,
            markeredgewidth=0,
            label=f"{outcome}, interval at {percent}",
        )
        for outcome, (color, marker) in _OUTCOMES.items()
        if outcome in outcomes
    ]
    if suggested:
        ring: dict[str, Any] = {"color": GRAY, "markerfacecolor": "white", "markersize": 3.8}
        text = "what had suggested it"
        handles.append(Line2D([], [], marker="o", linestyle="none", label=text, **ring))
    band = f"equivalent: within {evidence.rules.delta:.3g} points"
    handles.append(Patch(color=GRAY, alpha=0.15, linewidth=0, label=band))
    return handles


def save_ladder(evidence: Evidence, path: str | os.PathLike[str], title: str = "") -> Path:
    """`draw_ladder` into a PNG, SVG or PDF file. Raises InputError for another ending."""

    def draw(axes: Sequence[Axes]) -> None:
        draw_ladder(evidence, axes[0])

    rows: list[Waiting] = [*evidence.steps, *evidence.waiting[:_MOST_WAITING]]
    lines = sum(max(1.6, fill(row.words, _WORDS).count("\n") + 1.3) for row in rows)
    return save_panels(draw, (1, 1), (NARROW, 1.2 + 0.125 * lines), path, title=title)
