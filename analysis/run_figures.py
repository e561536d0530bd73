"""Figures of what a run did: error against cost, shapes of networks, training curves.

Draws on given Axes; computes nothing and never shows a window.
"""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from analysis.curves import Curves
from analysis.figures import (
    COLORS,
    GRAY,
    MARKERS,
    NARROW,
    PAGE,
    few_ticks,
    legend_below,
    log_ticks,
    save_panels,
    top_error,
)
from analysis.shapes import Shape
from analysis.tradeoff import Tradeoff
from analysis.trends import short
from search.trial import DIVERGED_ERROR

_COST_NAMES = {
    "flops": "flops (multiply-adds)",
    "params": "parameters",
    "activations": "activations",
    "seconds": "seconds of training",
}
_PANELS = 5
"""Networks side by side in a page's width."""


def draw_tradeoff(found: Tradeoff, ax: Axes) -> None:
    """Networks as points by population, the front of all as a black step, that of each population
    as a thin one where there are several, baselines as stars with letters that the legend names.

    The axis of errors ends at the 98th percentile of those that did not diverge, or at the largest
    of these where that is near; what lies beyond is on the edge. The front, and baselines
    nearly so good, are within. It is logarithmic where errors differ by more than a factor of 8.
    """
    networks, beside = found.networks, found.baselines
    errors = networks["error"].to_numpy(float)
    learned = errors[errors < DIVERGED_ERROR] if errors.min() < DIVERGED_ERROR else errors
    top, low = top_error(learned), float(errors.min())
    shown = found.front["error"]
    top = max([top, *shown[shown <= 2 * top - low]])
    near = beside["error"][beside["error"] <= top + 0.5 * (top - low)]
    low, top = min([low, *near]), max([top, *near])
    if low > 0 and top > 8 * low:
        ax.set_yscale("log")
        bottom, edge = low / 1.15, top * 1.15
        log_ticks(ax.yaxis, bottom, edge, lambda value: f"{value:g}")
    else:
        margin = 0.06 * (top - low) or 1.0
        bottom, edge = low - margin, top + margin
        ax.yaxis.set_major_locator(few_ticks())
    costs = np.concatenate([networks[found.cost], beside[found.cost]]).astype(float)
    reach = (costs.max() / costs.min()) ** 0.05 if costs.max() > costs.min() else 1.1
    left, right = costs.min() / reach, costs.max() * reach
    ax.set_xscale("log")
    size = float(np.clip((1500 / len(networks)) ** 0.5, 1.4, 3.6))
    handles: list[Any] = []
    groups = list(networks.groupby("population", sort=False))
    for i, (name, part) in enumerate(groups):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        x, y = part[found.cost].to_numpy(float), part["error"].to_numpy(float)
        style: dict[str, Any] = {"color": color, "linestyle": "none", "markeredgewidth": 0}
        beyond = y > edge
        ax.plot(x[~beyond], y[~beyond], marker, markersize=size, alpha=0.5, **style)
        ax.plot(
            x[beyond],
            np.full(beyond.sum(), edge),
            "^",
            markersize=2.5,
            alpha=0.7,
            clip_on=False,
            **style,
        )
        if len(groups) > 1:
            _step(part[part["own_front"]], found.cost, right, ax, color=color, linewidth=0.7)
        text = f"{name}  n={len(part)}" + (f", {beyond.sum()} beyond" if beyond.any() else "")
        handles.append(Line2D([], [], marker=marker, markersize=3.6, label=text, **style))
    front = found.front
    _step(front, found.cost, right, ax, color="black", linewidth=1.1)
    ax.plot(
        front[found.cost],
        front["error"],
        "o",
        color="black",
        markersize=size + 1.6,
        markerfacecolor="none",
        markeredgewidth=0.7,
        linestyle="none",
    )
    words = f"Pareto front, {len(front)} networks" if len(front) > 1 else "Pareto front, 1 network"
    handles.append(
        Line2D(
            [],
            [],
            color="black",
            linestyle="-",
            linewidth=1.1,
            marker="o",
            markersize=4,
            markerfacecolor="none",
            markeredgewidth=0.7,
            label=words if len(groups) == 1 else f"{words}; thin: of each population",
        )
    )
    star: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "linestyle": "none"}
    star |= {"marker": "*", "markersize": 7, "markeredgewidth": 0.8}
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, edge)
    at = np.column_stack([beside[found.cost], np.minimum(beside["error"], edge)]).astype(float)
    ax.plot(*at.T, clip_on=False, zorder=4, **star)
    for letter, (_, row) in zip(string.ascii_lowercase, beside.iterrows(), strict=False):
        text = f"{letter}  {row['name']} {row['error']:.2f}%"
        text += ", beyond" if row["error"] > edge else ""
        handles.append(Line2D([], [], label=text, **star))
    log_ticks(ax.xaxis, left, right, short)
    ax.set_xlabel(_COST_NAMES[found.cost])
    ax.set_ylabel("validation error (%)")
    legend_below(ax, handles)
    _letters(at, ax)


