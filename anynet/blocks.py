"""The vocabulary: blocks, stems and heads, each described once in layers.

A description is a function of widths and settings that returns layers. It is walked to count
(`counting.py`, with numbers or arrays) and to build (`model.py`), so it must use arithmetic and
masks, never `if` on a width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anynet.checks import require_known
from anynet.layers import (
    Activation,
    AvgPool,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layers,
    Linear,
    Mask,
    MaxPool,
    Norm,
    Number,
    Residual,
    SqueezeExcite,
    When,
    rint,
)

SETTINGS = (
    "bottleneck_ratio",
    "group_width",
    "se_ratio",
    "kernel",
    "expansion",
    "growth_rate",
    "share_1x1",
    "share_3x3",
    "share_5x5",
    "reduce_3x3",
    "reduce_5x5",
)
"""The settings of a stage that a block may take beside its depth, width and stride."""
WHOLE_SETTINGS = ("group_width", "kernel", "growth_rate")


@dataclass(frozen=True)
class Block:
    """A block of the vocabulary.

    `describe(width_in, width, stride, **settings)` gives its layers; `defaults` names the
    settings that it takes, with the value of each where a stage leaves it out (None: the block
    does without it; of `group_width`: one group).

    `grows`: each block of a stage adds `growth_rate` channels, and the stage's width is what
    leaves the last of them. `valid(width, depth, **settings)` is false where the `rule` is broken.
    """

    name: str
    describe: Callable[..., Layers]
    defaults: dict[str, float | None]
    summary: str
    grows: bool = False
    valid: Callable[..., Mask] | None = None
    rule: str = ""


@dataclass(frozen=True)
class HeadKind:
    """A head: `describe(classes, **settings)` gives its layers; `defaults` as in `Block`."""

    describe: Callable[..., Layers]
    defaults: dict[str, float | None]


BLOCKS: dict[str, Block] = {}
STEMS: dict[str, Callable[[Number], Layers]] = {}
HEADS: dict[str, HeadKind] = {}


def register_block(
    name: str,
    *,
    grows: bool = False,
    valid: Callable[..., Mask] | None = None,
    rule: str = "",
    **defaults: float | None,
) -> Callable[[Callable[..., Layers]], Callable[..., Layers]]:
    """Add a block to the vocabulary under `name`; the rest as in `Block`.

    Widths must stay whole: use `inner_width` or `rint` where a description divides.
    Raises ValueError where the name is taken or a setting is not one of `SETTINGS`.
    """
    unknown = sorted(set(defaults) - set(SETTINGS))
    if unknown:
        raise ValueError(f"{unknown[0]}: not a setting of a stage (one of {', '.join(SETTINGS)})")
    if name in BLOCKS:
        raise ValueError(f"block: {name!r} is taken")

    def add(describe: Callable[..., Layers]) -> Callable[..., Layers]:
        summary = (describe.__doc__ or "").strip().splitlines()
        BLOCKS[name] = Block(
            name, describe, dict(defaults), summary[0] if summary else "", grows, valid, rule
        )
        return describe

    return add


def require_block(name: str) -> None:
    """Raise ValueError where no block has that name; says how to bring one's own."""
    try:
        require_known("block", name, BLOCKS)
    except ValueError as error:
        raise ValueError(f"{error} (a block of your own: --plugin FILE.py)") from None


def inner_width(width: Number, bottleneck_ratio: Number) -> Number:
    """Channels inside a bottleneck: width / b, halves to even, at least one (pycls)."""
    return at_least_one(rint(width / bottleneck_ratio))


def at_least_one(value: Number) -> Number:
    """The greater of 1 and the value, for numbers and for arrays alike."""
    return np.maximum(value, 1) if isinstance(value, np.ndarray) else max(value, 1)


def conv_norm_act(width: Number, kernel: int = 1, **options: Any) -> Layers:
    """Convolution, normalization, activation: the unit that every block here is made of."""
    return (Conv(width, kernel, **options), Norm(), Activation())


