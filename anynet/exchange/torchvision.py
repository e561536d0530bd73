"""torchvision's RegNet: code that builds it, its weights, and back.

The stages are given to `BlockParams` as they are, so that torchvision's own group fix (halves up,
where pycls rounds to even) has no say.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from anynet.reference import Reference

if TYPE_CHECKING:
    from torch import Tensor, nn

    from anynet.model import AnyNet

_NAMES = Names(
    library="torchvision",
    stem=("stem.0", "stem.1"),
    block="trunk_output.block{I}.block{I}-{j}",
    shortcut=("proj.0", "proj.1"),
    convs=(("f.a.0", "f.a.1"), ("f.b.0", "f.b.1"), ("f.c.0", "f.c.1")),
    squeeze=("f.se.fc1", "f.se.fc2"),
    head="fc",
)
_CHANNELS = 3

_CODE = '''\
from torchvision.models.regnet import BlockParams, RegNet


def build():
    """The network with fresh weights: images (B, 3, r, r) to scores (B, {classes})."""
    params = BlockParams(
        depths={depths},
        widths={widths},
        group_widths={group_widths},
        bottleneck_multipliers={multipliers},  # inner width / width
        strides={strides},
        se_ratio={se_ratio},
    )
    return RegNet(params, num_classes={classes}, stem_width={stem_width})
'''


def to_torchvision(network: Network) -> str:
    """Python code with a `build()` that returns the network as torchvision's `RegNet`.

    Raises InputError where torchvision has no such network: other blocks than X and Y, stages
    of different blocks or SE ratios, another stem than the simple one, other input channels
    than three.
    """
    _require_channels(network.input_channels)
    require_expressible(network, "torchvision", ("simple",))
    first = network.stages[0]
    for i, stage in enumerate(network.stages):
        if stage.se_ratio != first.se_ratio:
            raise InputError(
                f"stages[{i}].se_ratio: {_shown(stage.se_ratio)}, but torchvision has one for "
                f"all stages, and the first has {_shown(first.se_ratio)}"
            )
    for i, squeezed in enumerate(squeezed_widths(network)):
        if first.se_ratio is not None and not all(squeezed):
            raise InputError(
                f"stages[{i}].se_ratio: {first.se_ratio:g} squeezes to 0 channels, which "
                "torchvision cannot build"
            )
    return _CODE.format(
        depths=list(network.depths),
        widths=list(network.widths),
        group_widths=[stage.group_width for stage in network.stages],
        multipliers=multipliers(network),
        strides=[stage.stride for stage in network.stages],
        se_ratio=first.se_ratio,
        classes=network.classes,
        stem_width=network.stem.width,
    )


_REFERENCE_CODE = '''\
from torchvision.models import {name}


def build():
    """The network with fresh weights: images (B, 3, r, r) to scores (B, {classes})."""
    return {name}(weights=None, num_classes={classes}{options})
'''


def reference_to_torchvision(reference: Reference) -> str:
    """Python code with a `build()` that returns a reference network as torchvision has it.

    Raises InputError where torchvision does not have it, or takes other input channels.
    """
    name = reference.reference
    if not reference.facts.in_torchvision:
        raise InputError(f"reference: torchvision has no {name}")
    _require_channels(reference.input_channels)
    options = ", aux_logits=False, init_weights=True" if reference.facts.auxiliary else ""
    return _REFERENCE_CODE.format(name=name, classes=reference.classes, options=options)


def _require_channels(channels: int) -> None:
    if channels != _CHANNELS:
        raise InputError(
            f"input_channels: {channels}, but torchvision takes {_CHANNELS}; "
            f"give --input-channels {_CHANNELS} to export the network with another stem"
        )


def _shown(ratio: float | None) -> str:
    return "none" if ratio is None else f"{ratio:g}"


def weights_to_torchvision(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our module for `load_state_dict` of torchvision's. Raises InputError."""
    return weights_to(network, state, _NAMES)


def from_torchvision(module: nn.Module) -> AnyNet:
    """Our module, in eval mode and with its `network`, from torchvision's `RegNet` and weights.

    Raises InputError where it is no network of ours.
    """
    return read_module(module, _NAMES)
