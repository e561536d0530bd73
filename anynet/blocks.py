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

from anynet.layers import (
    Activation,
    Conv,
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

SETTINGS = ("bottleneck_ratio", "group_width", "se_ratio")
"""The settings of a stage that a block may take beside its widths and stride."""


@dataclass(frozen=True)
class Block:
    """A block of the vocabulary.

    `describe(width_in, width, stride, **settings)` gives its layers; `defaults` names the
    settings that it takes, with the value of each where a stage leaves it out (a `group_width`
    of None stands for one group).
    """

    name: str
    describe: Callable[..., Layers]
    defaults: dict[str, float | None]
    summary: str


BLOCKS: dict[str, Block] = {}
STEMS: dict[str, Callable[[Number], Layers]] = {}
HEADS: dict[str, Callable[[Number], Layers]] = {}


def register_block(
    name: str, **defaults: float | None
) -> Callable[[Callable[..., Layers]], Callable[..., Layers]]:
    """Add a block to the vocabulary under `name`; `defaults` as in `Block`.

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
        BLOCKS[name] = Block(name, describe, dict(defaults), summary[0] if summary else "")
        return describe

    return add


def inner_width(width: Number, bottleneck_ratio: Number) -> Number:
    """Channels inside a bottleneck: width / b, halves to even, at least one (pycls)."""
    inner = rint(width / bottleneck_ratio)
    return np.maximum(inner, 1) if isinstance(inner, np.ndarray) else max(inner, 1)


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
    changes = _reshapes(width_in, width, stride)
    same = ~changes if isinstance(changes, np.ndarray) else not changes
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
    stays = ~changes if isinstance(changes, np.ndarray) else not changes
    first = (Norm(), Activation())
    body = (
        When(stays, first),
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

HEADS["linear"] = lambda classes: (GlobalPool(), Linear(classes))
"""Global average pooling and one linear layer."""
HEADS["norm_linear"] = lambda classes: (Norm(), Activation(), *HEADS["linear"](classes))
"""Norm and activation before the linear head: the end of a network of pre-activation blocks."""
