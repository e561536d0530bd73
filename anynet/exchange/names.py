"""Where other libraries keep the layers of an X or Y network: names for names, both ways.

Weights are moved by name, not by position: a name that one side lacks, or another shape, is an
error and never a silent swap of two layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anynet.blocks import inner_width
from anynet.choices import DEFAULTS, departures
from anynet.errors import InputError
from anynet.layers import rint
from anynet.network import Network, Stage, Stem

if TYPE_CHECKING:
    from torch import Tensor, nn

    from anynet.model import AnyNet

BLOCKS = ("x", "y")
"""The blocks that other libraries have too."""


@dataclass(frozen=True)
class Names:
    """Names of modules: of stem and head, of block j of stage i (`block`, given i, j and the
    one-based I, J), and of a block's layers within it.
    """

    library: str
    stem: tuple[str, str]
    block: str
    shortcut: tuple[str, str]
    convs: tuple[tuple[str, str], tuple[str, str], tuple[str, str]]
    squeeze: tuple[str, str]
    head: str

    def of_block(self, i: int, j: int) -> str:
        """The prefix of block j of stage i, both from 0."""
        return self.block.format(i=i, j=j, I=i + 1, J=j + 1) + "."


def squeezed_widths(network: Network) -> list[list[int]]:
    """Channels that each block of each stage squeezes to; 0 where it has no SE."""
    widths, width_in = [], network.stem.width
    for stage in network.stages:
        inputs = [width_in] + [stage.width] * (stage.depth - 1)
        widths.append([int(rint(w * (stage.se_ratio or 0))) for w in inputs])
        width_in = stage.width
    return widths


TRAINING_ONLY = ("stochastic_depth", "zero_gamma")
"""Choices that say how a network is trained, and change nothing in eval mode."""


def left_out(network: Network) -> str:
    """What an export to a library leaves out, in a line; empty where it is nothing."""
    choices = {name: departures(network).get(name) for name in TRAINING_ONLY}
    choices["dropout"] = network.head.dropout
    given = [f"{name} {value}" for name, value in choices.items() if value]
    return f"Left out, as it holds in training alone: {', '.join(given)}." if given else ""


def require_expressible(network: Network, library: str, stems: tuple[str, ...]) -> None:
    """Raise InputError where a stage is neither X nor Y, the stem none of `stems`, or a choice
    or the head another than the library's.

    What holds in training alone (`TRAINING_ONLY`, dropout) changes no output, and is let through.
    """
    for i, stage in enumerate(network.stages):
        if stage.block not in BLOCKS:
            raise InputError(
                f"stages[{i}].block: {stage.block!r}, but {library} takes x and y blocks here"
            )
    if network.stem.kind not in stems:
        rule = f"takes {' and '.join(stems)} stems"
        raise InputError(f"stem.kind: {network.stem.kind!r}, but {library} {rule}")
    if network.head.kind != "linear":
        raise InputError(f"head.kind: {network.head.kind!r}, but {library} takes linear heads here")
    if network.head.width is not None:
        rule = f"{library} has no convolution before the pooling here"
        raise InputError(f"head.width: {network.head.width}, but {rule}")
    for choice, value in departures(network).items():
        if choice not in TRAINING_ONLY:
            default = getattr(DEFAULTS, choice)
            raise InputError(f"{choice}: {value!r}, but {library} takes {default!r} here")


def multipliers(network: Network) -> list[float]:
    """Inner width over width, a stage: rounding width · multiplier gives the inner width back."""
    return [_inner(stage) / stage.width for stage in network.stages]


def _inner(stage: Stage) -> int:
    return int(inner_width(stage.width, stage.bottleneck_ratio or 1))


def paired(network: Network, names: Names) -> Iterator[tuple[str, str]]:
    """Every module with weights: its name in `AnyNet`, and in the library. X and Y blocks only."""
    yield from zip(("stem.0", "stem.1"), names.stem, strict=True)
    width_in = network.stem.width
    for i, (stage, squeezed) in enumerate(
        zip(network.stages, squeezed_widths(network), strict=True)
    ):
        for j in range(stage.depth):
            ours, theirs = f"stages.{i}.{j}.0.", names.of_block(i, j)
            if j == 0 and (stage.stride != 1 or width_in != stage.width):
                for k, name in enumerate(names.shortcut):
                    yield f"{ours}shortcut.{k}", theirs + name
            # conv, norm, activation; conv, norm, activation; [SE]; conv, norm
            for place, pair in zip((0, 3, 7 if squeezed[j] else 6), names.convs, strict=True):
                for k, name in enumerate(pair):
                    yield f"{ours}body.{place + k}", theirs + name
            if squeezed[j]:
                for part, name in zip(("reduce", "expand"), names.squeeze, strict=True):
                    yield f"{ours}body.6.{part}", theirs + name
        width_in = stage.width
    yield ("head.2" if network.head.dropout else "head.1"), names.head


def renamed(state: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    """A state dict with other names for its modules. Raises InputError for one without a name."""
    new = {}
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        if module not in modules:
            raise InputError(f"weights: {key!r} has no place in the other library's network")
        new[f"{modules[module]}.{parameter}"] = value
    return new


def weights_to(network: Network, state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Our state dict under the library's names: for its `load_state_dict`. Raises InputError."""
    return renamed(state, dict(paired(network, names)))


