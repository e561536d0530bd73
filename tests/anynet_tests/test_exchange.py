"""Networks and weights to torchvision, timm and d2l and back; what they cannot express."""

from __future__ import annotations

import random
import sys
import types

import pytest
import torch
from torch import nn

from anynet.blocks import BLOCKS
from anynet.counting import cost
from anynet.errors import InputError
from anynet.exchange.d2l import from_d2l
from anynet.exchange.timm import from_timm, weights_to_timm
from anynet.exchange.torchvision import from_torchvision, weights_to_torchvision
from anynet.export import export_text
from anynet.model import build
from anynet.network import Network, Stage, Stem
from anynet.textbook import textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")

LIBRARIES = {
    "torchvision": (weights_to_torchvision, from_torchvision),
    "timm": (weights_to_timm, from_timm),
}
ODD = Network(
    (
        Stage(2, 32, 1, "y", bottleneck_ratio=2, group_width=4, se_ratio=0.5),
        Stage(1, 32, 1, "y", bottleneck_ratio=0.5, group_width=8, se_ratio=0.5),
        Stage(3, 48, 3, "y", group_width=48, se_ratio=0.5),
    ),
    Stem(width=32),
    classes=7,
)
"""Strides 1 and 3, a stage without a projection, ratios above and below 1, one group."""
NETWORKS = {name: textbook_network(f"regnet{name}") for name in ("x_200mf", "x_400mf", "y_400mf")}


def params(module):
    return sum(p.numel() for p in module.parameters())


def run_code(network, to):
    """What `build()` of an exported file returns, in eval mode."""
    names = {}
    exec(compile(export_text(network, to, "a comment\n\nof lines"), f"{to}.py", "exec"), names)
    return names["build"]().eval()


def difference(one, other, channels=3):
    images = torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (one(images) - other(images)).abs().max().item()


@pytest.mark.parametrize("to", LIBRARIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_travel_both_ways(trained, name, to):
    network, (weights_to, back) = NETWORKS[name], LIBRARIES[to]
    ours = trained(network)
    theirs = run_code(network, to)
    assert params(theirs) == cost(network).params
    assert difference(ours, theirs) > 1e-3  # the weights make the difference
    theirs.load_state_dict(weights_to(network, ours.state_dict()))
    assert difference(ours, theirs) < 1e-5
    again = back(theirs.train())
    assert theirs.training
    assert not again.training
    assert again.network == network
    assert difference(ours, again) < 1e-5
    for key, value in ours.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_torchvision_takes_odd_strides_and_ratios(trained):
    ours, theirs = trained(ODD), run_code(ODD, "torchvision")
    theirs.load_state_dict(weights_to_torchvision(ODD, ours.state_dict()))
    assert difference(ours, theirs) < 1e-5
    assert from_torchvision(theirs).network == ODD


def test_timm_takes_what_torchvision_does_not(trained):
    network = Network(
        (
            Stage(1, 32, 1, bottleneck_ratio=4, group_width=8),
            Stage(2, 64, 2, "y", se_ratio=0.01),  # squeezes 32 to none, and 64 to one channel
            Stage(2, 64, 2, "y"),
        ),
        Stem("imagenet", 32),
        input_channels=1,
        classes=5,
    )
    ours, theirs = trained(network), run_code(network, "timm")
    theirs.load_state_dict(weights_to_timm(network, ours.state_dict()))
    assert params(theirs) == cost(network).params
    assert difference(ours, theirs, channels=1) < 1e-5
    assert difference(ours, from_timm(theirs), channels=1) < 1e-5


def test_strides_beyond_32_stay_strides(trained):
    network = Network(tuple(Stage(1, 8, 2) for _ in range(6)), classes=3)
    ours, theirs = trained(network), run_code(network, "timm")
    theirs.load_state_dict(weights_to_timm(network, ours.state_dict()))
    assert difference(ours, theirs) < 1e-5


def test_published_modules_are_networks_of_ours():
    import timm
    from torchvision.models import regnet_y_400mf

    # torchvision rounds its group fix otherwise, but not for this one; timm does as pycls.
    published = textbook_network("regnety_400mf")
    assert from_torchvision(regnet_y_400mf(weights=None)).network == published
    theirs = timm.create_model("regnety_004", pretrained=False)
    assert from_timm(theirs).network == published
    resnext = timm.create_model("regnetx_004", pretrained=False, num_classes=10, in_chans=1)
    assert from_timm(resnext).network.input_channels == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "fc", nn.Identity()), "torchvision: the module has no 'fc', as its"),
        (lambda m: setattr(m, "stem", nn.Identity()), "torchvision: the module has no 'stem.0'"),
        (lambda m: setattr(m, "extra", nn.Linear(2, 2)), "weights: 'extra.weight' has no place"),
        (lambda m: m.stem[0].__setattr__("stride", (4, 4)), "torchvision: its stem (kernel 3, str"),
        (
            lambda m: m.trunk_output.block1[0].__setattr__("activation", nn.SiLU()),
            "torchvision: the module has the layers of a network of ours, but other outputs",
        ),
        (
            lambda m: setattr(m.trunk_output, "block1", nn.Identity()),
            "torchvision: the module has no stage of X or Y blocks",
        ),
    ],
)
def test_a_module_that_is_no_network_of_ours_is_refused(change, message):
    module = run_code(ODD, "torchvision")
    change(module)
    with pytest.raises(InputError) as caught:
        from_torchvision(module)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def stages(*settings):
    return Network(tuple(Stage(1, **{"width": 16, "stride": 2, **s}) for s in settings))


