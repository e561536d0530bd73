"""Random networks over the whole vocabulary, for tests of what holds for every network."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from anynet.blocks import BLOCKS, HEADS, STEMS
from anynet.layers import ACTIVATIONS, NORMS, SHORTCUTS
from anynet.network import Head, Network, Stage, Stem

if TYPE_CHECKING:
    from anynet.model import AnyNet

RATIOS = (1, 2, 3, 4, 1 / 2, 1 / 4)


_OTHER_SETTINGS: dict[str, dict[str, tuple[float, ...]]] = {
    "nin": {"kernel": (1, 3, 5, 11)},
    "inception": {
        "share_1x1": (0.1, 0.25),
        "share_3x3": (0.1, 0.4),
        "share_5x5": (0.05, 0.1),
        "reduce_3x3": (0.2, 0.75, 2.0),
        "reduce_5x5": (0.2, 0.5),
    },
    "dense": {"growth_rate": (1, 5, 12), "expansion": (0.1, 1.0, 4.0)},
    "mbconv": {"expansion": (0.5, 1.0, 6.0), "kernel": (3, 5), "se_ratio": (0.25, 1.0)},
}


def _with_choices(rng: random.Random, network: Network) -> Network:
    """With choices of every kind, but for those that would change nothing in it."""
    given = {
        "norm": rng.choice(NORMS),
        "activation": rng.choice(ACTIVATIONS),
        "shortcut": rng.choice(SHORTCUTS),
        "stochastic_depth": rng.choice((None, 0.3)),
        "zero_gamma": rng.random() < 0.5,
    }
    for name, value in given.items():
        with contextlib.suppress(ValueError):
            network = replace(network, **{name: value})
    return network


def _head(rng: random.Random) -> Head:
    kind = rng.choice(list(HEADS))
    values = {"width": (3, 20), "dropout": (0.1, 0.5), "grid": (1, 2, 7)}
    takes = [name for name in HEADS[kind].defaults if rng.random() < 0.5 or name == "width"]
    return Head(kind, **{name: rng.choice(values[name]) for name in takes if rng.random() < 0.8})


def _stage(rng: random.Random) -> Stage:
    block = rng.choice(list(BLOCKS))
    depth, stride = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 2, 3))
    settings: dict[str, float] = {}
    takes = BLOCKS[block].defaults
    if not takes:
        return Stage(depth, rng.randint(1, 48), stride, block)
    if block in _OTHER_SETTINGS:
        for name, values in _OTHER_SETTINGS[block].items():
            if rng.random() < 0.7:
                settings[name] = rng.choice(values)
        growth = settings.get("growth_rate", takes.get("growth_rate", 1))
        least = depth * growth + 1 if BLOCKS[block].grows else 24
        return Stage(depth, rng.randint(least, least + 40), stride, block, **settings)
    if "group_width" not in takes:
        return Stage(depth, rng.randint(1, 48), stride, block, rng.choice((*RATIOS, 1.5, 0.7)))
    if rng.random() < 0.2:  # any width and ratio go together with one group
        width = rng.randint(1, 48)
        settings["bottleneck_ratio"] = rng.choice((*RATIOS, 1.5, 0.7))
    else:
        group_width, ratio = rng.choice((1, 2, 3, 4, 8, 16)), rng.choice(RATIOS)
        inner = group_width * rng.randint(1, 6)
        if ratio < 1:  # the width, inner · ratio, must be whole
            inner *= round(1 / ratio)
        width = round(inner * ratio)
        settings |= {"bottleneck_ratio": ratio, "group_width": group_width}
    if "se_ratio" in takes and rng.random() < 0.8:
        settings["se_ratio"] = rng.choice((0.25, 0.5, 1.0, 0.03))
    return Stage(depth, width, stride, block, **settings)


def _network(rng: random.Random) -> Network:
    stages = tuple(_stage(rng) for _ in range(rng.randint(1, 6)))
    stem = rng.choice(list(STEMS))
    network = Network(
        stages=stages,
        stem=Stem(stem, rng.randint(1, 40)) if stem != "none" else Stem(stem),
        head=_head(rng),
        input_channels=rng.randint(1, 4),
        classes=rng.choice((1, 2, 10, 37, 1000)),
    )
    return _with_choices(rng, network) if rng.random() < 0.7 else network


@pytest.fixture(scope="session")
def random_networks() -> Callable[[int, int], list[Network]]:
    """A function from a seed and n to n networks: 1 to 6 stages of blocks of every kind."""

    def draw(seed: int, n: int) -> list[Network]:
        rng = random.Random(seed)
        return [_network(rng) for _ in range(n)]

    return draw


@pytest.fixture
def own_blocks() -> Iterator[None]:
    """Lets a test register blocks; the vocabulary is as before afterwards."""
    before = dict(BLOCKS)
    yield
    BLOCKS.clear()
    BLOCKS.update(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small layers on busy cores spend their time in waiting for each other's threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained() -> Callable[[Network], AnyNet]:
    """A function from a network to its module as after training: statistics that are not 0 and 1.

    The module is in eval mode.
    """
    import torch

    from anynet.model import build

    def make(network: Network) -> AnyNet:
        generator = torch.Generator().manual_seed(7)
        module = build(network, generator=generator)
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.data.uniform_(0.5, 1.5, generator=generator)
                layer.bias.data.normal_(0, 0.1, generator=generator)
                layer.running_mean.normal_(0, 0.1, generator=generator)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)
            elif isinstance(layer, torch.nn.Linear):
                layer.bias.data.normal_(0, 0.1, generator=generator)
        return module.eval()

    return make
