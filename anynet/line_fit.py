"""The quantized line backwards: from the stages of any network to the nearest (w0, wa, wm).

DNDS, section 3.3: with d the network's depth, a grid search over w0, wa and wm for the smallest
mean log-ratio, e_fit, between the line's block widths and the network's.

The grid is w0 in multiples of 8, wm in multiples of 0.001 from 1.5 to 3 (the paper's range) and
any wa of 0 or more: with w0 and wm given, wa only decides which block passes to which level, so
its best value is found exactly. Pairs (w0, wm) are ranked on a coarse grid that all networks
share; those that follow are near the best, or pass through a stage's width. So `e_fit` is the
error of a line that exists, and an upper bound of the least one. Beside an exhaustive search (every
w0, every third wm, any wa) it was the least for 91% of 120 AnyNetX_E networks, and 0.0005 above it
in the mean, at a mean of 0.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anynet.checks import MOST
from anynet.regnet import QUANTUM, Floats, Ints

WM_RANGE = (1.5, 3.0)
"""wm of a RegNet (DNDS, section 3.3)."""
WM_STEP = 0.001
DEEPEST = 1000
"""Blocks of the deepest network that a line is fitted to."""

_BATCH = 8192
"""Networks at once: bounds the memory."""
_W0_RATIO = 1.1
"""From a w0 of the coarse grid to the next, both rounded to multiples of 8."""
_WM_COARSE = 18
_WA_COARSE = 28
"""Values of wm and wa, evenly spaced in logarithm, on the coarse grid."""
_STARTS = 16
"""Pairs (w0, wm), a network, that the search remembers."""
_LEVELS = 8
"""Levels that a stage's width is tried at."""
_CELLS = 100_000
"""Numbers in an array of the search: fits the cache."""

