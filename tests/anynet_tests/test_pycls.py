"""Networks to pycls files and back, pycls files as pycls has them, and what is refused."""

from __future__ import annotations

import pytest
import yaml
from msgspec.structs import replace

from anynet.counting import cost
from anynet.errors import InputError
from anynet.exchange.pycls import from_pycls, pycls_regnet, to_pycls
from anynet.files import parse_yaml
from anynet.network import Head, Network, Stage, Stem
from anynet.textbook import REGNETS, names, textbook_network

# pycls `configs/dds_baselines/regnetx/RegNetX-400MF_dds_8gpu.yaml`, as published.
REGNETX_400MF = """\
MODEL:
  TYPE: regnet
  NUM_CLASSES: 1000
REGNET:
  DEPTH: 22
  W0: 24
  WA: 24.48
  WM: 2.54
  GROUP_W: 16
OPTIM:
  LR_POLICY: cos
  BASE_LR: 0.8
  MAX_EPOCH: 100
TRAIN:
  DATASET: imagenet
  IM_SIZE: 224
NUM_GPUS: 8
OUT_DIR: .
"""
# pycls `configs/archive/cifar/anynet/V-56_nds_1gpu.yaml`; its cost in `dev/model_complexity.json`.
V_56 = """\
MODEL:
  TYPE: anynet
  NUM_CLASSES: 10
ANYNET:
  STEM_TYPE: res_stem_cifar
  STEM_W: 16
  BLOCK_TYPE: vanilla_block
  DEPTHS: [9, 9, 9]
  WIDTHS: [16, 32, 64]
  STRIDES: [1, 2, 2]
"""
# pycls `configs/archive/imagenet/anynet/X-50-32x4d_step_1gpu.yaml`
RESNEXT50 = """\
MODEL: {TYPE: anynet, NUM_CLASSES: 1000}
ANYNET:
  STEM_TYPE: res_stem_in
  STEM_W: 64
  BLOCK_TYPE: res_bottleneck_block
  DEPTHS: [3, 4, 6, 3]
  WIDTHS: [256, 512, 1024, 2048]
  STRIDES: [1, 2, 2, 2]
  BOT_MULS: [0.5, 0.5, 0.5, 0.5]
  GROUP_WS: [4, 8, 16, 32]
"""


def of_one_block(block: str, **settings) -> Network:
    return Network(
        (
            Stage(1, 16, 2, block, **settings),
            Stage(3, 32, 1, block, **settings),
            Stage(2, 32, 2, block, **settings),
        ),
        Stem("imagenet", 24),
        classes=37,
    )


@pytest.mark.parametrize(
    ("block", "settings"),
    [
        ("x", {"bottleneck_ratio": 2, "group_width": 4}),
        ("x", {"bottleneck_ratio": 0.25, "group_width": 16}),
        ("x", {}),
        ("y", {"group_width": 8, "se_ratio": 0.5}),
        ("y", {}),
        ("res_basic", {}),
        ("vanilla", {}),
        ("res_bottleneck_linear", {"bottleneck_ratio": 4, "group_width": 2}),
    ],
)
def test_a_network_survives_pycls(block, settings):
    network = of_one_block(block, **settings)
    assert from_pycls(to_pycls(network), "x.yaml") == network


PYCLS_LACKS = {
    "resnet50d": "stem.kind: pycls has no 'deep' stem",
    "preact_resnet50": "pycls has no 'preact_bottleneck' block",
    "densenet121": "pycls has no 'dense' block",
    "densenet169": "pycls has no 'dense' block",
    "mobilenet_v2": "pycls has no 'mbconv' block",
    "efficientnet_b0": "pycls has no 'mbconv' block",
}


