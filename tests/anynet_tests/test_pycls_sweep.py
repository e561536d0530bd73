"""Sweep configs of pycls as spaces, spaces as sweep configs, and what is refused."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import yaml
from msgspec.structs import replace
from scipy.stats import chisquare

from anynet.cli import run
from anynet.errors import InputError
from anynet.exchange.pycls_sweep import from_pycls_sweep
from anynet.exchange.pycls_sweep_writer import to_pycls_sweep
from anynet.files import parse_yaml
from anynet.network import Head, Stem
from anynet.ranges import Range
from anynet.regnet import fix_groups
from anynet.space import NAMED, Constraint, DesignSpace, LineRanges, load_space

# pycls `configs/sweeps/cifar/cifar_regnet.yaml`, its training cut down.
CIFAR_REGNET = """\
DESC:
  This sweep searches for a good RegNet-125MF model on cifar (same flops as R56).
NAME: cifar/cifar_regnet
SETUP:
  NUM_CONFIGS: 32
  SAMPLERS:
    REGNET:
      TYPE: regnet_sampler
      DEPTH: [6, 16]
      GROUP_W: [1, 32]
  CONSTRAINTS:
    CX:
      FLOPS: [0.12e+9, 0.13e+9]
      PARAMS: [0, 2.0e+6]
      ACTS: [0, 1.0e+6]
    REGNET:
      NUM_STAGES: [2, 2]
  BASE_CFG:
    MODEL:
      TYPE: regnet
      NUM_CLASSES: 10
    REGNET:
      STEM_TYPE: res_stem_cifar
      SE_ON: True
      STEM_W: 16
    OPTIM:
      BASE_LR: 1.0
    TRAIN:
      DATASET: cifar10
      IM_SIZE: 32
LAUNCH:
  PARTITION: devlab
ANALYZE:
  PRE_FILTERS: {done: [0, 1, 1]}
"""
ANYNET = """\
NAME: any
SETUP:
  NUM_CONFIGS: 8
  SAMPLERS:
    ANYNET.DEPTHS: {TYPE: list_sampler, LENGTH: 3, ITEM_SAMPLER: {
      TYPE: int_sampler, RAND_TYPE: log_uniform, RANGE: [1, 8], QUANTIZE: 1}}
    ANYNET.WIDTHS:
      TYPE: list_sampler
      LENGTH: 3
      ITEM_SAMPLER: {TYPE: int_sampler, RAND_TYPE: normal, RANGE: [16, 64], QUANTIZE: 16}
    ANYNET.BOT_MULS: {TYPE: value_sampler, VALUES: [[1, 1, 1], [0.5, 0.5, 0.5]]}
  BASE_CFG:
    MODEL: {TYPE: anynet, NUM_CLASSES: 10, ACTIVATION_FUN: silu}
    ANYNET:
      STRIDES: [1, 2, 2]
      GROUP_WS: [4, 4, 8]
    BN: {ZERO_INIT_FINAL_GAMMA: true}
    TRAIN: {IM_SIZE: 30}
"""
SINGLE = """\
NAME: single
SETUP:
  BASE_CFG:
    MODEL: {TYPE: anynet}
    ANYNET:
      BLOCK_TYPE: vanilla_block
      DEPTHS: [1, 2]
      WIDTHS: [16, 16]
      STRIDES: [1, 2]
