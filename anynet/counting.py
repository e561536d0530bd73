"""Params, flops and activations of a description: one network or a million by the same walk.

Flops are multiply-adds; a bias adds one an output. Activations are the sum of the output sizes of
conv, pooling (the global one apart) and linear layers: pycls's convention for its published
numbers. A norm of any kind has two params a channel and no flops; nor have activation functions,
sums and concatenations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from anynet.checks import require_positive
from anynet.layers import (
    Activation,
    AvgPool,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layers,
    Linear,
    MaxPool,
    Norm,
    Number,
    Residual,
    SqueezeExcite,
    When,
)
from anynet.network import Description, Network, describe
from anynet.reference import Reference

DEFAULT_RESOLUTION = 224


class Cost(NamedTuple):
    """What a network costs at one resolution: numbers, or arrays with one entry a network."""

    params: Number
    flops: Number
    activations: Number


class StageCost(NamedTuple):
    """One line of the account: `name` (stem, stage 1, ..., head) and what leaves it."""

    name: str
    depth: int
    width: int
    resolution: int
    cost: Cost


class _Counts:
    """Weights and outputs (channels) by the side that they are computed at; channels normalized.

    Multiplied with the pixels of a side at the end, as most layers of a stage have the same. The
    counts start as the number 0, so the first array that is added makes an array of their own,
    and adding in place changes no array of the description.
    """

    __slots__ = ("normed", "outputs", "weights")

    def __init__(self) -> None:
        self.weights: defaultdict[int, Number] = defaultdict(int)
        self.outputs: defaultdict[int, Number] = defaultdict(int)
        self.normed: Number = 0

    @property
    def cost(self) -> Cost:
        return Cost(
            sum(self.weights.values()) + 2 * self.normed,
            sum(side * side * weights for side, weights in self.weights.items()),
            sum(side * side * outputs for side, outputs in self.outputs.items()),
        )

    def add(self, other: _Counts, times: Number) -> None:
        if isinstance(times, np.ndarray) and times.dtype == np.bool_:
            times = times.astype(np.float64)
        elif isinstance(times, np.bool_):
            times = bool(times)  # whose product with a whole number stays exact
        for mine, others in ((self.weights, other.weights), (self.outputs, other.outputs)):
            for side, counted in others.items():
                mine[side] += times * counted
        self.normed += times * other.normed


class _Walk:
    """Where a walk stands (channels, side in pixels), and where it counts."""

    __slots__ = ("channels", "counts", "side")

    def __init__(self, channels: Number, side: int, counts: _Counts) -> None:
        self.channels = channels
        self.side = side
        self.counts = counts

    def over(self, layers: Layers) -> _Walk:
        for layer in layers:
            _RULES[type(layer)](self, layer)
        return self

    def branch(self, layers: Layers, times: Number = True) -> _Walk:
        """Walk `layers` from here and count them so many times; this walk stays where it is."""
        if times is True:
            return _Walk(self.channels, self.side, self.counts).over(layers)
        branch = _Walk(self.channels, self.side, _Counts()).over(layers)
        self.counts.add(branch.counts, times)
        return branch


def _conv(walk: _Walk, layer: Conv) -> None:
    walk.side = (walk.side - 1) // layer.stride + 1
    group_width = walk.channels if layer.group_width is None else layer.group_width
    weights = group_width * layer.width
    if isinstance(layer.kernel, np.ndarray) or layer.kernel != 1:
        weights = weights * (layer.kernel * layer.kernel)
    if layer.bias:
        weights = weights + layer.width
    walk.counts.weights[walk.side] += weights
    walk.counts.outputs[walk.side] += layer.width
    walk.channels = layer.width


def _norm(walk: _Walk, layer: Norm) -> None:
    walk.counts.normed += walk.channels


def _nothing(walk: _Walk, layer: Activation | Dropout) -> None:
    pass


def _pool(walk: _Walk, layer: MaxPool | AvgPool) -> None:
    walk.side = (walk.side - 1) // layer.stride + 1
    walk.counts.outputs[walk.side] += walk.channels


def _squeeze_excite(walk: _Walk, layer: SqueezeExcite) -> None:
    channels, side = walk.channels, walk.side
    walk.side = 1
    _conv(walk, Conv(layer.width, bias=True))
    _conv(walk, Conv(channels, bias=True))
    walk.side = side


def _residual(walk: _Walk, layer: Residual) -> None:
    walk.branch(layer.shortcut, layer.skip)
    walk.over(layer.body)


def _concat(walk: _Walk, layer: Concat) -> None:
    branches = [walk.branch(branch) for branch in layer.branches]
    walk.channels = sum(branch.channels for branch in branches)
    walk.side = branches[0].side


def _when(walk: _Walk, layer: When) -> None:
    if isinstance(layer.mask, np.ndarray):
        inside = walk.branch(layer.layers, layer.mask)
        if inside.channels is not walk.channels:
            walk.channels = np.where(layer.mask, inside.channels, walk.channels)
    elif layer.mask:
        walk.over(layer.layers)


def _global_pool(walk: _Walk, layer: GlobalPool) -> None:
    walk.side = 1
    if layer.grid != 1:
        walk.channels = walk.channels * (layer.grid * layer.grid)


def _linear(walk: _Walk, layer: Linear) -> None:
    _conv(walk, Conv(layer.width, bias=layer.bias))


_RULES: dict[type, Callable[[_Walk, Any], None]] = {
    Conv: _conv,
    Norm: _norm,
    Activation: _nothing,
    MaxPool: _pool,
    AvgPool: _pool,
    SqueezeExcite: _squeeze_excite,
    Residual: _residual,
    Concat: _concat,
    When: _when,
    GlobalPool: _global_pool,
    Dropout: _nothing,
    Linear: _linear,
}


def count(
    description: Description, input_channels: int, resolution: int, *, apart: bool = False
) -> Iterator[_Walk]:
    """Where a walk stands after the stem, each stage and the head. Shared by all that count.

    With `apart` each has counts of its own, else the counts are those of all so far.
    """
    walk = _Walk(input_channels, resolution, _Counts()).over(description.stem)
    yield walk
    for stage in description.stages:
        counts = _Counts() if apart else walk.counts
        walk = block = _Walk(walk.channels, walk.side, counts).over(stage.first)
        for times, layers in stage.others:
            block = _Walk(block.channels, block.side, _Counts()).over(layers)
            counts.add(block.counts, times)
        walk.channels = stage.width
        yield walk
    counts = _Counts() if apart else walk.counts
    yield _Walk(walk.channels, walk.side, counts).over(description.head)


def total(description: Description, input_channels: int, resolution: int) -> Cost:
    """The cost of a description in all. Arrays in it give arrays."""
    *_, last = count(description, input_channels, resolution)
    return last.counts.cost


def cost(network: Network | Reference, resolution: int = DEFAULT_RESOLUTION) -> Cost:
    """Params, flops and activations of `network` for square images of `resolution` pixels a side.

    A reference network is counted on its torch module, by the same rules. Raises
    ValueError where the resolution is not above 0, above 100,000, or below the smallest side that
    a reference network takes.
    """
    check_resolution(resolution)
    if isinstance(network, Reference):
        costs = (line.cost for line in cost_by_stage(network, resolution))
        return Cost(*map(sum, zip(*costs, strict=True)))
    return total(describe(network), network.input_channels, resolution)


def cost_by_stage(
    network: Network | Reference, resolution: int = DEFAULT_RESOLUTION
) -> tuple[StageCost, ...]:
    """The same as `cost`, a line for the stem, each stage and the head; the lines sum to it.

    Of a reference network, a line for each part of its module; `depth` counts its layers.
    """
    check_resolution(resolution)
    if isinstance(network, Reference):
        from anynet.reference_modules import count_reference

        return count_reference(network, resolution)
    names = ["stem", *(f"stage {i + 1}" for i in range(len(network.stages))), "head"]
    depths = [1, *network.depths, 1]
    walks = count(describe(network), network.input_channels, resolution, apart=True)
    return tuple(
        StageCost(
            name,
            depth,
            walk.channels,
            walk.side,
            walk.counts.cost,
        )
        for name, depth, walk in zip(names, depths, walks, strict=True)
    )


def check_resolution(resolution: int) -> None:
    """Raise ValueError for a side that images do not have."""
    require_positive("resolution", resolution, most=100_000)
