"""What one network is: a stem, stages of equal blocks, a head. Frozen, validated, hashable.

Invalid means unconstructable. Two networks that build the same module are equal: settings that
a block does not take are refused, those that a stage leaves out are filled in.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from anynet.blocks import BLOCKS, HEADS, SETTINGS, STEMS, inner_width
from anynet.files import decode, parse_yaml, to_json, to_yaml
from anynet.layers import Layers, Number


def require_known(field: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the nearest known name, or all of them, where `name` is not one."""
    known = list(known)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        rule = f"is not known; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{field}: {name!r} {rule or 'is not one of ' + ', '.join(known)}")


MOST = 1_000_000
"""The largest width, depth, ... that is taken for meant; far above any that is built."""


def require_positive(field: str, value: float, most: float = MOST) -> None:
    """Raise ValueError where `value` is not above 0 or above `most` (nan and inf are refused)."""
    if not value > 0:
        raise ValueError(f"{field}: {value!r} must be above 0")
    if not value <= most:
        text = repr(value) if value < 10**30 else f"{str(value)[:12]}..."
        raise ValueError(f"{field}: {text} must be at most {most:,}")


def require_ratio(field: str, value: float) -> None:
    """Raise ValueError where `value` is no ratio of widths: 0.001 to 1000."""
    if not 1e-3 <= value <= 1e3:
        rule = "must be above 0" if not value > 0 else "must lie between 0.001 and 1000"
        raise ValueError(f"{field}: {value!r} {rule}")


class Stem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layers before the first stage: `simple`, `cifar`, `imagenet` or `deep`."""

    kind: str = "simple"
    width: int = 32

    def __post_init__(self) -> None:
        require_known("kind", self.kind, STEMS)
        require_positive("width", self.width)


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layers after the last stage: global average pooling and one linear layer (`linear`),
    behind a norm and an activation (`norm_linear`) where the blocks end without one."""

    kind: str = "linear"

    def __post_init__(self) -> None:
        require_known("kind", self.kind, HEADS)


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`depth` equal blocks of `width` channels; the first one has the `stride`.

    `bottleneck_ratio` b: the inner width is width / b (the papers' b; pycls `BOT_MUL` is 1/b).
    `group_width` g: channels a group of the 3x3 convolution; must divide the inner width; left
    out, there is one group. `se_ratio`: squeezed channels over the block's *input* channels.
    Raises ValueError (field, value, rule) on anything else.
    """

    depth: int
    width: int
    stride: int = 1
    block: str = "x"
    bottleneck_ratio: float | None = None
    group_width: int | None = None
    se_ratio: float | None = None

    def __post_init__(self) -> None:
        for field in ("depth", "width", "stride"):
            require_positive(field, getattr(self, field))
        require_known("block", self.block, BLOCKS)
        defaults = BLOCKS[self.block].defaults
        for field in SETTINGS:
            value = getattr(self, field)
            if field not in defaults:
                if value is not None:
                    raise ValueError(f"{field}: {value!r}, but the {self.block} block has none")
            elif value is not None:
                (require_positive if field == "group_width" else require_ratio)(field, value)
            elif (default := defaults[field]) is not None:
                force_setattr(self, field, default)
        if "group_width" in defaults:
            self._check_groups()

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
        """The settings that the block takes, by name."""
        return {field: getattr(self, field) for field in BLOCKS[self.block].defaults}


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole network: images of `input_channels` channels to scores of `classes` classes."""

    stages: tuple[Stage, ...]
    stem: Stem = Stem()
    head: Head = Head()
    input_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: [] must hold at least one stage")
        require_positive("input_channels", self.input_channels)
        require_positive("classes", self.classes)

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


@dataclass(frozen=True, slots=True, eq=False)
class StageLayers:
    """A stage in layers: its first block, each of its other blocks, and how many there are.

    `depth` may be an array with one entry a network, as may the fields of the layers.
    """

    first: Layers
    other: Layers
    depth: Number


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
    return StageLayers(
        first=describe(width_in, width, stride, **settings),
        other=describe(width, width, 1, **settings),
        depth=depth,
    )


def describe(network: Network) -> Description:
    """The layers of one network."""
    stages = []
    width_in = network.stem.width
    for stage in network.stages:
        stages.append(
            describe_stage(
                stage.block, width_in, stage.width, stage.stride, stage.depth, **stage.settings
            )
        )
        width_in = stage.width
    return Description(
        stem=STEMS[network.stem.kind](network.stem.width),
        stages=tuple(stages),
        head=HEADS[network.head.kind](network.classes),
    )
