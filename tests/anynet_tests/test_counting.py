"""What is counted is what was published, and what hooks measure on the module that is built."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from anynet.blocks import BLOCKS, STEMS
from anynet.counting import cost, cost_by_stage
from anynet.model import build
from anynet.network import Network, Stage, Stem
from anynet.reference import FACTS
from anynet.sampling import population_cost
from anynet.space import NAMED, DesignSpace, LineRanges
from anynet.textbook import names, textbook_network

# (params, flops, activations) at 224x224: pycls, `dev/model_complexity.json`, the networks of its
# model zoo in `configs/dds_baselines` (github.com/facebookresearch/pycls, MIT).
PUBLISHED = {
    "regnetx_200mf": (2684792, 199040872, 2164056),
    "regnetx_400mf": (5157512, 397678568, 3143272),
    "regnetx_600mf": (6196040, 600891112, 3975096),
    "regnetx_800mf": (7259656, 799700712, 5148744),
    "regnetx_1.6gf": (9190136, 1602850792, 7933512),
    "regnetx_3.2gf": (15296552, 3176622952, 11367432),
    "regnetx_4.0gf": (22118248, 3964499816, 12201608),
    "regnetx_6.4gf": (26209256, 6460292264, 16369744),
    "regnetx_8.0gf": (39572648, 7995133416, 14059688),
    "regnetx_12gf": (46106056, 12086679016, 21366568),
    "regnetx_16gf": (54278536, 15940756456, 25515496),
    "regnetx_32gf": (107811560, 31735930792, 36302160),
    "regnety_200mf": (3162996, 199519076, 2168052),
    "regnety_400mf": (4344144, 401849056, 3892496),
    "regnety_600mf": (6055160, 601227608, 4334296),
    "regnety_800mf": (6263168, 797183328, 5249888),
    "regnety_1.6gf": (11202430, 1612087326, 8044814),
    "regnety_3.2gf": (19436338, 3176496162, 11263418),
    "regnety_4.0gf": (20646656, 3973301344, 12287200),
    "regnety_6.4gf": (30583252, 6355221876, 16407188),
    "regnety_8.0gf": (39180068, 7963074196, 17968916),
    "regnety_12gf": (51822544, 12092395504, 21384496),
    "regnety_16gf": (83590140, 15911534044, 23041228),
    "regnety_32gf": (145046770, 32279583362, 30261570),
    "resnet50": (25557032, 4089185256, 11315688),
    "resnet101": (44549160, 7801406440, 16433640),
    "resnet152": (60192808, 11513627624, 22755816),
    "resnext50_32x4d": (25028904, 4230480872, 14602216),
    "resnext101_32x4d": (44177704, 7969997800, 21426152),
    "resnext152_32x4d": (59951400, 11709514728, 29855720),
}

# The same file, `configs/archive/cifar/anynet`: R-56 and V-56 at 32x32, three stages of 9 blocks.
CIFAR = {
    "res_basic": (855770, 125747850, 544778),
    "vanilla": (853018, 125485706, 532490),
}

RESOLUTIONS = (1, 7, 32, 33, 64, 65, 97)


def measured(network: Network, resolution: int) -> tuple[int, int, int]:
    """Params, flops and activations of the module, by hooks, on the meta device."""
    module = build(network, device="meta").eval()
    flops = activations = 0

    def hook(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal flops, activations
        activations += output.numel()
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            return
        positions = output.shape[2] * output.shape[3] if output.ndim == 4 else 1
        flops += positions * layer.weight.numel()
        flops += output.numel() if layer.bias is not None else 0

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AvgPool2d):
            layer.register_forward_hook(hook)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm | nn.ReLU):
            layer.forward = lambda x: x  # changes no shape, and would take half of the time
    side = torch.empty(1, network.input_channels, resolution, resolution, device="meta")
    with torch.inference_mode():
        scores = module(side)
    assert scores.shape == (1, network.classes)
    return sum(p.numel() for p in module.parameters()), flops, activations


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_the_published_ones_to_the_unit(name):
    assert cost(textbook_network(name)) == PUBLISHED[name]


@pytest.mark.parametrize(("block", "published"), CIFAR.items())
def test_costs_of_cifar_networks_are_the_published_ones(block, published):
    network = Network(
        stages=tuple(
            Stage(9, width, stride, block) for width, stride in ((16, 1), (32, 2), (64, 2))
        ),
        stem=Stem("cifar", 16),
        classes=10,
    )
    assert cost(network, 32) == published


@pytest.mark.parametrize("name", sorted(set(names()) - set(PUBLISHED) - set(FACTS)))
def test_counted_is_measured_for_textbook_networks(name):
    network = textbook_network(name)
    for resolution in (64, 97):
        assert cost(network, resolution) == measured(network, resolution)


@pytest.mark.parametrize("seed", range(10))
def test_counted_is_measured_for_random_networks(random_networks, seed):
    networks = random_networks(seed, 100)
    rng = random.Random(seed)
    for network in networks:
        resolution = rng.choice(RESOLUTIONS)
        counted = cost(network, resolution)
        assert counted == measured(network, resolution), (resolution, network.to_json())


def test_the_random_networks_reach_the_whole_vocabulary(random_networks):
    networks = random_networks(0, 100)
    stages = [stage for network in networks for stage in network.stages]
    assert {stage.block for stage in stages} == set(BLOCKS)
    assert {network.stem.kind for network in networks} == set(STEMS)
    assert {len(network.stages) for network in networks} == set(range(1, 7))
    assert {network.input_channels for network in networks} == {1, 2, 3, 4}
    assert any(len({stage.block for stage in network.stages}) > 2 for network in networks)


@pytest.mark.parametrize("name", NAMED)
def test_counted_is_measured_for_samples_of_the_named_spaces(name):
    population = NAMED[name].sample(12, np.random.default_rng(1), flops=(1e6, 400e6), resolution=65)
    for i, network in enumerate(population):
        row = (population.params[i], population.flops[i], population.activations[i])
        assert row == measured(network, 65) == cost(network, 65)


DOMAINS = {
    "bottleneck_ratio": (0.5, 1, 2),
    "group_width": (1, 4, 16),
    "se_ratio": (0.01, 0.25, 0.5),
    "kernel": (1, 3, 7),
    "expansion": (0.3, 1, 6),
    "growth_rate": (1, 4, 9),
    "share_1x1": (0.1, 0.25),
    "share_3x3": 0.4,
    "share_5x5": (0.05, 0.34),
    "reduce_3x3": (0.1, 1.5),
    "reduce_5x5": 0.5,
}


def space_of(block: str, stem: str, stages: int) -> DesignSpace:
    takes = BLOCKS[block].defaults
    return DesignSpace(
        name="test",
        depth=(1, 2, 3),
        width=None if BLOCKS[block].grows else (8, 16, 24, 40),
        **{name: domain for name, domain in DOMAINS.items() if name in takes},
        block=block,
        strides=(1, 2, 3, 2, 1, 2)[:stages],
        stem=Stem(stem, 0 if stem == "none" else 16),
        input_channels=1,
        classes=10,
    )


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("block", BLOCKS)
def test_counts_of_a_population_are_those_of_its_networks(block, stem):
    space = space_of(block, stem, stages=4)
    population = space.sample(200, np.random.default_rng(2), resolution=33, unique=False)
    singles = [cost(network, 33) for network in population]
    for name in ("params", "flops", "activations"):
        assert getattr(population, name).tolist() == [getattr(one, name) for one in singles]
    assert cost(population[0], 33) == measured(population[0], 33)


def test_a_line_space_counts_as_its_networks_do():
    space = DesignSpace(
        name="test",
        depth=(8, 9, 12),
        line=LineRanges(w0=(16, 24), wa=(10, 20, 35.5), wm=(2, 2.5)),
        bottleneck_ratio=(1, 2),
        group_width=(8, 24),
        strides=(2, 1, 2),
        block="y",
        se_ratio=0.5,
    )
    population = space.sample(20, np.random.default_rng(0), resolution=31)
    assert [tuple(cost(network, 31)) for network in population] == list(
        zip(population.params, population.flops, population.activations, strict=True)
    )


def test_a_space_of_y_blocks_without_se_ratio_counts_the_squeeze_that_it_builds():
    space = DesignSpace(
        name="test", depth=1, width=(16, 32), bottleneck_ratio=1, group_width=8, block="y"
    )
    population = space.sample(4, np.random.default_rng(0))
    assert population.params.tolist() == [cost(network).params for network in population]


def test_counts_of_columns_are_exact_integers():
    columns = {"depths": np.full((1, 4), 60.0), "widths": np.full((1, 4), 8000.0)}
    space = space_of("vanilla", "simple", stages=4)
    counted = population_cost(space, columns, 224)
    network = Network(
        stages=tuple(Stage(60, 8000, stride, "vanilla") for stride in space.strides),
        stem=space.stem,
        input_channels=1,
        classes=10,
    )
    assert int(counted.flops[0]) == cost(network).flops


def test_lines_by_stage_sum_to_the_whole():
    network = textbook_network("regnety_800mf")
    lines = cost_by_stage(network, 200)
    assert [line.name for line in lines] == [
        "stem", "stage 1", "stage 2", "stage 3", "stage 4", "head",
    ]  # fmt: skip
    assert [line.resolution for line in lines] == [100, 50, 25, 13, 7, 1]
    assert [line.width for line in lines] == [32, 64, 128, 320, 768, 1000]
    assert [line.depth for line in lines] == [1, 1, 3, 8, 2, 1]
    for field in ("params", "flops", "activations"):
        parts = sum(getattr(line.cost, field) for line in lines)
        assert parts == getattr(cost(network, 200), field)


def test_the_smallest_network_by_hand():
    network = Network(stages=(Stage(1, 2, 1, "vanilla"),), stem=Stem("cifar", 1), classes=2)
    # stem 3->1, block 1->2->2, each 3x3 with a norm; head 2->2 with a bias; 3x3 pixels
    weights = 27 + 18 + 36
    assert cost(network, 3) == (
        weights + 2 * (1 + 2 + 2) + 6,
        9 * weights + 6,
        9 * (1 + 2 + 2) + 2,
    )


@pytest.mark.parametrize("resolution", [0, -1])
def test_a_resolution_must_be_above_zero(resolution):
    network = textbook_network("resnet50")
    for counter in (cost, cost_by_stage):
        with pytest.raises(ValueError, match=f"resolution: {resolution} must be above 0"):
            counter(network, resolution)
