"""The style of all figures and how they are written; the figure of EDFs.

Draws on given Axes, one function a figure; computes nothing and never shows a window:

    with with_style():
        figure, ax = new_figure(height=3.6)
        draw_edfs(edfs, ax)
        save(figure, path)
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from analysis.bands import Band
from analysis.edf import EDF, Floats
from anynet.errors import InputError

FORMATS = (".png", ".svg", ".pdf")
COLUMN = 4.8
"""Width of a figure in inches: that of a column, at which labels of 9 points are read."""
NARROW, PAGE = 3.4, 7.0
"""Widths in inches of the small style: one column of a two-column paper, and both."""

# Okabe and Ito's colors, which the color-blind tell apart, dark ones first; line styles differ
# too, for print in gray, and make 28 pairs before one comes again.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_PAIRS = [(COLORS[i % 7], _LINES[i % 4]) for i in range(28)]
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "axes.prop_cycle": cycler(
        color=[color for color, _ in _PAIRS], linestyle=[line for _, line in _PAIRS]
    ),
}
_SMALL = _STYLE | {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "savefig.dpi": 300,
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One a population, beside its color."""
GRAY = "#666666"
_SMALL_LABEL = 52
"""Characters that a line of a legend has room for in a narrow figure."""


def with_style(*, small: bool = False) -> AbstractContextManager[None]:
    """The style of all figures, while they are drawn and saved; `small` for those of a paper."""
    return mpl.rc_context(_SMALL if small else _STYLE)


