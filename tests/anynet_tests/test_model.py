"""The module that is built: shapes, seeded weights, stable names, and a user's own block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from anynet.blocks import BLOCKS, STEMS, inner_width, projection, register_block
from anynet.counting import cost
from anynet.grouped_conv import GroupedConv2d
from anynet.layers import Activation, Conv, Norm, Residual, SqueezeExcite, rint
from anynet.model import build, initialize
from anynet.network import Head, Network, Stage, Stem
from anynet.space import DesignSpace
from anynet.textbook import textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**changes) -> Network:
    stage = {"depth": 2, "width": 16, "stride": 2, "group_width": 8} | changes
    return Network((Stage(**stage),), Stem("cifar", 8), input_channels=1, classes=5)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("block", BLOCKS)
def test_scores_and_gradients_have_their_shapes(block, stem):
    takes = BLOCKS[block].defaults
    settings = {"bottleneck_ratio": 2, "group_width": 4, "growth_rate": 7}
    settings = {name: value for name, value in settings.items() if name in takes}
    network = Network(
        (Stage(1, 16, 2, block, **settings), Stage(2, 24, 1, block, **settings)),
        Stem(stem, 0 if stem == "none" else 8),
        input_channels=2,
        classes=7,
    )
    module = build(network, generator=torch.Generator().manual_seed(0))
    scores = module(torch.randn(3, 2, 19, 19, generator=torch.Generator().manual_seed(1)))
    assert scores.shape == (3, 7)
    assert torch.isfinite(scores).all()
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in module.parameters())
    assert module.network is network


def test_random_networks_give_scores(random_networks):
    for network in random_networks(21, 12):
        module = build(network, generator=torch.Generator().manual_seed(0)).eval()
        with torch.inference_mode():
            scores = module(torch.zeros(2, network.input_channels, 17, 17))
        assert scores.shape == (2, network.classes)
        # The bias of the head is 0, and so is what leaves a stem that sees nothing.
        assert torch.equal(scores, torch.zeros_like(scores))


def test_the_same_generator_gives_the_same_weights():
    one, two, other = (
        weights(build(small(), generator=torch.Generator().manual_seed(seed))) for seed in (3, 3, 4)
    )
    assert same(one, two)
    assert not same(one, other)


def test_with_a_generator_the_global_one_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(build(small(), generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(weights(build(small(), generator=torch.Generator().manual_seed(3))), first)


def test_without_a_generator_the_global_one_is_used():
    torch.manual_seed(1)
    first = weights(build(small()))
    torch.manual_seed(1)
    assert same(weights(build(small())), first)
    assert not same(weights(build(small())), first)


def test_on_the_meta_device_nothing_is_allocated_or_drawn():
    before = torch.get_rng_state()
    module = build(textbook_network("regnety_32gf"), device="meta")
    assert torch.equal(torch.get_rng_state(), before)
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}


def test_weights_are_drawn_as_pycls_draws_them():
    network = Network((Stage(1, 256, 1, "y", group_width=64),), Stem("simple", 64), classes=64)
    module = build(network, generator=torch.Generator().manual_seed(0))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] ** 2 * layer.out_channels
            spread = float(layer.weight.detach().std()) / (2 / fan_out) ** 0.5
            assert spread == pytest.approx(1, abs=0.15)
        elif isinstance(layer, nn.Linear):
            assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all()
            assert layer.running_var.eq(1).all()
            assert layer.running_mean.eq(0).all()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and layer.bias is not None:
            assert layer.bias.eq(0).all()


def test_initialize_draws_a_trained_module_afresh():
    module = build(small(), generator=torch.Generator().manual_seed(3))
    fresh = weights(module)
    module(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    initialize(module, torch.Generator().manual_seed(3))
    assert same(weights(module), fresh)


def test_names_of_weights_do_not_change():
    # A checkpoint written today is read tomorrow: changing these breaks every saved run.
    network = Network(
        (Stage(2, 16, 2, "y", group_width=8), Stage(1, 16, 1, "res_bottleneck_linear")),
        Stem("imagenet", 8),
    )
    names = [
        name
        for name in build(network, device="meta").state_dict()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert names == NAMES


NAMES = [
    "stem.0.weight",
    "stem.1.weight",
    "stem.1.bias",
    "stages.0.0.0.shortcut.0.weight",
    "stages.0.0.0.shortcut.1.weight",
    "stages.0.0.0.shortcut.1.bias",
    *(
        f"stages.0.{block}.0.body.{name}"
        for block in (0, 1)
        for name in (
            "0.weight",
            "1.weight",
            "1.bias",
            "3.weight",
            "4.weight",
            "4.bias",
            "6.reduce.weight",
            "6.reduce.bias",
            "6.expand.weight",
            "6.expand.bias",
            "7.weight",
            "8.weight",
            "8.bias",
        )
    ),
    *(
        f"stages.1.0.0.body.{name}"
        for name in (
            "0.weight",
            "1.weight",
            "1.bias",
            "3.weight",
            "4.weight",
            "4.bias",
            "6.weight",
            "7.weight",
            "7.bias",
        )
    ),
    "head.1.weight",
    "head.1.bias",
]


def test_groups_are_those_of_the_stage():
    network = small(depth=1, width=32, bottleneck_ratio=2, group_width=4)
    grouped = [m for m in build(network, device="meta").modules() if isinstance(m, GroupedConv2d)]
    assert [(m.in_channels, m.groups, m.kernel_size) for m in grouped] == [(16, 4, (3, 3))]


def test_a_residual_sum_with_zero_body_is_its_shortcut():
    module = build(small(depth=2), generator=torch.Generator().manual_seed(0)).eval()
    block = module.stages[0][1]
    with torch.no_grad():
        block[0].body[-1].weight.zero_()  # the last norm of the residual
        x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(1))
        assert torch.equal(block(x), x.clamp_min(0))


def test_squeeze_and_excitation_scales_each_channel():
    module = build(small(block="y", depth=1), generator=torch.Generator().manual_seed(0)).eval()
    squeeze = next(m for m in module.modules() if hasattr(m, "reduce"))
    with torch.no_grad():
        x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(1))
        scale = squeeze(x) / x
        assert torch.allclose(scale, scale[:, :, :1, :1].expand_as(scale), atol=1e-5)
        hidden = torch.relu(
            torch.einsum("bc,sc->bs", x.mean((2, 3)), squeeze.reduce.weight[:, :, 0, 0])
        )
        expected = torch.sigmoid(
            torch.einsum("bs,cs->bc", hidden, squeeze.expand.weight[:, :, 0, 0])
        )
        assert torch.allclose(squeeze(x), x * expected[:, :, None, None], atol=1e-6)


def test_a_users_block_is_counted_sampled_and_built(own_blocks):
    @register_block("ghost", bottleneck_ratio=1.0, group_width=None, se_ratio=0.5)
    def _ghost(width_in, width, stride, bottleneck_ratio, group_width, se_ratio):
        """5x5 group convolution behind a bottleneck with a bias, and a residual."""
        inner = inner_width(width, bottleneck_ratio)
        body = (
            Conv(inner, bias=True),
            Conv(inner, 5, stride, group_width),
            SqueezeExcite(rint(width * se_ratio)),
            Conv(width),
            Norm(final=True),
        )
        return (Residual(body, projection(width_in, width, stride)), Activation())

    space = DesignSpace(
        name="ghosts",
        depth=(1, 2),
        width=(16, 32),
        bottleneck_ratio=(1, 2),
        group_width=8,
        block="ghost",
        se_ratio=0.5,
        strides=(1, 2),
        classes=10,
    )
    population = space.sample(30, np.random.default_rng(0), resolution=9)
    assert BLOCKS["ghost"].summary.startswith("5x5 group convolution")
    for i, network in enumerate(population):
        module = build(network, generator=torch.Generator().manual_seed(0))
        outputs: list[torch.Tensor] = []

        def note(_layer, _inputs, output, outputs=outputs):
            outputs.append(output[0])

        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(note)
        assert module(torch.zeros(2, 3, 9, 9)).shape == (2, 10)
        measured = (
            sum(p.numel() for p in module.parameters()),
            sum(output.numel() for output in outputs),
        )
        counted = cost(network, 9)
        assert (counted.params, counted.activations) == measured
        assert (population.params[i], population.activations[i]) == measured
    assert Network.from_yaml(population[0].to_yaml()) == population[0]


def test_a_block_is_registered_once(own_blocks):
    with pytest.raises(ValueError, match="block: 'x' is taken"):
        register_block("x")
    with pytest.raises(ValueError, match="dilation: not a setting of a stage"):
        register_block("mine", dilation=3)
    assert "mine" not in BLOCKS


def test_the_identity_of_a_preactivation_block_is_untouched():
    network = Network(
        (Stage(2, 8, block="preact_bottleneck", bottleneck_ratio=2),),
        stem=Stem("cifar", 8),
        head=Head("norm_linear"),
    )
    module = build(network, generator=torch.Generator().manual_seed(0)).eval()
    block = module.stages[0][1]
    last = [layer for layer in block.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.zeros_(last.weight)
    images = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    assert (images < 0).any()
    assert torch.equal(block(images.clone()), images)


def test_a_preactivation_block_that_reshapes_shares_its_first_activation():
    network = Network((Stage(1, 16, 2, block="preact_bottleneck"),), stem=Stem("cifar", 8))
    block = build(network, device="meta").stages[0][0]
    kinds = [type(layer).__name__ for layer in block]
    assert kinds == ["BatchNorm2d", "ReLU", "ResidualSum"]
    assert [type(layer).__name__ for layer in block[2].shortcut] == ["Conv2d"]


def test_r_is_x_with_one_group():
    r = Network((Stage(2, 16, block="r", bottleneck_ratio=2),))
    x = Network((Stage(2, 16, block="x", bottleneck_ratio=2),))
    ours, theirs = (build(n, device="meta").state_dict() for n in (r, x))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_branch_that_begins_with_an_activation_leaves_the_other_its_input(own_blocks):
    @register_block("act_first")
    def _act_first(width_in, width, stride):
        return (Residual((Activation(), Conv(width, 3)), ()),)

    network = Network((Stage(1, 8, block="act_first"),), stem=Stem("cifar", 8))
    block = build(network, generator=torch.Generator().manual_seed(0)).stages[0][0]
    images = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    kept = images.clone()
    conv = next(layer for layer in block.modules() if isinstance(layer, torch.nn.Conv2d))
    expected = kept + conv(kept.relu())
    torch.testing.assert_close(block(images), expected)
    assert torch.equal(images, kept)
