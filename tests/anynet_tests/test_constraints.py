"""Rules on the values of stages: what is drawn is what enumeration finds, with its probability."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace

from anynet.errors import InputError
from anynet.sampling import draw_sequence
from anynet.space import NAMED, Constraint, DesignSpace, Range, tabulate

VALUES = Range(1, 5, draw="log_uniform")
ORDERS = {
    "shared": lambda s: len(set(s)) == 1,
    "constant": lambda s: len(set(s)) == 1,
    "non_decreasing": lambda s: list(s) == sorted(s),
    "non_increasing": lambda s: list(s) == sorted(s, reverse=True),
}


def space(*rules: dict, **changes) -> DesignSpace:
    fields = {"depth": VALUES, "width": (8, 16), "block": "v", "strides": (2, 2, 2)} | changes
    constraints = tuple(Constraint("depth", **rule) for rule in rules)
    return DesignSpace(name="test", constraints=constraints, **fields)


def obeys(sequence: tuple[float, ...], rule: dict) -> bool:
    if rule["rule"] in ORDERS:
        return ORDERS[rule["rule"]](sequence)
    stages = rule.get("stages", range(1, len(sequence) + 1))
    values = [sequence[stage - 1] for stage in stages]
    if rule["rule"] == "fixed":
        return all(value in rule["values"] for value in values)
    return all(rule.get("low", 0) <= value <= rule.get("high", 99) for value in values)


RULES = [
    [{"rule": "ranged", "low": 2}],
    [{"rule": "ranged", "low": 2, "high": 4, "stages": (1, 3)}],
    [{"rule": "fixed", "values": (2.0, 5.0)}],
    [{"rule": "fixed", "values": (3.0,), "stages": (2,)}],
    [{"rule": "constant"}],
    [{"rule": "shared"}, {"rule": "ranged", "high": 3, "stages": (2,)}],
    [{"rule": "non_decreasing"}, {"rule": "ranged", "low": 2, "stages": (2,)}],
    [{"rule": "non_decreasing"}, {"rule": "fixed", "values": (1.0, 4.0), "stages": (3,)}],
    [{"rule": "non_increasing"}, {"rule": "ranged", "high": 3, "stages": (2, 3)}],
    [{"rule": "non_increasing"}, {"rule": "ranged", "low": 2}, {"rule": "fixed", "values": (2, 4)}],
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("stages", [3, 4])
def test_the_draw_is_the_unconstrained_one_given_the_rules(rules, stages):
    constrained = space(*rules, strides=(2,) * stages)
    table = tabulate(VALUES)
    probability = dict(zip(table.values.tolist(), table.probabilities.tolist(), strict=True))
    exact = {
        sequence: np.prod([probability[value] for value in sequence])
        for sequence in itertools.product(probability, repeat=stages)
        if all(obeys(sequence, rule) for rule in rules)
    }
    assert constrained.size == len(exact) * 2**stages
    total = sum(exact.values())
    n = 40_000
    index = draw_sequence(
        table,
        stages,
        constrained.rules("depth"),
        n,
        np.random.default_rng(3),
        constrained.allowed("depth"),
    )
    drawn = Counter(map(tuple, table.values[index].tolist()))
    assert drawn.keys() <= exact.keys()
    # Pearson's statistic over the sequences: its mean is the degrees of freedom k, its deviation
    # sqrt(2 k); the seed is fixed, so this either holds for good or does not.
    expected = {sequence: n * p / total for sequence, p in exact.items()}
    statistic = sum((drawn[s] - e) ** 2 / e for s, e in expected.items())
    freedom = max(1, len(exact) - 1)
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_a_population_obeys_and_keeps_its_constraints_in_yaml():
    text = """