def new_figure(height: float, width: float = COLUMN) -> tuple[Figure, Axes]:
    """A figure with one Axes; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def require_format(path: str | os.PathLike[str], option: str = "--out") -> Path:
    """The path of a figure to write. Raises InputError for an ending that is not one of FORMATS,
    naming the `option` that gave it."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{option}: {path}: must end in one of {', '.join(FORMATS)}")
    return path


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, SVG or PDF. Raises InputError where that cannot be."""
    path = require_format(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"--out: {path}: cannot be written: {error.strerror}") from None
    return path


def save_panels(
    draw: Callable[[Sequence[Axes]], None],
    grid: tuple[int, int],
    size: tuple[float, float],
    path: str | os.PathLike[str],
    *,
    panels: int | None = None,
    title: str = "",
    ylabel: str = "",
    xlabel: str = "",
) -> Path:
    """Write a figure of rows and columns of `panels` Axes (as many as the `grid` has) in the small
    style; `size` in inches, width first. Raises InputError where that cannot be.
    """
    path = require_format(path)
    with with_style(small=True):
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(*grid, squeeze=False).ravel())
        for ax in axes[panels:] if panels is not None else []:
            ax.remove()
        draw(axes[:panels])
        if title:
            figure.suptitle(title, fontsize=8)
        if ylabel:
            figure.supylabel(ylabel, fontsize=7)
        if xlabel:
            figure.supxlabel(xlabel, fontsize=7)
        return save(figure, path)


def legend_below(ax: Axes, handles: Sequence[Any]) -> None:
    """A legend under the label of the x axis, where it covers no data."""
    for handle in handles:
        handle.set_label(fill(handle.get_label(), _SMALL_LABEL, subsequent_indent="  "))
    below = ScaledTranslation(0, -28 / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes + below,
        borderaxespad=0,
        handletextpad=0.5,
        labelspacing=0.3,
    )


def few_ticks() -> MaxNLocator:
    """Ticks for a small panel."""
    return MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])


def top_error(errors: Floats) -> float:
    """Where an axis of errors ends: at the largest, or at the 98th percentile where that is far
    below it, so that a few networks that learned nothing do not squeeze the rest.
    """
    low, last = errors.min(), errors.max()
    high = np.percentile(errors, 98, method="lower")  # one of few networks may be far off
    return float(last if last - low <= 1.5 * (high - low) else high)


def log_ticks(
    axis: Axis, low: float, high: float, text: Callable[[float], str], most: int = 5
) -> None:
    """Few ticks on a logarithmic axis from `low` to `high`, each with its `text`; at `most` so
    many where it spans less than half a decade.
    """
    decades = np.log10(high / low)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.7 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def draw_edfs(
    edfs: Sequence[EDF],
    ax: Axes,
    bands: Sequence[Band] = (),
    baselines: Sequence[tuple[str, float]] = (),
) -> None:
    """Draw EDFs as steps; the legend gives n, least and mean error (as the papers' figures do).

    `bands`, one an EDF in the same order, are shaded. The axis of errors ends where the last
    population reaches 95%, or at its largest error where that is near, so that a few networks
    that learned nothing do not squeeze the rest; what lies beyond is said in the legend. A
    weighted EDF gives beside n the number of equal networks that vary as much. `baselines`, by
    name and error, are lines with a letter that the legend explains.
    """
    end = _right_end(edfs)
    start = min(edf.minimum for edf in edfs)
    margin = 0.04 * (end - start) or 1.0
    left = max(start - margin, 0.0)
    shade = 0.16 if len(edfs) <= 3 else 0.1
    for i, edf in enumerate(edfs):
        right = max(end + margin, float(edf.errors[-1]))
        label = f"{edf.name}  n={len(edf)}"
        if edf.weights is not None:
            label += f" (as {edf.effective_size:.0f})"
        label += f", min {edf.minimum:.2f}, mean {edf.mean:.2f}"
        beyond = int((edf.errors > end + margin).sum())
        if beyond:
            label += f", {beyond} beyond"
        if edf.failed:
            label += f", {edf.failed} failed left out"
        x = np.concatenate([[left], edf.errors, [right]])
        y = np.concatenate([[0.0], edf(edf.errors), [1.0]])
        label = fill(label, _LABEL, subsequent_indent="  ")
        (line,) = ax.step(x, y, where="post", label=label, linewidth=1.6, zorder=3)
        if bands:
            band = bands[i]
            x = np.concatenate([[left], band.errors[1:], [right]])
            low, high = band(x)
            color = line.get_color()
            ax.fill_between(x, low, high, step="post", color=color, alpha=shade, linewidth=0)
            for edge in (low, high):
                ax.step(
                    x, edge, where="post", color=color, linestyle="-", alpha=0.35, linewidth=0.5
                )
    span = end - start + margin
    near = [error for _, error in baselines if start - 2 * span <= error <= end + 4 * margin]
    left, end = min([left, *(max(e - margin, 0.0) for e in near)]), max([end, *near])
    for letter, (name, error) in zip(string.ascii_lowercase, baselines, strict=False):
        far = not left <= error <= end + margin
        text = f"{letter}  {name} {error:.2f}" + (", off the axis" if far else "")
        ax.plot([], [], " ", label=fill(text, _LABEL))
        if not far:
            ax.axvline(error, color="0.35", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=2)
            ax.annotate(
                letter,
                (error, 1.0),
                (0, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
    ax.set_xlim(left, end + margin)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("validation error (%)")
    ax.set_ylabel("share of networks with at most that error")
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(0, -0.16),
        borderaxespad=0,
        title=_band_title(bands),
        alignment="left",
        fontsize="small",
        title_fontsize="small",
    )


_LABEL = 54
"""Characters that a line of the legend has room for in a column."""
_BAND_NAMES = {"dkw": "Kolmogorov", "berk_jones": "Berk-Jones"}


def _band_title(bands: Sequence[Band]) -> str | None:
    """What a reader must know of shaded bands; None without any."""
    if not bands:
        return None
    kind, percent = bands[0].kind, f"{100 * bands[0].confidence:g}%"
    if kind == "pointwise":
        return f"shaded: {percent} intervals of each point alone"
    return f"shaded: {percent} bands of whole curves ({_BAND_NAMES.get(kind, kind)})"


def _right_end(edfs: Sequence[EDF]) -> float:
    last = max(float(edf.errors[-1]) for edf in edfs)
    high = max(edf.quantile(0.95) for edf in edfs)
    start = min(edf.minimum for edf in edfs)
    return last if last - start <= 1.5 * (high - start) else high


def save_edfs(
    edfs: Sequence[EDF],
    path: str | os.PathLike[str],
    title: str = "",
    bands: Sequence[Band] = (),
    baselines: Sequence[tuple[str, float]] = (),
) -> Path:
    """Draw EDFs into a PNG, SVG or PDF file. Raises InputError for another ending."""
    path = require_format(path)
    with with_style():
        figure, ax = new_figure(height=3.6)
        draw_edfs(edfs, ax, bands, baselines)
        labels = [str(line) for line in ax.get_legend_handles_labels()[1]]
        lines = sum(label.count("\n") + 1 for label in labels) + bool(bands)
        figure.set_figheight(3.6 + 0.19 * lines)
        if title:
            ax.set_title(title, pad=14 if baselines else None)
        return save(figure, path)
