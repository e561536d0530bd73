"""timm's ByobNet: code that builds it, its weights, and back; timm's RegNet too, on the way back.

timm's own RegNet takes the settings of the line and fixes the groups itself; ByobNet ("bring your
own blocks") takes the stages as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from anynet.errors import InputError
from anynet.exchange.names import (
    Names,
    multipliers,
    read_module,
    require_expressible,
    squeezed_widths,
    weights_to,
)
from anynet.network import Network

if TYPE_CHECKING:
    from torch import Tensor, nn

    from anynet.model import AnyNet

_BYOBNET = Names(
    library="timm",
    stem=("stem.conv", "stem.bn"),
    block="stages.{i}.{j}",
    shortcut=("shortcut.conv", "shortcut.bn"),
    convs=(
        ("conv1_1x1.conv", "conv1_1x1.bn"),
        ("conv2_kxk.conv", "conv2_kxk.bn"),
        ("conv3_1x1.conv", "conv3_1x1.bn"),
    ),
    squeeze=("attn.fc1", "attn.fc2"),
    head="head.fc",
)
_BYOBNET_POOLED = replace(_BYOBNET, stem=("stem.conv1.conv", "stem.conv1.bn"))
_REGNET = replace(
    _BYOBNET,
    block="s{I}.b{J}",
    shortcut=("downsample.conv", "downsample.bn"),
    convs=(("conv1.conv", "conv1.bn"), ("conv2.conv", "conv2.bn"), ("conv3.conv", "conv3.bn")),
    squeeze=("se.fc1", "se.fc2"),
)
_STEMS = {"simple": ("3x3", ""), "imagenet": ("7x7", "maxpool")}
_MULTIPLE = 8
"""ByobNet rounds every width, inner ones too, to a multiple of 8."""
_STRIDES = (1, 2)
"""timm pads (stride - 1 + kernel - 1) // 2 a side; that is ours, (kernel - 1) / 2, up to 2."""

_CODE = '''\
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg


def build():
    """The network with fresh weights: images (B, {channels}, r, r) to scores (B, {classes})."""
    config = ByoModelCfg(
        blocks=(
{stages}        ),
        downsample="conv1x1",
        stem_type="{stem_type}",
        stem_pool="{stem_pool}",
        stem_chs={stem_width},
        act_layer="relu",
        norm_layer="batchnorm",
    )
    return ByobNet(
        config,
        num_classes={classes},
        in_chans={channels},
        output_stride={stride},  # the whole network's: beyond it timm would dilate
        zero_init_last=False,
    )
'''


def to_timm(network: Network) -> str:
    """Python code with a `build()` that returns the network as timm's `ByobNet`.

    Raises InputError where timm has no such network: other blocks than X and Y, the cifar stem,
    widths that are no multiple of 8, strides above 2, a single stage.
    """
    require_expressible(network, "timm", tuple(_STEMS))
    if len(network.stages) < 2:
        raise InputError("stages: 1, but timm's ByobNet takes at least 2")
    stages = ""
    for i, (stage, multiplier, squeezed) in enumerate(
        zip(network.stages, multipliers(network), squeezed_widths(network), strict=True)
    ):
        if stage.stride not in _STRIDES:
            raise InputError(
                f"stages[{i}].stride: {stage.stride}, but timm pads convolutions of another stride "
                "than 1 and 2 otherwise"
            )
        for what, width in (
            ("width", stage.width),
            ("bottleneck_ratio", round(stage.width * multiplier)),
        ):
            if width % _MULTIPLE:
                value = f"{getattr(stage, what):g}"
                inner = "" if what == "width" else f" gives the inner width {width}"
                raise InputError(
                    f"stages[{i}].{what}: {value}{inner}, but timm's ByobNet rounds widths to "
                    f"multiples of {_MULTIPLE}"
                )
        rows = ""
        # The first block squeezes to a share of another width than the rest.
        for depth, channels in _runs(squeezed):
            se = f', attn_layer="se", attn_kwargs={{"rd_channels": {channels}}}' if channels else ""
            rows += (
                f'                ByoBlockCfg("bottle", d={depth}, c={stage.width}, '
                f"s={stage.stride}, gs={stage.group_width}, br={multiplier!r}{se}),\n"
            )
        stages += f"            (\n{rows}            ),\n"
    stem_type, stem_pool = _STEMS[network.stem.kind]
    stem_stride = 4 if stem_pool else 2
    return _CODE.format(
        stages=stages,
        stem_type=stem_type,
        stem_pool=stem_pool,
        stem_width=network.stem.width,
        classes=network.classes,
        channels=network.input_channels,
        stride=max(32, stem_stride * math.prod(stage.stride for stage in network.stages)),
    )


def _runs(values: list[int]) -> list[tuple[int, int]]:
    """(length, value) of the first value, and of the rest where it is another."""
    same = len(set(values)) == 1
    return [(len(values), values[0])] if same else [(1, values[0]), (len(values) - 1, values[1])]


def weights_to_timm(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our module for `load_state_dict` of timm's ByobNet. Raises InputError."""
    pooled = network.stem.kind == "imagenet"
    return weights_to(network, state, _BYOBNET_POOLED if pooled else _BYOBNET)


def from_timm(module: nn.Module) -> AnyNet:
    """Our module, in eval mode and with its `network`, from timm's ByobNet or RegNet and weights.

    Raises InputError where it is no network of ours.
    """
    if hasattr(module, "s1"):
        return read_module(module, _REGNET)
    pooled = "stem.conv1.conv.weight" in module.state_dict()
    return read_module(module, _BYOBNET_POOLED if pooled else _BYOBNET)
