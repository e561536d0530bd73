"""The choices that a network makes once for all its layers, and the layers after them."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr

from anynet.blocks import BLOCKS
from anynet.checks import require_known
from anynet.layers import (
    ACTIVATIONS,
    NORMS,
    SHORTCUTS,
    Activation,
    AvgPool,
    Concat,
    Conv,
    Layer,
    Layers,
    Norm,
    Residual,
    SqueezeExcite,
    When,
)


class Choices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for all layers of a network.

    `norm`: `batch`, `group`, `layer`, `instance` or `none` (convolutions have a bias then).
    `activation`: `relu`, `relu6`, `silu` or `gelu`. `shortcut`: a residual shortcut changes the
    resolution by the stride of its convolution (`conv`) or by average pooling before it
    (`avg_pool`, ResNet-D). `stochastic_depth`: the probability that the last residual is left out
    of a training step; block l of L has l/L times that (Huang et al. 2016, equation 4).
    `zero_gamma`: the last norm of a residual starts with scale 0, so that a block starts as its
    shortcut (Goyal et al. 2017, section 5.1).
    """

    norm: str = "batch"
    activation: str = "relu"
    shortcut: str = "conv"
    stochastic_depth: float | None = None
    zero_gamma: bool = False


DEFAULTS = Choices()


def check_choices(
    choices: Choices,
    blocks: Iterable[str],
    stages: Callable[[], Iterable[Layers]],
    around: Callable[[], Iterable[Layers]],
) -> None:
    """Raise ValueError for a choice that is none, or that changes nothing here.

    `blocks` are named in the message; the rest as in `void_choices`.
    """
    for field, known in (("norm", NORMS), ("activation", ACTIVATIONS), ("shortcut", SHORTCUTS)):
        name = getattr(choices, field)
        require_known(field, name, known)
        # msgspec leaves out what *is* the default: make what equals it the same string.
        force_setattr(choices, field, sys.intern(name))
    rate = choices.stochastic_depth
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"stochastic_depth: {rate!r} must lie between 0 and 1")
    if choices.zero_gamma and choices.norm == "none":
        raise ValueError("zero_gamma: true, but the network has no norm (norm none)")
    for field, missing in void_choices(choices, stages, around).items():
        names = tuple(dict.fromkeys(blocks))
        held = f"{', '.join(names)} {'block holds' if len(names) == 1 else 'blocks hold'}"
        raise ValueError(f"{field}: {getattr(choices, field)!r}, but the {held} no {missing} here")


def void_choices(
    choices: Choices,
    stages: Callable[[], Iterable[Layers]],
    around: Callable[[], Iterable[Layers]],
) -> dict[str, str]:
    """The choices that change nothing in these layers, each with what they lack for it.

    `stages` gives the layers of every kind of block that a network has, `around` those of its stem
    and head, both as they are described: without the choices.
    """
    if _values(choices) == _values(DEFAULTS):
        return {}
    lacking = {field: _about(field, choices) for field in departures(choices)}
    looked_at = [stages] if lacking.keys().isdisjoint(_IN_ALL_LAYERS) else [around, stages]
    # Nearly always the first layers hold what is looked for.
    for layers in itertools.chain.from_iterable(kind() for kind in looked_at):
        held = set(_parts(layers))
        lacking = {field: part for field, part in lacking.items() if part not in held}
        if not lacking:
            break
    return lacking


_values = operator.attrgetter(*Choices.__struct_fields__)


_IN_ALL_LAYERS = {"norm", "activation"}
"""The choices that stem and head may show too."""


def _about(field: str, choices: Choices) -> str:
    """What a choice changes, as `_parts` names it."""
    match field:
        case "norm":
            return "norm" if choices.norm != "none" else "convolution without a bias"
        case "activation":
            return "activation"
        case "shortcut":
            return "shortcut with a convolution of a stride above 1"
        case "stochastic_depth":
            return "residual"
    return "norm at the end of a residual"


