"""Figures of ranges, shares of variance, fidelity and trends, at the width of a journal's column.

Draws on given Axes; computes nothing and never shows a window.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.factorization import Factorization
from analysis.fidelity import Agreement
from analysis.figures import (
    COLORS,
    GRAY,
    NARROW,
    PAGE,
    few_ticks,
    legend_below,
    log_ticks,
    save_panels,
    top_error,
)
from analysis.importance import Importance
from analysis.ranges import BestRange
from analysis.trends import Trends, short

_DOTS, _BEST = COLORS[0], COLORS[1]
_FEW = 12
"""Values of a parameter whose dots are spread sideways."""
_NARROW = 8
"""Panels that one column has room for, two side by side."""


def label(name: str) -> str:
    """A parameter as an axis names it: `width_2` is "width, stage 2"."""
    stage = re.fullmatch(r"(.*?)_([1-9])", name)
    text = (stage[1] if stage else name).replace("_", " ")
    return f"{text}, stage {stage[2]}" if stage else text


def draw_range(
    values: npt.ArrayLike, errors: npt.ArrayLike, best: BestRange, ax: Axes, name: str = ""
) -> None:
    """The networks as dots, error against a parameter, the best range shaded, its median a line.

    Dots of the same value are spread a little sideways. The axis of errors ends at the 98th
    percentile, or at the largest error where that is near; what lies beyond is on the edge.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    top = top_error(y)
    low = float(y.min())
    margin = 0.06 * (top - low) or 1.0
    distinct = np.unique(x)
    logarithmic = _logarithmic(distinct)
    if logarithmic:
        ax.set_xscale("log", base=2)
    x_drawn, (left, right) = _spread(x, distinct, logarithmic)
    # A range of one value is as wide as the dots of that value are spread.
    ax.axvspan(
        *_widened(best.low, best.high, left, right, distinct, logarithmic),
        color=_BEST,
        alpha=0.16,
        linewidth=0,
    )
    ax.axvline(best.median, color=_BEST, linewidth=1.1, linestyle="-")
    size = float(np.clip(900 / len(x), 1.5, 9))
    inside = y <= top + margin
    ax.plot(
        x_drawn[inside],
        y[inside],
        "o",
        color=_DOTS,
        alpha=0.55,
        markersize=size**0.5,
        markeredgewidth=0,
        linestyle="none",
    )
    if not inside.all():
        ax.plot(
            x_drawn[~inside],
            np.full((~inside).sum(), top + margin),
            "^",
            color=GRAY,
            alpha=0.7,
            markersize=2.5,
            markeredgewidth=0,
            linestyle="none",
            clip_on=False,
        )
    ax.set_xlim(left, right)
    ax.set_ylim(low - margin, top + margin)
    _ticks(ax, distinct, left, right, logarithmic)
    ax.set_xlabel(label(name), labelpad=1.5)
    ax.set_title(_summary(best), loc="left", pad=2.5, color=_BEST)


def _summary(best: BestRange) -> str:
    ends = "" if best.low == best.high else f" ({_number(best.low)} to {_number(best.high)})"
    return f"{_number(best.median)}{ends}"


