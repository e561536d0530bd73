"""The quantized line backwards: from the stages of any network to the nearest (w0, wa, wm).

DNDS, section 3.3: "we set d to the network depth and perform a grid search over w0, wa and wm to
minimize the mean log-ratio (denoted by e_fit) of predicted to observed per-block widths".

The grid is w0 in multiples of 8, wm in multiples of 0.001 from 1.5 to 3 (the paper's range) and
any wa of 0 or more: with w0 and wm given, wa only decides which block passes to which level, so
its best value is found exactly. Pairs (w0, wm) are ranked on a coarse grid that all networks
share, and the best of them refined.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anynet.network import MOST
from anynet.regnet import QUANTUM, Floats, Ints

WM_RANGE = (1.5, 3.0)
"""wm of a RegNet (DNDS, section 3.3)."""
WM_STEP = 0.001
DEEPEST = 1000
"""Blocks of the deepest network that a line is fitted to."""

_BATCH = 8192
"""Networks at once: bounds the memory."""
_WM_COARSE = 18
_WA_COARSE = 28
_W0_RATIO = 1.1
_STARTS = 8
"""Pairs of the coarse grid, a network, that are refined."""

Singles = npt.NDArray[np.float32]


class LineFit(NamedTuple):
    """The lines nearest to n networks: arrays of shape (n,)."""

    w0: Ints
    wa: Floats
    wm: Floats
    e_fit: Floats
    """mean_j |ln(w_j / v_j)|; see `line_errors`."""


def line_errors(depths: Ints, widths: Ints, w0: Floats, wa: Floats, wm: Floats) -> Floats:
    """How far lines are from networks: mean over blocks j of |ln(w_j / v_j)|; shape (n,).

    v_j is the width of block j of the network, given as `depths` and `widths`, (n, stages), and
    w_j that of the quantized line (w0, wa, wm), each (n,), at the network's depth (DNDS, section
    3.3 and equations 2 to 4, rounded to multiples of 8). The logarithm is natural, so 0.1 is a
    ratio of about 1.1. Before the group fix.
    """
    blocks = np.arange(int(depths.sum(axis=1).max(initial=1)))
    w0, wm = w0[:, None].astype(np.float64), wm[:, None]
    levels = np.rint(np.log((w0 + wa[:, None] * blocks) / w0) / np.log(wm))
    line = np.maximum(np.rint(w0 * np.power(wm, levels) / QUANTUM) * QUANTUM, QUANTUM)
    ends = depths.cumsum(axis=1)
    stage = (blocks[None, :, None] >= ends[:, None, :]).sum(axis=2)
    inside = stage < depths.shape[1]
    network = np.take_along_axis(widths, np.minimum(stage, depths.shape[1] - 1), axis=1)
    gaps = np.abs(np.log(line / network))
    return np.asarray(np.where(inside, gaps, 0.0).sum(axis=1) / ends[:, -1])


def fit_lines(depths: npt.ArrayLike, widths: npt.ArrayLike) -> LineFit:
    """The quantized lines nearest to n networks, and how near they are (DNDS, section 3.3).

    `depths` and `widths` are whole numbers of shape (n, stages), the blocks and the output
    channels of each stage. A network that is a line of the grid (one level a stage) is found
    exactly, with e_fit 0. Raises ValueError where a depth or width is not above 0, and on
    networks of more than `DEEPEST` blocks.
    """
    depths, widths = np.asarray(depths), np.asarray(widths)
    _check(depths, widths)
    n = len(depths)
    depths, widths = _merge(depths.astype(np.int64), widths.astype(np.int64))
    fit = LineFit(np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n))
    order = np.argsort(depths.sum(axis=1), kind="stable")  # alike depths: little padding
    for start in range(0, n, _BATCH):
        rows = order[start : start + _BATCH]
        for column, values in zip(fit, _fit_batch(depths[rows], widths[rows]), strict=True):
            column[rows] = values
    return fit


def _check(depths: npt.NDArray[np.generic], widths: npt.NDArray[np.generic]) -> None:
    if depths.ndim != 2 or depths.shape != widths.shape or not depths.shape[1]:
        raise ValueError(
            f"depths, widths: shapes {depths.shape} and {widths.shape} must both be (n, stages)"
        )
    for name, values in (("depths", depths), ("widths", widths)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name}: {values.dtype} must be whole numbers")
        wrong = np.argwhere((np.asarray(values) < 1) | (np.asarray(values) > MOST))
        if len(wrong):
            i, stage = wrong[0]
            raise ValueError(
                f"{name}[{i}][{stage}]: {values[i, stage]} must be above 0, and at most {MOST:,}"
            )
    total = np.asarray(depths, dtype=np.int64).sum(axis=1)
    if total.max(initial=0) > DEEPEST:
        raise ValueError(
            f"depths[{total.argmax()}]: {total.max():,} blocks, a line is fitted to {DEEPEST:,} "
            "at most"
        )


def _merge(depths: Ints, widths: Ints) -> tuple[Ints, Ints]:
    """Equal neighbours as one stage; what is left over at the end has depth 0."""
    new = np.ones(widths.shape, dtype=bool)
    new[:, 1:] = np.diff(widths, axis=1) != 0
    place = new.cumsum(axis=1) - 1
    merged = np.zeros_like(depths)
    rows = np.arange(len(depths))
    for stage in range(depths.shape[1]):
        merged[rows, place[:, stage]] += depths[:, stage]
    kept = np.repeat(widths[:, -1:], widths.shape[1], axis=1)
    for stage in range(depths.shape[1]):
        kept[rows, place[:, stage]] = widths[:, stage]
    return merged, kept


def _fit_batch(depths: Ints, widths: Ints) -> LineFit:
    search = _Search(depths, widths)
    w0, wm = _coarse_pairs(depths, widths)
    search.visit(w0, wm)
    for _ in range(2):
        search.visit(*search.through_widths(3))
    for _ in range(2):
        search.visit(*search.nearby())
    search.visit_exact_lines()
    return search.result()


def _quantize(widths: Floats) -> Floats:
    """The nearest multiple of 8, at least 8."""
    return np.maximum(np.rint(widths / QUANTUM), 1.0) * QUANTUM


def _on_grid(wm: Floats) -> Floats:
    low, high = WM_RANGE
    return np.round(np.clip(np.rint(wm / WM_STEP) * WM_STEP, low, high), 3)


def _coarse_pairs(depths: Ints, widths: Ints) -> tuple[Floats, Floats]:
    """The `_STARTS` best pairs (w0, wm) of each network on a coarse grid; (n, starts) each.

    All networks share the lines of the grid. So, for a line and a width v, the sums over the
    blocks before e of |ln(w_j / v)| are tabulated once; a network's distance is then the sum of
    two entries a stage.
    """
    n, stages = depths.shape
    widest = int(widths.max())
    ends = np.concatenate([np.zeros((n, 1), np.int64), depths.cumsum(axis=1)], axis=1)
    known_ends, end_index = np.unique(ends, return_inverse=True)
    known_widths, width_index = np.unique(widths, return_inverse=True)
    end_index, width_index = end_index.reshape(ends.shape), width_index.reshape(widths.shape)
    upper = width_index * len(known_ends) + end_index[:, 1:]
    lower = width_index * len(known_ends) + end_index[:, :-1]
    log_widths = np.log(known_widths).astype(np.float32)[:, None]

    steps = int(np.ceil(np.log(max(widest, 2 * QUANTUM) / QUANTUM) / np.log(_W0_RATIO))) + 1
    w0s = np.unique(_quantize(QUANTUM * _W0_RATIO ** np.arange(steps)))
    wms = np.round(np.geomspace(*WM_RANGE, _WM_COARSE), 3)
    deepest = int(known_ends[-1])
    best = np.empty((n, len(w0s), len(wms)), dtype=np.float32)
    for i, w0 in enumerate(w0s):
        lines = _coarse_lines(w0, wms, deepest, max(widest, 2 * w0))
        table = _sums_before(lines, log_widths, known_ends)
        for start in range(0, n, 256):
            rows = slice(start, start + 256)
            total = table[upper[rows, 0]]
            for stage in range(1, stages):
                total += table[upper[rows, stage]]
                total -= table[lower[rows, stage]]
            best[rows, i] = total.reshape(-1, len(wms), _WA_COARSE).min(axis=2)
    flat = best.reshape(n, -1)
    starts = np.argpartition(flat, min(_STARTS, flat.shape[1] - 1), axis=1)[:, :_STARTS]
    return w0s[starts // len(wms)], wms[starts % len(wms)]


def _coarse_lines(w0: float, wms: Floats, deepest: int, widest: float) -> Singles:
    """ln of the block widths of the coarse lines with this w0; (deepest, wms · `_WA_COARSE`)."""
    first = w0 * (np.sqrt(wms) - 1) / deepest  # below it, the last block stays at level 0
    steps = np.linspace(0, 1, _WA_COARSE)
    wa = first[:, None] * (widest / first[:, None]) ** steps
    blocks = np.arange(deepest)[:, None, None]
    levels = np.rint(np.log1p(blocks * (wa / w0)) / np.log(wms)[:, None])
    logs = np.log(_quantize(w0 * np.power(wms[:, None], levels)))
    return np.asarray(logs, dtype=np.float32).reshape(deepest, -1)


def _sums_before(lines: Singles, log_widths: Singles, ends: Ints) -> Singles:
    """Sums over the blocks before each end of |ln(w_j / v)|; (widths · ends, lines)."""
    table = np.zeros((len(log_widths), len(ends), lines.shape[1]), dtype=np.float32)
    total = np.zeros((len(log_widths), lines.shape[1]), dtype=np.float32)
    gaps = np.empty_like(total)
    for i in range(1, len(ends)):
        for j in range(int(ends[i - 1]), int(ends[i])):
            np.subtract(lines[j], log_widths, out=gaps)
            np.abs(gaps, out=gaps)
            total += gaps
        table[:, i] = total
    return table.reshape(-1, lines.shape[1])


class _Search:
    """The best lines so far of each network, in order: columns of `_STARTS` pairs, (n, starts)."""

    def __init__(self, depths: Ints, widths: Ints) -> None:
        self.depths, self.widths = depths, widths
        self.total = depths.sum(axis=1)
        n = len(depths)
        self.w0: Floats = np.zeros((n, 0))
        self.wm: Floats = np.zeros((n, 0))
        self.wa: Floats = np.zeros((n, 0))
        self.cost: Floats = np.zeros((n, 0))
        stage = np.arange(int(self.total.max()))[None, :, None] >= depths.cumsum(axis=1)[:, None]
        stage_of_block = np.minimum(stage.sum(axis=2), depths.shape[1] - 1)
        self.blocks = np.log(np.take_along_axis(widths, stage_of_block, axis=1))

    def visit(self, w0: Floats, wm: Floats) -> None:
        """Try pairs (w0, wm), (n, pairs) each, with the best wa of each."""
        cost, wa = np.empty_like(wm), np.empty_like(wm)
        size = max(1, 400_000 // max(1, int(self.total.max()) * 8 * w0.shape[1]))
        for start in range(0, len(w0), size):
            rows = slice(start, start + size)
            cost[rows], wa[rows] = self._best_wa(rows, w0[rows], wm[rows])
        self._keep(w0, wa, wm, cost)

    def _keep(self, w0: Floats, wa: Floats, wm: Floats, cost: Floats) -> None:
        w0, wa, wm, cost = (
            np.concatenate(pair, axis=1)
            for pair in ((self.w0, w0), (self.wa, wa), (self.wm, wm), (self.cost, cost))
        )
        # A pair that stands twice counts once.
        by_pair = np.lexsort((cost, wm, w0), axis=1)
        w0, wa, wm, cost = (np.take_along_axis(a, by_pair, axis=1) for a in (w0, wa, wm, cost))
        again = (np.diff(w0, axis=1) == 0) & (np.diff(wm, axis=1) == 0)
        cost[:, 1:][again] = np.inf
        first = np.argsort(cost, axis=1, kind="stable")[:, :_STARTS]
        self.w0, self.wa, self.wm, self.cost = (
            np.take_along_axis(a, first, axis=1) for a in (w0, wa, wm, cost)
        )

    def _best_wa(self, rows: slice, w0: Floats, wm: Floats) -> tuple[Floats, Floats]:
        """The least cost over all wa, and a wa that has it, for pairs (m, pairs).

        Block j passes from level k - 1 to k at wa = w0 (wm^(k - 1/2) - 1) / j. Between these
        values nothing changes, so they are sorted and the changes of the cost summed up.
        """
        m, pairs = w0.shape
        total = self.total[rows]
        deepest = int(total.max())
        target = self.blocks[rows, :deepest]
        widest = self.widths[rows].max(axis=1)[:, None]
        # The levels up to the widest stage, and two above it: further ones only cost.
        count = int(np.ceil(np.log(np.maximum(widest / w0, 1)) / np.log(wm)).max()) + 3
        exponents = np.arange(count)
        levels = np.log(_quantize(w0[..., None] * np.power(wm[..., None], exponents)))
        thresholds = w0[..., None] * (np.power(wm[..., None], exponents[1:] - 0.5) - 1)
        inside = np.arange(deepest) < total[:, None]
        gaps = np.abs(levels[..., None] - target[:, None, None, :])
        gaps *= inside[:, None, None, :]
        base = gaps[:, :, 0].sum(axis=2)
        if deepest == 1:
            return base / total[:, None], np.zeros((m, pairs))
        changes = np.diff(gaps[..., 1:], axis=2).reshape(m, pairs, -1)
        at = thresholds[..., None] / np.arange(1, deepest)
        at = np.where(inside[:, None, None, 1:], at, np.inf).reshape(m, pairs, -1)
        order = np.argsort(at, axis=2)
        at = np.take_along_axis(at, order, axis=2)
        costs = np.cumsum(np.take_along_axis(changes, order, axis=2), axis=2)
        # Two that pass at the same wa cannot be told apart.
        costs[..., :-1][at[..., 1:] <= at[..., :-1] * (1 + 1e-9)] = np.inf
        costs[~np.isfinite(at)] = np.inf
        index = costs.argmin(axis=2)[..., None]
        least = np.take_along_axis(costs, index, axis=2)[..., 0]
        low = np.take_along_axis(at, index, axis=2)[..., 0]
        following = np.minimum(index + 1, at.shape[2] - 1)
        high = np.take_along_axis(at, following, axis=2)[..., 0]
        high = np.where((index[..., 0] < at.shape[2] - 1) & np.isfinite(high), high, 2 * low)
        wa = np.where(least < 0, _plain_between(low, high), 0.0)
        return (base + np.minimum(least, 0)) / total[:, None], wa

    def through_widths(self, count: int) -> tuple[Floats, Floats]:
        """Pairs near the best `count` whose line meets a stage's width exactly.

        The least sum of absolute gaps is found where some gaps are zero.
        """
        w0, wm = self.w0[:, :count, None], self.wm[:, :count, None]
        widths = self.widths[:, None, :].astype(np.float64)
        level = np.maximum(np.rint(np.log(widths / w0) / np.log(wm)), 0)
        shifted = _quantize(widths / np.power(wm, level))
        bent = _on_grid(np.power(np.maximum(widths / w0, 1e-9), 1 / np.maximum(level, 1)))
        same = np.ones(widths.shape)
        new_w0 = np.concatenate([shifted, w0 * same], axis=2)
        new_wm = np.concatenate([wm * same, bent], axis=2)
        return new_w0.reshape(len(w0), -1), new_wm.reshape(len(w0), -1)

    def nearby(self) -> tuple[Floats, Floats]:
        """Pairs a step away from the best."""
        w0, wm = self.w0[:, :1], self.wm[:, :1]
        steps = np.array([-0.03, -0.01, -0.003, 0.003, 0.01, 0.03])
        near_w0 = np.concatenate([np.repeat(w0, 6, axis=1), w0 - QUANTUM, w0 + QUANTUM], axis=1)
        near_wm = np.concatenate([wm * (1 + steps), wm, wm], axis=1)
        return np.maximum(near_w0, QUANTUM), _on_grid(near_wm)

    def visit_exact_lines(self) -> None:
        """Try, for networks that could be lines with one level a stage, every wm of the grid."""
        depths, widths = self.depths, self.widths.astype(np.float64)
        real = depths > 0
        w0 = widths[:, 0]
        level = np.arange(widths.shape[1])
        with np.errstate(divide="ignore"):
            power = np.where(level > 0, 1 / level, 0.0)
        half = QUANTUM / 2
        least = np.power((widths - half).clip(1e-9) / w0[:, None], power)
        most = np.power((widths + half) / w0[:, None], power)
        least = np.where(real & (level > 0), least, WM_RANGE[0]).max(axis=1)
        most = np.where(real & (level > 0), most, WM_RANGE[1]).min(axis=1)
        could = (widths % QUANTUM == 0).all(axis=1) & (least <= most + WM_STEP)
        rows = np.flatnonzero(could)
        wms = np.round(np.arange(WM_RANGE[0], WM_RANGE[1] + WM_STEP / 2, WM_STEP), 3)
        extra = self._none()
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            low, high = self._wa_of_lines(part, wms)
            span = np.where(high > low * (1 + 1e-9), high - low, -1.0)
            index = span.argmax(axis=1)
            picked = np.arange(len(part))
            found = span[picked, index] > 0
            part, picked, index = part[found], picked[found], index[found]
            extra[0][part, 0] = w0[part]
            extra[1][part, 0] = _plain_between(low[picked, index], high[picked, index])
            extra[2][part, 0] = wms[index]
            extra[3][part, 0] = 0.0
        self._keep(*extra)

    def _none(self) -> tuple[Floats, Floats, Floats, Floats]:
        """w0, wa, wm and cost of a line that is never chosen."""
        n = len(self.depths)
        return np.full((n, 1), 8.0), np.zeros((n, 1)), np.zeros((n, 1)), np.full((n, 1), np.inf)

    def _wa_of_lines(self, rows: Ints, wms: Floats) -> tuple[Floats, Floats]:
        """Between which wa the line of each wm has the network's stages; (rows, wms) each."""
        widths, depths = self.widths[rows], self.depths[rows]
        w0 = widths[:, :1].astype(np.float64)
        low, high = np.zeros((len(rows), len(wms))), np.full((len(rows), len(wms)), np.inf)
        begin = depths[:, 0].copy()
        for level in range(1, widths.shape[1] + 1):
            threshold = w0 * (np.power(wms, level - 0.5) - 1)
            real = (
                depths[:, level] > 0 if level < widths.shape[1] else np.zeros(len(rows), dtype=bool)
            )
            # The first block at this level, or one after the last of the network.
            here = begin[:, None].astype(np.float64)
            low = np.where(real[:, None], np.maximum(low, threshold / here), low)
            with np.errstate(divide="ignore"):
                high = np.minimum(high, threshold / (here - 1))
            if level < widths.shape[1]:
                off = _quantize(w0 * np.power(wms, level)) != widths[:, level : level + 1]
                high = np.where(real[:, None] & off, -1.0, high)
                begin = begin + depths[:, level]
        # One block at the last level: nothing ends it.
        return low, np.where(np.isinf(high), 2 * low + 1, high)

    def result(self) -> LineFit:
        """The best line of each network, judged as `line_errors` does."""
        finalists = [
            line_errors(self.depths, self.widths, self.w0[:, i], self.wa[:, i], self.wm[:, i])
            for i in range(2)
        ]
        best = np.argmin(np.where(np.isfinite(finalists), finalists, np.inf), axis=0)
        rows = np.arange(len(best))
        return LineFit(
            self.w0[rows, best].astype(np.int64),
            self.wa[rows, best],
            self.wm[rows, best],
            np.asarray(finalists)[best, rows],
        )


def _plain_between(low: Floats, high: Floats) -> Floats:
    """A number between low and high of few decimals."""
    middle = (low + high) / 2
    plain = middle
    for decimals in range(5, -1, -1):
        rounded = np.round(middle, decimals)
        margin = (high - low) * 0.05
        plain = np.where((rounded > low + margin) & (rounded < high - margin), rounded, plain)
    return plain