name: stages by hand
block: v
depth: {low: 1, high: 8}
width: {low: 8, high: 128, step: 8}
strides: [1, 2, 2]
constraints:
- {parameter: depth, rule: ranged, low: 2, high: 6}
- {parameter: depth, rule: fixed, values: [4], stages: [2]}
- {parameter: width, rule: non_increasing}
- {parameter: width, rule: ranged, high: 64, stages: [2, 3]}
"""
    constrained = DesignSpace.from_yaml(text)
    assert DesignSpace.from_yaml(constrained.to_yaml()) == constrained
    population = constrained.sample(200, np.random.default_rng(0), resolution=32)
    assert set(population.depths[:, 1]) == {4}
    assert set(population.depths[:, 0]) == {2, 3, 4, 5, 6}
    assert (np.diff(population.widths, axis=1) <= 0).all()
    assert population.widths[:, 1:].max() == 64 < population.widths[:, 0].max()
    assert constrained.free_dimensions == 5
    # widths: 16 values, then two of 8 at most, falling
    assert constrained.size == 5 * 5 * sum(
        a >= b >= c for a in range(16) for b in range(8) for c in range(8)
    )


def test_the_constrained_regnetx_of_the_paper():
    # DNDS, section 4: b = 1, d <= 40, wm >= 2.
    rules = (
        Constraint("bottleneck_ratio", "fixed", values=(1,)),
        Constraint("depth", "ranged", high=40),
        Constraint("wm", "ranged", low=2),
    )
    constrained = replace(NAMED["regnetx"], name="test", constraints=rules)
    assert constrained.size == 40 * 32 * 2481 * 1001 * 6
    assert constrained.free_dimensions == 5
    population = constrained.sample(50, np.random.default_rng(0), flops=(100e6, 800e6))
    assert population.drawn["depth"].max() <= 40
    assert population.drawn["wm"].min() >= 2
    assert set(population.drawn["bottleneck_ratio"]) == {1}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"rule": "ranged"}], "low: the rule ranged needs `low` or `high`"),
        ([{"rule": "fixed"}], "values: the rule fixed needs at least one"),
        ([{"rule": "shared", "low": 2}], "low: the rule shared has none"),
        ([{"rule": "ranged", "low": 2, "stages": (0,)}], "stages: [0] must be numbers of stages"),
        ([{"rule": "ranged", "low": 2, "stages": (4,)}], "stages: [4], but there are 3 stages"),
        ([{"rule": "ranged", "low": 6}], "constraints: no depth obeys all rules on it"),
        (
            [{"rule": "non_decreasing"}, {"rule": "fixed", "values": (5,), "stages": (1,)},
             {"rule": "fixed", "values": (4,), "stages": (3,)}],
            "constraints: no depth obeys all rules on it",
        ),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(rules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        space(*rules)


# pycls, configs/sweeps: "constrained" RegNetX (DNDS, section 4): params under 3 + 5.5 F million,
# activations under 6.5 sqrt(F) million, F in GFLOPs.
LIMITS = ("params <= 3e6 + 5.5e6 * flops / 1e9", "activations < 6.5e6 * sqrt(flops / 1e9)")


def test_limits_are_functions_of_the_cost_and_condition_the_draw():
    free, limited = NAMED["regnetx"], replace(NAMED["regnetx"], limits=LIMITS)
    assert DesignSpace.from_yaml(limited.to_yaml()) == limited
    window = {"flops": (200e6, 800e6), "unique": False}
    all_of = free.sample(2000, np.random.default_rng(0), **window)
    kept = limited.sample(300, np.random.default_rng(0), **window)
    gigaflops = all_of.flops / 1e9
    obey = (all_of.params <= 3e6 + 5.5e6 * gigaflops) & (
        all_of.activations < 6.5e6 * np.sqrt(gigaflops)
    )
    assert 0.05 < obey.mean() < 0.95
    # The same draws, those left out that break a limit.
    assert kept.params.tolist() == all_of.params[obey][:300].tolist()


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("params", "limits[0]: 'params' must be one comparison such as 'params <= 3e6'"),
        ("params <= ", "limits[0]: 'params <= ' is not a comparison"),
        ("1 < params < 2", "must be one comparison"),
        ("params == 3e6", "must compare by <=, <, >= or >"),
        ("params <= depth", "'depth' is none of numbers, params, flops, activations"),
        ("params <= __import__('os').system('x')", "is none of numbers, params"),
        ("params <= 'a' * 3", "is none of numbers"),
        ("params <= 10 ** 10 ** 10", "limits[0]: "),
        ("params <= " + "(" * 150 + "1", "is not a comparison"),
        ("params <= 1" + " + 1" * 60, "must be one comparison"),
    ],
)
def test_what_is_no_limit_is_refused(limit, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        space(limits=(limit,))


def test_limits_that_nothing_keeps_to_are_named():
    with pytest.raises(InputError, match=r"nothing of .* fits within params <= 10"):
        space(limits=("params <= 10",)).sample(1, np.random.default_rng(0))