"""


def read(text: str) -> DesignSpace:
    return from_pycls_sweep(parse_yaml(text, "s.yaml"), "s.yaml")


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_pycls_s_own_sweep_is_a_space():
    assert read(CIFAR_REGNET) == DesignSpace(
        name="cifar_cifar_regnet",
        depth=Range(6, 16),
        line=LineRanges(
            w0=Range(8, 256, 8, "log_uniform"),
            wa=Range(8, 256, 0.1, "log_uniform"),
            wm=Range(2, 3, 0.001, "log_uniform"),
        ),
        bottleneck_ratio=1.0,
        group_width=Range(1, 32, 8, "power2_or_log_uniform"),
        limits=("120e6 <= flops <= 130e6", "params <= 2e6", "activations <= 1e6"),
        block="y",
        se_ratio=0.25,
        strides=(2, 2),
        stem=Stem("cifar", 16),
        classes=10,
        resolution=32,
    )


def test_its_networks_keep_to_its_bounds_at_its_resolution():
    population = read(CIFAR_REGNET).sample(20, np.random.default_rng(0))
    assert population.resolution == 32
    assert population.flops.min() >= 120_000_000
    assert population.flops.max() <= 130_000_000
    assert population.params.max() <= 2_000_000
    assert population.activations.max() <= 1_000_000


def test_limits_are_counted_at_the_resolution_of_the_space_only():
    space = read(CIFAR_REGNET)
    with pytest.raises(InputError, match=r"resolution: 28, but the limits of cifar_cifar_regnet"):
        space.sample(1, np.random.default_rng(0), resolution=28)
    free = replace(space, limits=())
    assert free.sample(1, np.random.default_rng(0), resolution=28).resolution == 28
    assert free.sample(1, np.random.default_rng(0)).resolution == 32
    assert NAMED["regnetx"].sample(1, np.random.default_rng(0)).resolution == 224
    for resolution in (0, -1):
        with pytest.raises(ValueError, match=f"resolution: {resolution} must be above 0"):
            replace(space, resolution=resolution)


def test_a_sweep_of_an_anynet_is_a_space():
    assert read(ANYNET) == DesignSpace(
        name="any",
        depth=Range(1, 8, 1, "log_uniform"),
        width=Range(16, 64, 16, "normal"),
        bottleneck_ratio=(1, 2),
        group_width=(4, 8),
        constraints=(
            Constraint("group_width", "fixed", (4, 4, 8)),
            Constraint("bottleneck_ratio", "shared"),
        ),
        strides=(1, 2, 2),
        classes=10,
        activation="silu",
        zero_gamma=True,
        resolution=32,  # pycls's sweeps round to multiples of 4, halves to even
    )


def test_a_sweep_without_samplers_is_a_space_of_one():
    space = read(SINGLE)
    assert space.size == 1
    (network,) = space.sample(1, np.random.default_rng(0))
    assert (network.depths, network.widths) == ((1, 2), (16, 16))


def sampler(field: str, **settings) -> str:
    """A sweep of RegNets of one sampler."""
    return yaml.safe_dump(
        {
            "NAME": "s",
            "SETUP": {
                "SAMPLERS": {f"REGNET.{field}": settings},
                "BASE_CFG": {"MODEL": {"TYPE": "regnet"}},
            },
        }
    )


@pytest.mark.parametrize(
    ("field", "settings", "expected"),
    [
        ("DEPTH", {"TYPE": "int_sampler", "RANGE": [6, 16]}, Range(6, 16)),
        ("DEPTH", {"TYPE": "int_sampler", "RANGE": [7, 7]}, 7),
        ("DEPTH", {"TYPE": "value_sampler", "VALUES": [3, 9]}, (3, 9)),
        ("DEPTH", {"TYPE": "value_sampler", "VALUES": [3]}, 3),
        (
            "WM",
            {"TYPE": "float_sampler", "RAND_TYPE": "normal", "RANGE": [2, 3], "QUANTIZE": 0.5},
            Range(2, 3, 0.5, "normal"),
        ),
        ("WM", {"TYPE": "float_sampler", "RANGE": [2.0, 2.5]}, Range(2, 2.5, 1e-5)),
        (
            "GROUP_W",
            {"TYPE": "int_sampler", "RAND_TYPE": "power2_uniform", "RANGE": [2, 16]},
            (2, 4, 8, 16),
        ),
        (
            "GROUP_W",
            {
                "TYPE": "int_sampler",
                "RAND_TYPE": "power2_or_log_uniform",
                "RANGE": [8, 32],
                "QUANTIZE": 8,
            },
            Range(8, 32, 8, "log_uniform"),
        ),
        (
            "GROUP_W",
            {
                "TYPE": "int_sampler",
                "RAND_TYPE": "power2_or_log_uniform",
                "RANGE": [1, 8],
                "QUANTIZE": 8,
            },
            (1, 2, 4, 8),
        ),
        (
            "BOT_MUL",
            {
                "TYPE": "float_sampler",
                "RAND_TYPE": "power2_uniform",
                "RANGE": [1.0, 2.0],
                "QUANTIZE": 1.0,
            },
            (0.5, 1),
        ),
    ],
)
def test_a_sampler_is_a_domain(field, settings, expected):
    text = sampler(field, **settings)
    if field in ("GROUP_W", "BOT_MUL"):
        text = text.replace("TYPE: regnet\n", "TYPE: regnet\n    REGNET: {GROUP_W: 8}\n")
    space = read(text)
    ours = {"DEPTH": "depth", "GROUP_W": "group_width", "BOT_MUL": "bottleneck_ratio"}
    found = space.line.wm if field == "WM" else getattr(space, ours[field])
    assert (tuple(sorted(found)) if isinstance(found, tuple) else found) == expected


def test_the_regnet_sampler_draws_group_widths_as_pycls_describes():
    """Powers of 2 below 8, and in the place of those from 8 on a log-uniform multiple of 8."""
    table = read(CIFAR_REGNET).tables["group_width"]
    rng = np.random.default_rng(3)
    powers = 2.0 ** np.floor(rng.uniform(0, 6, 60_000))
    log = np.ceil(np.exp(rng.uniform(np.log(4), np.log(32), 60_000)) / 8) * 8
    drawn = np.where(powers >= 8, log, powers)
    observed = [(drawn == value).sum() for value in table.values]
    assert sum(observed) == 60_000
    assert chisquare(observed, 60_000 * table.probabilities).pvalue > 1e-3


REGNETX_1 = replace(
    NAMED["regnetx"],
    constraints=(
        Constraint("bottleneck_ratio", "fixed", 1),
        Constraint("wm", "ranged", low=2),
        Constraint("depth", "ranged", high=40),
    ),
)
SMALL = DesignSpace(
    name="small",
    depth=(1, 2, 4),
    width=Range(32, 128, 32),
    bottleneck_ratio=(1, 2),
    group_width=(8, 16),
    block="y",
    se_ratio=(0.25, 0.5),
    constraints=(Constraint("se_ratio", "shared"),),
    strides=(1, 2),
    head=Head(width=96),
    limits=("flops < 5e8", "1e3 <= params <= 2.5e6"),
    resolution=32,
)
WRITTEN = {
    "cifar_regnet": read(CIFAR_REGNET),
    "anynet": read(replaced(ANYNET, "IM_SIZE: 30", "IM_SIZE: 64")),
    "single": read(SINGLE),
    "regnetx": REGNETX_1,
    "anynetx_a": NAMED["anynetx_a"],
    "anynetx_b": NAMED["anynetx_b"],
    "anynetx_c": NAMED["anynetx_c"],
    "small": SMALL,
    "orders": replace(
        SMALL,
        strides=(1, 2, 2),
        constraints=(
            *SMALL.constraints,
            Constraint("depth", "non_decreasing"),
            Constraint("width", "increasing"),
            Constraint("bottleneck_ratio", "non_increasing"),
        ),
    ),
    "basic": DesignSpace(
        name="basic", depth=Range(1, 4, 1, "log_normal"), width=(16, 40), block="res_basic"
    ),
    "linear": DesignSpace(
        name="linear",
        depth=2,
        width=Range(32, 96, 32, "log_uniform"),
        bottleneck_ratio=0.5,
        group_width=8,
        block="res_bottleneck_linear",
        strides=(2,),
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_space_survives_pycls(name):
    space = WRITTEN[name]
    text = to_pycls_sweep(space, 12)
    found = read(text)
    assert yaml.safe_load(text)["SETUP"]["NUM_CONFIGS"] == 12
    assert found.size == space.size
    assert found.free_dimensions == space.free_dimensions
    assert found.sequences.keys() == space.sequences.keys()
    for parameter, ours in space.sequences.items():
        theirs = found.sequences[parameter]
        assert theirs.order == ours.order or ours.size == 1
        for row, other in zip(ours.occurring, theirs.occurring, strict=True):
            mine, its = ours.table.narrowed(row), theirs.table.narrowed(other)
            assert mine.values == pytest.approx(its.values)
            assert mine.probabilities == pytest.approx(its.probabilities)
    same = ("block", "strides", "stem", "head", "classes", "activation", "zero_gamma")
    for field in same:
        assert getattr(found, field) == getattr(space, field)
    assert found.resolution == (space.resolution or 224)
    # The limits, perhaps in other words: the same draws are kept.
    sampled = [
        s.sample(50, np.random.default_rng(5), resolution=s.resolution, unique=False)
        for s in (replace(space, resolution=found.resolution), found)
    ]
    if name != "orders":  # whose constraints stand in another order, and so its draws
        assert np.array_equal(sampled[0].params, sampled[1].params)
    if name in ("cifar_regnet", "anynet"):
        assert found == space


def test_the_written_sweep_says_what_pycls_reads():
    document = yaml.safe_load(to_pycls_sweep(SMALL, 40))
    setup = document["SETUP"]
    assert document["NAME"] == "small"
    assert setup["CONSTRAINTS"] == {"CX": {"FLOPS": [0, 499_999_999], "PARAMS": [1000, 2_500_000]}}
    widths = {"TYPE": "int_sampler", "RAND_TYPE": "uniform", "RANGE": [32, 128], "QUANTIZE": 32}
    assert setup["SAMPLERS"] == {
        "ANYNET.DEPTHS": {
            "TYPE": "list_sampler",
            "LENGTH": 2,
            "ITEM_SAMPLER": {"TYPE": "value_sampler", "VALUES": [1, 2, 4]},
        },
        "ANYNET.WIDTHS": {"TYPE": "list_sampler", "LENGTH": 2, "ITEM_SAMPLER": widths},
        "ANYNET.GROUP_WS": {
            "TYPE": "list_sampler",
            "LENGTH": 2,
            "ITEM_SAMPLER": widths | {"RANGE": [8, 16], "QUANTIZE": 8},
        },
        "ANYNET.BOT_MULS": {
            "TYPE": "list_sampler",
            "LENGTH": 2,
            "ITEM_SAMPLER": {
                "TYPE": "float_sampler",
                "RAND_TYPE": "uniform",
                "RANGE": [0.5, 1.0],
                "QUANTIZE": 0.5,
            },
        },
        "ANYNET.SE_R": {
            "TYPE": "float_sampler",
            "RAND_TYPE": "uniform",
            "RANGE": [0.25, 0.5],
            "QUANTIZE": 0.25,
        },
    }
    assert setup["BASE_CFG"] == {
        "MODEL": {"TYPE": "anynet", "NUM_CLASSES": 1000},
        "ANYNET": {
            "STEM_TYPE": "simple_stem_in",
            "STEM_W": 32,
            "BLOCK_TYPE": "res_bottleneck_block",
            "HEAD_W": 96,
            "STRIDES": [1, 2],
            "SE_ON": True,
        },
        "TRAIN": {"IM_SIZE": 32},
    }
    lists = yaml.safe_load(to_pycls_sweep(WRITTEN["orders"], 1))["SETUP"]["SAMPLERS"]
    rising = itertools.combinations_with_replacement((1, 2, 4), 3)
    assert lists["ANYNET.DEPTHS"]["VALUES"] == [list(depths) for depths in rising]


def fitted(width: int, multiplier: float, group: int) -> tuple[int, int]:
    """One stage by pycls `adjust_block_compatibility`: (width, group width)."""
    inner = int(max(1, width * multiplier))
    group = min(group, inner)
    unit = int(np.lcm(group, int(multiplier))) if multiplier > 1 else group
    return int(max(unit, round(inner / unit) * unit) / multiplier), group


def scaled_by_one(width: int, multiplier: float, group: int, line: bool) -> tuple[int, int]:
    """What pycls's sweeps build of one stage, by `scaler.scale_model` at a factor of 1."""
    if line:
        width, group = fitted(width, multiplier, group)
    width = max(1, round(width / 8)) * 8
    group = group if group <= 2 else 4 if group <= 5 else round(group / 8) * 8
    return fitted(width, multiplier, group)