_NEVER = 1e15
"""Above any wa at which a block passes to another level: widths are a million at most."""

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
    exactly, with e_fit 0; one of constant width is such a line, with wa 0. Raises
    ValueError where a depth or width is not above 0, and on networks of more than `DEEPEST`
    blocks.
    """
    depths, widths = np.asarray(depths), np.asarray(widths)
    _check(depths, widths)
    n = len(depths)
    depths, widths = _merge(depths.astype(np.int64), widths.astype(np.int64))
    fit = LineFit(np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n))
    # The coarse grid reaches as deep and as wide as its networks; in powers of four, so that a
    # network's fit does not depend on those that are fitted beside it.
    reach = np.stack([depths.sum(axis=1), widths.max(axis=1)], axis=1)
    reach = 4 ** np.ceil(np.log2(reach) / 2).astype(np.int64)
    for depth, width in np.unique(reach, axis=0):
        alike = np.flatnonzero((reach[:, 0] == depth) & (reach[:, 1] == width))
        for start in range(0, len(alike), _BATCH):
            rows = alike[start : start + _BATCH]
            found = _fit_batch(depths[rows], widths[rows], int(depth), int(width))
            for column, values in zip(fit, found, strict=True):
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


def _fit_batch(depths: Ints, widths: Ints, deepest: int, widest: int) -> LineFit:
    search = _Search(depths, widths)
    search.visit(*_coarse_pairs(depths, widths, deepest, widest))
    search.visit(*search.constants())
    for offset in (0, QUANTUM, -QUANTUM):
        search.visit(*search.through_widths(*search.from_first_width(offset)))
    search.visit(*search.through_widths(*search.best(6)))
    search.visit(*search.shifted(*search.best(8)))
    search.visit(*search.through_widths(*search.best(8)))
    for _ in range(2):
        search.visit(*search.nearby(*search.best(3)))
    search.visit_exact_lines()
    return search.result()


def _quantize(widths: Any) -> Floats:
    """The nearest multiple of 8, at least 8."""
    return np.asarray(np.maximum(np.rint(widths / QUANTUM), 1.0) * QUANTUM)


def _on_grid(wm: Floats) -> Floats:
    return np.asarray(np.round(np.clip(wm, *WM_RANGE), 3))


def _coarse_pairs(
    depths: Ints, widths: Ints, deepest: int, widest: int
) -> tuple[Ints, Floats, Floats]:
    """Network, w0 and wm of the `_STARTS` best pairs of each network on a coarse grid.

    All networks share the lines of the grid. So, for a line and a width v, the sums over the
    blocks before e of |ln(w_j / v)| are tabulated once; a network's distance is then the sum of
    two entries a stage.
    """
    n, stages = depths.shape
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
    best = np.empty((n, len(w0s), len(wms)), dtype=np.float32)
    for i, w0 in enumerate(w0s):
        lines = _coarse_lines(w0, wms, deepest, int(known_ends[-1]), max(widest, 2 * w0))
        table = _sums_before(lines, log_widths, known_ends)
        for start in range(0, n, 256):
            rows = slice(start, start + 256)
            total = table[upper[rows, 0]]
            for stage in range(1, stages):
                total += table[upper[rows, stage]]
                total -= table[lower[rows, stage]]
            best[rows, i] = total.reshape(-1, len(wms), _WA_COARSE).min(axis=2)
    # Valleys first: the lowest pairs of all would mostly be neighbors in one of them.
    valley = np.ones(best.shape, dtype=bool)
    for axis in (1, 2):
        rising = np.diff(best, axis=axis) > 0
        after, before = [slice(None)] * 3, [slice(None)] * 3
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        valley[tuple(after)] &= ~rising
        valley[tuple(before)] &= rising
    flat = np.where(valley, best, best + np.float32(1e3 * deepest)).reshape(n, -1)
    starts = np.argpartition(flat, min(_STARTS, flat.shape[1] - 1), axis=1)[:, :_STARTS]
    network = np.repeat(np.arange(n), starts.shape[1])
    return network, w0s[starts // len(wms)].ravel(), wms[starts % len(wms)].ravel()


def _coarse_lines(w0: float, wms: Floats, deepest: int, count: int, widest: float) -> Singles:
    """ln of the first `count` block widths of the coarse lines with this w0; (count, lines)."""
    first = w0 * (np.sqrt(wms) - 1) / deepest  # below it, the last block stays at level 0
    steps = np.linspace(0, 1, _WA_COARSE)
    wa = first[:, None] * (widest / first[:, None]) ** steps
    blocks = np.arange(count)[:, None, None]
    levels = np.rint(np.log1p(blocks * (wa / w0)) / np.log(wms)[:, None])
    logs = np.log(_quantize(w0 * np.power(wms[:, None], levels)))
    return np.asarray(logs, dtype=np.float32).reshape(count, -1)


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


class _Pool(NamedTuple):
    """Lines and their costs: arrays of one length, sorted by network, then by cost."""

    network: Ints
    w0: Floats
    wa: Floats
    wm: Floats
    cost: Floats


class _Search:
    """The best `_STARTS` pairs (w0, wm) of each network so far, each with its best wa."""

    def __init__(self, depths: Ints, widths: Ints) -> None:
        self.depths, self.widths = depths, widths
        self.total = depths.sum(axis=1)
        block = np.arange(int(self.total.max()))[None, :, None]
        stage = (block >= depths.cumsum(axis=1)[:, None]).sum(axis=2)
        stage = np.minimum(stage, depths.shape[1] - 1)
        self.blocks = np.take_along_axis(np.log(widths).astype(np.float32), stage, axis=1)
        self.tried = np.zeros(0, dtype=np.int64)
        empty = np.zeros(0)
        self.pool = _Pool(self.tried, empty, empty, empty, empty)

    def visit(self, network: Ints, w0: Floats, wm: Floats) -> None:
        """Try pairs (w0, wm), each for a network, with the best wa; arrays of one length."""
        steps = round((WM_RANGE[1] - WM_RANGE[0]) / WM_STEP) + 1
        step = np.rint((wm - WM_RANGE[0]) / WM_STEP).astype(np.int64)
        key = (network * (MOST // QUANTUM + 2) + np.rint(w0 / QUANTUM).astype(np.int64)) * steps
        key, first = np.unique(key + step, return_index=True)
        fresh = ~np.isin(key, self.tried, assume_unique=True)
        self.tried = np.concatenate([self.tried, key[fresh]])
        chosen = first[fresh]
        network, w0, wm = network[chosen], w0[chosen], wm[chosen]

        # The levels up to the widest stage, and one above it: further ones only cost.
        widest = self.widths[network].max(axis=1)
        levels = np.ceil(np.log(np.maximum(widest / w0, 1)) / np.log(wm)).astype(np.int64) + 2
        depth = self.total[network]
        # Alike sizes together: little padding.
        order = np.lexsort((depth, levels))
        cost, wa = np.empty(len(wm)), np.empty(len(wm))
        start = 0
        while start < len(order):
            size = max(1, _CELLS // int(levels[order[start]] * self.total.max()))
            some = order[start : start + size]
            cost[some], wa[some] = self._best_wa(network[some], w0[some], wm[some], levels[some])
            start += size
        # Single precision: what is equal shall be equal in any company.
        self._keep(_Pool(network, w0, wa, wm, np.round(cost, 6)))

    def _keep(self, found: _Pool) -> None:
        pool = _Pool._make(np.concatenate(pair) for pair in zip(self.pool, found, strict=True))
        order = np.lexsort((pool.cost, pool.network))
        pool = _Pool._make(column[order] for column in pool)
        self.pool = _Pool._make(column[_rank(pool.network) < _STARTS] for column in pool)

    def best(self, count: int) -> tuple[Ints, Floats, Floats]:
        """Network, w0 and wm of the best `count` pairs of each network."""
        chosen = _rank(self.pool.network) < count
        return self.pool.network[chosen], self.pool.w0[chosen], self.pool.wm[chosen]

    def _best_wa(self, network: Ints, w0: Floats, wm: Floats, count: Ints) -> tuple[Floats, Floats]:
        """The least cost over all wa, and a wa that has it, for m pairs of `count` levels each.

        Block j passes from level k - 1 to k at wa = w0 (wm^(k - 1/2) - 1) / j. Between these
        values nothing changes, so they are sorted and the changes of the cost summed up.
        """
        m = len(network)
        total = self.total[network]
        deepest = int(total.max())
        exponents = np.arange(int(count.max()))
        powers = np.power(wm[:, None], exponents)
        levels = np.log(_quantize(w0[:, None] * powers)).astype(np.float32)
        gaps = np.abs(levels[:, :, None] - self.blocks[network, None, :deepest])
        inside = np.arange(deepest) < total[:, None]
        base = np.where(inside, gaps[:, 0], 0).sum(axis=1)
        if deepest == 1:
            return base / total, np.zeros(m)
        changes = np.diff(gaps[:, :, 1:], axis=1).reshape(m, -1)
        thresholds = w0[:, None] * (powers[:, 1:] / np.sqrt(wm)[:, None] - 1)
        thresholds = np.where(exponents[1:] < count[:, None], thresholds, np.inf)
        passed = np.where(inside[:, None, 1:], np.arange(1, deepest), 1e-24)
        at = np.minimum(thresholds[:, :, None] / passed, 1e30).astype(np.float32).reshape(m, -1)
        order = np.argsort(at, axis=1)
        order += np.arange(m)[:, None] * at.shape[1]
        at = at.ravel()[order]
        costs = np.cumsum(changes.ravel()[order], axis=1)
        # Two that pass at the same wa cannot be told apart, and those after the last block do not
        # pass at all.
        costs[:, :-1][at[:, 1:] <= at[:, :-1] * np.float32(1 + 1e-6)] = np.inf
        costs[at > _NEVER] = np.inf
        index = costs.argmin(axis=1)
        rows = np.arange(m)
        least = costs[rows, index]
        low = at[rows, index].astype(np.float64)
        high = at[rows, np.minimum(index + 1, at.shape[1] - 1)].astype(np.float64)
        high = np.where((index + 1 < at.shape[1]) & (high < _NEVER), high, 2 * low)
        wa = np.where(least < 0, _plain_between(low, high), 0.0)
        return (base + np.minimum(least, 0)) / total, wa

    def constants(self) -> tuple[Ints, Floats, Floats]:
        """Each width of a network as w0: so that no fit is worse than the best constant width."""
        n, stages = self.widths.shape
        return (
            np.repeat(np.arange(n), stages),
            _quantize(self.widths.ravel()),
            np.full(n * stages, WM_RANGE[1]),
        )

    def from_first_width(self, offset: int) -> tuple[Ints, Floats, Floats]:
        """Each network with its own first width, `offset` added, as w0; wm has no meaning yet."""
        n = len(self.depths)
        w0 = _quantize(self.widths[:, 0] + float(offset))
        return np.arange(n), w0, np.full(n, WM_RANGE[0])

    def through_widths(self, network: Ints, w0: Floats, wm: Floats) -> tuple[Ints, Floats, Floats]:
        """For each w0, the wm at which some level meets, or just rounds to, a stage's width.

        The least sum of absolute gaps is found where some of the gaps are zero.
        """
        _, first = np.unique(network * (MOST + 9) + w0.astype(np.int64), return_index=True)
        network, w0 = network[first], w0[first]
        widths = self.widths[network].astype(np.float64)
        low, high = WM_RANGE
        found = []
        for level in range(1, _LEVELS + 1):
            for offset, rounding in ((0.0, np.rint), (0.5, np.floor), (-0.5, np.ceil)):
                with np.errstate(invalid="ignore"):
                    meets = ((widths + offset * QUANTUM) / w0[:, None]) ** (1 / level)
                meets = np.round(rounding(meets / WM_STEP) * WM_STEP, 3)
                row, stage = np.nonzero((meets >= low) & (meets <= high))
                found.append((network[row], w0[row], meets[row, stage]))
        return _joined(found)

    def shifted(self, network: Ints, w0: Floats, wm: Floats) -> tuple[Ints, Floats, Floats]:
        """For each wm, the w0 at which the nearest level meets a stage's width."""
        widths = self.widths[network].astype(np.float64)
        level = np.maximum(np.rint(np.log(widths / w0[:, None]) / np.log(wm)[:, None]), 0)
        moved = _quantize(widths / np.power(wm[:, None], level))
        stages = widths.shape[1]
        return np.repeat(network, stages), moved.ravel(), np.repeat(wm, stages)

    def nearby(self, network: Ints, w0: Floats, wm: Floats) -> tuple[Ints, Floats, Floats]:
        """Pairs a step away."""
        steps = np.array([0.001, 0.003, 0.006, 0.012, 0.025, 0.05])
        found = [(network, w0, _on_grid(wm * (1 + step))) for step in (*-steps, *steps)]
        for step in (-QUANTUM, QUANTUM):
            found.append((network, np.maximum(w0 + step, QUANTUM), wm))
        return _joined(found)

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
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            low, high = self._wa_of_lines(part, wms)
            span = np.where(high > low * (1 + 1e-9), high - low, -1.0)
            index = span.argmax(axis=1)
            picked = np.arange(len(part))
            found = span[picked, index] > 0
            part, picked, index = part[found], picked[found], index[found]
            low, high = low[picked, index], high[picked, index]
            wa = np.where(low > 0, _plain_between(low, high), 0.0)
            # Before all others that also cost nothing.
            self._keep(_Pool(part, w0[part], wa, wms[index], np.full(len(part), -1.0)))

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
        pool, n = self.pool, len(self.depths)
        row = pool.network
        errors = line_errors(self.depths[row], self.widths[row], pool.w0, pool.wa, pool.wm)
        order = np.lexsort((_rank(row), np.round(errors, 12), row))
        first = order[np.searchsorted(row, np.arange(n))]
        return LineFit(
            pool.w0[first].astype(np.int64), pool.wa[first], pool.wm[first], errors[first]
        )


def _rank(network: Ints) -> Ints:
    """The place of each entry among those of its network; `network` is sorted."""
    return np.arange(len(network)) - np.searchsorted(network, network)


def _joined(parts: list[tuple[Ints, Floats, Floats]]) -> tuple[Ints, Floats, Floats]:
    network, w0, wm = (np.concatenate(column) for column in zip(*parts, strict=True))
    return network, w0, wm


def _plain_between(low: Floats, high: Floats) -> Floats:
    """A number between low and high of few decimals."""
    middle = (low + high) / 2
    plain = middle
    for decimals in range(5, -1, -1):
        rounded = np.round(middle, decimals)
        margin = (high - low) * 0.05
        plain = np.where((rounded > low + margin) & (rounded < high - margin), rounded, plain)
    return plain