def projection(width_in: Number, width: Number, stride: int) -> Layers:
    """The residual shortcut: 1x1 conv and norm where width or stride changes, else identity."""
    return (When(_reshapes(width_in, width, stride), (Conv(width, stride=stride), Norm())),)


def _reshapes(width_in: Number, width: Number, stride: int) -> Mask:
    """Whether a block changes the shape of what it gets; one bool where all networks agree."""
    if stride != 1:
        return True
    return False if width_in is width else width_in != width


def _not(mask: Mask) -> Mask:
    return ~mask if isinstance(mask, np.ndarray) else not mask


def _bottleneck(
    width_in: Number,
    width: Number,
    stride: int,
    bottleneck_ratio: Number,
    group_width: Number,
    se_ratio: Number = 0,
) -> Layers:
    """1x1 to w/b, 3x3 in groups (with the stride), [SE of round(w_in · r)], 1x1 to w."""
    inner = inner_width(width, bottleneck_ratio)
    squeezed = rint(width_in * se_ratio)
    return (
        *conv_norm_act(inner),
        *conv_norm_act(inner, 3, stride=stride, group_width=group_width),
        When(squeezed > 0, (SqueezeExcite(squeezed),)),
        Conv(width),
        Norm(final=True),
    )


@register_block("x", bottleneck_ratio=1.0, group_width=None)
def _x(width_in: Number, width: Number, stride: int, **settings: Number) -> Layers:
    """Residual bottleneck with group convolution (DNDS, figure 4; pycls `res_bottleneck_block`)."""
    body = _bottleneck(width_in, width, stride, **settings)
    return (Residual(body, projection(width_in, width, stride)), Activation())


@register_block("y", bottleneck_ratio=1.0, group_width=None, se_ratio=0.25)
def _y(width_in: Number, width: Number, stride: int, **settings: Number) -> Layers:
    """The X block with squeeze-and-excitation after the 3x3 (DNDS, section 5; pycls `SE_ON`)."""
    return _x(width_in, width, stride, **settings)


@register_block("res_basic")
def _res_basic(width_in: Number, width: Number, stride: int) -> Layers:
    """Two 3x3 convolutions with a residual (pycls `res_basic_block`)."""
    body = (*conv_norm_act(width, 3, stride=stride), Conv(width, 3), Norm(final=True))
    return (Residual(body, projection(width_in, width, stride)), Activation())


@register_block("vanilla")
def _vanilla(width_in: Number, width: Number, stride: int) -> Layers:
    """Two 3x3 convolutions without a residual (pycls `vanilla_block`)."""
    return (*conv_norm_act(width, 3, stride=stride), *conv_norm_act(width, 3))


@register_block("res_bottleneck_linear", bottleneck_ratio=1.0, group_width=None)
def _linear_bottleneck(width_in: Number, width: Number, stride: int, **settings: Number) -> Layers:
    """Bottleneck without activation at its end, skipped where the shape stays (pycls)."""
    same = _not(_reshapes(width_in, width, stride))
    return (Residual(_bottleneck(width_in, width, stride, **settings), skip=same),)


@register_block("r", bottleneck_ratio=1.0)
def _r(width_in: Number, width: Number, stride: int, bottleneck_ratio: Number) -> Layers:
    """The X block without groups (DNDS, section 4)."""
    inner = inner_width(width, bottleneck_ratio)
    return _x(width_in, width, stride, bottleneck_ratio=bottleneck_ratio, group_width=inner)


@register_block("v")
def _v(width_in: Number, width: Number, stride: int) -> Layers:
    """One 3x3 convolution (DNDS, section 4)."""
    return conv_norm_act(width, 3, stride=stride)


@register_block("vr")
def _vr(width_in: Number, width: Number, stride: int) -> Layers:
    """One 3x3 convolution with a residual (DNDS, section 4)."""
    body = (Conv(width, 3, stride=stride), Norm(final=True))
    return (Residual(body, projection(width_in, width, stride)), Activation())


