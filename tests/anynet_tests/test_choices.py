"""The choices of a whole network do what they say, in the module that is built."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anynet.blocks import BLOCKS, HEADS, STEMS, register_block
from anynet.choices import Choices, departures
from anynet.counting import cost
from anynet.errors import InputError
from anynet.grouped_conv import Conv2d
from anynet.layers import (
    ACTIVATIONS,
    NORMS,
    SHORTCUTS,
    Activation,
    Concat,
    Conv,
    MaxPool,
    Norm,
    Residual,
)
from anynet.model import AnyNet, ResidualSum, StochasticResidualSum, build, norm_groups
from anynet.network import Head, Network, Stage, Stem
from anynet.space import DesignSpace, Range

pytestmark = pytest.mark.usefixtures("one_thread")

STAGES = (Stage(2, 32, 2, group_width=8), Stage(1, 48, 2, group_width=8))
OLD_JSON = (
    '{"stages": [{"depth": 1, "width": 8, "stride": 2, "block": "vanilla", "bottleneck_ratio": '
    'null, "group_width": null, "se_ratio": null}], "stem": {"kind": "simple", "width": 32}, '
    '"head": {"kind": "linear"}, "input_channels": 3, "classes": 10}'
)


def network(**choices) -> Network:
    return Network(STAGES, Stem("cifar", 16), classes=7, **choices)


def made(network: Network) -> AnyNet:
    return build(network, generator=torch.Generator().manual_seed(0))


def images(side: int = 16, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, channels, side, side, generator=generator)


def layers(module: nn.Module, *kinds: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize("norm", NORMS)
def test_the_norm_is_what_normalizes(norm):
    module = made(network(norm=norm))
    norms = layers(module, nn.BatchNorm2d, nn.GroupNorm)
    biases = {conv.bias is not None for conv in layers(module, nn.Conv2d)}
    assert biases == {norm == "none"}
    groups = {
        "batch": lambda channels: None,
        "group": lambda channels: channels // 16,
        "layer": lambda channels: 1,
        "instance": lambda channels: channels,
    }
    assert bool(norms) == (norm != "none")
    for layer in norms:
        channels = len(layer.weight)
        assert getattr(layer, "num_groups", None) == groups[norm](channels)


def test_groups_of_a_norm_hold_about_16_channels():
    assert [norm_groups(c) for c in (1, 8, 16, 17, 24, 40, 56, 64, 100)] == [
        1, 1, 1, 1, 2, 2, 4, 4, 5,
    ]  # fmt: skip
    assert all(c % norm_groups(c) == 0 for c in range(1, 300))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_stands_everywhere(activation):
    kinds = {"relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU, "gelu": nn.GELU}
    stage = Stage(1, 16, block="y", group_width=8)  # has one in its squeeze-and-excitation too
    module = made(Network((stage,), activation=activation))
    found = layers(module, *kinds.values())
    assert {type(layer) for layer in found} == {kinds[activation]}
    assert len(found) == 5


def test_a_pooled_shortcut_is_resnet_ds():
    module = made(network(shortcut="avg_pool"))
    shortcut = module.stages[0][0][0].shortcut
    assert [type(layer) for layer in shortcut] == [nn.AvgPool2d, Conv2d, nn.BatchNorm2d]
    assert shortcut[1].stride == (1, 1)
    # 5 pixels become 3; what hangs over the border is left out of the mean.
    pooled = shortcut[0](torch.arange(25.0).view(1, 1, 5, 5))
    assert pooled[0, 0].tolist() == [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]
    assert cost(network(shortcut="avg_pool")).params == cost(network()).params


def test_stochastic_depth_grows_with_the_block_and_keeps_the_mean():
    module = made(network(stochastic_depth=0.3))
    sums = layers(module, StochasticResidualSum)
    assert [block.drop.p for block in sums] == pytest.approx([0.1, 0.2, 0.3])
    assert not layers(made(network()), StochasticResidualSum)
    block = sums[2]
    block.body = nn.Sequential(nn.Conv2d(32, 32, 1))  # no norm, whose mean would be the batch's
    block.shortcut = nn.Identity()
    x = torch.randn(1, 32, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        drawn = block.train()(x.repeat(20_000, 1, 1, 1))
        kept = block.eval()(x)
    outcomes = (drawn - x).abs().amax((1, 2, 3)) == 0
    assert outcomes.float().mean() == pytest.approx(0.3, abs=0.015)
    assert torch.allclose(drawn.mean(0, keepdim=True), kept, atol=0.03)


def test_a_block_with_zero_gamma_starts_as_its_shortcut():
    module = made(network(zero_gamma=True)).eval()
    for block in layers(module, ResidualSum):
        x = images(8, channels=next(block.body.modules())[0].in_channels)
        assert torch.equal(block(x), block.shortcut(x))
    other = made(network())
    assert all(layer.weight.min() == 1 for layer in layers(other, nn.BatchNorm2d))


def test_heads():
    wide = made(network())
    module = made(Network(STAGES, head=Head("fully_connected", width=20, dropout=0.4, grid=3)))
    shapes = [tuple(layer.weight.shape) for layer in layers(module, nn.Linear)]
    assert shapes == [(20, 48 * 9), (20, 20), (1000, 20)]
    assert [layer.p for layer in layers(module, nn.Dropout)] == [0.4, 0.4]
    # VGG-16's three linear layers have 123,642,856 params (torchvision).
    vgg = Network((Stage(1, 512, block="v"),), head=Head("fully_connected"))
    plain = Network((Stage(1, 512, block="v"),))
    assert cost(vgg).params - cost(plain).params + 512 * 1000 + 1000 == 123_642_856
    widened = made(Network(STAGES, head=Head(width=24, dropout=0.1)))
    assert [type(layer) for layer in widened.head] == [
        Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Sequential, nn.Dropout, nn.Linear,
    ]  # fmt: skip
    classes = made(Network(STAGES, head=Head("class_conv"), classes=5)).eval()
    with torch.no_grad():
        features = classes.stages(classes.stem(images(33)))
        assert torch.allclose(
            classes(images(33)), classes.head[0](features).mean((2, 3)), atol=1e-6
        )
    assert isinstance(wide.head[-1], nn.Linear)


def test_nothing_writes_to_the_images_or_past_a_derivative(random_networks):
    for one in random_networks(5, 60):
        module = made(one).double()
        for layer in layers(module, nn.Dropout, StochasticResidualSum):
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
            else:
                layer.drop.p = 0.0
        x = images(9, one.input_channels).double()
        before = x.clone()
        module(x).square().sum().backward()
        assert torch.equal(x, before)
        grads = [p.grad.clone() for p in module.parameters()]
        module.zero_grad()
        for layer in layers(module, nn.ReLU, nn.ReLU6):
            layer.inplace = False
        module(x).square().sum().backward()
        assert all(
            torch.equal(one, other.grad)
            for one, other in zip(grads, module.parameters(), strict=True)
        )


def test_an_activation_behind_a_body_that_ends_with_one_leaves_it_its_output(own_blocks):
    @register_block("two_acts")
    def _two_acts(width_in, width, stride):
        return (Residual((Conv(width, 3, stride), Activation()), skip=False), Activation())

    module = made(Network((Stage(1, 8, block="two_acts"),)))
    module(images()).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_residual_within_a_branch_has_its_blocks_rate(own_blocks):
    @register_block("branched")
    def _branched(width_in, width, stride):
        return (Concat(((Conv(width, 3, stride), Residual((Conv(width, 3),))),)),)

    module = made(Network((Stage(2, 8, block="branched"),), stochastic_depth=0.4))
    sums = layers(module, StochasticResidualSum)
    assert [block.drop.p for block in sums] == [0.2, 0.4]


@pytest.mark.parametrize("norm", ["group", "layer", "instance"])
def test_one_image_of_one_pixel_gets_the_scores_that_it_gets_beside_others(norm):
    one = Network((Stage(1, 1, 2), Stage(1, 24, 2)), Stem("simple", 1), classes=3, norm=norm)
    module = made(one).eval()
    many = images(4)
    with torch.no_grad():
        assert torch.allclose(module(many[:1]), module(many)[:1], atol=1e-6)
        assert module(many).shape == (4, 3)


@pytest.mark.parametrize(
    ("block", "choices", "message"),
    [
        ("x", {"norm": "bach"}, "norm: 'bach' is not known; did you mean 'batch'?"),
        ("x", {"activation": "tanh"}, "activation: 'tanh' is not one of relu, relu6, silu, gelu"),
        ("x", {"shortcut": "pool"}, "shortcut: 'pool' is not known; did you mean 'avg_pool'?"),
        ("x", {"stochastic_depth": 1.0}, "stochastic_depth: 1.0 must lie between 0 and 1"),
        (
            "v",
            {"stochastic_depth": 0.1},
            "but the v block holds no residual",
        ),
        ("vanilla", {"shortcut": "avg_pool"}, "the vanilla block holds no shortcut with a conv"),
        ("mbconv", {"shortcut": "avg_pool"}, "the mbconv block holds no shortcut with a conv"),
        ("preact_bottleneck", {"zero_gamma": True}, "holds no norm at the end of a residual"),
        (
            "x",
            {"zero_gamma": True, "norm": "none"},
            "zero_gamma: true, but the network has",
        ),
    ],
)
def test_a_choice_that_is_none_or_changes_nothing_is_refused(block, choices, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Network((Stage(1, 64, block=block),), **choices)


@pytest.mark.parametrize(
    ("stages", "choices", "message"),
    [
        (
            [Stage(2, 32), Stage(1, 64)],  # projections, of stride 1
            {"shortcut": "avg_pool"},
            "shortcut: 'avg_pool', but the x block holds no shortcut with a convolution of a "
            "stride above 1 here",
        ),
        (
            [Stage(1, 32, 2, "v"), Stage(1, 64, 1, "res_basic")],
            {"shortcut": "avg_pool"},
            "the v, res_basic blocks hold no shortcut",
        ),
        (
            [Stage(1, 24, 2, "mbconv"), Stage(1, 40, 1, "mbconv")],  # each changes the shape
            {"stochastic_depth": 0.1},
            "stochastic_depth: 0.1, but the mbconv block holds no residual here",
        ),
        (
            [Stage(1, 64, 2, "res_bottleneck_linear")],
            {"zero_gamma": True},
            "zero_gamma: True, but the res_bottleneck_linear block holds no norm at the end of a",
        ),
    ],
)
def test_a_choice_is_checked_in_the_stages_as_they_are(stages, choices, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Network(tuple(stages), **choices)
    assert departures(Network((*stages, Stage(1, 48, 2)), **choices)) == choices


@pytest.mark.parametrize("block", ["mbconv", "res_bottleneck_linear"])
def test_zero_gamma_leaves_blocks_without_a_residual_alone(block):
    # The first block of a stage changes the shape and has no residual here, the second has one.
    network = Network((Stage(2, 16, 2, block), Stage(1, 24, 2, block)), zero_gamma=True, classes=3)
    module = made(network)
    zeros = [
        not layer.weight.any() for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    assert sum(zeros) == 1
    scores = module(images(4))
    assert scores.std(0).min() > 0
    scores.square().sum().backward()
    assert module.stem[0].weight.grad.abs().max() > 0


def bare(block: str, **choices) -> Network:
    return Network((Stage(1, 8, block=block),), Stem("none"), Head("class_conv"), **choices)


def test_norm_and_activation_are_looked_for_in_all_layers(own_blocks):
    register_block("pool")(lambda width_in, width, stride: (Conv(width), MaxPool(3, stride)))
    register_block("biased")(lambda width_in, width, stride: (Conv(width, 3, stride, bias=True),))
    register_block("normed")(lambda width_in, width, stride: (Conv(width, 3, stride), Norm()))
    with pytest.raises(ValueError, match="norm: 'group', but the pool block holds no norm here"):
        bare("pool", norm="group")
    with pytest.raises(ValueError, match="activation: 'silu', but the normed block holds no activ"):
        bare("normed", activation="silu")
    with pytest.raises(ValueError, match="norm: 'none', but the biased block holds no convolution"):
        bare("biased", norm="none")
    assert bare("pool", norm="none").norm == "none"
    assert bare("normed", norm="group").norm == "group"
    for stem, head in ((Stem("cifar", 8), Head("class_conv")), (Stem("none"), Head("norm_linear"))):
        made = Network((Stage(1, 8, block="biased"),), stem, head, norm="layer", activation="gelu")
        assert (made.norm, made.activation) == ("layer", "gelu")


def modules(network: Network) -> list[str]:
    """All layers in order with their settings, and what is particular to training and beginning."""
    module = build(network, device="meta")
    kept = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm)
    shown = []
    for layer in module.modules():
        leaf = not list(layer.children())
        text = str(layer).replace(", inplace=True", "") if leaf else type(layer).__name__
        zero = getattr(layer, "starts_at_zero", False) if isinstance(layer, kept) else False
        shown.append(f"{text} {zero}")
    return shown


def test_every_choice_of_a_network_changes_its_module(random_networks):
    looked_at = Counter()
    for network in random_networks(11, 150):
        for name in departures(network):
            looked_at[name] += 1
            without = Network(
                **{field: getattr(network, field) for field in ("stages", "stem", "head")},
                input_channels=network.input_channels,
                classes=network.classes,
                **{key: value for key, value in departures(network).items() if key != name},
            )
            assert modules(without) != modules(network), (name, network)
            assert without != network
    assert min(looked_at.values()) > 10
    assert len(looked_at) == 5


def test_networks_of_a_space_have_the_choices_that_change_them():
    """An mbconv network whose stages have one block and change the shape has no residual."""
    chosen = DesignSpace(
        name="small",
        block="mbconv",
        depth=(1, 2),
        width=(8, 16),
        strides=(2, 2),
        classes=3,
        stochastic_depth=0.2,
        activation="silu",
    )
    population = chosen.sample(16, np.random.default_rng(0))
    plain = 0
    for network in population:
        residual = max(network.depths) > 1
        assert network.stochastic_depth == (0.2 if residual else None)
        assert network.activation == "silu"
        assert Network.from_json(network.to_json()) == network
        plain += not residual
    assert plain == 4


@pytest.mark.parametrize(
    ("strides", "accepted"), [((1, 1), False), ((2, 1), True), ((1, 3), True), ((1,), False)]
)
def test_the_strides_of_a_space_may_make_a_choice_void(strides, accepted):
    fields = {"name": "s", "block": "res_basic", "depth": 1, "width": (8, 16)}
    if accepted:
        DesignSpace(**fields, strides=strides, shortcut="avg_pool")
        return
    with pytest.raises(ValueError, match="'avg_pool', but the res_basic block holds no s"):
        DesignSpace(**fields, strides=strides, shortcut="avg_pool")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "linear", "grid": 2}, "grid: 2, but the linear head has none"),
        ({"kind": "class_conv", "width": 2}, "width: 2, but the class_conv head has none"),
        ({"dropout": 1.0}, "dropout: 1.0 must be 0 or more and below 1"),
        ({"width": 0}, "width: 0 must be above 0"),
    ],
)
def test_a_head_that_cannot_be_is_refused(head, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Head(**head)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"block": "nin", "kernel": 4}, "kernel: 4 must be odd"),
        ({"block": "x", "kernel": 3}, "kernel: 3, but the x block has none"),
        (
            {"block": "dense", "depth": 2},
            "must exceed depth x growth_rate",
        ),
        ({"block": "inception", "share_3x3": 0.7}, "must leave the pooling branch a channel"),
        ({"block": "inception", "share_3x3": 1.0}, "share_3x3: 1.0 must be below 1"),
        ({"block": "mbconv", "expansion": -1.0}, "expansion: -1.0 must be above 0"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(stage, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Stage(**({"depth": 1, "width": 64} | stage))


def test_networks_without_choices_are_written_as_they_always_were():
    # Seeds of trials are hashes of this text: another text would train other weights.
    plain = Network((Stage(1, 8, 2, "vanilla"),), classes=10)
    assert plain.to_json() == OLD_JSON
    assert Network((Stage(1, 8, 2, "vanilla"),), classes=10, norm="".join(["bat", "ch"])) == plain
    assert Network.from_json(OLD_JSON[:-1] + ', "norm": "batch"}').to_json() == OLD_JSON


def test_networks_with_choices_read_back(random_networks):
    for one in random_networks(9, 200):
        assert Network.from_json(one.to_json()) == Network.from_yaml(one.to_yaml()) == one
    with pytest.raises(InputError, match=r"net\.yaml: norm: 'bach' is not known"):
        Network.from_yaml("norm: bach\nstages: [{depth: 1, width: 8}]", "net.yaml")


PLURAL = {
    "kernel": "kernels",
    "share_3x3": "shares_3x3",
    "growth_rate": "growth_rates",
    "expansion": "expansions",
}
SPACES = {
    "nin": {"width": Range(8, 64, 8), "kernel": (1, 3, 5)},
    "inception": {"width": Range(8, 64, 8), "share_3x3": (0.3, 0.6), "reduce_5x5": 0.25},
    "dense": {"growth_rate": (4, 8, 12), "expansion": 2.0, "strides": (1, 2)},
    "mbconv": {
        "width": Range(8, 64, 8),
        "expansion": (1, 3, 6),
        "kernel": (3, 5),
        "se_ratio": 0.25,
    },
}


@pytest.mark.parametrize("block", SPACES)
def test_settings_of_every_block_are_domains_of_its_spaces(block):
    fields = {"strides": (2, 2), "norm": "group", "activation": "gelu"} | SPACES[block]
    space = DesignSpace(name="test", depth=(1, 2, 3), block=block, **fields)
    assert DesignSpace.from_yaml(space.to_yaml()) == space
    population = space.sample(40, np.random.default_rng(0), resolution=32)
    for i, one in enumerate(population):
        assert cost(one, 32) == (
            population.params[i],
            population.flops[i],
            population.activations[i],
        )
        assert (one.norm, one.activation) == ("group", "gelu")
    several = {name for name, domain in fields.items() if name in BLOCKS[block].defaults}
    drawn = {name for name in several if len(np.atleast_1d(np.array(fields[name]))) > 1}
    assert set(space.constants) | drawn == several | set(space.constants)
    assert drawn
    for name in drawn:
        assert f"{name}_1" in population.frame().columns
        columns = {name: column for name, column in population.drawn.items() if column.ndim > 1}
        assert set(columns[PLURAL[name]].flat) == set(fields[name])
    for i in range(len(population)):
        row = population.row(i)
        for name in drawn:
            built = [getattr(stage, name) for stage in row["network"].stages]
            assert row[PLURAL[name]] == row["drawn"][PLURAL[name]] == built
        for name, value in space.constants.items():
            assert [getattr(stage, name) for stage in population[i].stages] == [value, value]
    if block == "dense":
        depths, rates = population.drawn["depths"], population.drawn["growth_rates"]
        first = 32 + depths[:, 0] * rates[:, 0]
        assert (population.widths[:, 0] == first).all()
        assert (population.widths[:, 1] == first // 2 + depths[:, 1] * rates[:, 1]).all()
    if block == "inception":
        # A width of 8: 2 and 1 channels of 1x1 and 5x5, 5 of 3x3 where its share is 0.6, and none
        # left for pooling. Where it is 0.3, pooling has 3.
        narrow = (population.widths == 8) & (population.settings["shares_3x3"] == 0.6)
        assert not narrow.any()
        assert (population.widths == 8).any()
        assert population.accepted < population.draws


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("norm: bach", "space: norm: 'bach' is not known; did you mean 'batch'?"),
        ("zero_gamma: 1", "space: zero_gamma: 1: expected bool, got int"),
        ("stochastic_depth: 0", "space: stochastic_depth: 0"),
        ("kernel: 3", "space: kernel: the vanilla block has none"),
        ("shortcut: avg_pool", "space: shortcut: 'avg_pool', but the vanilla block holds no short"),
        ("head: {kind: linera}", "space: head.kind: 'linera' is not known; did you mean 'linear'?"),
        ("head: {dropout: 1}", "space: head.dropout: 1"),
        ("stem: {kind: none, width: 8}", "space: stem.width: 8, but the none stem has none"),
        ("block: nin\nkernel: [3, 4]", "space: kernel: 4 must be odd"),
        ("block: mbconv\nexpansion: [0, 6]", "space: expansion: 0 must be above 0"),
        ("block: inception\nshare_3x3: [0.5, 1]", "space: share_3x3: 1.0 must be below 1"),
    ],
)
def test_a_wrong_file_of_a_space_is_refused_in_one_line(changes, message):
    block = "" if "block:" in changes else "block: vanilla\n"
    with pytest.raises(InputError) as caught:
        DesignSpace.from_yaml(f"name: test\ndepth: [1, 2]\nwidth: 16\n{block}{changes}")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_dense_space_has_no_width():
    with pytest.raises(ValueError, match="width: the dense block has none; depth and growth_rate"):
        DesignSpace(name="test", depth=2, width=64, block="dense")


PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_the_page_of_networks_lists_the_vocabulary():
    text = PAGE.read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert Network.from_yaml(example).stochastic_depth == 0.1
    rows = [re.findall(r"`(\w+)`", line) for line in text.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in row}
    assert named >= {*BLOCKS, *STEMS, *HEADS, *NORMS, *ACTIVATIONS, *SHORTCUTS}
    assert named >= set(Choices.__struct_fields__)
    for block in BLOCKS.values():
        for setting, default in block.defaults.items():
            if default is not None and setting != "bottleneck_ratio":
                assert re.search(rf"`{setting}` \({default:g}\)", text), (block.name, setting)
