"""From a description to a torch module, walking the same layers that `counting.py` walks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from anynet.grouped_conv import GroupedConv2d
from anynet.layers import (
    Activation,
    Conv,
    GlobalPool,
    Layer,
    Layers,
    Linear,
    MaxPool,
    Norm,
    Residual,
    SqueezeExcite,
    When,
)
from anynet.network import Network, describe


class ResidualSum(nn.Module):
    """shortcut(x) + body(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, r, r) to (B, C_out, r', r')."""
        return self.shortcut(x) + self.body(x)


class SqueezeExcitation(nn.Module):
    """x · σ(expand(relu(reduce(mean over positions)))) (Hu et al. 2018)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, width, 1)
        self.activation = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale each channel of (B, C, r, r)."""
        return x * torch.sigmoid(self.expand(self.activation(self.reduce(self.pool(x)))))


class AnyNet(nn.Module):
    """The module of a `Network`: images (B, input_channels, r, r) to scores (B, classes).

    `stem` and `head` are sequences of layers, `stages[i][j]` is block j of stage i.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        description = describe(network)
        channels, self.stem = _sequence(description.stem, network.input_channels)
        stages = []
        for stage in description.stages:
            blocks = []
            for j in range(stage.depth):
                channels, block = _sequence(stage.other if j else stage.first, channels)
                blocks.append(block)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        _, self.head = _sequence(description.head, channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, classes) of images (B, input_channels, r, r)."""
        return self.head(self.stages(self.stem(images)))


def build(
    network: Network,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> AnyNet:
    """Build the torch module of a network, with fresh weights drawn from `generator`.

    On the meta device nothing is allocated or drawn. Without a generator, torch's default one
    is used. The generator's device must be the CPU: weights are drawn there, so that they are
    the same on every device.
    """
    with torch.device("meta"):
        module = AnyNet(network)
    if torch.device(device).type == "meta":
        return module
    module = module.to_empty(device="cpu")
    initialize(module, generator)
    return module.to(device)


def initialize(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all weights afresh, in place, as pycls `init_weights` does.

    Convolutions normal with variance 2 / (k²·channels out) (He et al. 2015, fan out), linear
    layers normal with deviation 0.01, norms the identity, biases zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _sequence(layers: Layers, channels: int, *, shared: bool = False) -> tuple[int, nn.Sequential]:
    """Build layers in a row; returns the channels that leave them, and the module.

    `shared`: another branch reads the same input, so the first layer must not write to it.
    """
    modules: list[nn.Module] = []
    for layer in _present(layers):
        channels, module = _module(layer, channels)
        modules.append(module)
    if shared and modules and isinstance(modules[0], nn.ReLU):
        modules[0].inplace = False
    return channels, nn.Sequential(*modules)


def _present(layers: Layers) -> list[Layer]:
    """The layers with every `When` decided."""
    present: list[Layer] = []
    for layer in layers:
        if isinstance(layer, When):
            present += _present(layer.layers) if layer.mask else []
        else:
            present.append(layer)
    return present


def _module(layer: Layer, channels: int) -> tuple[int, nn.Module]:
    match layer:
        case Conv(width, kernel, stride, group_width, bias):
            groups = 1 if group_width is None else channels // group_width
            kind: Any = nn.Conv2d if groups == 1 else GroupedConv2d
            module = kind(channels, width, kernel, stride, kernel // 2, groups=groups, bias=bias)
            return width, module
        case Norm():
            return channels, nn.BatchNorm2d(channels)
        case Activation():
            return channels, nn.ReLU(inplace=True)
        case MaxPool(kernel, stride):
            return channels, nn.MaxPool2d(kernel, stride, kernel // 2)
        case SqueezeExcite(width):
            return channels, SqueezeExcitation(channels, width)
        case Residual(body, shortcut, skip):
            width, inside = _sequence(body, channels, shared=True)
            if not skip:
                return width, inside
            _, around = _sequence(shortcut, channels, shared=True)
            return width, ResidualSum(inside, around if len(around) else nn.Identity())
        case GlobalPool():
            return channels, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case Linear(width, bias):
            return width, nn.Linear(channels, width, bias)
        case _:
            raise TypeError(f"no module for the layer {layer!r}")
