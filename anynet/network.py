"""What one network is: a stem, stages of equal blocks, a head. Frozen, validated, hashable.

Invalid means unconstructable. Two networks that build the same module are equal: settings that
a block does not take are refused, those that a stage leaves out are filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace

from anynet.blocks import BLOCKS, HEADS, SETTINGS, STEMS, WHOLE_SETTINGS, inner_width, require_block
from anynet.checks import require_known, require_positive, require_ratio
from anynet.choices import Choices, check_choices, departures, void_choices, with_choices
from anynet.files import decode, parse_yaml, to_json, to_yaml
from anynet.layers import Layers, Number
from anynet.reference import Reference


def always(value: Any) -> Any:
    """A default that is written even where it is not changed (`omit_defaults` leaves it alone)."""
    return msgspec.field(default_factory=lambda: value)


class Stem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layers before the first stage: `simple`, `cifar`, `imagenet`, `deep` or `none`.

    A stem of kind `none` has no width: it is 0.
    """

    kind: str = "simple"
    width: int = 32

    def __post_init__(self) -> None:
        require_known("kind", self.kind, STEMS)
        if self.kind == "none" and self.width in (0, 32):
            force_setattr(self, "width", 0)
        elif self.kind == "none":
            raise ValueError(f"width: {self.width}, but the none stem has none")
        else:
            require_positive("width", self.width)


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The layers after the last stage.

    `linear`: mean over all positions, one linear layer. `norm_linear`: the same behind a norm and
    an activation, where the blocks end without one. `class_conv`: a 1x1 convolution to one channel
    a class, then the mean. `fully_connected`: means over a `grid` x `grid` grid, then two hidden
    layers of `width`. In the first two `width` is that of a 1x1 convolution before the mean; left
    out, there is none. `dropout`: its probability, before a linear layer or the class convolution.
    """

    kind: str = always("linear")
    width: int | None = None
    dropout: float | None = None
    grid: int | None = None

    def __post_init__(self) -> None:
        require_known("kind", self.kind, HEADS)
        defaults = HEADS[self.kind].defaults
        for field in ("width", "dropout", "grid"):
            value = getattr(self, field)
            if value is None:
                force_setattr(self, field, defaults.get(field))
            elif field not in defaults:
                raise ValueError(f"{field}: {value!r}, but the {self.kind} head has none")
            elif field != "dropout":
                require_positive(field, value)
            elif not 0 <= value < 1:
                raise ValueError(f"dropout: {value!r} must be 0 or more and below 1")
        if self.dropout == 0 and defaults.get("dropout") is None:
            force_setattr(self, "dropout", None)

    def describe(self, classes: Number) -> Layers:
        """The layers of the head for so many classes."""
        settings = {field: getattr(self, field) for field in HEADS[self.kind].defaults}
        given = {field: value for field, value in settings.items() if value is not None}
        return HEADS[self.kind].describe(classes, **given)


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`depth` equal blocks of `width` channels; the first one has the `stride`.

    Which of the settings a block takes, and what holds where a stage leaves one out, stands in
    `BLOCKS[block].defaults`. Raises ValueError (field, value, rule) on anything else.
    """

    depth: int
    width: int
    """Channels that leave the stage."""
    stride: int = always(1)
    block: str = always("x")
    bottleneck_ratio: float | None = always(None)
    """b: the inner width is width / b (the papers' b; pycls `BOT_MUL` is 1/b)."""
    group_width: int | None = always(None)
    """g: channels a group of the 3x3; must divide the inner width. Left out: one group."""
    se_ratio: float | None = always(None)
    """Squeezed channels over the block's *input* channels."""
    kernel: int | None = None
    """Side of the kernel of `nin` and of the depthwise convolution of `mbconv`; odd."""
    expansion: float | None = None
    """Inner channels over the block's input channels (`mbconv`) or `growth_rate` (`dense`)."""
    growth_rate: int | None = None
    """Channels that each block of a `dense` stage adds."""
    share_1x1: float | None = None
    """Part of the width that leaves the 1x1 branch of `inception`; pooling has what is left."""
    share_3x3: float | None = None
    share_5x5: float | None = None
    reduce_3x3: float | None = None
    """Width of the 1x1 before the 3x3 of `inception`, over the width of the 3x3."""
    reduce_5x5: float | None = None

    def __post_init__(self) -> None:
        for field in ("depth", "width", "stride"):
            require_positive(field, getattr(self, field))
        require_block(self.block)
        defaults = BLOCKS[self.block].defaults
        for field in SETTINGS:
            value = getattr(self, field)
            if field not in defaults:
                if value is not None:
                    raise ValueError(f"{field}: {value!r}, but the {self.block} block has none")
            elif value is not None:
                check_setting(field, value)
            elif (default := defaults[field]) is not None:
                force_setattr(self, field, default)
        if "group_width" in defaults:
            self._check_groups()
        valid = BLOCKS[self.block].valid
        if valid is not None and not valid(self.width, self.depth, **self.settings):
            given = {"width": self.width, "depth": self.depth, **self.settings}
            raise ValueError(
                f"{BLOCKS[self.block].rule} "
                f"({', '.join(f'{field} {value:g}' for field, value in given.items())})"
            )

    def _check_groups(self) -> None:
        ratio = 1.0 if self.bottleneck_ratio is None else self.bottleneck_ratio
        inner = inner_width(self.width, ratio)
        if self.group_width is None:
            force_setattr(self, "group_width", inner)
        elif inner % self.group_width:
            raise ValueError(
                f"group_width: {self.group_width} does not divide the inner width {inner} "
                f"(width {self.width}, bottleneck_ratio {ratio:g})"
            )

    @property
    def settings(self) -> dict[str, float]:
        """The settings of the block, by name; without those that it does without."""
        settings = {field: getattr(self, field) for field in BLOCKS[self.block].defaults}
        return {field: value for field, value in settings.items() if value is not None}


