"""Draws results on given Axes; computes nothing and never shows a window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.edf import EDF
from anynet.errors import InputError

FORMATS = (".png", ".svg", ".pdf")

# Okabe and Ito's colors, which the color-blind tell apart, dark ones first; line styles differ
# too, for print in gray, and make 28 pairs before one comes again.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_PAIRS = [(_COLORS[i % 7], _LINES[i % 4]) for i in range(28)]
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


def draw_edfs(edfs: Sequence[EDF], ax: Axes) -> None:
    """Draw EDFs as steps; the legend gives n, least and mean error (as the papers' figures do).

    The axis of errors ends where the last population reaches 98%, or at its largest error where
    that is near, so that a few networks that learned nothing do not squeeze the rest; what lies
    beyond is said in the legend.
    """
    end = _right_end(edfs)
    start = min(edf.minimum for edf in edfs)
    margin = 0.04 * (end - start) or 1.0
    left = max(start - margin, 0.0)
    for edf in edfs:
        x = [left, *edf.errors, max(end + margin, edf.errors[-1])]
        y = [0.0, *((i + 1) / len(edf) for i in range(len(edf))), 1.0]
        label = f"{edf.name}  n={len(edf)}, min {edf.minimum:.2f}, mean {edf.mean:.2f}"
        beyond = int((edf.errors > end + margin).sum())
        if beyond:
            label += f", {beyond} beyond"
        if edf.failed:
            label += f", {edf.failed} failed left out"
        ax.step(x, y, where="post", label=label, linewidth=1.6)
    ax.set_xlim(left, end + margin)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("validation error (%)")
    ax.set_ylabel("share of networks with at most that error")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), borderaxespad=0)


def _right_end(edfs: Sequence[EDF]) -> float:
    last = max(edf.errors[-1] for edf in edfs)
    high = max(edf.errors[min(len(edf) - 1, int(0.98 * len(edf)))] for edf in edfs)
    start = min(edf.minimum for edf in edfs)
    return float(last if last - start <= 1.5 * (high - start) else high)


def save_edfs(edfs: Sequence[EDF], path: str | os.PathLike[str], title: str = "") -> Path:
    """Draw EDFs into a PNG, SVG or PDF file. Raises InputError for another ending."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--out: {path}: must end in one of {', '.join(FORMATS)}")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.6 + 0.2 * len(edfs)), layout="constrained")
        ax = figure.subplots()
        draw_edfs(edfs, ax)
        if title:
            ax.set_title(title)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            raise InputError(f"--out: {path}: cannot be written: {error.strerror}") from None
    return path