def _letters(at: Any, ax: Axes) -> None:
    """A letter beside each of n points, (n, 2) in data, where none hides another or a point."""
    if not len(at):
        return
    figure = ax.figure
    if isinstance(figure, Figure) and (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # what hides what depends on where the axes end up
    pixels = ax.transData.transform(at)
    points = pixels * 72 / ax.figure.dpi
    middle = ax.transAxes.transform((0.5, 0.5)) * 72 / ax.figure.dpi
    taken = [tuple(point) for point in points]
    for letter, point, place in zip(string.ascii_lowercase, points, at, strict=False):
        inward = np.arctan2(*(middle - point)[::-1])
        offsets = [
            (distance * np.cos(angle), distance * np.sin(angle))
            for distance in (7.5, 14, 21)
            for angle in inward + np.array([0, 1, -1, 2, -2, 3, -3, 4]) * np.pi / 4
        ]

        def crowd(offset: tuple[float, float], point: Any = point) -> float:
            gaps = np.hypot(*(np.array(taken) - (point + offset)).T)
            return float(np.maximum(7.4 - gaps, 0).sum())

        best = min(offsets, key=crowd)
        taken.append(tuple(point + best))
        far = np.hypot(*best) > 8
        ax.annotate(
            letter,
            place,
            best,
            textcoords="offset points",
            ha="center",
            va="center",
            zorder=5,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 2, "shrinkB": 2}
            if far
            else None,
        )


def _step(front: Any, cost: str, right: float, ax: Axes, **style: Any) -> None:
    """The least error that each cost allows, from the cheapest of a front to the axis's end."""
    if front.empty:
        return
    front = front.sort_values([cost, "error"])
    x = np.append(front[cost].to_numpy(float), right)
    y = np.append(front["error"].to_numpy(float), front["error"].min())
    ax.step(x, y, where="post", linestyle="-", **style)


def save_tradeoff(found: Tradeoff, path: str | os.PathLike[str], title: str = "") -> Path:
    """`draw_tradeoff` into a PNG, SVG or PDF file. Raises InputError for another ending."""
    rows = found.networks["population"].nunique() + 1 + len(found.baselines)

    def draw(axes: Sequence[Axes]) -> None:
        draw_tradeoff(found, axes[0])

    return save_panels(draw, (1, 1), (NARROW, 2.6 + 0.13 * rows), path, title=title)


def draw_shape(shape: Shape, ax: Axes, color: str = COLORS[0]) -> None:
    """Width by block on an axis of powers of two, the fitted line dashed; error and e_fit above."""
    edges = np.arange(len(shape.widths) + 1) + 0.5
    ax.stairs(shape.widths, edges, baseline=None, color=color, linewidth=1.3)
    error = "diverged" if shape.diverged else f"{shape.error:.2f}%"
    if shape.line is not None:
        ax.stairs(
            shape.line, edges, baseline=None, color="black", linewidth=0.9, linestyle=(0, (3, 1.5))
        )
        error += f",  $e_{{fit}}$ {shape.e_fit:.2f}"
    ax.set_title(error, loc="left", pad=2.5, color=color)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(0.5 - 0.02 * len(shape.widths), len(shape.widths) + 0.5 + 0.02 * len(shape.widths))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))