def departures(choices: Choices) -> dict[str, Any]:
    """The choices that are not the default, by name."""
    return {
        field: getattr(choices, field)
        for field in Choices.__struct_fields__
        if getattr(choices, field) != getattr(DEFAULTS, field)
    }


def with_choices(layers: Layers, choices: Choices) -> Layers:
    """The layers of a description, written for batch norm and ReLU, with the choices made."""
    return _made(layers, choices, choices.zero_gamma)


def _made(layers: Layers, choices: Choices, zero_gamma: bool) -> Layers:
    chosen: list[Layer] = []
    for layer in layers:
        match layer:
            case Conv() if choices.norm == "none" and not layer.bias:
                chosen.append(
                    Conv(layer.width, layer.kernel, layer.stride, layer.group_width, bias=True)
                )
            case Norm(final):
                if choices.norm != "none":
                    chosen.append(Norm(final, choices.norm, final and zero_gamma))
            case Activation():
                chosen.append(Activation(choices.activation))
            case SqueezeExcite(width):
                chosen.append(SqueezeExcite(width, choices.activation))
            case Residual(body, shortcut, skip):
                around = _pooled(shortcut) if choices.shortcut == "avg_pool" else shortcut
                # A body alone that starts with scale 0 would give zeros, and take no gradient.
                zero = zero_gamma and bool(np.any(skip))
                inside = _made(body, choices, zero), _made(around, choices, zero_gamma)
                chosen.append(Residual(*inside, skip))
            case Concat(branches):
                made = (_made(branch, choices, zero_gamma) for branch in branches)
                chosen.append(Concat(tuple(made)))
            case When(mask, inner):
                chosen.append(When(mask, _made(inner, choices, zero_gamma)))
            case _:
                chosen.append(layer)
    return tuple(chosen)


def _pooled(shortcut: Layers) -> Layers:
    """The shortcut, with average pooling in the place of the strides of its convolutions."""
    layers: list[Layer] = []
    for layer in shortcut:
        if isinstance(layer, When):
            layers.append(When(layer.mask, _pooled(layer.layers)))
        elif isinstance(layer, Conv) and layer.stride != 1:
            layers += (AvgPool(layer.stride), Conv(layer.width, layer.kernel, bias=layer.bias))
        else:
            layers.append(layer)
    return tuple(layers)


def example_layers(block: str, strides: Iterable[int]) -> Iterable[Layers]:
    """A block's layers at the begin of a stage of each stride, and within one.

    Any widths will do: 64 to 128 and 128 to 128 have everything that a block can have.
    """
    defaults = BLOCKS[block].defaults
    settings = {key: value for key, value in defaults.items() if value is not None}
    if "group_width" in defaults:
        settings["group_width"] = 8
    for stride in dict.fromkeys(strides):
        yield BLOCKS[block].describe(64, 128, stride, **settings)
    yield BLOCKS[block].describe(128, 128, 1, **settings)


def _parts(layers: Layers) -> Iterable[str]:
    """What the layers hold of that which a choice is about."""
    for layer in _flat(layers):
        match layer:
            case Conv():
                if not layer.bias:
                    yield "convolution without a bias"
            case Norm():
                yield "norm"
            case Activation() | SqueezeExcite():
                yield "activation"
            case Residual(body, shortcut, skip):
                if skip:
                    yield "residual"
                    if any(
                        isinstance(inner, Conv) and inner.stride != 1 for inner in _flat(shortcut)
                    ):
                        yield "shortcut with a convolution of a stride above 1"
                    if any(isinstance(inner, Norm) and inner.final for inner in _flat(body)):
                        yield "norm at the end of a residual"
                    yield from _parts(shortcut)
                # Only the outermost residual is left out by stochastic depth.
                yield from (part for part in _parts(body) if part != "residual")
            case Concat(branches):
                for branch in branches:
                    yield from _parts(branch)


def _flat(layers: Layers) -> Iterable[Layer]:
    for layer in layers:
        if isinstance(layer, When):
            if layer.mask:
                yield from _flat(layer.layers)
        else:
            yield layer