@pytest.mark.parametrize("name", names())
def test_reference_networks_survive_pycls_or_are_refused(name):
    if name in PYCLS_LACKS:
        with pytest.raises(InputError, match=PYCLS_LACKS[name]):
            to_pycls(textbook_network(name))
    else:
        assert from_pycls(to_pycls(textbook_network(name)), "x.yaml") == textbook_network(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "group"}, "norm: 'group'"),
        ({"activation": "gelu"}, "activation: 'gelu'"),
        ({"shortcut": "avg_pool"}, "shortcut: 'avg_pool'"),
        ({"stochastic_depth": 0.1}, "stochastic_depth: 0.1"),
        ({"head": Head(dropout=0.2)}, "head.dropout: 0.2"),
        ({"activation": "silu", "zero_gamma": True, "head": Head(width=96)}, None),
    ],
)
def test_choices_survive_pycls_or_are_refused(changes, message):
    network = replace(textbook_network("regnety_400mf"), **changes)
    if message is None:
        assert from_pycls(to_pycls(network), "x.yaml") == network
    else:
        with pytest.raises(InputError, match=f"{message}, but pycls"):
            to_pycls(network)


@pytest.mark.parametrize("ratio", [1, 2, 3, 5, 6, 7, 49, 93, 0.5, 0.25, 1 / 3])
def test_ratios_survive_pycls_though_it_writes_their_inverse(ratio):
    network = Network((Stage(1, 294, bottleneck_ratio=ratio, group_width=1),))
    assert from_pycls(to_pycls(network), "x.yaml") == network


def test_the_pycls_file_says_what_pycls_reads():
    document = yaml.safe_load(to_pycls(of_one_block("y", bottleneck_ratio=2, group_width=4)))
    assert document == {
        "MODEL": {"TYPE": "anynet", "NUM_CLASSES": 37},
        "ANYNET": {
            "STEM_TYPE": "res_stem_in",
            "STEM_W": 24,
            "BLOCK_TYPE": "res_bottleneck_block",
            "DEPTHS": [1, 3, 2],
            "WIDTHS": [16, 32, 32],
            "STRIDES": [2, 1, 2],
            "BOT_MULS": [0.5, 0.5, 0.5],
            "GROUP_WS": [4, 4, 4],
            "SE_ON": True,
            "SE_R": 0.25,
        },
    }


def test_a_pycls_regnet_is_the_published_network():
    network = from_pycls(REGNETX_400MF, "RegNetX-400MF.yaml")
    assert network == textbook_network("regnetx_400mf")
    assert cost(network) == (5157512, 397678568, 3143272)
    settings = pycls_regnet(parse_yaml(REGNETX_400MF, "x"), "x")
    assert settings == REGNETS["regnetx_400mf"][1]


def test_pycls_anynets_are_the_published_networks():
    assert cost(from_pycls(V_56, "V-56.yaml"), 32) == (853018, 125485706, 532490)
    assert from_pycls(RESNEXT50, "X-50.yaml") == textbook_network("resnext50_32x4d")