def _number(value: float) -> str:
    """Three digits: 24, 2.46, 0.031."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _logarithmic(values: Any) -> bool:
    return bool(values[0] > 0 and values[-1] / values[0] >= 4)


def _spread(x: Any, distinct: Any, logarithmic: bool) -> tuple[Any, tuple[float, float]]:
    """Where dots are drawn, and the ends of the axis."""
    place = np.log2 if logarithmic else np.asarray
    back = np.exp2 if logarithmic else np.asarray
    at = np.asarray(place(x), dtype=float)
    ends = np.asarray(place(distinct[[0, -1]]), dtype=float)
    wide = float(ends[1] - ends[0]) or 1.0
    step = wide / 30
    if 1 < len(distinct) <= _FEW:
        # The golden ratio spreads any number of dots evenly.
        step = 0.3 * float(np.diff(place(distinct)).min())
        at = at + step * (np.arange(len(at)) * 0.618034 % 1 - 0.5) * 1.6
    reach = max(step, wide / 30)
    left, right = back(ends + np.array([-reach, reach]))
    return back(at), (float(left), float(right))


def _widened(
    low: float, high: float, left: float, right: float, distinct: Any, logarithmic: bool
) -> tuple[float, float]:
    place = np.log2 if logarithmic else np.asarray
    back = np.exp2 if logarithmic else np.asarray
    span = float(place(right) - place(left))
    step = span / 150
    if 1 < len(distinct) <= _FEW:
        step = 0.3 * float(np.diff(place(distinct)).min())
    return float(back(place(low) - step)), float(back(place(high) + step))


def _ticks(ax: Axes, distinct: Any, left: float, right: float, logarithmic: bool) -> None:
    if len(distinct) <= _FEW:
        place = np.log2 if logarithmic else np.asarray
        apart = float(place(right) - place(left)) / 7
        ticks = [float(distinct[0])]
        for value in distinct[1:].tolist():
            if place(value) - place(ticks[-1]) >= apart:
                ticks.append(value)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
    elif logarithmic:
        first, last = int(np.ceil(np.log2(left))), int(np.floor(np.log2(right)))
        ax.xaxis.set_major_locator(
            FixedLocator([2.0**k for k in range(first, last + 1, max(1, (last - first + 3) // 5))])
        )
    else:
        ax.xaxis.set_major_locator(few_ticks())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(few_ticks())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))


def save_ranges(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    ranges: Mapping[str, BestRange],
    path: str | os.PathLike[str],
    title: str = "",
) -> Path:
    """One panel a parameter of `ranges` (as DNDS, figure 11) into a PNG, SVG or PDF file.

    Raises InputError for another ending.
    """

    def draw(axes: Sequence[Axes]) -> None:
        for (name, best), ax in zip(ranges.items(), axes, strict=True):
            draw_range(parameters[name], errors, best, ax, name)

    return _save_panels(draw, len(ranges), path, title, "validation error (%)")


def draw_importance(
    found: Importance, ax: Axes, factorization: Factorization | None = None, most: int = 16
) -> None:
    """Shares of the variance by parameter, largest first, with intervals.

    A bar is what the model loses without the parameter, a ring what it explains alone; below
    them the interactions that are certain (p < 0.05 after Holm).
    """
    effects = sorted(found.effects, key=lambda e: -(e.unique or e.alone).value)[:most]
    pairs = [pair for pair in found.pairs if pair.share.p < 0.05][:5]
    rows = [(label(e.name), e.unique or e.alone, e.alone if e.unique else None) for e in effects]
    rows += [(f"{label(p.first)} $\\times$ {label(p.second)}", p.share, None) for p in pairs]
    for place, (_, share, alone) in enumerate(rows):
        pair = place >= len(effects)
        color = COLORS[2] if pair else _DOTS
        ax.barh(-place, max(share.value, 0), height=0.62, color=color, alpha=0.75, linewidth=0)
        ax.plot([share.low, share.high], [-place, -place], "-", color="black", linewidth=0.9)
        if alone is not None:
            ax.plot(
                max(alone.value, 0),
                -place,
                "o",
                markersize=3.6,
                markerfacecolor="white",
                markeredgecolor=_BEST,
                markeredgewidth=0.9,
                clip_on=False,
                zorder=3,
            )
    ax.set_yticks([-place for place in range(len(rows))], [name for name, _, _ in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    ax.set_xlim(0, min(1.0, ax.get_xlim()[1]))
    ax.set_xlabel("share of the variance")
    handles: list[Any] = [Patch(color=_DOTS, alpha=0.75, linewidth=0, label="given all others")]
    if not any(effect.unique for effect in effects):
        handles[0].set_label("alone")
    else:
        ring: dict[str, Any] = {"color": "white", "markeredgecolor": _BEST, "markersize": 3.6}
        handles.append(Line2D([], [], marker="o", linestyle="none", label="alone", **ring))
    if pairs:
        handles.append(Patch(color=COLORS[2], alpha=0.75, linewidth=0, label="interaction"))
    ax.legend(handles=handles, loc="lower right", handlelength=1, borderaxespad=0.2)
    if factorization is not None:
        low, high = factorization.additive_interval
        ax.figure.suptitle(
            f"in all: main effects {100 * factorization.main:.0f}%, pairs "
            f"{100 * factorization.pairs:.0f}%; "
            f"{100 * low:.0f} to {100 * high:.0f}% of it additive",
            fontsize=7,
        )


def save_importance(
    found: Importance,
    path: str | os.PathLike[str],
    factorization: Factorization | None = None,
) -> Path:
    """`draw_importance` into a file; as `save_ranges`."""
    pairs = sum(pair.share.p < 0.05 for pair in found.pairs)
    rows = min(len(found.effects), 16) + min(pairs, 5)

    def draw(axes: Sequence[Axes]) -> None:
        draw_importance(found, axes[0], factorization)

    return save_panels(draw, (1, 1), (NARROW, 0.75 + 0.165 * rows), path)


def draw_agreement(
    cheap: npt.ArrayLike,
    long: npt.ArrayLike,
    found: Agreement,
    ax: Axes,
    names: tuple[str, str] = ("short training", "long training"),
    title: str = "",
) -> None:
    """Error after the long training against that after the cheap one, ranks' agreement above."""
    x, y = np.asarray(cheap, dtype=float), np.asarray(long, dtype=float)
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    ends = [(float(v.min()), top_error(v)) for v in (x, y)]
    margins = [0.06 * (high - low) or 1.0 for low, high in ends]
    best, picked = y == y.min(), x == x.min()
    drawn = np.minimum(x, ends[0][1] + margins[0]), np.minimum(y, ends[1][1] + margins[1])
    size = float(np.clip((1500 / len(x)) ** 0.5, 1.2, 3.6))
    inside = (drawn[0] == x) & (drawn[1] == y)
    dots: dict[str, Any] = {"color": _DOTS, "alpha": 0.6, "markersize": size, "linestyle": "none"}
    for some, marker in ((inside, "o"), (~inside, "^")):
        ax.plot(drawn[0][some], drawn[1][some], marker, markeredgewidth=0, clip_on=False, **dots)
    for chosen, marker, name in ((best, "s", "best"), (picked, "D", "picked by the short one")):
        ax.plot(
            drawn[0][chosen],
            drawn[1][chosen],
            marker,
            color=_BEST,
            markersize=5.5,
            markerfacecolor="none",
            markeredgewidth=1,
            linestyle="none",
            label=name,
        )
    ax.set_xlim(ends[0][0] - margins[0], ends[0][1] + margins[0])
    ax.set_ylim(ends[1][0] - margins[1], ends[1][1] + margins[1])
    ax.xaxis.set_major_locator(few_ticks())
    ax.yaxis.set_major_locator(few_ticks())
    ax.set_xlabel(f"error (%), {names[0]}")
    ax.set_ylabel(f"error (%), {names[1]}")
    taus, rhos = found.kendall_interval, found.spearman_interval
    head = f"{title}, n = {found.n}" if title else f"n = {found.n}"
    ax.set_title(
        f"{head}; top {100 * found.top:.0f}% recalled {100 * found.recall:.0f}%\n"
        f"Kendall's $\\tau$ {found.kendall:.3f} ({taus[0]:.3f} to {taus[1]:.3f})\n"
        f"Spearman's $\\rho$ {found.spearman:.3f} ({rhos[0]:.3f} to {rhos[1]:.3f})",
        loc="left",
        pad=3,
    )
    legend_below(ax, ax.get_legend_handles_labels()[0])