def test_a_space_is_written_exactly_where_pycls_builds_the_same():
    written = refused = 0
    for width, ratio, group in itertools.product(
        (8, 12, 24, 40, 56, 100, 128), (0.25, 0.5, 1, 2, 4), (1, 2, 3, 4, 6, 8, 12, 16, 24, 64)
    ):
        space = DesignSpace(
            name="one", depth=1, width=width, bottleneck_ratio=ratio, group_width=group
        )
        ours = tuple(column.item() for column in fix_groups(width, ratio, group))
        if ours == scaled_by_one(width, 1 / ratio, group, line=False):
            assert read(to_pycls_sweep(space, 1)).size == 1
            written += 1
        else:
            with pytest.raises(InputError, match=r"^one: width \d+, bottleneck_ratio"):
                to_pycls_sweep(space, 1)
            refused += 1
    assert min(written, refused) > 50


def test_a_line_is_written_exactly_where_pycls_builds_the_same():
    for least, ratio, group in itertools.product((8, 64, 128), (0.5, 1, 2, 4), (1, 4, 12, 16, 40)):
        space = DesignSpace(
            name="one",
            depth=12,
            line=LineRanges(w0=least, wa=(20, 30), wm=2.5),
            bottleneck_ratio=ratio,
            group_width=group,
        )
        same = all(
            fitted(width, 1 / ratio, group) == scaled_by_one(width, 1 / ratio, group, line=True)
            for width in range(least, 4000, 8)
        )
        if same:
            to_pycls_sweep(space, 1)
        else:
            with pytest.raises(InputError, match=r"^one: width \d+, bottleneck_ratio"):
                to_pycls_sweep(space, 1)


