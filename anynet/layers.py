"""The kinds of layer that blocks, stems and heads are described with.

A field is a number or a NumPy array with one entry a network. `counting.py` walks the same
description with either; `model.py` walks it with numbers. A condition that depends on the network
is a mask in the description (`When`, `Residual.skip`), so that no code has to be written twice.

Every convolution and pooling has an odd kernel and pads (kernel - 1) / 2 a side: a side of r
pixels becomes (r - 1) // stride + 1.
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
    kernel: int = 1
    stride: int = 1
    group_width: Number | None = None
    bias: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Batch normalization: two parameters a channel. `final` marks the last of a residual."""

    final: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """Rectified linear unit."""


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool:
    """Max pooling; its outputs count as activations, as pycls counts its stem's."""

    kernel: int
    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class SqueezeExcite:
    """x · σ(W₂ · act(W₁ · mean(x))) with `width` channels between, both with a bias."""

    width: Number


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """shortcut(x) + body(x); the body alone where `skip` is false."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    skip: Mask = True


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """`layers` where `mask` holds, nothing (the identity) where it does not."""

    mask: Mask
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class GlobalPool:
    """Mean over all positions: (B, C, r, r) to (B, C). Not counted as activations (pycls)."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Fully connected layer to `width` outputs."""

    width: Number
    bias: bool = True


Layer: TypeAlias = (
    Conv | Norm | Activation | MaxPool | SqueezeExcite | Residual | When | GlobalPool | Linear
)
Layers: TypeAlias = tuple[Layer, ...]


def rint(value: Number) -> Number:
    """Nearest integer, halves to even, for numbers and for arrays alike."""
    return np.rint(value) if isinstance(value, np.ndarray) else round(value)