Panel = tuple[npt.ArrayLike, npt.ArrayLike, Agreement, tuple[str, str], str]
"""Cheap and long errors, their agreement, what both trainings are called, and a title."""


def save_agreements(panels: Sequence[Panel], path: str | os.PathLike[str], title: str = "") -> Path:
    """One panel a pair of trainings (`draw_agreement`) into a file; as `save_ranges`."""

    def draw(axes: Sequence[Axes]) -> None:
        for (cheap, long, found, names, name), ax in zip(panels, axes, strict=True):
            draw_agreement(cheap, long, found, ax, names, name)

    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    size = (NARROW if columns == 1 else PAGE, 0.1 + 3.1 * rows)
    return save_panels(draw, (rows, columns), size, path, panels=len(panels), title=title)


def draw_trend(
    found: Trends, name: str, values: npt.ArrayLike, flops: npt.ArrayLike, ax: Axes
) -> None:
    """The best range of a parameter by regime of flops, the good networks as dots, and the law."""
    x, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    good = np.concatenate([regime.good for regime in found.regimes])
    ax.set_xscale("log")
    distinct = np.unique(y[good])
    if not _logarithmic(distinct):
        ax.yaxis.set_major_locator(few_ticks())
    elif distinct[-1] >= 1e4:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        ax.set_yscale("log", base=2)
    ax.plot(x[good], y[good], "o", color=_DOTS, alpha=0.4, markersize=2, markeredgewidth=0)
    for regime in found.regimes:
        best, middle = regime.ranges[name], regime.flops[1]
        ax.plot([middle, middle], [best.low, best.high], "-", color=_BEST, linewidth=2, alpha=0.5)
        ax.plot(middle, best.median, "o", color=_BEST, markersize=4, markeredgewidth=0)
    cost, law = found.costs.get(name), found.laws.get(name)
    along = np.geomspace(x[good].min(), x[good].max(), 50)
    if law is not None:
        ax.plot(along, (cost or law)(along), "-", color="black", linewidth=0.9)
        low, high = law.interval
        power = f"flops$^{{{law.exponent:.2f}}}$"
        ax.set_title(f"{power} ({low:.2f} to {high:.2f})", loc="left", pad=2.5)
    ax.set_ylabel(label(name).replace(", ", "\n"), labelpad=1.5)
    log_ticks(ax.xaxis, *ax.get_xlim(), short, most=3)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def save_trends(
    found: Trends,
    parameters: Mapping[str, npt.ArrayLike],
    flops: npt.ArrayLike,
    path: str | os.PathLike[str],
    title: str = "",
) -> Path:
    """One panel a parameter (as DNDS, figure 12) into a file; as `save_ranges`."""
    names = list(found.regimes[0].ranges)

    def draw(axes: Sequence[Axes]) -> None:
        for name, ax in zip(names, axes, strict=True):
            draw_trend(found, name, parameters[name], flops, ax)

    return _save_panels(draw, len(names), path, title, "", "flops (multiply-adds)")


def _save_panels(
    draw: Callable[[Sequence[Axes]], None],
    panels: int,
    path: str | os.PathLike[str],
    title: str,
    ylabel: str,
    xlabel: str = "",
) -> Path:
    """Panels in two columns a column's width, or in four a page's where there are many."""
    columns = min(panels, 2 if panels <= _NARROW else 4)
    rows = -(-panels // columns)
    width = NARROW if columns <= 2 else PAGE
    return save_panels(
        draw,
        (rows, columns),
        (width, 0.35 + 1.3 * rows),
        path,
        panels=panels,
        title=title,
        ylabel=ylabel,
        xlabel=xlabel,
    )
