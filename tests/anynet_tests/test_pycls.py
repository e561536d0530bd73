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
from anynet.reference import FACTS
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
    "mobilenet_v2": "activation: 'relu6', but pycls has none such",
    "efficientnet_b0": "stochastic_depth: 0.2, which falls towards the first block",
}


@pytest.mark.parametrize("name", [name for name in names() if name not in FACTS])
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
        ({"activation": "relu6"}, "activation: 'relu6'"),
        ({"shortcut": "avg_pool"}, "shortcut: 'avg_pool'"),
        ({"stochastic_depth": 0.1}, "stochastic_depth: 0.1"),
        ({"head": Head(dropout=0.2)}, "head.dropout: 0.2"),
        ({"activation": "gelu"}, None),
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
            "ANYNET.DEPTHS: [] must hold one number a stage",
        ),
        (replaced(V_56, "STEM_W", "STEM_WIDTH"), "ANYNET.STEM_WIDTH: no such field; did you mean"),
        (replaced(V_56, "[9, 9, 9]", "[9, 0, 9]"), "depth: 0 must be above 0"),
        (
            replaced(V_56, "TYPE: anynet", "TYPE: vit"),
            "MODEL.TYPE: 'vit': must be one of anynet",
        ),
        ("MODEL: {TYPE: anynet}", "ANYNET.DEPTHS: [] must hold one number a stage"),
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
            "MODEL.ACTIVATION_FUN: 'tanh' is not one of relu, silu, swish, gelu",
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


# pycls `configs/archive/imagenet/resnet/R-50-1x64d_step_1gpu.yaml` and its neighbors.
RESNET = """\
MODEL: {TYPE: resnet, DEPTH: 50, NUM_CLASSES: 1000}
RESNET:
  TRANS_FUN: bottleneck_transform
  NUM_GROUPS: 1
  WIDTH_PER_GROUP: 64
  STRIDE_1X1: False
TRAIN: {DATASET: imagenet, IM_SIZE: 224}
"""
# pycls `configs/archive/cifar/resnet/R-56_nds_1gpu.yaml`
RESNET_CIFAR = """\
MODEL: {TYPE: resnet, DEPTH: 56, NUM_CLASSES: 10}
RESNET: {TRANS_FUN: basic_transform}
TRAIN: {DATASET: cifar10, IM_SIZE: 32}
"""
# pycls `configs/dds_baselines/effnet/EN-B0_dds_8gpu.yaml`
EFFNET = """\
MODEL: {TYPE: effnet, NUM_CLASSES: 1000, ACTIVATION_FUN: silu}
EN:
  STEM_W: 32
  STRIDES: [1, 2, 2, 2, 1, 2, 1]
  DEPTHS: [1, 2, 2, 3, 3, 4, 1]
  WIDTHS: [16, 24, 40, 80, 112, 192, 320]
  EXP_RATIOS: [1, 6, 6, 6, 6, 6, 6]
  KERNELS: [3, 3, 5, 3, 5, 5, 3]
  HEAD_W: 1280
"""


def with_groups(depth: int, groups: int, width: int) -> str:
    text = replaced(RESNET, "DEPTH: 50", f"DEPTH: {depth}")
    text = replaced(text, "NUM_GROUPS: 1", f"NUM_GROUPS: {groups}")
    return replaced(text, "WIDTH_PER_GROUP: 64", f"WIDTH_PER_GROUP: {width}")


# (params, flops, activations): pycls, `dev/model_complexity.json`.
@pytest.mark.parametrize(
    ("text", "name", "resolution", "expected"),
    [
        (RESNET, "resnet50", 224, (25557032, 4089185256, 11315688)),
        (with_groups(101, 1, 64), "resnet101", 224, (44549160, 7801406440, 16433640)),
        (with_groups(152, 1, 64), "resnet152", 224, (60192808, 11513627624, 22755816)),
        (with_groups(50, 32, 4), "resnext50_32x4d", 224, (25028904, 4230480872, 14602216)),
        (with_groups(101, 32, 4), "resnext101_32x4d", 224, (44177704, 7969997800, 21426152)),
        (RESNET_CIFAR, "r56", 32, (855770, 125747850, 544778)),
        (replaced(RESNET_CIFAR, "56", "110"), "r110", 32, (1730714, 253149834, 1060874)),
    ],
)
def test_a_pycls_resnet_is_the_published_network_and_survives(text, name, resolution, expected):
    network = from_pycls(text, "x.yaml")
    assert network == textbook_network(name)
    assert cost(network, resolution) == expected
    written = to_pycls(network, "resnet")
    assert yaml.safe_load(written)["MODEL"] == yaml.safe_load(text)["MODEL"]
    assert yaml.safe_load(written)["RESNET"] == yaml.safe_load(text)["RESNET"]
    assert from_pycls(written, "x.yaml") == network
    assert yaml.safe_load(to_pycls(network))["MODEL"]["TYPE"] == "anynet"
    assert from_pycls(to_pycls(network), "x.yaml") == network


def test_a_pycls_effnet_is_the_published_network_and_survives():
    network = from_pycls(EFFNET, "EN-B0.yaml")
    assert cost(network) == (5288548, 385825092, 6748036)
    assert cost(network) == cost(textbook_network("efficientnet_b0"))
    ours = textbook_network("efficientnet_b0")
    assert network == replace(ours, stochastic_depth=None, head=Head(width=1280))
    dropped = replaced(EFFNET, "HEAD_W: 1280", "HEAD_W: 96\n  DROPOUT_RATIO: 0.3\n  SE_R: 0.5")
    for text in (EFFNET, dropped):
        network = from_pycls(text, "x.yaml")
        assert from_pycls(to_pycls(network), "x.yaml") == network
    assert network.head == Head(width=96, dropout=0.3)
    assert {stage.se_ratio for stage in network.stages} == {0.5}


