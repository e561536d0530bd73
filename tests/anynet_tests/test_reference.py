"""Reference networks: torchvision's counts to the unit, at any channels, classes and size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from anynet.cli import run
from anynet.counting import cost, cost_by_stage
from anynet.errors import InputError
from anynet.exchange.safetensors import load_safetensors
from anynet.export import export_text, export_weights, load_network
from anynet.model import build
from anynet.reference import FACTS, Reference
from anynet.textbook import textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")

# torchvision 0.29, metadata of the weights: params and multiply-adds in billions, at 224x224
# (Inception v3 at 299x299). Its params there, 27,161,264, hold the auxiliary head's 3,326,696.
TORCHVISION = {
    "alexnet": (61100840, 0.714),
    "vgg11": (132863336, 7.609),
    "vgg11_bn": (132868840, 7.609),
    "vgg13": (133047848, 11.308),
    "vgg13_bn": (133053736, 11.308),
    "vgg16": (138357544, 15.470),
    "vgg16_bn": (138365992, 15.470),
    "vgg19": (143667240, 19.632),
    "vgg19_bn": (143678248, 19.632),
    "googlenet": (6624904, 1.498),
    "inception_v3": (27161264 - 3326696, 5.713),
}
OURS = {"lenet5": 61706, "nin": 966986}
"""Params: d2l, section 7.6 (LeNet); the authors' configuration for CIFAR-10 (NiN)."""


def test_every_reference_has_a_row_here():
    assert {**TORCHVISION, **OURS}.keys() == FACTS.keys()
    assert {name for name in FACTS if FACTS[name].in_torchvision} == TORCHVISION.keys()


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_torchvisions(name):
    params, billions = TORCHVISION[name]
    counted = cost(textbook_network(name), FACTS[name].resolution)
    assert counted.params == params
    # torchvision's figures leave out biases, which add one an output.
    assert counted.flops / 1e9 == pytest.approx(billions, rel=0.0015)


@pytest.mark.parametrize("name", OURS)
def test_counts_are_the_published_ones(name):
    assert cost(textbook_network(name), FACTS[name].resolution).params == OURS[name]


def test_lenet_is_counted_as_by_hand():
    # Two convolutions of 5x5 at 28 and 10 pixels, pooled to 14 and 5; 400-120-84-10.
    flops = 28**2 * 6 * 26 + 10**2 * 16 * 151 + 401 * 120 + 121 * 84 + 85 * 10
    outputs = 6 * (28**2 + 14**2) + 16 * (10**2 + 5**2) + 120 + 84 + 10
    counted = cost(textbook_network("lenet5"), 28)
    assert (counted.flops, counted.activations) == (flops, outputs)


def test_pooling_without_a_module_is_counted():
    lines = {line.name: line for line in cost_by_stage(textbook_network("inception_v3"), 299)}
    # 1x1 to 64; 1x1 to 48, 5x5 to 64; 1x1 to 64, 3x3 to 96 twice; 192 pooled, 1x1 to 32.
    outputs = 64 + 48 + 64 + 64 + 96 + 96 + 192 + 32
    assert lines["Mixed_5b"].cost.activations == 35**2 * outputs


@pytest.mark.parametrize("name", FACTS)
def test_it_takes_other_channels_and_classes_down_to_its_smallest_side(name):
    reference = Reference(name, input_channels=1, classes=7)
    side = reference.facts.smallest
    with torch.device("meta"):
        module = build(reference, device="meta").train()
        images = torch.empty(2, 1, side, side)
    assert module(images).shape == (2, 7)
    assert sum(p.numel() for p in module.parameters()) == cost(reference, side).params
    with pytest.raises(ValueError, match=f"takes images of {side} pixels a side or more"):
        cost(reference, side - 1)
    with pytest.raises((RuntimeError, ValueError)), torch.device("meta"):
        module(torch.empty(2, 1, side - 1, side - 1))


def test_weights_are_drawn_from_the_generator_and_load_into_torchvision():
    reference = Reference("vgg11_bn", classes=3)
    one, two = (build(reference, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    for (name, a), (_, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
        assert a.isfinite().all()
    assert one.features[0].weight.std() > 0.01
    theirs = models.vgg11_bn(weights=None, num_classes=3).eval()
    theirs.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(theirs(images), one.eval()(images))


@pytest.mark.parametrize("name", ["lenet5", "nin"])
def test_ours_learn(name):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 2
    images = torch.randn(16, 1, 28, 28, generator=generator) + 2.0 * labels.view(-1, 1, 1, 1)
    module = build(Reference(name, 1, 2), generator=generator).eval()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.005, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_files_of_references_read_back(tmp_path):
    reference = Reference("lenet5", 3, 4)
    path = tmp_path / "lenet.yaml"
    path.write_text(reference.to_yaml("a comment"))
    assert load_network(str(path)) == reference
    module = build(reference, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(2, 3, 28, 28)
    for to, name in (("safetensors", "a.safetensors"), ("torch_export", "a.pt2")):
        export_weights(module, to, tmp_path / name, resolution=28)
        assert load_network(str(tmp_path / name)) == reference
    with torch.inference_mode():
        again = load_safetensors(tmp_path / "a.safetensors")
        assert torch.equal(again(images), module(images))


@pytest.mark.parametrize("name", ["vgg16_bn", "googlenet"])
def test_exported_code_builds_the_same(name):
    space = {}
    exec(export_text(Reference(name, 3, 5), "torchvision"), space)
    with torch.device("meta"):
        module = space["build"]()
    reference = Reference(name, 3, 5)
    assert sum(p.numel() for p in module.parameters()) == cost(reference, 64).params


@pytest.mark.parametrize(
    ("reference", "to", "message"),
    [
        (Reference("nin"), "torchvision", "reference: torchvision has no nin"),
        (Reference("vgg16", 1), "torchvision", "input_channels: 1, but torchvision takes 3"),
        (Reference("vgg16"), "pycls", "--to: pycls has no vgg16 in stages of equal blocks"),
        (Reference("vgg16"), "timm", "--to: timm has no vgg16 in stages of equal blocks"),
    ],
)
def test_what_no_library_has_is_refused(reference, to, message):
    with pytest.raises(InputError, match=message):
        export_text(reference, to)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "inception_v3", "--resolution", "32"],
         "--resolution: 32, but inception_v3 takes images of 75 pixels a side or more"),
        (["explain", "vgg16"], "vgg16: has no stages of equal blocks"),
        (["cost", "vgg17"], "network: 'vgg17' is not known; did you mean 'vgg1"),
        (["export", "alexnet", "--to", "onnx", "--resolution", "32", "--out", "x.onnx"],
         "--resolution: 32, but alexnet takes images of 63 pixels a side or more"),
        (["export", "alexnet", "--to", "onnx", "--fold", "--out", "x.onnx"],
         "--fold: goes with networks in stages"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_cost_says_what_was_left_out(capsys):
    assert run(["cost", "googlenet"]) == 0
    out = capsys.readouterr().out
    assert "6,624,904" in out
    assert "without its auxiliary classifiers" in out
