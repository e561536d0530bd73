"""Networks to and from configs of pycls (github.com/facebookresearch/pycls), as YAML text.

Of a config only what describes the network is read (`MODEL`, the section of its type, `BN`, the
data set of a ResNet); how it is trained is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from anynet.checks import require_known, require_ratio
from anynet.choices import Choices, departures
from anynet.errors import InputError
from anynet.files import decode, parse_yaml, to_yaml
from anynet.network import Head, Network, Stage, Stem
from anynet.regnet import RegNet

STEMS = {"simple": "simple_stem_in", "cifar": "res_stem_cifar", "imagenet": "res_stem_in"}
BLOCKS = {
    "x": "res_bottleneck_block",
    "y": "res_bottleneck_block",
    "res_basic": "res_basic_block",
    "vanilla": "vanilla_block",
    "res_bottleneck_linear": "res_bottleneck_linear_block",
}
GROUPED = ("x", "y", "res_bottleneck_linear")
"""Those of our names of pycls's blocks that have bottleneck multipliers and group widths."""
_ACTIVATIONS = {"relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu"}
_CHOICES: dict[str, tuple[object, ...]] = {
    "norm": ("batch",),
    "activation": tuple(_ACTIVATIONS.values()),
    "shortcut": ("conv",),
    "stochastic_depth": (None,),
}
"""What pycls knows of what holds for all layers of a network; its default first."""
_CHANNELS = 3
"""Every pycls stem takes three channels."""
_RESNET_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of the stages of pycls's ResNets for ImageNet, by `MODEL.DEPTH`."""
_RULE = (
    "pycls config. The stages are resolved: quantized, and fitted to the group widths\n"
    "by pycls's own rule (adjust_block_compatibility, halves to even)."
)

ModelType = Literal["anynet", "regnet", "resnet", "effnet"]


class Model(msgspec.Struct):
    """`MODEL`."""

    TYPE: ModelType
    NUM_CLASSES: int = 10
    ACTIVATION_FUN: str = "relu"
    DEPTH: int = 0
    SCALING_FACTOR: float = 1.0


class AnyNetSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`ANYNET`."""

    STEM_TYPE: str = "simple_stem_in"
    STEM_W: int = 32
    BLOCK_TYPE: str = "res_bottleneck_block"
    DEPTHS: list[int] = msgspec.field(default_factory=list)
    WIDTHS: list[int] = msgspec.field(default_factory=list)
    STRIDES: list[int] = msgspec.field(default_factory=list)
    BOT_MULS: list[float] = msgspec.field(default_factory=list)
    GROUP_WS: list[int] = msgspec.field(default_factory=list)
    HEAD_W: int = 0
    SE_ON: bool = False
    SE_R: float = 0.25


class RegNetSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`REGNET`."""

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


class _ResNetSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    TRANS_FUN: Literal["basic_transform", "bottleneck_transform"] = "basic_transform"
    NUM_GROUPS: int = 1
    WIDTH_PER_GROUP: int = 64
    STRIDE_1X1: bool = True


class _EffNetSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    STEM_W: int = 32
    DEPTHS: list[int] = msgspec.field(default_factory=list)
    WIDTHS: list[int] = msgspec.field(default_factory=list)
    EXP_RATIOS: list[float] = msgspec.field(default_factory=list)
    SE_R: float = 0.25
    STRIDES: list[int] = msgspec.field(default_factory=list)
    KERNELS: list[int] = msgspec.field(default_factory=list)
    HEAD_W: int = 1280
    DC_RATIO: float = 0.0
    DROPOUT_RATIO: float = 0.0


class _BatchNorm(msgspec.Struct, frozen=True):
    ZERO_INIT_FINAL_GAMMA: bool = False


class Images(msgspec.Struct, frozen=True):
    """What of `TRAIN` has a say in the network or its cost."""

    DATASET: str = ""
    IM_SIZE: int = 224