def save_shapes(
    rows: Sequence[tuple[str, Sequence[Shape]]], path: str | os.PathLike[str], title: str = ""
) -> Path:
    """Networks as small panels that share the axis of widths, groups one below the other.

    A group has a name, which stands at its first panel; groups alternate in color, as the best
    and the worst do. Raises InputError for a path of another ending.
    """
    lines = [
        (name if start == 0 else "", COLORS[i % 2], list(shapes[start : start + _PANELS]))
        for i, (name, shapes) in enumerate(rows)
        for start in range(0, len(shapes), _PANELS)
    ]
    columns = max(len(shapes) for _, _, shapes in lines)
    widths = np.concatenate([shape.widths for _, _, shapes in lines for shape in shapes])
    low, high = np.log2(widths.min()), np.log2(widths.max())
    step = max(1, round((high - low) / 4))
    ticks = [2.0**k for k in range(int(np.floor(low)), int(np.ceil(high)) + 1, step)]

    def draw(axes: Sequence[Axes]) -> None:
        for row, (name, color, shapes) in enumerate(lines):
            for column in range(columns):
                ax = axes[row * columns + column]
                if column >= len(shapes):
                    ax.remove()
                    continue
                draw_shape(shapes[column], ax, color)
                ax.set_ylim(2 ** (low - 0.3), 2 ** (high + 0.3))
                ax.set_yticks(ticks, [f"{tick:g}" if column == 0 else "" for tick in ticks])
                if column == 0 and name:
                    ax.set_ylabel(name)

    size = (PAGE * max(columns, 2) / _PANELS, 0.45 + 1.15 * len(lines))
    return save_panels(
        draw,
        (len(lines), columns),
        size,
        path,
        title=title,
        ylabel="width",
        xlabel="block  (dashed: the nearest quantized line)",
    )


def draw_curves(found: Sequence[Curves], ax: Axes) -> None:
    """Error against epoch: a thin line a network, by population the median and the middle half.

    Networks that diverged end in a cross. The axis of errors is logarithmic where the medians
    fall to less than a third.
    """
    medians = np.concatenate([one.quartiles[1] for one in found])
    known = np.concatenate([one.errors[np.isfinite(one.errors)] for one in found])
    logarithmic = bool(known.min() > 0 and np.nanmax(medians) > 3 * np.nanmin(medians))
    if logarithmic:
        ax.set_yscale("log")
    handles: list[Any] = []
    for i, one in enumerate(found):
        color = COLORS[i % len(COLORS)]
        epochs = np.arange(1, one.errors.shape[1] + 1)
        alpha = float(np.clip(12 / len(one), 0.06, 0.35))
        lines = [np.column_stack([epochs, row])[np.isfinite(row)] for row in one.errors]
        thin = LineCollection(lines, colors=color, linewidths=0.5, alpha=alpha)
        thin.set_rasterized(len(one) > 500)  # a vector file of thousands of lines is slow to read
        ax.add_collection(thin)
        middle = ~np.isnan(one.quartiles[1])
        ax.fill_between(
            epochs[middle],
            one.quartiles[0][middle],
            one.quartiles[2][middle],
            color=color,
            alpha=0.18,
            linewidth=0,
        )
        style: dict[str, Any] = {"color": color, "linestyle": ("-", "--", "-.", ":")[i % 4]}
        ax.plot(epochs[middle], one.quartiles[1][middle], linewidth=1.6, zorder=3, **style)
        stopped = one.diverged >= 0
        ends = one.diverged[stopped]
        last = [
            float(row[end - 1]) if end else float(known.max())
            for row, end in zip(one.errors[stopped], ends, strict=True)
        ]
        ax.plot(
            np.maximum(ends, 1),
            last,
            "x",
            color=color,
            markersize=4,
            markeredgewidth=0.9,
            linestyle="none",
            zorder=4,
            clip_on=False,
        )
        text = f"{one.name}  n={len(one)}"
        if stopped.any():
            text += f", {stopped.sum()} diverged ($\\times$)"
        handles.append(Line2D([], [], linewidth=1.6, label=text, **style))
    longest = max(one.errors.shape[1] for one in found)
    ax.set_xlim(1 if longest > 1 else 0.5, max(longest, 1.5))
    low, high = float(known.min()), float(known.max())
    if logarithmic:
        ax.set_ylim(low / 1.1, high * 1.1)
        log_ticks(ax.yaxis, low, high, lambda value: f"{value:g}")
    else:
        margin = 0.04 * (high - low) or 1.0
        ax.set_ylim(max(low - margin, 0), high + margin)
        ax.yaxis.set_major_locator(few_ticks())
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation error (%)")
    handles.append(
        Line2D(
            [], [], color=GRAY, linewidth=1.6, linestyle="-", label="median; shaded: middle half"
        )
    )
    legend_below(ax, handles)


def save_curves(found: Sequence[Curves], path: str | os.PathLike[str], title: str = "") -> Path:
    """`draw_curves` into a PNG, SVG or PDF file. Raises InputError for another ending."""

    def draw(axes: Sequence[Axes]) -> None:
        draw_curves(found, axes[0])

    size = (NARROW, 2.6 + 0.13 * (len(found) + 1))
    return save_panels(draw, (1, 1), size, path, title=title)
