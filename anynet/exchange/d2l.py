"""Dive into Deep Learning's AnyNet (section 8.8): code that builds it, and its `arch` tuples back.

What `groups` means depends on the edition. In the published one (d2l 1.0, arXiv 2106.11342) it is
the *width* of a group: `ResNeXtBlock` convolves in `bot_channels // groups` groups. The revision
under way takes it for their *number* (d2l-en pull request 2730). The code says which it has got.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from anynet.checks import require_ratio
from anynet.errors import InputError
from anynet.exchange.names import multipliers, require_expressible
from anynet.network import Network, Stage, Stem

_STRIDE = 2

_CODE = '''\
import torch
from d2l import torch as d2l
from torch import nn

# (depth, num_channels, groups, bot_mul) of each stage, as d2l 1.0 means them: `groups` is the
# width of a group. A revision of the book takes it for their number, which is {counts} here.
ARCH = (
{rows})


class AnyNet(d2l.Classifier):
    """The AnyNet of section 8.8: images (B, {channels}, r, r) to scores (B, {classes})."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        stages = []
        for depth, width, group_width, multiplier in ARCH:
            groups = round(width * multiplier) // group_width
            blocks = []
            for j in range(depth):
                options = {{"use_1x1conv": True, "strides": 2}} if j == 0 else {{}}
                block = d2l.ResNeXtBlock(width, group_width, multiplier, **options)
                if block.conv2.groups != groups:  # an edition that takes their number
                    block = d2l.ResNeXtBlock(width, groups, multiplier, **options)
                blocks.append(block)
            stages.append(nn.Sequential(*blocks))
        self.net = nn.Sequential(
            nn.Sequential(
                nn.LazyConv2d({stem_width}, kernel_size=3, stride=2, padding=1),
                nn.LazyBatchNorm2d(),
                nn.ReLU(),
            ),
            *stages,
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear({classes})),
        )


def build(lr=0.1, biases=False):
    """The network with fresh weights, its lazy layers made.

    d2l's convolutions have biases, which the batch norm behind each takes away again. They are
    left out, as in the papers, and the counts above hold; `biases=True` keeps them.
    """
    model = AnyNet(lr)
    with torch.no_grad():
        model.eval()(torch.zeros(1, {channels}, 32, 32))
    for layer in model.modules() if not biases else ():
        if isinstance(layer, nn.Conv2d):
            layer.bias = None
    return model.train()
'''


def to_d2l(network: Network) -> str:
    """Python code with a `build()` that returns the network out of d2l's `ResNeXtBlock`.

    Raises InputError where d2l has no such network: other blocks than X, another stem than the
    simple one, stages with another stride than 2.
    """
    require_expressible(network, "d2l", ("simple",))
    rows, counts = "", []
    for i, (stage, multiplier) in enumerate(zip(network.stages, multipliers(network), strict=True)):
        if stage.block != "x":
            raise InputError(f"stages[{i}].block: {stage.block!r}, but d2l has x blocks alone")
        if stage.stride != _STRIDE:
            raise InputError(f"stages[{i}].stride: {stage.stride}, but d2l's stages have {_STRIDE}")
        rows += f"    ({stage.depth}, {stage.width}, {stage.group_width}, {multiplier!r}),\n"
        counts.append(round(stage.width * multiplier) // (stage.group_width or 1))
    return _CODE.format(
        rows=rows,
        counts=", ".join(map(str, counts)),
        stem_width=network.stem.width,
        channels=network.input_channels,
        classes=network.classes,
    )


def from_d2l(
    arch: Sequence[tuple[int, int, int, float]],
    stem_channels: int,
    *,
    groups: Literal["width", "number"] = "width",
    input_channels: int = 1,
    classes: int = 10,
) -> Network:
    """The network of d2l's `AnyNet(arch, stem_channels)`: (depth, num_channels, groups, bot_mul).

    `groups` says what the third number is: the width of a group (d2l 1.0) or how many there are.
    Raises InputError.
    """
    stages = []
    for i, (depth, width, third, multiplier) in enumerate(arch):
        try:
            require_ratio("bot_mul", multiplier)
            inner = round(width * multiplier)
            if groups == "number" and (third < 1 or inner % third):
                raise ValueError(f"groups: {third} does not divide the inner width {inner}")
            stages.append(
                Stage(
                    depth,
                    width,
                    _STRIDE,
                    bottleneck_ratio=1 / multiplier,
                    group_width=third if groups == "width" else inner // third,
                )
            )
        except ValueError as error:
            raise InputError(f"arch[{i}]: {error}") from None
    try:
        return Network(
            tuple(stages), Stem(width=stem_channels), input_channels=input_channels, classes=classes
        )
    except ValueError as error:
        raise InputError(f"arch: {error}") from None