@register_block("preact_bottleneck", bottleneck_ratio=1.0)
def _preact_bottleneck(
    width_in: Number, width: Number, stride: int, bottleneck_ratio: Number
) -> Layers:
    """Norm and activation before each convolution (He et al. 2016b, figure 1b), as in ResNet v2.

    Nothing touches the identity. Where the shape changes, the projection shares the first norm and
    activation. The last block needs the head `norm_linear`.
    """
    inner = inner_width(width, bottleneck_ratio)
    changes = _reshapes(width_in, width, stride)
    first = (Norm(), Activation())
    body = (
        When(_not(changes), first),
        Conv(inner),
        Norm(),
        Activation(),
        Conv(inner, 3, stride=stride),
        Norm(),
        Activation(),
        Conv(width),
    )
    shortcut = (When(changes, (Conv(width, stride=stride),)),)
    return (When(changes, first), Residual(body, shortcut))


@register_block("nin", kernel=3)
def _nin(width_in: Number, width: Number, stride: int, kernel: Number) -> Layers:
    """k x k convolution and two 1x1: an mlpconv layer (Lin et al. 2013, section 3.1)."""
    return (
        *conv_norm_act(width, kernel, stride=stride),
        *conv_norm_act(width),
        *conv_norm_act(width),
    )


def _branch_widths(
    width: Number, share_1x1: Number, share_3x3: Number, share_5x5: Number
) -> tuple[Number, Number, Number, Number]:
    """Channels that leave the four branches of an inception block; they sum to `width`."""
    shares = (share_1x1, share_3x3, share_5x5)
    one, three, five = (at_least_one(rint(width * share)) for share in shares)
    return one, three, five, width - one - three - five


@register_block(
    "inception",
    valid=lambda width, depth, share_1x1, share_3x3, share_5x5, **_: (
        _branch_widths(width, share_1x1, share_3x3, share_5x5)[3] >= 1
    ),
    rule="share_1x1, share_3x3 and share_5x5 must leave the pooling branch a channel",
    share_1x1=0.25,
    share_3x3=0.5,
    share_5x5=0.125,
    reduce_3x3=0.75,
    reduce_5x5=0.5,
)
def _inception(
    width_in: Number,
    width: Number,
    stride: int,
    share_1x1: Number,
    share_3x3: Number,
    share_5x5: Number,
    reduce_3x3: Number,
    reduce_5x5: Number,
) -> Layers:
    """1x1; 1x1 to 3x3; 1x1 to 5x5; 3x3 max pooling to 1x1; side by side (Szegedy et al. 2015).

    A share is a branch's part of the width, pooling has the rest; `reduce` is the width of the
    1x1 before a convolution over the width of that convolution. Defaults: module 3a's.
    """
    one, three, five, pool = _branch_widths(width, share_1x1, share_3x3, share_5x5)
    inner_3x3 = at_least_one(rint(three * reduce_3x3))
    inner_5x5 = at_least_one(rint(five * reduce_5x5))
    return (
        Concat(
            (
                conv_norm_act(one, stride=stride),
                (*conv_norm_act(inner_3x3), *conv_norm_act(three, 3, stride=stride)),
                (*conv_norm_act(inner_5x5), *conv_norm_act(five, 5, stride=stride)),
                (MaxPool(3, stride), *conv_norm_act(pool)),
            )
        ),
    )


@register_block(
    "dense",
    grows=True,
    valid=lambda width, depth, growth_rate, **_: width > depth * growth_rate,
    rule="width, what leaves the stage, must exceed depth x growth_rate",
    growth_rate=32,
    expansion=4.0,
)
def _dense(
    width_in: Number, width: Number, stride: int, growth_rate: Number, expansion: Number
) -> Layers:
    """1x1 to e·k, 3x3 to the k channels that are added to what came in (DenseNet-BC).

    Huang et al. 2017, section 3: k is the `growth_rate`, e the `expansion`. Where the stage
    begins with other channels or pixels than those that come in, a transition (1x1 convolution,
    average pooling) makes them. The last block needs the head `norm_linear`.
    """
    start = width - growth_rate
    transition = (
        Norm(),
        Activation(),
        Conv(start),
        *((AvgPool(stride),) if stride != 1 else ()),
    )
    added = (
        Norm(),
        Activation(),
        *conv_norm_act(at_least_one(rint(growth_rate * expansion))),
        Conv(growth_rate, 3),
    )
    return (When(_reshapes(width_in, start, stride), transition), Concat(((), added)))


