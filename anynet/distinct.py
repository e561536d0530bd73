"""How many different networks a space can build: exactly where that can be counted.

Two drawn settings may be resolved to one network. In a space without a line the group fix does
that, so the sequences of resolved stages are words, and the drawn settings an automaton that
reads them: made deterministic, it is counted. In a space with a line many lines pass through the
same stages; there the stages are counted that some line has. Where a block refuses some settings
and nothing is fixed, the sequences of stages that it takes are counted. What is left, as a block of
one's own may leave it, is enumerated where it is small.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anynet.blocks import BLOCKS
from anynet.regnet import QUANTUM, fix_columns
from anynet.sampling import CHUNK, resolve, unseen
from anynet.sequences import Floats, Indices, Sequences
from anynet.space import DesignSpace

WORK = 30_000_000
"""Steps of the automaton beyond which only bounds are given; half a minute."""
ENUMERATED = 1_000_000
"""Drawn settings up to which a space that nothing else counts is enumerated; some seconds."""
CELLS = 5_000_000
"""Settings of a stage, all parameters together, beyond which a block's rule is not tabulated."""
LINES = 200_000_000
"""Lines (w0, wa, wm) beyond which only bounds are given; a minute or two."""


class Networks(NamedTuple):
    """How many different networks a space has: `least` to `most`, the same where it is exact."""

    least: int
    most: int
    reason: str
    """Why it is not exact; else empty."""


def count_networks(space: DesignSpace) -> Networks:
    """How many different networks the space can build, without regard to limits of cost."""
    block = BLOCKS[space.block]
    refuses = block.valid is not None and space.block not in _ALWAYS_VALID
    if refuses and space.line is None and not block.grows and "group_width" not in block.defaults:
        taken = _taken(space)
        if taken is not None:
            return Networks(taken, taken, "")
    found = Networks(0, space.size, "") if refuses and block.grows else _resolved(space)
    if not refuses and not found.reason:
        return found
    if space.size <= ENUMERATED:
        counted = _enumerated(space)
        return Networks(counted, counted, "")
    if not refuses:
        return found
    reason = f"the {space.block} block refuses some of more than {ENUMERATED:,} settings"
    return Networks(0, found.most, reason)


_ALWAYS_VALID = ("dense",)
"""Blocks whose rule every network of a space obeys: it makes their widths."""


def _resolved(space: DesignSpace) -> Networks:
    """How many different ones the line and the group fix make, whatever the block refuses."""
    block = BLOCKS[space.block]
    fixed = ("width", "bottleneck_ratio", "group_width") if "group_width" in block.defaults else ()
    on_line = ("depth", "w0", "wa", "wm") if space.line is not None else ()
    kept = math.prod(s.size for name, s in space.sequences.items() if name not in fixed + on_line)
    if space.line is not None:
        if math.prod(space.sequences[name].size for name in ("w0", "wa", "wm")) > LINES:
            return Networks(0, space.size, f"more than {LINES:,} lines")
        if _deepest(space) + 1 > 2 ** (62 / len(space.strides)):
            return Networks(0, space.size, f"more than {_deepest(space) - 1:,} blocks")
        found = _of_lines(space, bool(fixed))
        return Networks(kept * found, kept * found, "")
    if not fixed:
        return Networks(space.size, space.size, "")
    words = _of_stages(space)
    if words is None:
        return Networks(kept, space.size, f"more than {WORK:,} steps to count them")
    return Networks(kept * words, kept * words, "")


def _taken(space: DesignSpace) -> int | None:
    """How many drawn settings have only stages that the block takes; None: too large a table.

    For spaces that build what is drawn. The rule is asked once, with every parameter along an
    axis of its own: an axis that its answer lacks is one that it does not look at.
    """
    names = list(space.sequences)
    if math.prod(len(space.tables[name].values) for name in names) > CELLS:
        return None
    axes = np.ix_(*(space.tables[name].values for name in names))
    given = space.constants | dict(zip(names, axes, strict=True))
    width, depth = given.pop("width"), given.pop("depth")
    valid = np.asarray(BLOCKS[space.block].valid(width, depth, **given))  # type: ignore[misc]
    valid = valid.reshape((1,) * (len(names) - valid.ndim) + valid.shape)
    seen = [k for k in range(len(names)) if valid.shape[k] > 1]
    others = math.prod(space.sequences[names[k]].size for k in range(len(names)) if k not in seen)

    ways: npt.NDArray[Any] = np.ones((1,) * len(names), dtype=object)
    for stage in range(len(space.strides)):
        mask = valid
        for k in seen:
            sequences = space.sequences[names[k]]
            if stage:
                ways = sequences.follow(ways, k)
            shape = [1] * len(names)
            shape[k] = -1
            mask = mask & sequences.allowed[stage].reshape(shape)
        ways = ways * mask
    return others * int(ways.sum())


