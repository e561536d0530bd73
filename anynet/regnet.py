"""The quantized linear rule, from (w0, wa, wm, depth) to stages, and the group fix.

DNDS, section 3.3, equations 2 to 4, and pycls `generate_regnet` and `adjust_block_compatibility`.
All rounding is half to even, as `np.rint` does.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from anynet.checks import MOST, require_positive
from anynet.network import Head, Network, Stage, Stem

QUANTUM = 8
"""Widths of a RegNet are multiples of 8."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Line(NamedTuple):
    """The widths of the blocks of a RegNet on their way: arrays of length depth."""

    linear: Floats
    """u_j = w0 + wa·j (equation 2)."""
    levels: Ints
    """round(s_j), with u_j = w0·wm^{s_j} (equation 3)."""
    quantized: Ints
    """w0·wm^{round(s_j)} (equation 4), rounded to a multiple of 8."""


def quantize_line(depth: int, w0: float, wa: float, wm: float) -> Line:
    """Block widths of one RegNet (DNDS, equations 2 to 4)."""
    u: Floats = w0 + wa * np.arange(depth, dtype=np.float64)
    s = np.rint(np.log(u / w0) / np.log(wm))
    w = np.rint(w0 * np.power(wm, s) / QUANTUM) * QUANTUM
    return Line(u, s.astype(np.int64), w.astype(np.int64))


def quantize_lines(
    depth: Ints, w0: Floats, wa: Floats, wm: Floats, stages: int
) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
    """Stages of many RegNets at once; arrays of length n.

    Returns (kept, widths, depths): which lines have exactly `stages` stages, as many as they have
    levels (pycls `check_regnet_constraints`), and for those the widths and depths, (kept, stages).
    """
    top = np.rint(np.log((w0 + wa * (depth - 1)) / w0) / np.log(wm))
    kept = np.flatnonzero(top == stages - 1)
    depth, w0, wa, wm = depth[kept], w0[kept], wa[kept], wm[kept]

    exponents = np.arange(stages)
    widths = np.rint(w0[:, None] * np.power(wm[:, None], exponents) / QUANTUM) * QUANTUM
    blocks = np.arange(int(depth.max(initial=1)))
    levels = np.rint(
        np.log((w0[:, None] + wa[:, None] * blocks) / w0[:, None]) / np.log(wm)[:, None]
    )
    levels[blocks >= depth[:, None]] = -1
    depths = np.stack([(levels == level).sum(axis=1) for level in exponents], axis=1)

    distinct = (depths > 0).all(axis=1) & (np.diff(widths, axis=1) > 0).all(axis=1)
    mask = np.zeros(len(top), dtype=bool)
    mask[kept[distinct]] = True
    return mask, widths[distinct].astype(np.int64), depths[distinct]


