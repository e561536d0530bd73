"""From a description to a torch module, walking the same layers that `counting.py` walks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, overload

import torch
from torch import nn

from anynet.grouped_conv import Conv2d, GroupedConv2d
from anynet.layers import (
    Activation,
    AvgPool,
    Concat,
    Conv,
    Dropout,
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
from anynet.reference import Reference
from anynet.reference_modules import reference_module


class ResidualSum(nn.Module):
    """shortcut(x) + body(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, r, r) to (B, C_out, r', r')."""
        return self.shortcut(x) + self.body(x)


class StochasticResidualSum(ResidualSum):
    """shortcut(x) + body(x), with the body left out at random while training.

    Image by image with probability `rate`; what stays is divided by 1 - rate, so that nothing
    changes in eval mode (Huang et al. 2016, with the scaling of dropout). Draws from torch's
    default generator, as dropout does.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module, rate: float) -> None:
        super().__init__(body, shortcut)
        from torchvision.ops import StochasticDepth  # takes a second to import

        self.drop = StochasticDepth(rate, "row")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, r, r) to (B, C_out, r', r')."""
        return self.shortcut(x) + self.drop(self.body(x))


class Concatenation(nn.ModuleList):
    """The channels of all branches one after another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, r, r) to (B, sum of the branches' channels, r', r')."""
        return torch.cat([branch(x) for branch in self], 1)


class SqueezeExcitation(nn.Module):
    """x · σ(expand(act(reduce(mean over positions)))) (Hu et al. 2018)."""

    def __init__(self, channels: int, width: int, activation: str = "relu") -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, width, 1)
        self.activation = _ACTIVATIONS[activation]()
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale each channel of (B, C, r, r)."""
        return x * torch.sigmoid(self.expand(self.activation(self.reduce(self.pool(x)))))


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, which refuses one image of one pixel with one channel a group.

    The value is its own mean then, and what leaves is the bias: the same as beside other images.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize (B, C, r, r)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


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
        number, total = 0, sum(network.depths)
        for stage in description.stages:
            blocks = []
            for layers in (stage.first, *_repeated(stage.others)):
                number += 1
                drop = (network.stochastic_depth or 0.0) * number / total
                channels, block = _sequence(layers, channels, drop)
                blocks.append(block)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        _, self.head = _sequence(description.head, channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, classes) of images (B, input_channels, r, r)."""
        return self.head(self.stages(self.stem(images)))


@overload
def build(
    network: Network,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> AnyNet: ...


@overload
def build(
    network: Network | Reference,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Any: ...


def build(
    network: Network | Reference,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Any:
    """Build the torch module of a network, with fresh weights drawn from `generator`.

    On the meta device nothing is allocated or drawn. Without a generator, torch's default one
    is used. The generator's device must be the CPU: weights are drawn there, so that they are
    the same on every device. The module of a `Reference` is torchvision's, with its names.
    """
    with torch.device("meta"):
        module = AnyNet(network) if isinstance(network, Network) else reference_module(network)
    if torch.device(device).type == "meta":
        return module
    module = module.to_empty(device="cpu")
    initialize(module, generator)
    return module.to(device)


def initialize(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all weights afresh, in place, as pycls `init_weights` does.

    Convolutions normal with variance 2 / (k²·channels out) (He et al. 2015, fan out), the
    classifier (the last linear layer) normal with deviation 0.01, norms the identity (zero where
    the network has `zero_gamma`), biases zero. Hidden linear layers, which pycls has none of,
    normal with variance 2 / features in: with 0.01 the scores of LeNet-5 would start some ninety
    times smaller, and so would what its first layers learn from.
    """
    classifier = None
    for layer in module.modules():
        classifier = layer if isinstance(layer, nn.Linear) else classifier
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(layer, nn.Linear):
            hidden = math.sqrt(2.0 / layer.in_features)
            deviation = 0.01 if layer is classifier else hidden
            nn.init.normal_(layer.weight, 0.0, deviation, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            layer.reset_parameters()
            if getattr(layer, "starts_at_zero", False):
                nn.init.zeros_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _repeated(others: tuple[tuple[int, Layers], ...]) -> Iterator[Layers]:
    """The layers of each block of a stage after its first."""
    for times, layers in others:
        yield from (layers,) * times


def _sequence(layers: Layers, channels: int, drop: float = 0.0) -> tuple[int, nn.Sequential]:
    """Build layers in a row; returns the channels that leave them, and the module.

    `drop`: the probability that a residual among the layers is left out of a training step.
    """
    modules: list[nn.Module] = []
    for layer in _present(layers):
        channels, module = _module(layer, channels, drop)
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = bool(modules) and isinstance(modules[-1], _NEED_NO_OUTPUT)
        modules.append(module)
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


def _module(layer: Layer, channels: int, drop: float) -> tuple[int, nn.Module]:
    match layer:
        case Conv(width, kernel, stride, group_width, bias):
            groups = 1 if group_width is None else channels // group_width
            kind: Any = Conv2d if groups == 1 else GroupedConv2d
            module = kind(channels, width, kernel, stride, kernel // 2, groups=groups, bias=bias)
            return width, module
        case Norm(_, kind, zero):
            norm = _norm(kind, channels)
            norm.starts_at_zero = zero  # type: ignore[assignment]
            return channels, norm
        case Activation(kind):
            return channels, _ACTIVATIONS[kind]()
        case MaxPool(kernel, stride):
            return channels, nn.MaxPool2d(kernel, stride, kernel // 2)
        case AvgPool(stride):
            # What hangs over the border is left out of the mean, as in timm's ResNet-D.
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            return channels, pool
        case SqueezeExcite(width, kind):
            return channels, SqueezeExcitation(channels, width, kind)
        case Residual(body, shortcut, skip):
            width, inside = _sequence(body, channels)
            if not skip:
                return width, inside
            _, around = _sequence(shortcut, channels)
            other = around if len(around) else nn.Identity()
            if drop:
                return width, StochasticResidualSum(inside, other, drop)
            return width, ResidualSum(inside, other)
        case Concat(branches):
            built = [_sequence(branch, channels, drop) for branch in branches]
            modules = (module if len(module) else nn.Identity() for _, module in built)
            return sum(width for width, _ in built), Concatenation(modules)
        case GlobalPool(grid):
            pooled = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten())
            return channels * grid * grid, pooled
        case Dropout(probability):
            return channels, nn.Dropout(probability)
        case Linear(width, bias):
            return width, nn.Linear(channels, width, bias)
        case _:
            raise TypeError(f"no module for the layer {layer!r}")


def _norm(kind: str, channels: int) -> nn.Module:
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return GroupNorm(norm_groups(channels), channels)
        case "layer":
            return GroupNorm(1, channels)
        case "instance":
            return GroupNorm(channels, channels)
        case _:
            raise TypeError(f"no module for the norm {kind!r}")


def norm_groups(channels: int) -> int:
    """Groups of a group norm: as many as divide the channels into groups of about 16.

    16 channels a group do as well as 32 groups (Wu and He 2018, table 3), and leave no group
    with one value where a stage ends with one pixel a side.
    """
    groups = max(1, round(channels / 16))
    return max(n for n in range(1, groups + 1) if channels % n == 0)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
# What these give, an activation may write over: no derivative of theirs reads it. What comes into
# a sequence may be the images, be read by another branch, or be needed by the derivative of an
# activation that it left.
_NEED_NO_OUTPUT = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm, ResidualSum)
