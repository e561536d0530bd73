"""The choices that a network makes once for all its layers, and the layers after them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
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


def check_choices(choices: Choices, blocks: Iterable[str]) -> None:
    """Raise ValueError for a choice that is none, or that changes nothing in these blocks."""
    blocks = tuple(dict.fromkeys(blocks))
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
    if choices.shortcut != "conv":
        _require_layer("shortcut", choices.shortcut, blocks, "a shortcut with a convolution")
    if rate is not None:
        _require_layer("stochastic_depth", rate, blocks, "a residual")
    if choices.zero_gamma:
        _require_layer("zero_gamma", choices.zero_gamma, blocks, "a norm at the end of a residual")


def departures(choices: Choices) -> dict[str, Any]:
    """The choices that are not the default, by name."""
    return {
        field: getattr(choices, field)
        for field in Choices.__struct_fields__
        if getattr(choices, field) != getattr(DEFAULTS, field)
    }


def with_choices(layers: Layers, choices: Choices) -> Layers:
    """The layers of a description, written for batch norm and ReLU, with the choices made."""
    chosen: list[Layer] = []
    for layer in layers:
        match layer:
            case Conv() if choices.norm == "none" and not layer.bias:
                chosen.append(
                    Conv(layer.width, layer.kernel, layer.stride, layer.group_width, bias=True)
                )
            case Norm(final):
                if choices.norm != "none":
                    chosen.append(Norm(final, choices.norm, final and choices.zero_gamma))
            case Activation():
                chosen.append(Activation(choices.activation))
            case SqueezeExcite(width):
                chosen.append(SqueezeExcite(width, choices.activation))
            case Residual(body, shortcut, skip):
                around = _pooled(shortcut) if choices.shortcut == "avg_pool" else shortcut
                chosen.append(
                    Residual(with_choices(body, choices), with_choices(around, choices), skip)
                )
            case Concat(branches):
                chosen.append(Concat(tuple(with_choices(branch, choices) for branch in branches)))
            case When(mask, inside):
                chosen.append(When(mask, with_choices(inside, choices)))
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


def _require_layer(field: str, value: object, blocks: tuple[str, ...], what: str) -> None:
    """Raise ValueError unless one of the blocks holds what the choice is about."""
    for name in blocks:
        block = BLOCKS[name]
        settings = {key: value for key, value in block.defaults.items() if value is not None}
        if "group_width" in block.defaults:
            settings["group_width"] = 8
        # Any widths will do; 64 to 128 with a stride has everything that a block can have. What a
        # block of stride 1 has beside it (a residual without a shortcut) the second one shows.
        layers = (
            *block.describe(64, 128, 2, **settings),
            *block.describe(128, 128, 1, **settings),
        )
        if what in set(_parts(layers)):
            return
    held = "block holds" if len(blocks) == 1 else "blocks hold"
    raise ValueError(f"{field}: {value!r}, but the {', '.join(blocks)} {held} no {what[2:]}")


def _parts(layers: Layers) -> Iterable[str]:
    for layer in layers:
        match layer:
            case Residual(body, shortcut, skip):
                if skip:
                    yield "a residual"
                    if any(isinstance(inner, Conv) for inner in _flat(shortcut)):
                        yield "a shortcut with a convolution"
                    if any(isinstance(inner, Norm) and inner.final for inner in _flat(body)):
                        yield "a norm at the end of a residual"
                yield from _parts(body)
            case Concat(branches):
                for branch in branches:
                    yield from _parts(branch)
            case When(mask, inside):
                if mask:
                    yield from _parts(inside)


def _flat(layers: Layers) -> Iterable[Layer]:
    for layer in layers:
        if isinstance(layer, When):
            if layer.mask:
                yield from _flat(layer.layers)
        else:
            yield layer