@register_block("mbconv", expansion=6.0, kernel=3, se_ratio=None)
def _mbconv(
    width_in: Number,
    width: Number,
    stride: int,
    expansion: Number,
    kernel: Number,
    se_ratio: Number = 0,
) -> Layers:
    """Inverted bottleneck: 1x1 to e·w_in, depthwise k x k, [SE of round(w_in · r)], 1x1 to w.

    Sandler et al. 2018, table 1; with SE Tan and Le 2019. No activation at its end; skipped where
    the shape stays. Without the first 1x1 where it would change nothing (e = 1).
    """
    inner = at_least_one(rint(width_in * expansion))
    squeezed = rint(width_in * se_ratio)
    body = (
        When(inner != width_in, conv_norm_act(inner)),
        *conv_norm_act(inner, kernel, stride=stride, group_width=1),
        When(squeezed > 0, (SqueezeExcite(squeezed),)),
        Conv(width),
        Norm(final=True),
    )
    return (Residual(body, skip=_not(_reshapes(width_in, width, stride))),)


STEMS["none"] = lambda width: ()
"""Nothing: the first stage gets the images."""
STEMS["simple"] = lambda width: conv_norm_act(width, 3, stride=2)
"""3x3 with stride 2 (pycls `simple_stem_in`)."""
STEMS["cifar"] = lambda width: conv_norm_act(width, 3)
"""3x3 with stride 1 (pycls `res_stem_cifar`)."""
STEMS["imagenet"] = lambda width: (*conv_norm_act(width, 7, stride=2), MaxPool(3, 2))
"""7x7 with stride 2, 3x3 max pooling with stride 2 (pycls `res_stem_in`)."""

STEMS["deep"] = lambda width: (
    *conv_norm_act(max(1, width // 2), 3, stride=2),
    *conv_norm_act(max(1, width // 2), 3),
    *conv_norm_act(width, 3),
    MaxPool(3, 2),
)
"""Three 3x3, the first with stride 2, 3x3 max pooling (ResNet-C, He et al. 2019, figure 2b)."""


def _linear_head(classes: Number, width: Number = 0, dropout: float = 0.0) -> Layers:
    """[1x1 convolution to `width`, norm, activation], mean over positions, one linear layer.

    The 1x1 convolution is pycls's `HEAD_W`.
    """
    widened = conv_norm_act(width) if width else ()
    return (*widened, GlobalPool(), *_dropout(dropout), Linear(classes))


def _norm_linear_head(classes: Number, width: Number = 0, dropout: float = 0.0) -> Layers:
    """Norm and activation before the linear head: the end of pre-activation and dense blocks."""
    return (Norm(), Activation(), *_linear_head(classes, width, dropout))


def _class_conv_head(classes: Number, dropout: float = 0.0) -> Layers:
    """One channel a class by a 1x1 convolution, then their means (NiN, Lin et al. 2013, 3.2)."""
    return (*_dropout(dropout), Conv(classes, bias=True), GlobalPool())


def _fully_connected_head(classes: Number, width: Number, dropout: float, grid: int) -> Layers:
    """Means over a grid, two hidden layers with dropout (VGG, Simonyan and Zisserman 2015)."""
    hidden = (Linear(width), Activation(), *_dropout(dropout))
    return (GlobalPool(grid), *hidden, *hidden, Linear(classes))


def _dropout(probability: float) -> Layers:
    return (Dropout(probability),) if probability else ()


HEADS["linear"] = HeadKind(_linear_head, {"width": None, "dropout": None})
HEADS["norm_linear"] = HeadKind(_norm_linear_head, {"width": None, "dropout": None})
HEADS["class_conv"] = HeadKind(_class_conv_head, {"dropout": None})
HEADS["fully_connected"] = HeadKind(
    _fully_connected_head, {"width": 4096, "dropout": 0.5, "grid": 7}
)