@pytest.mark.parametrize(
    ("to", "network", "message"),
    [
        (
            "torchvision",
            Network((Stage(1, 8),), input_channels=1),
            "input_channels: 1, but torchvision takes 3; give --input-channels 3",
        ),
        (
            "torchvision",
            Network((Stage(1, 8),), Stem("cifar")),
            "stem.kind: 'cifar', but torchvision takes simple stems",
        ),
        (
            "torchvision",
            stages({}, {"block": "vanilla"}),
            "stages[1].block: 'vanilla', but torchvision takes x and y blocks",
        ),
        (
            "torchvision",
            stages({"block": "y"}, {}),
            "stages[1].se_ratio: none, but torchvision has one for all stages, and the first has",
        ),
        (
            "torchvision",
            stages({"block": "y", "se_ratio": 0.02}, {"block": "y", "se_ratio": 0.02}),
            "stages[1].se_ratio: 0.02 squeezes to 0 channels, which torchvision cannot build",
        ),
        ("timm", stages({}), "stages: 1, but timm's ByobNet takes at least 2"),
        (
            "timm",
            stages({}, {"width": 20}),
            "stages[1].width: 20, but timm's ByobNet rounds widths to multiples of 8",
        ),
        (
            "timm",
            stages({"bottleneck_ratio": 4}, {}),
            "stages[0].bottleneck_ratio: 4 gives the inner width 4, but timm's ByobNet rounds",
        ),
        (
            "timm",
            Network((Stage(1, 8), Stage(1, 8)), Stem("cifar")),
            "stem.kind: 'cifar', but timm takes simple and imagenet stems",
        ),
        (
            "timm",
            stages({}, {"stride": 3}),
            "stages[1].stride: 3, but timm pads convolutions of another stride than 1 and 2",
        ),
        ("timm", stages({}, {"block": "res_basic"}), "stages[1].block: 'res_basic', but timm"),
        ("d2l", stages({}, {"block": "y"}), "stages[1].block: 'y', but d2l has x blocks alone"),
        ("d2l", stages({}, {"stride": 1}), "stages[1].stride: 1, but d2l's stages have 2"),
    ],
)
def test_what_a_library_cannot_express_is_refused(to, network, message):
    with pytest.raises(InputError) as caught:
        export_text(network, to)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def regular_networks():
    """A function from a seed and n to n small networks; one library or the other takes most."""

    def network(rng):
        block, ratio = rng.choice("xy"), rng.choice((1, 1, 2, 4, 0.5))
        se_ratio = rng.choice((0.25, 0.5, 0.1)) if block == "y" else None
        strides = rng.choice(((2,), (1, 2), (1, 2, 3)))
        stages = []
        for _ in range(rng.randint(1, 3)):
            group_width = rng.choice((1, 2, 4, 8))
            width = rng.randint(1, 3) * round(8 * max(ratio, 1))
            settings = (block, ratio, group_width, se_ratio)
            stages.append(Stage(rng.randint(1, 3), width, rng.choice(strides), *settings))
        stem = Stem(rng.choice(("simple", "simple", "imagenet")), rng.choice((8, 12, 16)))
        return Network(tuple(stages), stem, input_channels=rng.choice((3, 3, 1)), classes=5)

    def draw(seed, n):
        rng = random.Random(seed)
        return [network(rng) for _ in range(n)]

    return draw


