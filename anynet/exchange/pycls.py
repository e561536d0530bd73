"""Networks to and from configs of pycls (github.com/facebookresearch/pycls), as YAML text.

Of a config only what describes the network is read; how it is trained is not looked at.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from anynet.checks import require_ratio
from anynet.choices import departures
from anynet.errors import InputError
from anynet.files import decode, parse_yaml, to_yaml
from anynet.network import Head, Network, Stage, Stem
from anynet.regnet import RegNet

_PYCLS_STEMS = {"simple": "simple_stem_in", "cifar": "res_stem_cifar", "imagenet": "res_stem_in"}
_PYCLS_BLOCKS = {
    "x": "res_bottleneck_block",
    "y": "res_bottleneck_block",
    "res_basic": "res_basic_block",
    "vanilla": "vanilla_block",
    "res_bottleneck_linear": "res_bottleneck_linear_block",
}
_PYCLS_CHOICES: dict[str, tuple[object, ...]] = {
    "norm": ("batch",),
    "activation": ("relu", "silu"),
    "shortcut": ("conv",),
    "stochastic_depth": (None,),
}
_PYCLS_CHANNELS = 3
"""Every pycls stem takes three channels."""


class _PyclsModel(msgspec.Struct):
    TYPE: Literal["anynet", "regnet"]
    NUM_CLASSES: int = 10
    ACTIVATION_FUN: Literal["relu", "silu"] = "relu"


class _PyclsAnyNet(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    STEM_TYPE: str = "simple_stem_in"
    STEM_W: int = 32
    BLOCK_TYPE: str = "res_bottleneck_block"
    DEPTHS: list[int]
    WIDTHS: list[int]
    STRIDES: list[int]
    BOT_MULS: list[float] = msgspec.field(default_factory=list)
    GROUP_WS: list[int] = msgspec.field(default_factory=list)
    HEAD_W: int = 0
    SE_ON: bool = False
    SE_R: float = 0.25


class _PyclsRegNet(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    STEM_TYPE: str = "simple_stem_in"
    STEM_W: int = 32
    BLOCK_TYPE: str = "res_bottleneck_block"
    STRIDE: int = 2
    SE_ON: bool = False
    SE_R: float = 0.25
    DEPTH: int = 10
    W0: int = 32
    WA: float = 5.0
    WM: float = 2.5
    GROUP_W: int = 16
    BOT_MUL: float = 1.0
    HEAD_W: int = 0


class _PyclsBatchNorm(msgspec.Struct, frozen=True):
    ZERO_INIT_FINAL_GAMMA: bool = False


class _Pycls(msgspec.Struct):
    """The part of a pycls config that describes the network; the rest is not looked at."""

    MODEL: _PyclsModel
    ANYNET: _PyclsAnyNet | None = None
    REGNET: _PyclsRegNet | None = None
    BN: _PyclsBatchNorm = _PyclsBatchNorm()

    @property
    def choices(self) -> dict[str, Any]:
        """What holds for all layers, by the names that `Network` has."""
        return {
            "activation": self.MODEL.ACTIVATION_FUN,
            "zero_gamma": self.BN.ZERO_INIT_FINAL_GAMMA,
        }


def to_pycls(network: Network) -> str:
    """A pycls config (`MODEL` and `ANYNET`) of the network, as YAML text.

    Raises InputError where pycls has no such network: stages of different blocks or SE ratios,
    another number of input channels than three, another norm than batch norm, ...
    """
    if network.input_channels != _PYCLS_CHANNELS:
        raise InputError(
            f"input_channels: {network.input_channels}, but pycls takes {_PYCLS_CHANNELS}; "
            f"give --input-channels {_PYCLS_CHANNELS} to export the network with another stem"
        )
    blocks = {(stage.block, stage.se_ratio) for stage in network.stages}
    if len(blocks) > 1:
        raise InputError("stages: pycls has one block and one se_ratio for all stages")
    ((block, se_ratio),) = blocks
    if block not in _PYCLS_BLOCKS:
        raise InputError(f"stages[0].block: pycls has no {block!r} block")
    if network.stem.kind not in _PYCLS_STEMS:
        raise InputError(f"stem.kind: pycls has no {network.stem.kind!r} stem")
    if network.head.kind != "linear":
        raise InputError(f"head.kind: pycls has no {network.head.kind!r} head")
    if network.head.dropout is not None:
        raise InputError(f"head.dropout: {network.head.dropout:g}, but pycls's AnyNet has none")
    choices = departures(network)
    for choice, known in _PYCLS_CHOICES.items():
        if choices.get(choice, known[0]) not in known:
            raise InputError(f"{choice}: {choices[choice]!r}, but pycls's AnyNet has none such")
    body: dict[str, Any] = {
        "STEM_TYPE": _PYCLS_STEMS[network.stem.kind],
        "STEM_W": network.stem.width,
        "BLOCK_TYPE": _PYCLS_BLOCKS[block],
        "DEPTHS": network.depths,
        "WIDTHS": network.widths,
        "STRIDES": [stage.stride for stage in network.stages],
    }
    for i, stage in enumerate(network.stages):
        if stage.bottleneck_ratio and not round(stage.width / stage.bottleneck_ratio):
            raise InputError(
                f"stages[{i}].bottleneck_ratio: {stage.bottleneck_ratio:g}, but pycls rounds the "
                f"inner width of {stage.width} to 0 then"
            )
    if network.stages[0].group_width is not None:
        body["BOT_MULS"] = [1 / (stage.bottleneck_ratio or 1) for stage in network.stages]
        body["GROUP_WS"] = [stage.group_width for stage in network.stages]
    if se_ratio is not None:
        body |= {"SE_ON": True, "SE_R": se_ratio}
    if network.head.width is not None:
        body["HEAD_W"] = network.head.width
    model: dict[str, Any] = {"TYPE": "anynet", "NUM_CLASSES": network.classes}
    if network.activation != "relu":
        model["ACTIVATION_FUN"] = network.activation
    document: dict[str, Any] = {"MODEL": model, "ANYNET": body}
    if network.zero_gamma:
        document["BN"] = {"ZERO_INIT_FINAL_GAMMA": True}
    return to_yaml(
        document,
        "pycls config. The stages are resolved: quantized, and fitted to the group widths\n"
        "by pycls's own rule (adjust_block_compatibility, halves to even).",
    )


def from_pycls(text: str, source: str) -> Network:
    """The network of a pycls config of type `anynet` or `regnet`. Raises InputError."""
    config = decode(parse_yaml(text, source), _Pycls, source)
    classes = config.MODEL.NUM_CLASSES
    try:
        if config.MODEL.TYPE == "regnet":
            network = _from_regnet(config.REGNET or _PyclsRegNet(), classes)
            return replace(network, **config.choices)
        if config.ANYNET is None:
            raise ValueError("ANYNET: MODEL.TYPE is anynet, but the section is not there")
        return replace(_from_anynet(config.ANYNET, classes), **config.choices)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def pycls_regnet(data: Any, source: str) -> RegNet:
    """The settings of a pycls config of type `regnet`. Raises InputError."""
    config = decode(data, _Pycls, source)
    if config.MODEL.TYPE != "regnet":
        raise InputError(f"{source}: MODEL.TYPE: {config.MODEL.TYPE!r} has no line; regnet has")
    try:
        return _settings(config.REGNET or _PyclsRegNet())
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def _settings(body: _PyclsRegNet) -> RegNet:
    return RegNet(
        body.DEPTH,
        body.W0,
        body.WA,
        body.WM,
        body.GROUP_W,
        bottleneck_ratio=_inverse("REGNET.BOT_MUL", body.BOT_MUL),
    )


def _inverse(field: str, multiplier: float) -> float:
    """The ratio b of a multiplier 1/b; a b that is whole but for rounding is whole."""
    require_ratio(field, multiplier)
    ratio = 1 / multiplier
    return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-9 * ratio else ratio


def _from_regnet(body: _PyclsRegNet, classes: int) -> Network:
    block = _block_of("REGNET", body.BLOCK_TYPE, body.SE_ON)
    if not {"x", "y", "res_bottleneck_linear"} & {block}:
        raise ValueError(f"REGNET.BLOCK_TYPE: {body.BLOCK_TYPE!r} has no groups to fix")
    return _settings(body).network(
        block=block,
        stride=body.STRIDE,
        se_ratio=body.SE_R if block == "y" else None,
        stem=Stem(_stem_of("REGNET", body.STEM_TYPE), body.STEM_W),
        head=Head(width=body.HEAD_W or None),
        input_channels=_PYCLS_CHANNELS,
        classes=classes,
    )


def _from_anynet(body: _PyclsAnyNet, classes: int) -> Network:
    block = _block_of("ANYNET", body.BLOCK_TYPE, body.SE_ON)
    stages = len(body.DEPTHS)
    lists: dict[str, list[Any]] = {"WIDTHS": list(body.WIDTHS), "STRIDES": list(body.STRIDES)}
    grouped = block not in ("res_basic", "vanilla")
    if grouped:
        lists |= {"BOT_MULS": list(body.BOT_MULS), "GROUP_WS": list(body.GROUP_WS)}
    for name, values in lists.items():
        if len(values) != stages:
            raise ValueError(f"ANYNET.{name}: {values} must hold {stages} numbers, as DEPTHS does")
    for i in range(stages if grouped else 0):
        if not round(body.WIDTHS[i] * body.BOT_MULS[i]):
            raise ValueError(
                f"ANYNET.BOT_MULS[{i}]: {body.BOT_MULS[i]:g} of the width {body.WIDTHS[i]} "
                "rounds to an inner width of 0"
            )
    return Network(
        stem=Stem(_stem_of("ANYNET", body.STEM_TYPE), body.STEM_W),
        head=Head(width=body.HEAD_W or None),
        stages=tuple(
            Stage(
                depth=body.DEPTHS[i],
                width=body.WIDTHS[i],
                stride=body.STRIDES[i],
                block=block,
                bottleneck_ratio=(
                    _inverse(f"ANYNET.BOT_MULS[{i}]", body.BOT_MULS[i]) if grouped else None
                ),
                group_width=body.GROUP_WS[i] if grouped else None,
                se_ratio=body.SE_R if block == "y" else None,
            )
            for i in range(stages)
        ),
        input_channels=_PYCLS_CHANNELS,
        classes=classes,
    )


def _block_of(section: str, name: str, se_on: bool) -> str:
    for block, pycls in _PYCLS_BLOCKS.items():
        if pycls == name:
            if se_on and block == "res_bottleneck_linear":
                raise ValueError(f"{section}.SE_ON: True, but the {block} block here has no SE")
            return "y" if se_on and block == "x" else block
    raise ValueError(f"{section}.BLOCK_TYPE: {name!r} is not one of {', '.join(_pycls_blocks())}")


def _pycls_blocks() -> list[str]:
    return sorted(set(_PYCLS_BLOCKS.values()))


def _stem_of(section: str, name: str) -> str:
    for stem, pycls in _PYCLS_STEMS.items():
        if pycls == name:
            return stem
    known = ", ".join(_PYCLS_STEMS.values())
    raise ValueError(f"{section}.STEM_TYPE: {name!r} is not one of {known}")
