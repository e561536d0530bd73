"""The quantized line and the group fix, against a plain transcription of the published rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from anynet.network import Stem
from anynet.regnet import (
    RegNet,
    fix_groups,
    fix_groups_elsewhere,
    quantize_line,
    quantize_lines,
)
from anynet.textbook import REGNETS, textbook_network

# Python's `round` is half to even, as `np.rint` is.


def plain_fix(width: int, multiplier: float, group_width: int) -> tuple[int, int]:
    """One stage by pycls `adjust_block_compatibility`, with m = 1/b; (width, group width)."""
    inner = max(1, int(width * multiplier))
    group_width = min(group_width, inner)
    unit = math.lcm(group_width, int(multiplier)) if multiplier > 1 else group_width
    inner = max(unit, round(inner / unit) * unit)
    return int(inner / multiplier), group_width


def plain_line(depth: int, w0: int, wa: float, wm: float) -> tuple[list[float], list[int]]:
    """s_j and the widths of the blocks (DNDS, equations 2 to 4), rounded to multiples of 8."""
    exponents = [math.log((w0 + wa * j) / w0) / math.log(wm) for j in range(depth)]
    return exponents, [round(w0 * wm ** round(s) / 8) * 8 for s in exponents]


def is_near_tie(value: float) -> bool:
    return abs(value % 1 - 0.5) < 1e-9


multipliers = st.sampled_from([1.0, 0.5, 0.25, 0.125, 1 / 3, 2.0, 3.0, 4.0, 8.0])


@given(
    st.lists(st.tuples(st.integers(1, 3000), multipliers, st.integers(1, 300)), min_size=1),
)
@example([(392, 1.0, 16)])  # 24.5 groups
@example([(1, 0.25, 32)])
@example([(20, 1.0, 8)])  # 2.5 groups
def test_fix_groups_is_the_published_rule(rows):
    widths, ratios, groups = zip(*((w, 1 / m, g) for w, m, g in rows), strict=True)
    fixed, fixed_groups = fix_groups(np.array(widths), np.array(ratios), np.array(groups))
    expected = [plain_fix(*row) for row in rows]
    assert list(zip(fixed.tolist(), fixed_groups.tolist(), strict=True)) == expected


@given(st.integers(1, 3000), multipliers, st.integers(1, 300))
def test_after_the_fix_groups_divide_and_a_second_fix_changes_nothing(width, multiplier, groups):
    fixed, fixed_groups = fix_groups(width, 1 / multiplier, groups)
    inner = float(fixed) * multiplier
    assert inner == pytest.approx(round(inner))
    assert round(inner) % int(fixed_groups) == 0
    again = fix_groups(fixed, 1 / multiplier, fixed_groups)
    assert (int(again[0]), int(again[1])) == (int(fixed), int(fixed_groups))


@pytest.mark.parametrize(
    ("width", "ratio", "groups", "expected"),
    [
        (392, 1, 16, (384, 16)),  # 24.5 rounds to 24 (RegNetX-400MF)
        (408, 1, 16, (416, 16)),  # 25.5 rounds to 26
        (20, 1, 8, (16, 8)),  # 2.5 rounds to 2
        (28, 1, 8, (32, 8)),  # 3.5 rounds to 4
        (3, 1, 8, (3, 3)),  # no group is wider than the block
        (8, 4, 32, (8, 2)),
        (2, 4, 32, (4, 1)),  # the inner width is at least one
        (8, 1 / 4, 16, (8, 16)),
        (24, 1 / 4, 3, (24, 3)),  # b below 1: the inner width is a multiple of lcm(g, 1/b)
        (26, 1 / 4, 3, (27, 3)),
        (10, 1 / 2, 7, (7, 7)),  # lcm(7, 2) = 14; 20/14 rounds to 1
    ],
)
def test_fix_groups_in_single_cases(width, ratio, groups, expected):
    assert tuple(int(value) for value in fix_groups(width, ratio, groups)) == expected


@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.9, 1.2, float("inf"), float("nan")])
def test_a_ratio_that_fits_no_width_is_refused(ratio):
    # With 1.2 the group width 4 gives the width 4, whose inner width is 3 (pycls asserts).
    with pytest.raises(ValueError, match="bottleneck_ratio"):
        fix_groups([24], [ratio], [4])


@given(
    st.integers(1, 64),
    st.integers(1, 40).map(lambda k: 8 * k),
    st.floats(0, 300, allow_nan=False).map(lambda wa: round(wa, 2)),
    st.floats(1.1, 3.5).map(lambda wm: round(wm, 3)),
)
def test_the_line_is_the_published_rule(depth, w0, wa, wm):
    exponents, widths = plain_line(depth, w0, wa, wm)
    # A logarithm's last bit decides a tie.
    assume(not any(is_near_tie(s) or is_near_tie(w0 * wm ** round(s) / 8) for s in exponents))
    line = quantize_line(depth, w0, wa, wm)
    assert line.linear.tolist() == [w0 + wa * j for j in range(depth)]
    assert line.levels.tolist() == [round(s) for s in exponents]
    assert line.quantized.tolist() == widths


@pytest.mark.parametrize(
    ("depth", "w0", "wa", "wm", "widths"),
    [
        (2, 8, 12, 2.5, [8, 16]),  # 8 · 2.5 / 8 = 2.5 rounds to 2
        (2, 8, 20, 3.5, [8, 32]),  # 3.5 rounds to 4
        (3, 16, 0, 2, [16, 16, 16]),
        (1, 48, 100, 2.5, [48]),
    ],
)
def test_widths_round_half_to_even(depth, w0, wa, wm, widths):
    assert quantize_line(depth, w0, wa, wm).quantized.tolist() == widths


@pytest.mark.parametrize("stages", range(1, 7))
def test_many_lines_at_once_are_single_lines(stages):
    rng = np.random.default_rng(stages)
    n = 3000
    depth = rng.integers(1, 64, n)
    w0 = rng.integers(1, 33, n) * 8.0
    wa = np.round(rng.uniform(0, 128, n), 1)
    wm = np.round(rng.uniform(1.05, 3, n), 3)
    mask, widths, depths = quantize_lines(depth, w0, wa, wm, stages)
    assert len(widths) == len(depths) == mask.sum()

    expected = []
    for i in range(n):
        line = quantize_line(depth[i], w0[i], wa[i], wm[i])
        distinct, counts = np.unique(line.quantized, return_counts=True)
        # pycls `check_regnet_constraints`: as many stages as levels, no more and no fewer
        kept = len(distinct) == line.levels.max() + 1 == stages
        assert mask[i] == kept
        if kept:
            expected.append((distinct.tolist(), counts.tolist()))
    assert len(expected) > (30 if stages < 6 else 5)
    assert list(zip(widths.tolist(), depths.tolist(), strict=True)) == expected


def test_no_line_kept_is_no_row():
    mask, widths, depths = quantize_lines(
        np.array([3]), np.array([8.0]), np.array([0.0]), np.array([2.0]), 4
    )
    assert not mask.any()
    assert widths.shape == depths.shape == (0, 4)


# DNDS, tables 3 and 4 ("Top RegNetX models", "Top RegNetY models"): depths, widths.
PUBLISHED = {
    "regnetx_200mf": ((1, 1, 4, 7), (24, 56, 152, 368)),
    "regnetx_400mf": ((1, 2, 7, 12), (32, 64, 160, 384)),
    "regnetx_600mf": ((1, 3, 5, 7), (48, 96, 240, 528)),
    "regnetx_800mf": ((1, 3, 7, 5), (64, 128, 288, 672)),
    "regnetx_1.6gf": ((2, 4, 10, 2), (72, 168, 408, 912)),
    "regnetx_3.2gf": ((2, 6, 15, 2), (96, 192, 432, 1008)),
    "regnetx_4.0gf": ((2, 5, 14, 2), (80, 240, 560, 1360)),
    "regnetx_6.4gf": ((2, 4, 10, 1), (168, 392, 784, 1624)),
    "regnetx_8.0gf": ((2, 5, 15, 1), (80, 240, 720, 1920)),
    "regnetx_12gf": ((2, 5, 11, 1), (224, 448, 896, 2240)),
    "regnetx_16gf": ((2, 6, 13, 1), (256, 512, 896, 2048)),
    "regnetx_32gf": ((2, 7, 13, 1), (336, 672, 1344, 2520)),
    "regnety_200mf": ((1, 1, 4, 7), (24, 56, 152, 368)),
    "regnety_400mf": ((1, 3, 6, 6), (48, 104, 208, 440)),
    "regnety_600mf": ((1, 3, 7, 4), (48, 112, 256, 608)),
    "regnety_800mf": ((1, 3, 8, 2), (64, 128, 320, 768)),
    "regnety_1.6gf": ((2, 6, 17, 2), (48, 120, 336, 888)),
    "regnety_3.2gf": ((2, 5, 13, 1), (72, 216, 576, 1512)),
    "regnety_4.0gf": ((2, 6, 12, 2), (128, 192, 512, 1088)),
    "regnety_6.4gf": ((2, 7, 14, 2), (144, 288, 576, 1296)),
    "regnety_8.0gf": ((2, 4, 10, 1), (168, 448, 896, 2016)),
    "regnety_12gf": ((2, 5, 11, 1), (224, 448, 896, 2240)),
    "regnety_16gf": ((2, 4, 11, 1), (224, 448, 1232, 3024)),
    "regnety_32gf": ((2, 5, 12, 1), (232, 696, 1392, 3712)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_depths_and_widths(name):
    network = textbook_network(name)
    assert (network.depths, network.widths) == PUBLISHED[name]


def test_every_published_regnet_is_checked():
    assert set(PUBLISHED) == set(REGNETS)


def test_regnetx_400mf_rounds_392_down():
    regnet = REGNETS["regnetx_400mf"][1]
    assert np.unique(regnet.line.quantized).tolist() == [24, 64, 152, 392]
    depths, widths, groups = regnet.stages()
    assert depths.tolist() == [1, 2, 7, 12]
    assert widths.tolist() == [32, 64, 160, 384]
    assert groups.tolist() == [16, 16, 16, 16]


def test_regnetx_8_0gf_has_a_narrower_first_group():
    _, widths, groups = REGNETS["regnetx_8.0gf"][1].stages()
    assert widths.tolist() == [80, 240, 720, 1920]
    assert groups.tolist() == [80, 120, 120, 120]


def test_a_network_takes_what_the_line_does_not_say():
    regnet = RegNet(10, 16, 20, 2.2, group_width=8, bottleneck_ratio=2)
    stem = Stem("cifar", 16)
    network = regnet.network(
        block="y", stride=1, se_ratio=0.5, stem=stem, input_channels=1, classes=10
    )
    assert (network.stem, network.input_channels, network.classes) == (stem, 1, 10)
    assert {(s.block, s.stride, s.se_ratio, s.bottleneck_ratio) for s in network.stages} == {
        ("y", 1, 0.5, 2)
    }
    assert sum(network.depths) == 10
    assert REGNETS["regnetx_400mf"][1].network() == textbook_network("regnetx_400mf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth: 0 must be above 0"),
        ({"w0": 12}, "w0: 12 must be a multiple of 8 above 0"),
        ({"w0": 0}, "w0: 0 must be a multiple of 8 above 0"),
        ({"wa": -1}, "wa: -1 must be 0 or more"),
        ({"wm": 1}, "wm: 1 must be above 1"),
        ({"group_width": 0}, "group_width: 0 must be above 0"),
        ({"bottleneck_ratio": 0}, "bottleneck_ratio: 0 must be above 0"),
        ({"bottleneck_ratio": 0.3}, "bottleneck_ratio: 0.3"),
        ({"bottleneck_ratio": 1.2}, "bottleneck_ratio: 1.2"),
        *(
            ({field: value}, f"{field}: {value}")
            for field in ("wa", "wm", "bottleneck_ratio")
            for value in (float("nan"), float("inf"))
        ),
    ],
)
def test_settings_outside_the_rule_are_refused(change, message):
    settings = {"depth": 10, "w0": 16, "wa": 20, "wm": 2.2} | change
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        RegNet(**settings)
    assert str(caught.value).startswith(message)


def random_settings(count, seed, ratios=(1, 2, 4, 0.5, 0.25)):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield RegNet(
            depth=int(rng.integers(1, 64)),
            w0=8 * int(rng.integers(1, 33)),
            wa=round(float(rng.uniform(8, 256)), 1),
            wm=round(float(rng.uniform(1.5, 3)), 3),
            group_width=int(rng.integers(1, 129)),
            bottleneck_ratio=float(rng.choice(ratios)),
        )


def test_torchvisions_group_fix_is_torchvisions():
    from torchvision.models.regnet import BlockParams

    compared = differing = 0
    for regnet in random_settings(1500, 0):
        settings = {
            "depth": regnet.depth,
            "w_0": regnet.w0,
            "w_a": regnet.wa,
            "w_m": regnet.wm,
            "bottleneck_multiplier": 1 / regnet.bottleneck_ratio,
        }
        line = np.unique(regnet.line.quantized).tolist()
        plain = settings | {"bottleneck_multiplier": 1.0}
        if BlockParams.from_init_params(group_width=1, **plain).widths != line:
            continue  # torchvision's line is in single precision, where a tie falls elsewhere
        theirs = BlockParams.from_init_params(group_width=regnet.group_width, **settings)
        assert regnet.stages_elsewhere("torchvision") == (theirs.widths, theirs.group_widths)
        compared += 1
        differing += theirs.widths != regnet.stages()[1].tolist()
    assert compared >= 1400
    assert differing > 100


def test_timms_group_fix_is_timms():
    timm = pytest.importorskip("timm.models.regnet")
    for regnet in random_settings(300, 1):
        widths = np.unique(regnet.line.quantized).tolist()
        rows = (
            widths,
            [1 / regnet.bottleneck_ratio] * len(widths),
            [regnet.group_width] * len(widths),
        )
        for library, least in (("timm", 0.0), ("torchvision", 0.9)):
            theirs = timm.adjust_widths_groups_comp(*rows, min_ratio=least)
            # With 0.9, timm takes that for the least width; a group is never narrower than 1.
            assert regnet.stages_elsewhere(library) == tuple(theirs)


def test_timm_builds_what_pycls_does_where_the_block_does_not_expand():
    for regnet in random_settings(300, 2, ratios=(1, 2, 4)):
        _, widths, groups = regnet.stages()
        assert regnet.stages_elsewhere("timm") == (widths.tolist(), groups.tolist())


def test_torchvision_rounds_392_up():
    regnet = REGNETS["regnetx_400mf"][1]
    assert regnet.stages_elsewhere("torchvision") == ([32, 64, 160, 400], [16] * 4)
    # 11 rounds down to 8, which loses more than a tenth.
    assert fix_groups_elsewhere("torchvision", 11, 1, 8) == (16, 8)
    assert fix_groups_elsewhere("timm", 11, 1, 8) == (8, 8)
    with pytest.raises(ValueError, match="bottleneck_ratio: 16 leaves an inner width of 0 of 8"):
        fix_groups_elsewhere("torchvision", 8, 16, 8)
