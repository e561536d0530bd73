"""Networks by name are the published ones: their counts, and scores with others' weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from anynet.counting import cost
from anynet.model import ResidualSum, build
from anynet.network import Network
from anynet.reference import FACTS
from anynet.textbook import REGNETS, names, textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")

# torchvision 0.29, metadata of the weights: params, and multiply-adds at 224x224 in billions.
TORCHVISION = {
    "resnet18": (11689512, 1.814),
    "resnet34": (21797672, 3.664),
    "resnet50": (25557032, 4.089),
    "resnet101": (44549160, 7.801),
    "resnet152": (60192808, 11.514),
    "resnext50_32x4d": (25028904, 4.230),
    "resnext101_32x8d": (88791336, 16.414),
    "resnext101_64x4d": (83455272, 15.460),
    "densenet121": (7978856, 2.834),
    "densenet169": (14149480, 3.360),
    "mobilenet_v2": (3504872, 0.301),
    "efficientnet_b0": (5288548, 0.386),
}
# (params, flops, activations): pycls, `dev/model_complexity.json`, R-56, R-110 and V-56 of
# `configs/archive/cifar/anynet` at 32x32, EN-B0 of `configs/dds_baselines` at 224x224.
PYCLS = {
    "r56": (32, (855770, 125747850, 544778)),
    "r110": (32, (1730714, 253149834, 1060874)),
    "v56": (32, (853018, 125485706, 532490)),
    "efficientnet_b0": (224, (5288548, 385825092, 6748036)),
}
TIMM = {"resnet50d": "resnet50d", "preact_resnet50": "resnetv2_50"}
SAME_SCORES = ("resnet18", "resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0", *TIMM)


def theirs(name: str) -> nn.Module:
    return timm.create_model(TIMM[name]) if name in TIMM else getattr(models, name)(weights=None)


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_torchvisions(name):
    params, billions = TORCHVISION[name]
    with torch.device("meta"):
        module = getattr(models, name)(weights=None)
    counted = cost(textbook_network(name), 224)
    assert counted.params == params
    assert counted.flops / 1e9 == pytest.approx(billions, abs=0.0005)
    assert sum(p.numel() for p in module.parameters()) == params


def test_params_are_timms():
    # timm's resnetv2_50 has no norm after its first convolution: 2 x 64 params fewer.
    for name, timms, fewer in (
        ("resnet50d", "resnet50d", 0),
        ("preact_resnet50", "resnetv2_50", 128),
    ):
        with torch.device("meta"):
            module = timm.create_model(timms)
        params = sum(p.numel() for p in module.parameters())
        assert cost(textbook_network(name)).params == params + fewer


@pytest.mark.parametrize("name", PYCLS)
def test_counts_are_those_of_pycls(name):
    resolution, published = PYCLS[name]
    assert cost(textbook_network(name), resolution) == published


@pytest.mark.parametrize("name", SAME_SCORES)
def test_scores_are_those_of_the_library_with_its_weights(name):
    generator = torch.Generator().manual_seed(0)
    other = theirs(name).eval()
    for layer in other.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training
            layer.weight.data.uniform_(0.5, 1.0, generator=generator)
            layer.bias.data.normal_(0, 0.1, generator=generator)
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    ours = build(textbook_network(name), generator=generator).eval()
    listed = in_reading_order(ours)
    if name == "preact_resnet50":
        # timm has neither norm nor activation in the stem, and lists a shortcut before the body.
        ours.stem[1] = ours.stem[2] = nn.Identity()
        listed = ours.modules()
    give_weights(other, listed)
    assert difference(ours, other, 64) < 1e-5
    if name == "densenet121":
        # At 97 pixels its transitions drop the last row and column, and ours pool them too, as
        # everything here rounds sides up. That is all that differs.
        assert difference(ours, other, 97) > 1e-2
        for layer in other.modules():
            if isinstance(layer, nn.AvgPool2d):
                layer.ceil_mode, layer.count_include_pad = True, False
    assert difference(ours, other, 97) < 1e-5


def difference(ours: nn.Module, other: nn.Module, side: int) -> float:
    """The greatest difference of the scores, over the greatest score."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        want, got = other(images), ours(images)
    assert want.abs().max() > 0.01
    return float((want - got).abs().max() / want.abs().max())


def test_stochastic_depth_of_efficientnet_ends_at_its_rate():
    # Block l of L has l/L of it, as Huang et al. 2016 have it; torchvision starts at 0: (l - 1)/L.
    ours = build(textbook_network("efficientnet_b0"), device="meta").modules()
    rates = [layer.drop.p for layer in ours if isinstance(layer, ResidualSum)]
    other = theirs("efficientnet_b0").modules()
    starts = [b.stochastic_depth.p for b in other if getattr(b, "use_res_connect", False)]
    assert rates == pytest.approx([rate + 0.2 / 16 for rate in starts])


def give_weights(one: nn.Module, listed: Iterator[nn.Module]) -> None:
    """Copy weights to listed modules; layers of equal kind and shape come in one order."""
    sources, targets = by_kind(one.modules()), by_kind(listed)
    assert {kind: len(found) for kind, found in sources.items()} == {
        kind: len(found) for kind, found in targets.items()
    }
    for kind, found in sources.items():
        for source, target in zip(found, targets[kind], strict=True):
            weights = source.state_dict()
            # A 1x1 convolution to the classes stands for a linear layer in timm.
            weights["weight"] = weights["weight"].view_as(target.weight)
            target.load_state_dict(weights)


def by_kind(modules: Iterator[nn.Module]) -> dict[tuple[object, ...], list[nn.Module]]:
    found = defaultdict(list)
    for layer in modules:
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            shape = [*layer.weight.shape, 1, 1][:4]
            found[isinstance(layer, nn.BatchNorm2d), *shape].append(layer)
    return found


def in_reading_order(module: nn.Module) -> Iterator[nn.Module]:
    """All modules; of a residual the body before the shortcut, as the libraries list them."""
    yield module
    children = list(module.children())
    for child in reversed(children) if isinstance(module, ResidualSum) else children:
        yield from in_reading_order(child)


@pytest.mark.parametrize(
    "name", [name for name in names() if name not in REGNETS and name not in FACTS]
)
def test_every_name_is_a_network_that_reads_back(name):
    network = textbook_network(name)
    assert Network.from_yaml(network.to_yaml()) == Network.from_json(network.to_json()) == network
