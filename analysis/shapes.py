"""Width by block of the best and the worst networks, and the quantized line nearest to each
(DNDS, section 3.3 and figure 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from anynet.line_fit import DEEPEST, fit_lines
from anynet.network import Network
from anynet.regnet import quantize_line
from search.trial import DIVERGED_ERROR

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shape:
    """One network: `widths` (blocks,) in channels, the `line`'s at the same blocks, how far they
    are apart. Both of the line are None where blocks of a stage differ in width (dense stages),
    and for networks too deep to fit one.
    """

    trial: str
    error: float
    widths: Ints
    line: Ints | None
    e_fit: float | None

    @property
    def diverged(self) -> bool:
        """Its error is 100 by definition."""
        return self.error >= DIVERGED_ERROR


def shapes(rows: pd.DataFrame, best: int, worst: int) -> tuple[list[Shape], list[Shape]]:
    """The `best` networks, best first, and the `worst`, worst first; none is both.

    `rows` has the columns trial, error and network (`selection.Selected.rows`). Networks without
    an error are left out; of equal errors the first trial comes first.
    """
    known = rows[rows["error"].notna()].sort_values(["error", "trial"], kind="stable")
    good = known.head(best)
    bad = known.iloc[max(len(known) - worst, len(good)) :]
    bad = bad.sort_values("error", ascending=False, kind="stable")
    return _shapes(good), _shapes(bad)


def block_widths(network: Network) -> Ints:
    """Output channels of each block; those of a dense stage grow."""
    blocks = []
    for stage in network.stages:
        below = np.arange(stage.depth - 1, -1, -1) * (stage.growth_rate or 0)
        blocks.append(stage.width - below)
    return np.concatenate(blocks)


def _shapes(rows: pd.DataFrame) -> list[Shape]:
    found = []
    for trial, error, network in zip(rows["trial"], rows["error"], rows["network"], strict=True):
        line = e_fit = None
        if sum(network.depths) <= DEEPEST and not any(s.growth_rate for s in network.stages):
            fit = fit_lines(np.array([network.depths]), np.array([network.widths]))
            w0, wa, wm = int(fit.w0[0]), float(fit.wa[0]), float(fit.wm[0])
            line = quantize_line(sum(network.depths), w0, wa, wm).quantized
            e_fit = float(fit.e_fit[0])
        found.append(Shape(str(trial), float(error), block_widths(network), line, e_fit))
    return found