def test_what_a_pycls_file_leaves_out_has_pycls_defaults():
    network = from_pycls("MODEL: {TYPE: regnet}", "x.yaml")
    assert network.classes == 10
    assert network == pycls_regnet({"MODEL": {"TYPE": "regnet"}}, "x").network(classes=10)
    squeezed = from_pycls(REGNETX_400MF.replace("GROUP_W: 16", "GROUP_W: 16\n  SE_ON: true"), "x")
    assert {(stage.block, stage.se_ratio) for stage in squeezed.stages} == {("y", 0.25)}


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced(V_56, "STEM_TYPE: res_stem_cifar", "STEM_TYPE: x"), "ANYNET.STEM_TYPE: 'x' is n"),
        (replaced(V_56, "vanilla_block", "v"), "ANYNET.BLOCK_TYPE: 'v' is not one of res_basic"),
        (replaced(V_56, "[16, 32, 64]", "[16]"), "ANYNET.WIDTHS: [16] must hold 3 numbers"),
        (
            replaced(V_56, "  DEPTHS: [9, 9, 9]\n", ""),
            "ANYNET: object missing required field DEPTHS",
        ),
        (replaced(V_56, "STEM_W", "STEM_WIDTH"), "ANYNET.STEM_WIDTH: no such field; did you mean"),
        (replaced(V_56, "[9, 9, 9]", "[9, 0, 9]"), "depth: 0 must be above 0"),
        (replaced(V_56, "TYPE: anynet", "TYPE: effnet"), "MODEL.TYPE: 'effnet': must be one of an"),
        ("MODEL: {TYPE: anynet}", "ANYNET: MODEL.TYPE is anynet, but the section is not there"),
        (
            replaced(RESNEXT50, "[4, 8, 16, 32]", "[4, 8, 16, 33]"),
            "group_width: 33 does not divide",
        ),
        (replaced(RESNEXT50, "  BOT_MULS: [0.5, 0.5, 0.5, 0.5]\n", ""), "ANYNET.BOT_MULS: [] must"),
        (replaced(RESNEXT50, "0.5, 0.5]", "0.5, 0]"), "ANYNET.BOT_MULS"),
        (replaced(REGNETX_400MF, "W0: 24", "W0: 25"), "w0: 25 must be a multiple of 8 above 0"),
        (replaced(REGNETX_400MF, "WM: 2.54", "WM: .nan"), "wm: nan"),
        (replaced(REGNETX_400MF, "WM: 2.54", "BOT_MUL: 0"), "REGNET.BOT_MUL: 0.0 must be above 0"),
        (replaced(REGNETX_400MF, "WM: 2.54", "BOT_MUL: 1.5"), "bottleneck_ratio: "),
        (replaced(REGNETX_400MF, "WM: 2.54", "BOT_MUL: .nan"), "REGNET.BOT_MUL: nan"),
        (
            replaced(REGNETX_400MF, "WM: 2.54", "BLOCK_TYPE: vanilla_block"),
            "REGNET.BLOCK_TYPE: 'vanilla_block' has no groups to fix",
        ),
        (  # pycls squeezes in this block too; ours has no such setting
            replaced(
                REGNETX_400MF, "WM: 2.54", "SE_ON: true\n  BLOCK_TYPE: res_bottleneck_linear_block"
            ),
            "REGNET.SE_ON: ",
        ),
        (
            replaced(REGNETX_400MF, "TYPE: regnet", "TYPE: regnet\n  ACTIVATION_FUN: tanh"),
            "MODEL.ACTIVATION_FUN: 'tanh': must be one of relu, silu",
        ),
        (replaced(REGNETX_400MF, "WM: 2.54", "HEAD_W: -2"), "width: -2 must be above 0"),
    ],
)
def test_a_wrong_pycls_file_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        from_pycls(text, "p.yaml")
    assert str(caught.value).startswith(f"p.yaml: {message}")
    assert "\n" not in str(caught.value)


def test_a_pycls_anynet_has_no_line():
    with pytest.raises(InputError, match=r"p: MODEL.TYPE: 'anynet' has no line"):
        pycls_regnet(parse_yaml(V_56, "p"), "p")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Network((Stage(1, 8),), input_channels=1),
            "input_channels: 1, but pycls takes 3",
        ),
        (
            Network((Stage(1, 8), Stage(1, 8, block="vanilla"))),
            "stages: pycls has one block and one se_ratio for all stages",
        ),
        (
            Network((Stage(1, 8, block="y"), Stage(1, 8, block="y", se_ratio=0.5))),
            "stages: pycls has one block and one se_ratio for all stages",
        ),
        (  # pycls rounds 8 / 32 to an inner width of 0
            Network((Stage(1, 8, bottleneck_ratio=32),)),
            "stages[0].bottleneck_ratio: 32",
        ),
    ],
)
def test_a_network_that_pycls_does_not_have_is_refused(network, message):
    with pytest.raises(InputError) as caught:
        to_pycls(network)
    assert str(caught.value).startswith(message)