class Config(msgspec.Struct):
    """The part of a pycls config that describes the network; the rest is not looked at."""

    MODEL: Model
    ANYNET: AnyNetSection = msgspec.field(default_factory=AnyNetSection)
    REGNET: RegNetSection = msgspec.field(default_factory=RegNetSection)
    RESNET: _ResNetSection = msgspec.field(default_factory=_ResNetSection)
    EN: _EffNetSection = msgspec.field(default_factory=_EffNetSection)
    BN: _BatchNorm = _BatchNorm()
    TRAIN: Images = Images()

    def choices(self, block: str) -> dict[str, Any]:
        """What holds for all layers of a network of the block, by the names that we have.

        pycls marks no norm as the last one of a vanilla block or of MBConv: the scale starts at 1.
        Raises ValueError.
        """
        name = self.MODEL.ACTIVATION_FUN.lower()
        require_known("MODEL.ACTIVATION_FUN", name, _ACTIVATIONS)
        zero_gamma = self.BN.ZERO_INIT_FINAL_GAMMA and block not in ("vanilla", "mbconv")
        return {"activation": _ACTIVATIONS[name], "zero_gamma": zero_gamma}


def to_pycls(network: Network, model_type: Literal["anynet", "resnet"] = "anynet") -> str:
    """A pycls config of the network, as YAML text.

    Of type `effnet` where the blocks are `mbconv`, and otherwise of `anynet`; pycls's ResNets are
    written as `resnet` where that is asked for. Raises InputError where pycls has no such network:
    stages of different blocks or SE ratios, another number of input channels than three, another
    norm than batch norm, ...
    """
    blocks = {(stage.block, stage.se_ratio) for stage in network.stages}
    if len(blocks) > 1:
        raise InputError("stages: pycls has one block and one se_ratio for all stages")
    ((block, _),) = blocks
    try:
        if model_type == "resnet":
            return to_yaml(_resnet_document(network), "pycls config.")
        if block == "mbconv":
            return to_yaml(_effnet_document(network), "pycls config.")
        return to_yaml(_anynet_document(network), _RULE)
    except ValueError as error:
        raise InputError(str(error)) from None


def from_pycls(text: str, source: str) -> Network:
    """The network of a pycls config (anynet, regnet, resnet or effnet). Raises InputError."""
    config = decode(parse_yaml(text, source), Config, source)
    try:
        return _network(config)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def pycls_regnet(data: Any, source: str) -> RegNet:
    """The settings of a pycls config of type `regnet`. Raises InputError."""
    config = decode(data, Config, source)
    if config.MODEL.TYPE != "regnet":
        raise InputError(f"{source}: MODEL.TYPE: {config.MODEL.TYPE!r} has no line; regnet has")
    try:
        return _settings(config.REGNET)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def _network(config: Config) -> Network:
    read = {
        "anynet": lambda: _from_anynet(config.ANYNET),
        "regnet": lambda: _from_regnet(config.REGNET),
        "resnet": lambda: _from_resnet(config),
        "effnet": lambda: _from_effnet(config.EN),
    }[config.MODEL.TYPE]
    network = read()
    choices = config.choices(network.stages[0].block)
    return replace(network, classes=config.MODEL.NUM_CLASSES, **choices)


def ratio_of(field: str, multiplier: float) -> float:
    """The ratio b of a multiplier 1/b; a b that is whole but for rounding is whole.

    Raises ValueError.
    """
    require_ratio(field, multiplier)
    ratio = 1 / multiplier
    return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-9 * ratio else ratio


def block_of(section: str, name: str, se_on: bool) -> str:
    """Our name of a `BLOCK_TYPE`. Raises ValueError."""
    for block, pycls in BLOCKS.items():
        if pycls == name:
            if se_on and block == "res_bottleneck_linear":
                raise ValueError(f"{section}.SE_ON: True, but the {block} block here has no SE")
            if section.endswith("REGNET") and block not in GROUPED:
                raise ValueError(f"{section}.BLOCK_TYPE: {name!r} has no groups to fix")
            return "y" if se_on and block == "x" else block
    known = ", ".join(sorted(set(BLOCKS.values())))
    raise ValueError(f"{section}.BLOCK_TYPE: {name!r} is not one of {known}")


def stem_of(section: str, name: str, width: int) -> Stem:
    """The stem of a `STEM_TYPE`. Raises ValueError."""
    for stem, pycls in STEMS.items():
        if pycls == name:
            return Stem(stem, width)
    raise ValueError(f"{section}.STEM_TYPE: {name!r} is not one of {', '.join(STEMS.values())}")