def check_setting(field: str, value: float) -> None:
    """Raise ValueError where a setting of a stage has a value that it cannot have."""
    if field in WHOLE_SETTINGS:
        require_positive(field, value)
        if field == "kernel" and value % 2 == 0:
            raise ValueError(f"kernel: {value:g} must be odd")
    else:
        require_ratio(field, value)
        if field.startswith("share") and value >= 1:
            raise ValueError(f"{field}: {value!r} must be below 1")


class Network(Choices, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole network: images of `input_channels` channels to scores of `classes` classes."""

    stages: tuple[Stage, ...]
    stem: Stem = always(Stem())
    head: Head = always(Head())
    input_channels: int = always(3)
    classes: int = always(1000)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: [] must hold at least one stage")
        require_positive("input_channels", self.input_channels)
        require_positive("classes", self.classes)
        check_choices(
            self, (stage.block for stage in self.stages), self._kinds_of_block, self._around
        )

    def _kinds_of_block(self) -> Iterator[Layers]:
        """The layers of every block that differs from others, without the choices."""
        width_in = self.stem.width or self.input_channels
        for s in self.stages:
            stage = describe_stage(s.block, width_in, s.width, s.stride, s.depth, **s.settings)
            width_in = s.width
            yield stage.first
            yield from (layers for times, layers in stage.others if times)

    def _around(self) -> Iterator[Layers]:
        """The layers of stem and head, without the choices."""
        yield STEMS[self.stem.kind](self.stem.width)
        yield self.head.describe(self.classes)

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return tuple(stage.depth for stage in self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(stage.width for stage in self.stages)

    def to_yaml(self, comment: str = "") -> str:
        """YAML text, behind an optional comment block."""
        return to_yaml(self, comment)

    def to_json(self) -> str:
        """JSON text on one line."""
        return to_json(self)

    @staticmethod
    def from_yaml(text: str, source: str = "network") -> Network:
        """Read YAML or JSON text; `source` names it in errors. Raises InputError."""
        return decode(parse_yaml(text, source), Network, source)

    from_json = from_yaml


def decode_network(data: Any, source: str) -> Network | Reference:
    """A network as plain data: described, or a reference by its name. Raises InputError."""
    if isinstance(data, dict) and "reference" in data:
        return decode(data, Reference, source)
    return decode(data, Network, source)


@dataclass(frozen=True, slots=True, eq=False)
class StageLayers:
    """A stage in layers: its first block, and those that follow, each with how often it comes.

    `width` leaves it. `width`, the numbers of times (a mask where it is once or not at all) and
    the fields of the layers may be arrays with one entry a network.
    """

    first: Layers
    others: tuple[tuple[Number, Layers], ...]
    width: Number


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """A network, or a population of one structure, in layers."""

    stem: Layers
    stages: tuple[StageLayers, ...]
    head: Layers


def describe_stage(
    block: str, width_in: Number, width: Number, stride: int, depth: Number, **settings: Any
) -> StageLayers:
    """The layers of a stage; widths, depth and settings are numbers or arrays."""
    describe = BLOCKS[block].describe
    if not BLOCKS[block].grows:
        first = describe(width_in, width, stride, **settings)
        return StageLayers(first, ((depth - 1, describe(width, width, 1, **settings)),), width)
    growth = settings["growth_rate"]
    start = width - depth * growth
    first = describe(width_in, start + growth, stride, **settings)
    others = tuple(
        (depth > j, describe(start + j * growth, start + (j + 1) * growth, 1, **settings))
        for j in range(1, int(np.max(depth)))
    )
    return StageLayers(first, others, width)


def with_effective(network: Network, choices: Choices) -> Network:
    """The network with those of the choices that change something in it."""
    given = departures(choices)
    if not given:
        return network
    void = void_choices(choices, network._kinds_of_block, network._around)
    return replace(network, **{name: value for name, value in given.items() if name not in void})


def describe(network: Network) -> Description:
    """The layers of one network."""
    stages = (
        (stage.block, stage.width, stage.stride, stage.depth, stage.settings)
        for stage in network.stages
    )
    return assemble(
        network, stages, network.stem, network.head, network.input_channels, network.classes
    )


def assemble(
    choices: Choices,
    stages: Iterable[tuple[str, Number, int, Number, Mapping[str, Number]]],
    stem: Stem,
    head: Head,
    input_channels: int,
    classes: int,
) -> Description:
    """The layers of a network or of a population of one structure.

    `stages` are (block, width, stride, depth, settings), with numbers or arrays.
    """
    width_in: Number = stem.width or input_channels
    described = []
    for block, width, stride, depth, settings in stages:
        described.append(describe_stage(block, width_in, width, stride, depth, **settings))
        width_in = width
    description = Description(
        STEMS[stem.kind](stem.width), tuple(described), head.describe(classes)
    )
    return _made(description, choices) if departures(choices) else description


def _made(description: Description, choices: Choices) -> Description:
    """The description with the choices made."""
    return Description(
        with_choices(description.stem, choices),
        tuple(
            StageLayers(
                with_choices(stage.first, choices),
                tuple((times, with_choices(layers, choices)) for times, layers in stage.others),
                stage.width,
            )
            for stage in description.stages
        ),
        with_choices(description.head, choices),
    )