def read_module(module: nn.Module, names: Names) -> AnyNet:
    """The network of another library's module, in ours and with its weights.

    Widths are read off the weights; of the ratios that give them, the simplest is taken. Last,
    both are run on the same images and must agree. Raises InputError where the module is none of
    ours: other layers, other names, other outputs.
    """
    from anynet.model import build

    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    network = _read_network(module, state, names)
    ours = build(network, device="meta").to_empty(device="cpu").eval()
    back = {theirs: mine for mine, theirs in paired(network, names)}
    try:
        ours.load_state_dict(renamed(state, back))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{names.library}: no network of ours: {reason}") from None
    _require_same_outputs(ours, module, names.library)
    return ours


def _read_network(module: nn.Module, state: dict[str, Tensor], names: Names) -> Network:
    def shape(name: str) -> tuple[int, ...]:
        if f"{name}.weight" not in state:
            raise InputError(f"{names.library}: the module has no {name!r}, as its RegNets have")
        return tuple(state[f"{name}.weight"].shape)

    first, grouped, last = (conv for conv, _ in names.convs)
    stages: list[Stage] = []
    while f"{(start := names.of_block(len(stages), 0))}{first}.weight" in state:
        depth = 1
        while f"{names.of_block(len(stages), depth)}{first}.weight" in state:
            depth += 1
        inner, group_width = shape(start + grouped)[:2]
        width = shape(start + last)[0]
        squeezes = []
        for j in range(depth):
            block = names.of_block(len(stages), j)
            squeezed = f"{block}{names.squeeze[0]}.weight" in state
            width_in = shape(block + first)[1]
            squeezes.append((width_in, shape(block + names.squeeze[0])[0] if squeezed else 0))
        stages.append(
            Stage(
                depth=depth,
                width=width,
                stride=_stride(module.get_submodule(start + grouped)),
                block="y" if any(squeezed for _, squeezed in squeezes) else "x",
                bottleneck_ratio=_simplest(width / (inner + 0.5), width / (inner - 0.5)),
                group_width=group_width,
                se_ratio=_se_ratio(squeezes),
            )
        )
    if not stages:
        raise InputError(f"{names.library}: the module has no stage of X or Y blocks")
    stem_width, channels, kernel, _ = shape(names.stem[0])
    return Network(
        tuple(stages),
        stem=Stem(_stem_kind(module, names, kernel), stem_width),
        input_channels=channels,
        classes=shape(names.head)[0],
    )


def _stride(conv: Any) -> int:
    return int(conv.stride[0])


def _stem_kind(module: nn.Module, names: Names, kernel: int) -> str:
    stem = module.get_submodule(names.stem[0].split(".")[0])
    pools = any(type(layer).__name__ == "MaxPool2d" for layer in stem.modules())
    key = (kernel, _stride(module.get_submodule(names.stem[0])), pools)
    kinds = {(3, 2, False): "simple", (3, 1, False): "cifar", (7, 2, True): "imagenet"}
    if key not in kinds:
        raise InputError(
            f"{names.library}: its stem (kernel {key[0]}, stride {key[1]}"
            f"{', max pooling' if pools else ''}) is none of {', '.join(kinds.values())}"
        )
    return kinds[key]


def _se_ratio(squeezes: list[tuple[int, int]]) -> float | None:
    """The simplest ratio that takes each width to the channels it is squeezed to; None for none."""
    if not any(squeezed for _, squeezed in squeezes):
        return None
    low = max((squeezed - 0.5) / width for width, squeezed in squeezes)
    high = min((squeezed + 0.5) / width for width, squeezed in squeezes)
    return _simplest(low, high)


def _simplest(low: float, high: float) -> float:
    """The fraction of least denominator up to 64 strictly between low and high, or the middle."""
    for denominator in range(1, 65):
        numerator = math.floor(low * denominator) + 1
        if numerator < high * denominator:
            return numerator / denominator
    return (low + high) / 2


def _require_same_outputs(ours: AnyNet, theirs: nn.Module, library: str) -> None:
    import torch

    training = [(layer, layer.training) for layer in theirs.modules()]
    theirs.eval()
    weight = next(theirs.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, ours.network.input_channels, 64, 64, generator=generator)
    try:
        with torch.no_grad():
            expected = theirs(images.to(weight)).float().cpu()
            found = ours(images)
    finally:
        for layer, mode in training:
            layer.training = mode
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise InputError(
            f"{library}: the module has the layers of a network of ours, but other outputs "
            "(another activation, dilation, normalization or pooling)"
        )