def _settings(body: RegNetSection) -> RegNet:
    return RegNet(
        body.DEPTH,
        body.W0,
        body.WA,
        body.WM,
        body.GROUP_W,
        bottleneck_ratio=ratio_of("REGNET.BOT_MUL", body.BOT_MUL),
    )


def _from_regnet(body: RegNetSection) -> Network:
    block = block_of("REGNET", body.BLOCK_TYPE, body.SE_ON)
    return _settings(body).network(
        block=block,
        stride=body.STRIDE,
        se_ratio=body.SE_R if block == "y" else None,
        stem=stem_of("REGNET", body.STEM_TYPE, body.STEM_W),
        head=Head(width=body.HEAD_W or None),
        input_channels=_CHANNELS,
    )


def _from_anynet(body: AnyNetSection) -> Network:
    block = block_of("ANYNET", body.BLOCK_TYPE, body.SE_ON)
    grouped = block in GROUPED
    lists = ("WIDTHS", "STRIDES", *(("BOT_MULS", "GROUP_WS") if grouped else ()))
    _check_lists("ANYNET", body, lists)
    for i, multiplier in enumerate(body.BOT_MULS if grouped else ()):
        if not round(body.WIDTHS[i] * multiplier):
            raise ValueError(
                f"ANYNET.BOT_MULS[{i}]: {multiplier:g} of the width {body.WIDTHS[i]} "
                "rounds to an inner width of 0"
            )
    return Network(
        stem=stem_of("ANYNET", body.STEM_TYPE, body.STEM_W),
        head=Head(width=body.HEAD_W or None),
        stages=tuple(
            Stage(
                depth=body.DEPTHS[i],
                width=body.WIDTHS[i],
                stride=body.STRIDES[i],
                block=block,
                bottleneck_ratio=(
                    ratio_of(f"ANYNET.BOT_MULS[{i}]", body.BOT_MULS[i]) if grouped else None
                ),
                group_width=body.GROUP_WS[i] if grouped else None,
                se_ratio=body.SE_R if block == "y" else None,
            )
            for i in range(len(body.DEPTHS))
        ),
        input_channels=_CHANNELS,
    )


def _check_lists(section: str, body: Any, names: Sequence[str]) -> None:
    """Raise ValueError unless there is one number a stage in each list; DEPTHS says how many."""
    if not body.DEPTHS:
        raise ValueError(f"{section}.DEPTHS: [] must hold one number a stage")
    for name in names:
        values = getattr(body, name)
        if len(values) != len(body.DEPTHS):
            raise ValueError(
                f"{section}.{name}: {values} must hold {len(body.DEPTHS)} numbers, as DEPTHS does"
            )