def check_ratios(ratios: Floats) -> None:
    """Raise ValueError for a bottleneck ratio that the group fix has no width for.

    With 1.2, say, the inner width 4 gives the width 4, whose inner width is 3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.maximum(ratios, 1 / ratios)
        away = np.abs(whole - np.rint(whole))
    fits = (ratios > 0) & (whole <= 1000) & (away <= 1e-9 * whole)
    if not np.all(fits):
        ratio = ratios[~fits][0]
        raise ValueError(
            f"bottleneck_ratio: {ratio:g} must be a whole number, or 1 over one (up to 1000)"
        )


def fix_groups(widths: Any, bottleneck_ratios: Any, group_widths: Any) -> tuple[Ints, Ints]:
    """The nearest widths and group widths that fit each other (pycls, elementwise).

    The inner width v = max(1, ⌊w/b⌋) is rounded to a multiple of min(g, v), of its least common
    multiple with 1/b where b < 1, but at least one; w follows as v·b. Returns (widths, groups).
    Raises ValueError where neither b nor 1/b is whole.
    """
    ratios = np.asarray(bottleneck_ratios, dtype=np.float64)
    check_ratios(np.atleast_1d(ratios))
    widths, groups = fix_columns(
        np.asarray(widths, dtype=np.float64), ratios, np.asarray(group_widths, dtype=np.float64)
    )
    return widths.astype(np.int64), groups.astype(np.int64)


def fix_columns(widths: Floats, ratios: Any, groups: Floats) -> tuple[Floats, Floats]:
    """`fix_groups` of floats with ratios that are known to fit, as a space checks its own."""
    multiplier = 1.0 / ratios
    expands = multiplier > 1
    if np.any(expands):
        multiplier = np.where(expands, np.rint(multiplier), multiplier)
    inner = np.floor(np.maximum(1.0, widths * multiplier))
    groups = np.minimum(groups, inner)
    unit = groups
    if np.any(expands):
        whole = np.where(expands, multiplier, 1.0).astype(np.int64)
        unit = np.lcm(groups.astype(np.int64), whole).astype(np.float64)
    inner = np.maximum(unit, np.rint(inner / unit) * unit)
    return np.floor(inner / multiplier), groups


def fix_groups_elsewhere(
    library: Literal["timm", "torchvision"], width: int, bottleneck_ratio: float, group_width: int
) -> tuple[int, int]:
    """The width and group width of a stage as another library makes them fit.

    timm (`adjust_widths_groups_comp`) rounds the inner width half to even, as pycls does;
    torchvision (`BlockParams._adjust_widths_groups_compatibilty`, `_make_divisible`) half up, and
    up again where more than a tenth would be lost: timm's too with `group_min_ratio=0.9`. Neither
    knows pycls's least common multiple for b < 1. Raises ValueError where the inner width is 0,
    which both divide by.
    """
    multiplier = 1 / bottleneck_ratio
    inner = int(width * multiplier)
    if inner < 1:
        raise ValueError(
            f"bottleneck_ratio: {bottleneck_ratio:g} leaves an inner width of 0 of {width}, which "
            f"{library} cannot build"
        )
    group = min(group_width, inner)
    if library == "timm":
        fixed = round(inner / group) * group
    else:
        fixed = int(inner + group / 2) // group * group
        if fixed < 0.9 * inner:
            fixed += group
    return int(fixed / multiplier), group


class RegNet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A RegNet as the papers write it: the line, one bottleneck ratio, one group width.

    `depth` is the number of blocks in all. Raises ValueError on settings outside the rule
    (w0 a multiple of 8 and above 0, wa ≥ 0, wm > 1).
    """

    depth: int
    w0: int
    wa: float
    wm: float
    group_width: int = 16
    bottleneck_ratio: float = 1.0

    def __post_init__(self) -> None:
        require_positive("depth", self.depth, most=10_000)
        require_positive("group_width", self.group_width)
        if self.bottleneck_ratio <= 0:
            raise ValueError(f"bottleneck_ratio: {self.bottleneck_ratio!r} must be above 0")
        check_ratios(np.asarray([self.bottleneck_ratio], dtype=np.float64))
        if self.w0 <= 0 or self.w0 % QUANTUM:
            raise ValueError(f"w0: {self.w0!r} must be a multiple of {QUANTUM} above 0")
        require_positive("w0", self.w0)
        if not 0 <= self.wa <= MOST:
            raise ValueError(f"wa: {self.wa!r} must be 0 or more, and at most {MOST:,}")
        if not 1 < self.wm <= MOST:
            raise ValueError(f"wm: {self.wm!r} must be above 1, and at most {MOST:,}")

    @property
    def line(self) -> Line:
        """The widths of the blocks before the group fix."""
        return quantize_line(self.depth, self.w0, self.wa, self.wm)

    def stages(self) -> tuple[Ints, Ints, Ints]:
        """(depths, widths, group_widths) of the stages after the group fix."""
        widths, depths = np.unique(self.line.quantized, return_counts=True)
        ratios = np.full(len(widths), self.bottleneck_ratio)
        fixed, groups = fix_groups(widths, ratios, np.full(len(widths), self.group_width))
        return depths, fixed, groups

    def stages_elsewhere(
        self, library: Literal["timm", "torchvision"]
    ) -> tuple[list[int], list[int]]:
        """(widths, group_widths) of the stages as another library builds them.

        See `fix_groups_elsewhere`, which raises ValueError.
        """
        fixed = [
            fix_groups_elsewhere(library, int(width), self.bottleneck_ratio, self.group_width)
            for width in np.unique(self.line.quantized)
        ]
        return [width for width, _ in fixed], [group for _, group in fixed]

    def network(
        self,
        *,
        block: str = "x",
        stride: int = 2,
        se_ratio: float | None = None,
        stem: Stem | None = None,
        head: Head | None = None,
        input_channels: int = 3,
        classes: int = 1000,
    ) -> Network:
        """The network that these settings resolve to."""
        depths, widths, groups = self.stages()
        return Network(
            stem=stem or Stem(),
            stages=tuple(
                Stage(
                    depth=int(depth),
                    width=int(width),
                    stride=stride,
                    block=block,
                    bottleneck_ratio=self.bottleneck_ratio,
                    group_width=int(group),
                    se_ratio=se_ratio,
                )
                for depth, width, group in zip(depths, widths, groups, strict=True)
            ),
            head=head or Head(),
            input_channels=input_channels,
            classes=classes,
        )
