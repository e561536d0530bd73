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
from anynet.textbook import REGNETS, names, textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")

# params of torchvision 0.29's modules, which the test below counts again.
TORCHVISION = {
    "resnet18": 11689512,
    "resnet34": 21797672,
    "resnet50": 25557032,
    "resnet101": 44549160,
    "resnet152": 60192808,
    "resnext50_32x4d": 25028904,
    "densenet121": 7978856,
    "densenet169": 14149480,
    "mobilenet_v2": 3504872,
    "efficientnet_b0": 5288548,
}
TIMM = {"resnet50d": "resnet50d"}
SAME_SCORES = ("resnet18", "resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0", *TIMM)


def theirs(name: str) -> nn.Module:
    return timm.create_model(TIMM[name]) if name in TIMM else getattr(models, name)(weights=None)


@pytest.mark.parametrize(("name", "params"), TORCHVISION.items())
def test_params_are_torchvisions(name, params):
    with torch.device("meta"):
        module = getattr(models, name)(weights=None)
    assert cost(textbook_network(name)).params == params
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


def test_networks_for_cifar_have_the_published_costs():
    # R-56 and V-56: pycls, dev/model_complexity.json; R-110: He et al. 2016, table 6, 1.7M.
    assert cost(textbook_network("r56"), 32) == (855770, 125747850, 544778)
    assert cost(textbook_network("v56"), 32) == (853018, 125485706, 532490)
    assert round(cost(textbook_network("r110"), 32).params / 1e6, 1) == 1.7


@pytest.mark.parametrize("name", SAME_SCORES)
def test_scores_are_those_of_the_library_with_its_weights(name):
    generator = torch.Generator().manual_seed(0)
    other = theirs(name).eval()
    for layer in other.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training
            layer.weight.data.uniform_(0.5, 1.0, generator=generator)
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    ours = build(textbook_network(name), generator=generator).eval()
    give_weights(other, ours)
    # At 97 pixels DenseNet's transitions drop the last row and column, and ours pool them too.
    for side in (64,) if name == "densenet121" else (64, 97):
        images = torch.randn(2, 3, side, side, generator=generator)
        with torch.inference_mode():
            want, got = other(images), ours(images)
        assert want.abs().max() > 0.01
        assert (want - got).abs().max() <= 1e-5 * want.abs().max()


def give_weights(one: nn.Module, other: nn.Module) -> None:
    """Copy weights between modules whose layers of equal kind and shape come in one order."""
    sources, targets = by_kind(one.modules()), by_kind(in_reading_order(other))
    assert {kind: len(found) for kind, found in sources.items()} == {
        kind: len(found) for kind, found in targets.items()
    }
    for kind, found in sources.items():
        for source, target in zip(found, targets[kind], strict=True):
            target.load_state_dict(source.state_dict())


def by_kind(modules: Iterator[nn.Module]) -> dict[tuple[object, ...], list[nn.Module]]:
    found = defaultdict(list)
    for layer in modules:
        for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
            if isinstance(layer, kind):
                found[kind, *layer.weight.shape].append(layer)
    return found


def in_reading_order(module: nn.Module) -> Iterator[nn.Module]:
    """All modules; of a residual the body before the shortcut, as the libraries list them."""
    yield module
    children = list(module.children())
    for child in reversed(children) if isinstance(module, ResidualSum) else children:
        yield from in_reading_order(child)


@pytest.mark.parametrize("name", [name for name in names() if name not in REGNETS])
def test_every_name_is_a_network_that_reads_back(name):
    network = textbook_network(name)
    assert Network.from_yaml(network.to_yaml()) == Network.from_json(network.to_json()) == network