def _from_resnet(config: Config) -> Network:
    """pycls's ResNets: of basic blocks for CIFAR-10, of bottlenecks for ImageNet."""
    body, depth, data = config.RESNET, config.MODEL.DEPTH, config.TRAIN.DATASET
    if data not in ("cifar10", "imagenet"):
        raise ValueError(f"TRAIN.DATASET: {data!r}, but pycls has ResNets for cifar10 and imagenet")
    transform = "basic_transform" if data == "cifar10" else "bottleneck_transform"
    if transform != body.TRANS_FUN:
        raise ValueError(
            f"RESNET.TRANS_FUN: {body.TRANS_FUN!r}, but pycls builds only {transform} for {data}"
        )
    if data == "cifar10":
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"MODEL.DEPTH: {depth} must be 8, 14, 20, ... (6n + 2) for cifar10")
        stages = tuple(
            Stage((depth - 2) // 6, width, 1 if width == 16 else 2, "res_basic")
            for width in (16, 32, 64)
        )
        return Network(stages, Stem("cifar", 16))
    if depth not in _RESNET_DEPTHS:
        known = ", ".join(map(str, _RESNET_DEPTHS))
        raise ValueError(f"MODEL.DEPTH: {depth} is not one of {known}, pycls's for imagenet")
    if body.STRIDE_1X1:
        raise ValueError(
            "RESNET.STRIDE_1X1: True, which is pycls's default, but the blocks here have their "
            "stride on the 3x3; with False they are the same"
        )
    for field in ("NUM_GROUPS", "WIDTH_PER_GROUP"):
        if getattr(body, field) < 1:
            raise ValueError(f"RESNET.{field}: {getattr(body, field)} must be above 0")
    stages = tuple(
        Stage(
            blocks,
            256 * 2**i,
            2 if i else 1,
            bottleneck_ratio=ratio_of(
                "RESNET.WIDTH_PER_GROUP", body.WIDTH_PER_GROUP * body.NUM_GROUPS / 256
            ),
            group_width=body.WIDTH_PER_GROUP * 2**i,
        )
        for i, blocks in enumerate(_RESNET_DEPTHS[depth])
    )
    return Network(stages, Stem("imagenet", 64))


def _from_effnet(body: _EffNetSection) -> Network:
    _check_lists("EN", body, ("WIDTHS", "EXP_RATIOS", "STRIDES", "KERNELS"))
    if body.DC_RATIO:
        raise ValueError(
            f"EN.DC_RATIO: {body.DC_RATIO:g} in every block alike, but the stochastic depth here "
            "falls towards the first block; 0 leaves it out"
        )
    if body.HEAD_W < 1:
        raise ValueError(f"EN.HEAD_W: {body.HEAD_W} must be above 0")
    network = Network(
        tuple(
            Stage(
                body.DEPTHS[i],
                body.WIDTHS[i],
                body.STRIDES[i],
                "mbconv",
                expansion=float(body.EXP_RATIOS[i]),
                kernel=body.KERNELS[i],
                se_ratio=body.SE_R,
            )
            for i in range(len(body.DEPTHS))
        ),
        Stem("simple", body.STEM_W),
        Head(width=body.HEAD_W, dropout=body.DROPOUT_RATIO or None),
        input_channels=_CHANNELS,
    )
    _check_effnet_widths(network, {"expansion": "EN.EXP_RATIOS[{}]", "se_ratio": "EN.SE_R"})
    return network


def _check_effnet_widths(network: Network, fields: dict[str, str]) -> None:
    """Raise ValueError where pycls, which rounds down inside its MBConv, builds other widths.

    `fields` are the names of expansion and se_ratio, with a place for the number of the stage.
    """
    before = network.stem.width
    for i, stage in enumerate(network.stages):
        for width in (before, stage.width) if stage.depth > 1 else (before,):
            for setting, field in fields.items():
                ratio = getattr(stage, setting)
                inner = int(width * ratio)
                if inner < 1 or inner != round(width * ratio):
                    raise ValueError(
                        f"{field.format(i)}: {ratio:g} of {width} channels is "
                        f"{width * ratio:g}, which pycls rounds to {inner}, "
                        f"and the block here to {round(width * ratio)}"
                    )
        before = stage.width


def check_common(owner: Choices, stem: Stem, head: Head, input_channels: int) -> None:
    """Raise ValueError for what no network of pycls has; `owner` makes the choices."""
    if input_channels != _CHANNELS:
        raise ValueError(
            f"input_channels: {input_channels}, but pycls takes {_CHANNELS}; "
            f"give --input-channels {_CHANNELS} to export the network with another stem"
        )
    if stem.kind not in STEMS:
        raise ValueError(f"stem.kind: pycls has no {stem.kind!r} stem")
    if head.kind != "linear":
        raise ValueError(f"head.kind: pycls has no {head.kind!r} head")
    choices = departures(owner)
    for choice, known in _CHOICES.items():
        if choices.get(choice, known[0]) not in known:
            raise ValueError(f"{choice}: {choices[choice]!r}, but pycls has none such")


def check_block(field: str, block: str, head: Head) -> None:
    """Raise ValueError where pycls's AnyNet has no such block or head."""
    if block not in BLOCKS:
        raise ValueError(f"{field}: pycls has no {block!r} block")
    if head.dropout is not None:
        raise ValueError(f"head.dropout: {head.dropout:g}, but pycls's AnyNet has none")


def common_sections(owner: Choices, model_type: ModelType, classes: int) -> dict[str, Any]:
    """`MODEL` and, where it says something, `BN`."""
    model: dict[str, Any] = {"TYPE": model_type, "NUM_CLASSES": classes}
    if owner.activation != "relu":
        model["ACTIVATION_FUN"] = owner.activation
    zero = {"BN": {"ZERO_INIT_FINAL_GAMMA": True}} if owner.zero_gamma else {}
    return {"MODEL": model, **zero}


def _anynet_document(network: Network) -> dict[str, Any]:
    block, se_ratio = network.stages[0].block, network.stages[0].se_ratio
    check_block("stages[0].block", block, network.head)
    check_common(network, network.stem, network.head, network.input_channels)
    body: dict[str, Any] = {
        "STEM_TYPE": STEMS[network.stem.kind],
        "STEM_W": network.stem.width,
        "BLOCK_TYPE": BLOCKS[block],
        "DEPTHS": network.depths,
        "WIDTHS": network.widths,
        "STRIDES": [stage.stride for stage in network.stages],
    }
    for i, stage in enumerate(network.stages):
        if stage.bottleneck_ratio and not round(stage.width / stage.bottleneck_ratio):
            raise ValueError(
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
    common = common_sections(network, "anynet", network.classes)
    return {"MODEL": common.pop("MODEL"), "ANYNET": body, **common}


def _resnet_document(network: Network) -> dict[str, Any]:
    """The config of that one of pycls's ResNets which the network is."""
    first, depths = network.stages[0], network.depths
    section: dict[str, Any] = {"TRANS_FUN": "basic_transform"}
    depth, data = 6 * depths[0] + 2, "cifar10"
    if first.block == "x":
        inner = round(first.width / (first.bottleneck_ratio or 1))
        group_width = first.group_width or inner
        section = {
            "TRANS_FUN": "bottleneck_transform",
            "NUM_GROUPS": inner // group_width,
            "WIDTH_PER_GROUP": group_width,
            "STRIDE_1X1": False,
        }
        depth = next((d for d, stages in _RESNET_DEPTHS.items() if stages == depths), 0)
        data = "imagenet"
    check_common(network, network.stem, network.head, network.input_channels)
    common = common_sections(network, "resnet", network.classes)
    common["MODEL"]["DEPTH"] = depth
    document = {
        "MODEL": common.pop("MODEL"),
        "RESNET": section,
        **common,
        "TRAIN": {"DATASET": data},
    }
    try:
        is_it = _network(msgspec.convert(document, Config)) == network
    except ValueError:
        is_it = False
    if not is_it:
        raise ValueError(
            "stages: pycls's ResNets are those of 50, 101 and 152 layers for ImageNet, with one "
            "width a group and one number of groups, and those of 6n + 2 layers for CIFAR-10"
        )
    return document


def _effnet_document(network: Network) -> dict[str, Any]:
    if network.stochastic_depth is not None:
        raise ValueError(
            f"stochastic_depth: {network.stochastic_depth:g}, which falls towards the first "
            "block, but pycls's DC_RATIO is the same in all"
        )
    if network.zero_gamma:
        raise ValueError("zero_gamma: True, but pycls's MBConv has no such norm")
    check_common(network, network.stem, network.head, network.input_channels)
    if network.stem.kind != "simple":
        raise ValueError(f"stem.kind: pycls's EffNet has no {network.stem.kind!r} stem")
    if network.head.width is None:
        raise ValueError("head.width: not given, but pycls's EffNet has one")
    stages = network.stages
    if stages[0].se_ratio is None:
        raise ValueError("stages[0].se_ratio: not given, but pycls's EffNet has one")
    _check_effnet_widths(
        network, {"expansion": "stages[{0}].expansion", "se_ratio": "stages[{0}].se_ratio"}
    )
    body = {
        "STEM_W": network.stem.width,
        "DEPTHS": network.depths,
        "WIDTHS": network.widths,
        "EXP_RATIOS": [stage.expansion for stage in stages],
        "SE_R": stages[0].se_ratio,
        "STRIDES": [stage.stride for stage in stages],
        "KERNELS": [stage.kernel for stage in stages],
        "HEAD_W": network.head.width,
        "DROPOUT_RATIO": network.head.dropout or 0.0,
    }
    return {**common_sections(network, "effnet", network.classes), "EN": body}
