"""Reference networks as torch modules: torchvision's, and LeNet-5 and NiN, which it lacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from anynet.counting import Cost, StageCost
from anynet.reference import Reference


def reference_module(reference: Reference) -> nn.Module:
    """The module on torch's current default device; its weights are not drawn.

    Images (B, input_channels, r, r) to scores (B, classes). torchvision's own class, with another
    first convolution where the channels are not three. Its attribute `network` is `reference`.
    """
    if not reference.facts.in_torchvision:
        module = _OURS[reference.reference](reference.input_channels, reference.classes)
    else:
        module = _of_torchvision(reference)
    module.network = reference  # type: ignore[assignment]
    return module


def _of_torchvision(reference: Reference) -> nn.Module:
    from torchvision import models

    options: dict[str, bool] = {}
    if reference.facts.auxiliary:
        options = {"aux_logits": False, "init_weights": False}
    module: nn.Module = getattr(models, reference.reference)(
        weights=None, num_classes=reference.classes, **options
    )
    if reference.input_channels != 3:
        _replace_first_convolution(module, reference.input_channels)
    return module


def _replace_first_convolution(module: nn.Module, channels: int) -> None:
    name, first = next(
        (name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)
    )
    parent, _, child = name.rpartition(".")
    other = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(module.get_submodule(parent), child, other)


def count_reference(reference: Reference, resolution: int) -> tuple[StageCost, ...]:
    """A line for each child of the module that counts something, on the meta device.

    Counted as in `counting.py`. `depth` is the number of convolutions and linear layers. Raises
    ValueError where the images are too small for the network.
    """
    reference.require_resolution(resolution)
    with torch.device("meta"):
        module = reference_module(reference).eval()
        images = torch.empty(1, reference.input_channels, resolution, resolution)
    lines = {
        name: _Line(params=sum(p.numel() for p in child.parameters()))
        for name, child in module.named_children()
    }
    counter = _Counter()
    for name, child in module.named_children():
        child.register_forward_pre_hook(partial(counter.enter, lines[name]))
        child.register_forward_hook(lines[name].leave)
    with torch.inference_mode(), counter:
        module(images)
    return tuple(
        StageCost(
            name, line.depth, line.width, line.side, Cost(line.params, line.flops, line.outputs)
        )
        for name, line in lines.items()
        if line.params or line.outputs
    )


class _Line:
    """What one child of a module counts, and what leaves it."""

    def __init__(self, params: int) -> None:
        self.params = params
        self.flops = self.outputs = self.depth = self.width = 0
        self.side = 1

    def leave(self, child: nn.Module, images: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        self.width = out.shape[1]
        self.side = out.shape[2] if out.ndim == 4 else 1


class _Counter(TorchFunctionMode):
    """Counts convolutions, linear layers and pooling for the line that it was told of last.

    By function and not by module, as Inception v3 pools without one.
    """

    line: _Line

    def enter(self, line: _Line, child: nn.Module, images: tuple[torch.Tensor, ...]) -> None:
        self.line = line

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("conv2d", "linear"):
            weights = sum(w.numel() for w in args[1:3] if isinstance(w, torch.Tensor))
            self.line.depth += 1
            self.line.flops += weights * (out[0, 0].numel() if out.ndim == 4 else 1)
        if name in ("conv2d", "linear", "max_pool2d", "avg_pool2d"):
            self.line.outputs += out.numel()
        return out


class _LeNet5(nn.Sequential):
    """LeNet-5 (LeCun et al. 1998, figure 2) for images of any side from 12 pixels.

    Two 5x5 convolutions with tanh and average pooling, layers of 120 and 84, all linear at the
    end. Of the original it leaves out the trained scales of the pooling, the table by which the
    second convolution is only partly connected, and the radial basis functions of the output, as
    textbooks do: 61,706 parameters for 10 classes. What leaves the second pooling is averaged to
    the 5x5 pixels that images of 28 pixels, padded to 32, have there.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), nn.Tanh())
        self.s2 = nn.AvgPool2d(2)
        self.c3 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.Tanh())
        self.s4 = nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(5), nn.Flatten())
        self.c5 = nn.Sequential(nn.Linear(400, 120), nn.Tanh())
        self.f6 = nn.Sequential(nn.Linear(120, 84), nn.Tanh())
        self.output = nn.Linear(84, classes)


class _NiN(nn.Sequential):
    """The network in network of CIFAR-10 (Lin et al. 2013, section 4.2), in its published sizes.

    Three mlpconv layers with max and average pooling and dropout of 0.5 between them, one channel
    a class at the end, averaged over all positions: 966,986 parameters for 3 channels and 10
    classes (as in the authors' configuration).
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.mlpconv1 = _mlpconv(channels, 192, 160, 96, kernel=5)
        self.pool1 = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv2 = _mlpconv(96, 192, 192, 192, kernel=5)
        self.pool2 = nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv3 = _mlpconv(192, 192, 192, classes, kernel=3)
        self.pool3 = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _mlpconv(*widths: int, kernel: int) -> nn.Sequential:
    """A k x k convolution and two 1x1, each with ReLU (Lin et al. 2013, section 3.1)."""
    kernels = (kernel, 1, 1)
    layers: list[nn.Module] = []
    for i, size in enumerate(kernels):
        layers += [nn.Conv2d(widths[i], widths[i + 1], size, padding=size // 2), nn.ReLU(True)]
    return nn.Sequential(*layers)


_OURS: dict[str, Callable[[int, int], nn.Module]] = {"lenet5": _LeNet5, "nin": _NiN}