def test_a_zero_gamma_that_changes_nothing_in_pycls_changes_nothing_here():
    zero = "BN: {ZERO_INIT_FINAL_GAMMA: true}\n"
    for text in (V_56, EFFNET):  # pycls marks no norm of these blocks as a last one
        assert from_pycls(text + zero, "x.yaml") == from_pycls(text, "x.yaml")
    assert from_pycls(RESNET + zero, "x.yaml") == replace(
        textbook_network("resnet50"), zero_gamma=True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced(RESNET, "DEPTH: 50", "DEPTH: 18"), "MODEL.DEPTH: 18 is not one of 50, 101, 152"),
        (replaced(RESNET_CIFAR, "56", "55"), "MODEL.DEPTH: 55 must be 8, 14, 20, ... (6n + 2)"),
        (replaced(RESNET_CIFAR, "56", "2"), "MODEL.DEPTH: 2 must be 8, 14"),
        (replaced(RESNET, "imagenet", "svhn"), "TRAIN.DATASET: 'svhn', but pycls has ResNets for"),
        ("MODEL: {TYPE: resnet, DEPTH: 50}", "TRAIN.DATASET: '', but pycls has"),
        (
            replaced(RESNET, "bottleneck_t", "basic_t"),
            "RESNET.TRANS_FUN: 'basic_transform', but pycls builds only bottleneck_transform for i",
        ),
        (
            replaced(RESNET_CIFAR, "basic_t", "bottleneck_t"),
            "RESNET.TRANS_FUN: 'bottleneck_transform', but pycls builds only basic_transform",
        ),
        (replaced(RESNET, "bottleneck_transform", "x"), "RESNET.TRANS_FUN: 'x'"),
        (
            replaced(RESNET, "STRIDE_1X1: False", "STRIDE_1X1: True"),
            "RESNET.STRIDE_1X1: True, which is pycls's default, but",
        ),
        (replaced(RESNET, "  STRIDE_1X1: False\n", ""), "RESNET.STRIDE_1X1: True, which is pycls"),
        (with_groups(50, 0, 64), "RESNET.NUM_GROUPS: 0 must be above 0"),
        (with_groups(50, 1, -4), "RESNET.WIDTH_PER_GROUP: -4 must be above 0"),
        (replaced(RESNET, "NUM_GROUPS", "GROUPS"), "RESNET.GROUPS: no such field; did you mean"),
        (replaced(EFFNET, "  DEPTHS: [1, 2, 2, 3, 3, 4, 1]\n", ""), "EN.DEPTHS: [] must hold one"),
        (replaced(EFFNET, "[3, 3, 5, 3, 5, 5, 3]", "[3]"), "EN.KERNELS: [3] must hold 7 numbers"),
        (replaced(EFFNET, "[3, 3, 5", "[3, 4, 5"), "kernel: 4 must be odd"),
        (replaced(EFFNET, "HEAD_W: 1280", "HEAD_W: 0"), "EN.HEAD_W: 0 must be above 0"),
        (
            replaced(EFFNET, "HEAD_W: 1280", "DC_RATIO: 0.2"),
            "EN.DC_RATIO: 0.2 in every block alike, but the stochastic depth here falls",
        ),
        (  # pycls rounds down, we to even
            replaced(EFFNET, "[16, 24, 40", "[16, 27, 40"),
            "EN.SE_R: 0.25 of 27 channels is 6.75, which pycls rounds to 6, and the",
        ),
        (
            replaced(EFFNET, "[1, 6, 6", "[1, 3.3, 6"),
            "EN.EXP_RATIOS[1]: 3.3 of 16 channels is 52.8, which pycls rounds to 52",
        ),
        (
            replaced(EFFNET, "HEAD_W: 1280", "SE_R: 0.01"),
            "EN.SE_R: 0.01 of 32 channels is 0.32, which pycls rounds to 0",
        ),
    ],
)
def test_a_wrong_resnet_or_effnet_of_pycls_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        from_pycls(text, "p.yaml")
    assert str(caught.value).startswith(f"p.yaml: {message}")
    assert "\n" not in str(caught.value)


B0 = from_pycls(EFFNET, "EN-B0.yaml")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (replace(B0, stem=Stem("cifar", 32)), "stem.kind: pycls's EffNet has no 'cifar' stem"),
        (replace(B0, head=Head()), "head.width: not given, but pycls's EffNet has one"),
        (replace(B0, activation="relu6"), "activation: 'relu6', but pycls has none such"),
        (replace(B0, zero_gamma=True), "zero_gamma: True, but pycls's MBConv has no such norm"),
        (replace(B0, input_channels=1), "input_channels: 1, but pycls takes 3"),
        (
            replace(B0, stages=(replace(B0.stages[0], se_ratio=None),)),
            "stages[0].se_ratio: not given, but pycls's EffNet has one",
        ),
        (
            replace(B0, stages=(replace(B0.stages[0], expansion=1.3),)),
            "stages[0].expansion: 1.3 of 32 channels is 41.6, which pycls rounds to 41",
        ),
        (
            replace(B0, stages=(*B0.stages, Stage(1, 8))),
            "stages: pycls has one block and one se_ratio for all stages",
        ),
    ],
)
def test_an_mbconv_network_that_pycls_does_not_have_is_refused(network, message):
    with pytest.raises(InputError) as caught:
        to_pycls(network)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["resnet18", "regnetx_400mf", "resnet50d", "v56"])
def test_what_is_none_of_the_resnets_of_pycls_is_not_written_as_one(name):
    with pytest.raises(InputError, match=r"^(stages: pycls's ResNets are those|stem.kind: pycls)"):
        to_pycls(textbook_network(name), "resnet")