def _enumerated(space: DesignSpace) -> int:
    """How many different networks all drawn settings resolve to, one by one."""
    every = {name: sequences.all for name, sequences in space.sequences.items()}
    lengths = [len(rows) for rows in every.values()]
    seen: set[bytes] = set()
    for start in range(0, space.size, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, space.size))
        places = np.unravel_index(numbers, lengths)
        drawn = {name: rows[i] for (name, rows), i in zip(every.items(), places, strict=True)}
        columns = resolve(space, drawn)
        unseen(columns, np.arange(len(columns["depths"])), seen)
    return len(seen)


class _Reader:
    """A parameter's sequences, read a stage at a time: which value may follow, and what is left.

    The state is all that matters of the values read so far: of an order the next value possible,
    of shared settings the value, of free ones nothing. Values are indices, in the direction of
    the order.
    """

    def __init__(self, sequences: Sequences) -> None:
        order = sequences.order
        descends = order in ("non_increasing", "decreasing")
        step = -1 if descends else 1
        self.values: list[float] = sequences.table.values[::step].tolist()
        # What occurs in no whole sequence is left out, so that every beginning has an end.
        self.rows = [np.flatnonzero(row).tolist() for row in sequences.occurring[:, ::step]]
        self.order = order
        self.start = -1 if order == "shared" else 0
        self.is_ordered = order not in ("free", "shared")
        self._next: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def next(self, stage: int, state: int) -> list[tuple[int, int]]:
        """The values that may come, each with the state after it."""
        if (stage, state) not in self._next:
            self._next[stage, state] = self._after(self.rows[stage], state)
        return self._next[stage, state]

    def _after(self, row: list[int], state: int) -> list[tuple[int, int]]:
        match self.order:
            case "free":
                return [(i, 0) for i in row]
            case "shared":
                return [(i, i) for i in row if state in (-1, i)]
            case "increasing" | "decreasing":
                return [(i, i + 1) for i in row if i >= state]
        return [(i, i) for i in row if i >= state]


def _of_stages(space: DesignSpace) -> int | None:
    """Different sequences of (ratio, width, group width) after the fix; None: too many steps.

    A state of the automaton is the ratio's, which what is built shows, and a set: the states that
    widths and group widths may be in, given what is built so far. Of states of an order one that
    is lower in both allows whatever follows the other, so the other is left out.
    """
    ratios = (
        _Reader(space.sequences["bottleneck_ratio"])
        if "bottleneck_ratio" in space.sequences
        else None
    )
    widths, groups = _Reader(space.sequences["width"]), _Reader(space.sequences["group_width"])
    built = _built(widths, groups, ratios.values if ratios else [1.0])
    begin = frozenset({(widths.start, groups.start)})
    states: Counter[tuple[int, frozenset[tuple[int, int]]]] = Counter()
    states[ratios.start if ratios else 0, begin] = 1
    work = 0
    for stage in range(len(space.strides)):
        after: Counter[tuple[int, frozenset[tuple[int, int]]]] = Counter()
        for (ratio_state, hidden), ways in states.items():
            for b, next_ratio in ratios.next(stage, ratio_state) if ratios else [(0, 0)]:
                seen: dict[int, set[tuple[int, int]]] = {}
                for width_state, group_state in hidden:
                    nexts = widths.next(stage, width_state)
                    for g, next_group in groups.next(stage, group_state):
                        of = built[b][g]
                        work += len(nexts)
                        for w, next_width in nexts:
                            seen.setdefault(of[w], set()).add((next_width, next_group))
                for reached in seen.values():
                    after[next_ratio, _lowest(reached, widths, groups)] += ways
                if work > WORK:
                    return None
        states = after
    return sum(states.values())


def _built(widths: _Reader, groups: _Reader, ratios: list[float]) -> list[list[list[int]]]:
    """What is built, as a number, of ratio b, group width g and width w: [b][g][w]."""
    grid = np.array(widths.values)
    return [
        [
            [
                int(width) << 24 | int(group)
                for width, group in zip(
                    *fix_columns(grid, ratio, np.full_like(grid, g)), strict=True
                )
            ]
            for g in groups.values
        ]
        for ratio in ratios
    ]


def _lowest(
    reached: set[tuple[int, int]], widths: _Reader, groups: _Reader
) -> frozenset[tuple[int, int]]:
    """The states without those that another one makes needless."""
    if len(reached) == 1 or not (widths.is_ordered or groups.is_ordered):
        return frozenset(reached)

    def is_needless(w: int, g: int) -> bool:
        return any(
            (v <= w if widths.is_ordered else v == w)
            and (h <= g if groups.is_ordered else h == g)
            and (v, h) != (w, g)
            for v, h in reached
        )

    return frozenset(state for state in reached if not is_needless(*state))


