"""The kinds of layer that blocks, stems and heads are described with.

A field is a number or a NumPy array with one entry a network. `counting.py` walks the same
description with either; `model.py` walks it with numbers. A condition that depends on the network
is a mask in the description (`When`, `Residual.skip`), so that no code has to be written twice.

Every convolution and max pooling has an odd kernel and pads (kernel - 1) / 2 a side: a side of r
pixels becomes (r - 1) // stride + 1, and so it does in average pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Number: TypeAlias = Any
"""int, or a NumPy array of float64 with one entry a network; arithmetic is the same for both."""
Mask: TypeAlias = Any
"""bool or a boolean NumPy array with one entry a network."""


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Convolution to `width` channels; dense, or in groups of `group_width` input channels."""

    width: Number
    kernel: Number = 1
    stride: int = 1
    group_width: Number | None = None
    bias: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Normalization of one of the `NORMS`: two parameters a channel.

    `final` marks the last of a residual; `zero`: its scale starts at 0 instead of 1.
    """

    final: bool = False
    kind: str = "batch"
    zero: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """One of the `ACTIVATIONS`, value by value."""

    kind: str = "relu"


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool:
    """Max pooling; its outputs count as activations, as pycls counts its stem's."""

    kernel: int
    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class AvgPool:
    """Means of `stride` x `stride` squares, cut off at the border; counted as max pooling is."""

    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class SqueezeExcite:
    """x · σ(W₂ · act(W₁ · mean(x))) with `width` channels between, both with a bias."""

    width: Number
    activation: str = "relu"


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """shortcut(x) + body(x); the body alone where `skip` is false."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    skip: Mask = True


@dataclass(frozen=True, slots=True, eq=False)
class Concat:
    """The channels of all `branches` one after another; an empty branch is the identity."""

    branches: tuple[tuple[Layer, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """`layers` where `mask` holds, nothing (the identity) where it does not."""

    mask: Mask
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class GlobalPool:
    """Mean over each cell of a grid: (B, C, r, r) to (B, C·grid²), grid 1 the mean over all
    positions. Not counted as activations (pycls)."""

    grid: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Dropout:
    """Sets each value to 0 with `probability` while training (Srivastava et al. 2014)."""

    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Fully connected layer to `width` outputs."""

    width: Number
    bias: bool = True


Layer: TypeAlias = (
    Conv
    | Norm
    | Activation
    | MaxPool
    | AvgPool
    | SqueezeExcite
    | Residual
    | Concat
    | When
    | GlobalPool
    | Dropout
    | Linear
)
Layers: TypeAlias = tuple[Layer, ...]

NORMS = ("batch", "group", "layer", "instance", "none")
"""What a `Norm` may be (Wu and He 2018, figure 2): over the batch; over an image's groups of
about 16 channels; over all channels of an image; over each channel of an image; none at all."""
ACTIVATIONS = ("relu", "relu6", "silu", "gelu")
SHORTCUTS = ("conv", "avg_pool")
"""How a residual shortcut changes resolution: by the stride of its 1x1 convolution, or by average
pooling before it (ResNet-D, He et al. 2019, figure 2c)."""


def rint(value: Number) -> Number:
    """Nearest integer, halves to even, for numbers and for arrays alike."""
    return np.rint(value) if isinstance(value, np.ndarray) else round(value)