DEPTHS = """{TYPE: list_sampler, LENGTH: 3, ITEM_SAMPLER: {
      TYPE: int_sampler, RAND_TYPE: log_uniform, RANGE: [1, 8], QUANTIZE: 1}}"""


def drawing(text: str) -> str:
    """`SINGLE` with a sampler."""
    return replaced(SINGLE, "  BASE", f"  SAMPLERS: {{{text}}}\n  BASE")


REFUSED = [
    (replaced(CIFAR_REGNET, "NAME: cifar/cifar_regnet\n", ""), "object missing required field NAM"),
    (replaced(CIFAR_REGNET, "SAMPLERS:", "SAMPLER:"), "SETUP.SAMPLER: no such field; did you me"),
    (replaced(CIFAR_REGNET, "LAUNCH:", "LAUNCHES:"), "LAUNCHES: no such field; did you mean `LA"),
    (replaced(CIFAR_REGNET, "ACTS:", "ACT:"), "SETUP.CONSTRAINTS.CX.ACT: no such field"),
    (
        replaced(CIFAR_REGNET, "NUM_STAGES: [2, 2]", "NUM_STAGES: [2, 4]"),
        "SETUP.CONSTRAINTS.REGNET.NUM_STAGES: [2, 4], but a space has one number of them",
    ),
    (replaced(CIFAR_REGNET, "NUM_STAGES: [2, 2]", "NUM_STAGES: [9, 9]"), "strides: [2, 2, 2, 2"),
    (
        replaced(CIFAR_REGNET, "[0.12e+9, 0.13e+9]", "[0.14e+9, 0.13e+9]"),
        "SETUP.CONSTRAINTS.CX.FLOPS: [1.4e+08, 1.3e+08] must run from low to high",
    ),
    (replaced(CIFAR_REGNET, "[0, 1.0e+6]", "[0, .nan]"), "SETUP.CONSTRAINTS.CX.ACTS: [0, nan] m"),
    (replaced(CIFAR_REGNET, "[0, 1.0e+6]", "5"), "SETUP.CONSTRAINTS.CX.ACTS: 5: expected array"),
    (replaced(CIFAR_REGNET, "TYPE: regnet\n", "TYPE: effnet\n"), "SETUP.BASE_CFG.MODEL.TYPE: 'eff"),
    (replaced(CIFAR_REGNET, "TYPE: regnet\n", "TYPE: x\n"), "SETUP.BASE_CFG.MODEL.TYPE: 'x': must"),
    (
        replaced(CIFAR_REGNET, "TYPE: regnet\n", "TYPE: regnet\n      SCALING_FACTOR: 2\n"),
        "SETUP.BASE_CFG.MODEL.SCALING_FACTOR: 2, but the networks",
    ),
    (
        replaced(CIFAR_REGNET, "STEM_TYPE: res_stem_cifar", "STEM_TYPE: x"),
        "SETUP.BASE_CFG.REGNET.STEM_TYPE: 'x' is not one of",
    ),
    (
        replaced(CIFAR_REGNET, "SE_ON: True", "BLOCK_TYPE: vanilla_block"),
        "SETUP.BASE_CFG.REGNET.BLOCK_TYPE: 'vanilla_block' has no groups",
    ),
    (replaced(CIFAR_REGNET, "TYPE: regnet_sampler", "TYPE: x"), "SETUP.SAMPLERS.REGNET.TYPE: 'x' "),
    (
        replaced(CIFAR_REGNET, "DEPTH: [6, 16]", "DEPTH: [16, 6]"),
        "SETUP.SAMPLERS.REGNET.DEPTH: high: 6 must be at least low 16",
    ),
    (
        replaced(CIFAR_REGNET, "DEPTH: [6, 16]", "W0: [8, 20]"),
        "SETUP.SAMPLERS.REGNET.W0: high: 20 must be a multiple of step 8",
    ),
    (
        replaced(CIFAR_REGNET, "GROUP_W: [1, 32]", "GROUP_W: [1, 24]"),
        "SETUP.SAMPLERS.REGNET.GROUP_W: high: 24 must be a power of 2",
    ),
    (
        replaced(CIFAR_REGNET, "GROUP_W: [1, 32]", "GROUP_WS: [1, 24]"),
        "SETUP.SAMPLERS.REGNET.GROUP_WS: no such field; did you mean `GROUP_W`",
    ),
    (
        replaced(CIFAR_REGNET, "GROUP_W: [1, 32]", "BOT_MUL: [0.25, 1.0]"),
        "width 40, bottleneck_ratio 2 and group_width 24: pycls's sweeps round",
    ),
    (
        replaced(
            CIFAR_REGNET,
            "    REGNET:\n      TYPE: r",
            "    REGNET.WM: {TYPE: value_sampler, VALUES: [2]}\n    REGNET:\n      TYPE: r",
        ),
        "SETUP.SAMPLERS.REGNET.WM: is drawn by SETUP.SAMPLERS.REGNET.WM too",
    ),
    (sampler("STEM_W", TYPE="value_sampler", VALUES=[8]), "SETUP.SAMPLERS.REGNET.STEM_W: no part"),
    (sampler("SE_R", TYPE="value_sampler", VALUES=[0.5]), "SETUP.SAMPLERS.REGNET.SE_R: drawn, but"),
    (sampler("DEPTH", TYPE="value_sampler", VALUES=[]), "SETUP.SAMPLERS.REGNET.DEPTH.VALUES: []"),
    (
        sampler("DEPTH", TYPE="value_sampler", VALUES=["a"]),
        "SETUP.SAMPLERS.REGNET.DEPTH.VALUES: [0]: 'a': expected float",
    ),
    (
        sampler("DEPTH", TYPE="value_sampler", VALUES=[2, 2]),
        "SETUP.SAMPLERS.REGNET.DEPTH.VALUES[1]: 2.0 stands twice",
    ),
    (
        sampler("DEPTH", TYPE="value_sampler", VALUES=[[2], [3]]),
        "SETUP.SAMPLERS.REGNET.DEPTH: draws lists, but REGNET.DEPTH is a number",
    ),
    (
        sampler("DEPTH", TYPE="int_sampler", RANGE=[1.5, 3]),
        "SETUP.SAMPLERS.REGNET.DEPTH.RANGE[0]: 1.5 must be a whole number",
    ),
    (
        sampler("DEPTH", TYPE="int_sampler", RANGE=[1, float("inf")]),
        "SETUP.SAMPLERS.REGNET.DEPTH.RANGE[1]: inf must be a whole number",
    ),
    (
        sampler("DEPTH", TYPE="int_sampler", RANGE=[1, 3], QUANTIZE=float("nan")),
        "SETUP.SAMPLERS.REGNET.DEPTH.QUANTIZE: nan must be a whole number",
    ),
    (sampler("DEPTH", TYPE="int_sampler"), "SETUP.SAMPLERS.REGNET.DEPTH: object missing required"),
    (
        sampler("DEPTH", TYPE="int_sampler", RANGE=[1, 3], RAND_TYPE="beta"),
        "SETUP.SAMPLERS.REGNET.DEPTH.RAND_TYPE: 'beta': must be one of",
    ),
    (
        sampler("DEPTH", TYPE="int_sampler", RANGE=[1, 4], QUANTIZE=0),
        "SETUP.SAMPLERS.REGNET.DEPTH.RANGE: step: 0",
    ),
    (
        sampler("BOT_MUL", TYPE="float_sampler", RAND_TYPE="log_uniform", RANGE=[0.5, 1.0]),
        "SETUP.SAMPLERS.REGNET.BOT_MUL: bottleneck ratios that are not drawn uniformly",
    ),
    (
        sampler("WM", TYPE="float_sampler", RAND_TYPE="log_uniform", RANGE=[2, 3], QUANTIZE=1e-9),
        "SETUP.SAMPLERS.REGNET.WM.RANGE: step: 1e-09 gives",
    ),
    (
        drawing("OPTIM.BASE_LR: {TYPE: value_sampler, VALUES: [1]}"),
        "SETUP.SAMPLERS.OPTIM.BASE_LR: no part of a space, which draws networks: of type anynet AN",
    ),
    (
        drawing("REGNET: {TYPE: regnet_sampler}"),
        "SETUP.SAMPLERS.REGNET.TYPE: a regnet_sampler draws REGNET of a regnet only",
    ),
    (replaced(SINGLE, "      STRIDES: [1, 2]\n", ""), "SETUP.BASE_CFG.ANYNET.STRIDES: [] must"),
    (replaced(SINGLE, "[16, 16]", "[16]"), "SETUP.BASE_CFG.ANYNET.WIDTHS: [16] must hold"),
    (replaced(SINGLE, "[16, 16]", "[16, 20]"), "width 20: pycls's sweeps round widths and"),
    (replaced(SINGLE, "vanilla_block", "res_bottleneck_block"), "SETUP.BASE_CFG.ANYNET.GROUP_WS: "),
    (
        replaced(ANYNET, DEPTHS, "{TYPE: value_sampler, VALUES: [[1, 2], [3, 4]]}"),
        "SETUP.SAMPLERS.ANYNET.DEPTHS.VALUES: 2 lists, which are neither",
    ),
    (
        replaced(ANYNET, DEPTHS, "{TYPE: value_sampler, VALUES: [[1, 2], [2, 1]]}"),
        "SETUP.SAMPLERS.ANYNET.DEPTHS.VALUES: 2 lists, which are neither",
    ),
    (
        replaced(ANYNET, DEPTHS, "{TYPE: value_sampler, VALUES: [[1, 1], [2, 2]]}"),
        "SETUP.SAMPLERS.ANYNET.DEPTHS: draws lists of 2, but STRIDES has 3 stages",
    ),
    (
        replaced(ANYNET, "[[1, 1, 1], [0.5, 0.5, 0.5]]", "[[1, 1, 1], [0.5, 0.5, 1]]"),
        "SETUP.SAMPLERS.ANYNET.BOT_MULS.VALUES: 2 lists, which are neither all",
    ),
    (
        replaced(ANYNET, "[[1, 1, 1], [0.5, 0.5, 0.5]]", "[[1, 1, 1], [0.5, 0.5]]"),
        "SETUP.SAMPLERS.ANYNET.BOT_MULS.VALUES: lists of [2, 3] numbers must be equally long",
    ),
    (
        replaced(ANYNET, "[[1, 1, 1], [0.5, 0.5, 0.5]]", "[1, 2]"),
        "SETUP.SAMPLERS.ANYNET.BOT_MULS: draws a number, but STRIDES has 3 stages",
    ),
    (
        replaced(ANYNET, DEPTHS, f"{{TYPE: list_sampler, LENGTH: 3, ITEM_SAMPLER: {DEPTHS}}}"),
        "SETUP.SAMPLERS.ANYNET.DEPTHS.ITEM_SAMPLER: must draw numbers, not lists",
    ),
    (
        drawing("ANYNET.SE_R: {TYPE: value_sampler, VALUES: [0.5]}"),
        "SETUP.SAMPLERS.ANYNET.SE_R: drawn, but SE_ON is not true",
    ),
    (
        drawing("ANYNET.GROUP_WS: {TYPE: value_sampler, VALUES: [[1, 1]]}"),
        "SETUP.SAMPLERS.ANYNET.GROUP_WS: vanilla_block has none",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_wrong_sweep_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        read(text)
    assert str(caught.value).startswith(f"s.yaml: {message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (NAMED["regnetx"], "regnetx: width 40, bottleneck_ratio 2 and group_width 32: pycls's swe"),
        (NAMED["regnetx_constrained"], "regnetx_constrained: limits[0]: 'params < 3e6 + 5.5e6"),
        (NAMED["anynetx_d"], "anynetx_d: constraints: width: the rule non_decreasing, but pycls"),
        (replace(NAMED["anynetx_a"], block="r", group_width=None), "anynetx_a: block: pycls has"),
        (replace(SMALL, input_channels=1), "small: input_channels: 1, but pycls takes 3"),
        (replace(SMALL, head=Head(dropout=0.5)), "small: head.dropout: 0.5, but pycls's AnyNet"),
        (replace(SMALL, norm="group"), "small: norm: 'group', but pycls has none such"),
        (replace(SMALL, stem=Stem("deep", 32)), "small: stem.kind: pycls has no 'deep' stem"),
        (replace(SMALL, resolution=30), "small: resolution: 30, but pycls's sweeps have multiples"),
        (replace(SMALL, limits=("depth < 9",)), "small: limits[0]: 'depth < 9', but pycls keeps"),
        (replace(SMALL, limits=("flops < 1",)), "small: limits[0]: 'flops < 1', but pycls keeps"),
        (replace(SMALL, constraints=()), "small: se_ratio: pycls's AnyNet has one for all stages"),
        (
            replace(
                SMALL,
                constraints=(
                    *SMALL.constraints,
                    Constraint("depth", "non_decreasing", draw="sorted"),
                ),
            ),
            "small: constraints: depth: the rule non_decreasing, but pycls",
        ),
        (
            replace(
                NAMED["anynetx_a"],
                constraints=(Constraint("depth", "ranged", low=5, stages=(4,)),),
            ),
            "anynetx_a: constraints: depth: bounds of single stages, but pycls",
        ),
        (replace(REGNETX_1, strides=(1, 2, 2, 2)), "regnetx: strides: [1, 2, 2, 2], but pycls's"),
        (
            replace(REGNETX_1, depth=Range(1, 40, 1, "normal")),
            None,
        ),
        (
            replace(REGNETX_1, depth=Range(1, 60, 1, "normal")),
            "regnetx: depth: pycls has no sampler that draws what the space does",
        ),
    ],
)
def test_a_space_that_pycls_cannot_draw_is_refused(space, message):
    if message is None:
        assert read(to_pycls_sweep(space, 1)).depth == space.depth
        return
    with pytest.raises(InputError) as caught:
        to_pycls_sweep(space, 1)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_commands_read_and_write_sweeps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar.yaml").write_text(CIFAR_REGNET)
    assert run(["sample", "cifar.yaml", "-n", "2", "--out", "n.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["resolution"] == 32
    assert run(["spaces", "cifar.yaml", "--to", "pycls", "-n", "7", "--out", "out.yaml"]) == 0
    assert capsys.readouterr().out == "cifar_cifar_regnet -> out.yaml\n"
    assert yaml.safe_load((tmp_path / "out.yaml").read_text())["SETUP"]["NUM_CONFIGS"] == 7
    assert load_space("out.yaml") == load_space("cifar.yaml")
    assert run(["spaces", "out.yaml"]) == 0
    (tmp_path / "ours.yaml").write_text(capsys.readouterr().out)
    assert load_space("ours.yaml") == load_space("cifar.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "pycls"], "--to: needs the name of a space"),
        (["--out", "x.yaml"], "--out: needs the name of a space"),
        (["anynetx_a", "--to", "pycls", "--json"], "--to: not beside --json"),
        (["anynetx_a", "--out", "x.yaml", "--networks"], "--out: not beside --networks"),
        (["anynetx_a", "-n", "5"], "-n: goes with --to pycls"),
        (["anynetx_a", "--to", "pycls", "-n", "0"], "-n: 0 must be 1 or more"),
        (["regnetx", "--to", "pycls"], "regnetx: width 40, bottleneck_ratio 2"),
    ],
)
def test_options_that_say_nothing_together(arguments, message, capsys):
    assert run(["spaces", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"anynet: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