def _of_lines(space: DesignSpace, has_groups: bool) -> int:
    """Different (depths, widths[, ratio, group widths]) that the lines of a space resolve to.

    With w0 and wm the widths are given. With wa so are the numbers N_k of blocks below level k,
    and a depth d gives the stages N_1, N_2 - N_1, ..., d - N_{S-1} if N_{S-1} < d <= N_S: of all
    lines with the same N_1 to N_{S-1} the greatest N_S counts.
    """
    stages = len(space.strides)
    depths = _values(space, "depth").astype(np.int64)
    deepest = _deepest(space)
    up_to = np.searchsorted(depths, np.arange(deepest + 1), side="right")
    w0, wa, wm = (_values(space, name) for name in ("w0", "wa", "wm"))
    widths = np.rint(w0[:, None, None] * wm[:, None] ** np.arange(stages) / QUANTUM) * QUANTUM
    table, of_pair = np.unique(widths.reshape(-1, stages), axis=0, return_inverse=True)
    of_pair = of_pair.reshape(len(w0), len(wm))
    distinct = np.all(np.diff(table, axis=1) > 0, axis=1)

    shapes: list[Indices] = [np.zeros(0, dtype=np.int64)] * len(table)
    for i, first in enumerate(w0):
        pairs = np.flatnonzero(distinct[of_pair[i]])
        rows, owner = _shapes(first, wa, wm[pairs], stages, deepest)
        owner = of_pair[i][pairs][owner]
        order = np.argsort(owner, kind="stable")
        ids, starts = np.unique(owner[order], return_index=True)
        for name, part in zip(ids, np.split(rows[order], starts[1:]), strict=False):
            shapes[name] = _longest(part, deepest)  # each w0 has widths of its own
    if not has_groups:
        return sum(_depths(rows, deepest, up_to) for rows in shapes)
    return sum(
        _depths(
            shapes[members[0]]
            if len(members) == 1
            else _longest(np.concatenate([shapes[m] for m in members]), deepest),
            deepest,
            up_to,
        )
        for members in _classes(space, table)
    )


def _values(space: DesignSpace, name: str) -> Floats:
    """The values that a setting of a line space may have."""
    sequences = space.sequences[name]
    return sequences.table.values[sequences.occurring[0]]


def _deepest(space: DesignSpace) -> int:
    return int(_values(space, "depth").max())


def _shapes(
    w0: float, wa: Floats, wm: Floats, stages: int, deepest: int
) -> tuple[Indices, Indices]:
    """For every line of a network with all stages: its N_1 to N_S as one number; which wm."""
    wm = wm[:, None]
    base = deepest + 1
    code = np.zeros((len(wm), len(wa)), dtype=np.int64)
    before = np.zeros_like(code)
    fits = np.ones_like(code, dtype=bool)
    for level in range(1, stages + 1):
        below = _blocks_below(level, w0, wa, wm, deepest)
        fits &= (below > before) & (before < deepest)
        code = code * base + below
        before = below
    owner, _ = np.nonzero(fits)
    return code[fits], owner


def _blocks_below(level: int, w0: float, wa: Floats, wm: Floats, deepest: int) -> Indices:
    """How many of the blocks 0, 1, ... of each line lie below a level; `deepest` at most."""
    with np.errstate(divide="ignore", invalid="ignore"):
        end = w0 / wa * (wm ** (level - 0.5) - 1)  # where the line is half a level below it
    end = np.minimum(np.nan_to_num(end, nan=np.inf), deepest + 1)
    below = np.ceil(end)
    # Where a block is at the half, the arithmetic of `quantize_lines` decides.
    row, column = np.nonzero(np.abs(end - np.rint(end)) < 1e-6)
    block = np.rint(end[row, column])
    s = np.rint(np.log((w0 + wa[column] * block) / w0) / np.log(wm[row, 0]))
    below[row, column] = np.where(s < level, block + 1, block)
    return np.minimum(below, deepest).astype(np.int64)


def _longest(shapes: Indices, deepest: int) -> Indices:
    """Of the shapes that differ in N_S alone, the one with the greatest."""
    shapes = np.sort(shapes)
    beginning = shapes // (deepest + 1)
    is_last = np.ones(len(shapes), dtype=bool)
    is_last[:-1] = beginning[1:] != beginning[:-1]
    return shapes[is_last]


def _depths(shapes: Indices, deepest: int, up_to: npt.NDArray[Any]) -> int:
    """How many depths of the space the shapes have together."""
    base = deepest + 1
    last, before = shapes % base, shapes // base % base
    return int((up_to[last] - up_to[before]).sum())


def _classes(space: DesignSpace, table: Floats) -> list[list[int]]:
    """For each (ratio, widths, group widths) that is built, the rows of widths that lead to it."""
    found: list[list[int]] = []
    ratios = _values(space, "bottleneck_ratio") if "bottleneck_ratio" in space.sequences else [1.0]
    for ratio in ratios:
        members: dict[bytes, dict[int, None]] = {}
        for group in _values(space, "group_width"):
            widths, groups = fix_columns(table, ratio, np.full_like(table, group))
            for i, row in enumerate(np.concatenate([widths, groups], axis=1)):
                members.setdefault(row.tobytes(), {})[i] = None
        found += map(list, members.values())
    return found
