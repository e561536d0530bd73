"""How many networks a space can build: what enumerating all drawn settings finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anynet import distinct
from anynet.blocks import BLOCKS, conv_norm_act, register_block
from anynet.distinct import Networks
from anynet.network import Stem
from anynet.regnet import RegNet, fix_groups
from anynet.space import NAMED, Constraint, DesignSpace, LineRanges, Range

ORDERS = (
    None,
    "shared",
    "non_decreasing",
    "increasing",
    "non_increasing",
    "decreasing",
)


def space(**changes) -> DesignSpace:
    fields = {
        "name": "small",
        "depth": (1, 2),
        "width": (4, 8, 12, 16, 24),
        "bottleneck_ratio": (1, 4),
        "group_width": (2, 8, 16),
        "strides": (2, 2),
        "stem": Stem("cifar", 8),
    }
    return DesignSpace(**(fields | changes))


def every(space: DesignSpace):
    """All settings that obey the constraints, as a dict of sequences each."""
    stages = len(space.strides)
    choices = []
    for sequences in space.sequences.values():
        values = itertools.product(sequences.table.values.tolist(), repeat=stages)
        indices = itertools.product(range(len(sequences.table.values)), repeat=stages)
        found = []
        for drawn, index in zip(values, indices, strict=True):
            allowed = all(sequences.allowed[i, k] for i, k in enumerate(index))
            if allowed and _obeys(sequences.order, drawn):
                found.append(drawn)
        choices.append(found)
    for settings_ in itertools.product(*choices):
        yield dict(zip(space.sequences, settings_, strict=True))


def enumerated(space: DesignSpace) -> int:
    """All settings that obey the constraints, resolved one by one."""
    built = set()
    for drawn in every(space):
        widths, groups = fix_groups(
            drawn["width"], drawn.get("bottleneck_ratio", 1.0), drawn["group_width"]
        )
        built.add((drawn["depth"], drawn.get("bottleneck_ratio"), *widths, *groups))
    return len(built)


def _obeys(order, drawn) -> bool:
    up = sorted(drawn)
    return {
        "free": True,
        "shared": len(set(drawn)) == 1,
        "non_decreasing": list(drawn) == up,
        "increasing": list(drawn) == sorted(set(drawn)),
        "non_increasing": list(drawn) == up[::-1],
        "decreasing": list(drawn) == sorted(set(drawn))[::-1],
    }[order]


@settings(max_examples=40)
@given(st.data())
def test_an_anynet_space_has_as_many_networks_as_enumeration_finds(data):
    constraints = []
    for parameter in ("width", "group_width", "bottleneck_ratio"):
        rule = data.draw(st.sampled_from(ORDERS), parameter)
        if rule is not None:
            constraints.append(Constraint(parameter, rule))
    if data.draw(st.booleans()):
        stage = data.draw(st.integers(1, 2))
        constraints.append(Constraint("width", "ranged", low=8, stages=(stage,)))
    chosen = space(constraints=tuple(constraints), depth=2)
    count = enumerated(chosen)
    assert chosen.networks() == Networks(count, count, "")
    assert count <= chosen.size


def test_three_stages_and_orders_of_widths_and_groups_together():
    chosen = space(
        strides=(2, 2, 2),
        depth=1,
        bottleneck_ratio=(1, 2),
        width=(1, 2, 3, 5, 8),
        group_width=(1, 2, 3, 4),
        constraints=(
            Constraint("width", "non_decreasing"),
            Constraint("group_width", "non_increasing"),
            Constraint("bottleneck_ratio", "shared"),
        ),
    )
    assert chosen.networks().most == enumerated(chosen) < chosen.size


def test_depths_multiply():
    one, many = space(depth=1), space(depth=Range(1, 7))
    assert many.networks().most == 49 * one.networks().most


def test_a_block_without_groups_builds_what_is_drawn():
    chosen = space(block="vanilla", bottleneck_ratio=None, group_width=None)
    assert chosen.networks() == Networks(100, 100, "")


def plain(block: str, **changes) -> DesignSpace:
    return space(**({"block": block, "bottleneck_ratio": None, "group_width": None} | changes))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_block_that_refuses_settings_has_as_many_networks_as_stages_that_it_takes(
    own_blocks, data
):
    register_block(
        f"own_{len(BLOCKS)}",
        valid=lambda width, depth, kernel: width + kernel * depth <= 21,
        rule="",
        kernel=3,
    )(lambda width_in, width, stride, kernel: conv_norm_act(width, kernel, stride=stride))
    block = list(BLOCKS)[-1]
    constraints = []
    for parameter in ("width", "depth", "kernel"):
        rule = data.draw(st.sampled_from(ORDERS), parameter)
        if rule is not None:
            constraints.append(Constraint(parameter, rule))
    if data.draw(st.booleans()):
        constraints.append(Constraint("width", "ranged", low=8, stages=(2,)))
    many = {"kernel": (1, 3, 5), "depth": (1, 2, 3), "strides": (2, 2, 2), "width": (4, 8, 12, 16)}
    chosen = plain(block, constraints=tuple(constraints), **many)
    valid = BLOCKS[block].valid
    count = sum(
        all(map(valid, drawn["width"], drawn["depth"], drawn["kernel"])) for drawn in every(chosen)
    )
    assert chosen.networks() == Networks(count, count, "")
    assert distinct._enumerated(chosen) == count <= chosen.size


def test_large_spaces_of_inception_are_counted():
    shares = {"share_1x1": (0.1, 0.25, 0.4), "share_3x3": (0.2, 0.5), "share_5x5": (0.1, 0.3)}
    many = {"depth": Range(1, 16), "width": Range(8, 512, step=8), "reduce_3x3": (0.25, 0.5, 1)}
    chosen = plain("inception", strides=(2, 2, 2, 2), **shares, **many)
    stage = sum(
        width - sum(max(1, round(width * share)) for share in kept) >= 1
        for width in range(8, 513, 8)
        for kept in itertools.product(*shares.values())
    )
    assert chosen.networks().most == (16 * 3 * stage) ** 4 < chosen.size
    fewer = plain(
        "inception",
        strides=(2, 2),
        **shares,
        **many,
        constraints=(Constraint("width", "shared"), Constraint("depth", "shared")),
    )
    of_width = [
        sum(
            width - sum(max(1, round(width * share)) for share in kept) >= 1
            for kept in itertools.product(*shares.values())
        )
        for width in range(8, 513, 8)
    ]
    assert fewer.networks().most == 16 * 3**2 * sum(n**2 for n in of_width)


def test_a_block_that_refuses_what_is_fixed_is_enumerated(own_blocks, monkeypatch):
    valid = {"valid": lambda width, depth, **_: width % 3 != 0, "rule": "no multiple of 3"}
    register_block("own", bottleneck_ratio=1.0, group_width=None, **valid)(BLOCKS["x"].describe)
    chosen = space(block="own")
    built = set()
    for drawn in every(chosen):
        widths, groups = fix_groups(drawn["width"], drawn["bottleneck_ratio"], drawn["group_width"])
        if all(width % 3 for width in widths):
            built.add((drawn["depth"], drawn["bottleneck_ratio"], *widths, *groups))
    assert chosen.networks() == Networks(len(built), len(built), "")
    monkeypatch.setattr(distinct, "ENUMERATED", 10)
    reason = "the own block refuses some of more than 10 settings"
    most = space().networks().most
    assert chosen.networks() == Networks(0, most, reason)
    monkeypatch.setattr(distinct, "CELLS", 3)
    chosen = plain("inception", width=(1, 8))
    reason = "the inception block refuses some of more than 10 settings"
    assert chosen.networks() == Networks(0, 16, reason)


def test_dense_blocks_are_counted():
    chosen = plain("dense", width=None, growth_rate=(4, 8), depth=(1, 2, 3), strides=(1, 2))
    assert chosen.networks() == Networks(36, 36, "") == Networks(*2 * (chosen.size,), "")
    assert distinct._enumerated(chosen) == 36


def test_what_takes_too_long_has_bounds(monkeypatch):
    monkeypatch.setattr(distinct, "WORK", 10)
    chosen = space()
    exact = enumerated(chosen)
    assert chosen.networks() == Networks(exact, exact, "")
    monkeypatch.setattr(distinct, "ENUMERATED", 10)
    assert chosen.networks() == Networks(4, chosen.size, "more than 10 steps to count them")
    monkeypatch.setattr(distinct, "LINES", 3)
    line = LineRanges(w0=(8, 16), wa=(8, 16), wm=2)
    chosen = space(width=None, line=line)
    assert chosen.networks() == Networks(0, chosen.size, "more than 3 lines")


@pytest.mark.parametrize("name", ["anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e"])
def test_networks_of_the_named_spaces(name):
    networks = NAMED[name].networks()
    assert networks.least == networks.most < NAMED[name].size
    # Of a stage alone: every ratio with its widths and group widths after the fix.
    stage = {
        (b, *(int(x) for x in fix_groups(w, b, g)))
        for b in (1, 2, 4)
        for g in (1, 2, 4, 8, 16, 32)
        for w in range(8, 1025, 8)
    }
    if name == "anynetx_a":
        assert networks.most == (16 * len(stage)) ** 4


LINE = LineRanges(w0=(8, 16, 24), wa=Range(0, 24, 1.5), wm=Range(1.5, 3, 0.25))


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"constraints": (Constraint("depth", "ranged", low=4, high=8),)},
        {"depth": (3, 5, 11)},
        {"bottleneck_ratio": (1, 4), "group_width": (8, 16, 32)},
        {"bottleneck_ratio": 1, "group_width": (1, 64)},
        {"block": "vanilla", "bottleneck_ratio": None, "group_width": None},
    ],
    ids=str,
)
def test_a_regnet_space_has_as_many_networks_as_its_lines_give(stages, changes):
    fields = {"bottleneck_ratio": 2, "group_width": 8, "depth": Range(1, 11)}
    chosen = space(width=None, line=LINE, strides=(2,) * stages, **(fields | changes))
    values = [s.table.values[s.occurring[0]].tolist() for s in chosen.sequences.values()]
    built = set()
    for drawn in itertools.product(*values):
        settings_ = dict(zip(chosen.sequences, drawn, strict=True))
        line = RegNet(
            **{
                name: int(value) if name in ("depth", "w0", "group_width") else value
                for name, value in settings_.items()
            }
        )
        quantized = line.line.quantized
        widths, depths = np.unique(quantized, return_counts=True)
        if len(widths) != stages or line.line.levels[-1] != stages - 1:
            continue
        groups = settings_.get("group_width")
        fixed = (tuple(widths),)
        if groups is not None:
            fixed = tuple(map(tuple, fix_groups(widths, settings_["bottleneck_ratio"], groups)))
        built.add((tuple(depths), settings_.get("bottleneck_ratio"), fixed))
    assert built
    assert chosen.networks() == Networks(len(built), len(built), "")
    assert distinct._enumerated(chosen) == len(built) < chosen.size