@pytest.mark.parametrize("to", LIBRARIES)
def test_random_networks_are_refused_or_built_with_our_outputs(regular_networks, trained, to):
    weights_to, back = LIBRARIES[to]
    built = 0
    for network in regular_networks(5, 25):
        try:
            theirs = run_code(network, to)
        except InputError:
            continue
        built += 1
        assert params(theirs) == cost(network, 32).params
        ours = trained(network)
        theirs.load_state_dict(weights_to(network, ours.state_dict()))
        assert difference(ours, theirs, network.input_channels) < 1e-5
        assert params(back(theirs)) == cost(network, 32).params
    assert built >= 3


class StandInBlock(nn.Module):
    """The signature and layers of d2l's `ResNeXtBlock`; `groups` as an edition means it."""

    takes = "width"

    def __init__(self, num_channels, groups, bot_mul, use_1x1conv=False, strides=1):
        super().__init__()
        inner = round(num_channels * bot_mul)
        number = inner // groups if self.takes == "width" else groups
        self.conv1 = nn.LazyConv2d(inner, 1)
        self.conv2 = nn.LazyConv2d(inner, 3, stride=strides, padding=1, groups=number)
        self.conv3 = nn.LazyConv2d(num_channels, 1)
        self.norms = nn.ModuleList(nn.LazyBatchNorm2d() for _ in range(3))
        around = (nn.LazyConv2d(num_channels, 1, stride=strides), nn.LazyBatchNorm2d())
        self.around = nn.Sequential(*(around if use_1x1conv else ()))

    def forward(self, x):
        y = self.norms[0](self.conv1(x)).relu()
        y = self.norms[1](self.conv2(y)).relu()
        return (self.norms[2](self.conv3(y)) + self.around(x)).relu()


class StandInClassifier(nn.Module):
    def save_hyperparameters(self):
        pass

    def forward(self, x):
        return self.net(x)


@pytest.fixture(params=["width", "number"])
def stand_in_d2l(request, monkeypatch):
    """A `d2l.torch` of either edition: d2l 1.0 pins releases of 2022, so it is not installed."""
    package, library = types.ModuleType("d2l"), types.ModuleType("d2l.torch")
    library.Classifier = StandInClassifier
    library.ResNeXtBlock = type("ResNeXtBlock", (StandInBlock,), {"takes": request.param})
    package.torch = library
    monkeypatch.setitem(sys.modules, "d2l", package)
    monkeypatch.setitem(sys.modules, "d2l.torch", library)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_the_d2l_code_builds_our_network_in_either_edition(stand_in_d2l):
    # d2l 8.8: RegNetX32 for Fashion-MNIST.
    network = from_d2l(((4, 32, 16, 1), (6, 80, 16, 1)), 32)
    assert network.depths == (4, 6)
    assert (network.input_channels, network.classes, network.stem.width) == (1, 10, 32)
    module = run_code(network, "d2l")
    assert params(module) == cost(network, 96).params
    groups = [m.groups for m in module.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert groups == [2] * 4 + [5] * 6
    assert module(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_d2l_arch_tuples_of_either_meaning():
    widths = from_d2l(((1, 32, 16, 0.5), (2, 80, 8, 1)), 8, classes=3)
    assert from_d2l(((1, 32, 1, 0.5), (2, 80, 10, 1)), 8, groups="number", classes=3) == widths
    assert [stage.group_width for stage in widths.stages] == [16, 8]
    assert widths.stages[0].bottleneck_ratio == 2


@pytest.mark.parametrize(
    ("arch", "groups", "message"),
    [
        (((1, 32, 5, 1),), "width", r"arch\[0\]: group_width: 5 does not divide the inner width"),
        (((1, 32, 5, 1),), "number", r"arch\[0\]: groups: 5 does not divide the inner width 32"),
        (((1, 32, 4, 1), (0, 8, 4, 1)), "width", r"arch\[1\]: depth: 0 must be above 0"),
        (((1, 32, 4, 0),), "width", r"arch\[0\]: bot_mul: 0 must be above 0"),
        ((), "width", r"arch: stages: \[\] must hold at least one stage"),
    ],
)
def test_wrong_arch_tuples_are_refused(arch, groups, message):
    with pytest.raises(InputError, match=message):
        from_d2l(arch, 32, groups=groups)


def test_every_block_is_exported_or_refused():
    for block in BLOCKS:
        wide = {"block": block, "width": 96}  # a stage of dense blocks adds 32 channels a block
        network = stages(wide, wide)
        for to in ("torchvision", "timm"):
            if block in ("x", "y"):
                assert params(run_code(network, to)) == params(build(network, device="meta"))
            else:
                with pytest.raises(InputError, match=r"stages\[0\].block"):
                    export_text(network, to)
