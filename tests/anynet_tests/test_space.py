"""Design spaces: ranges and their probabilities, exact sizes, the named spaces, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from anynet.errors import InputError
from anynet.space import (
    NAMED,
    PARAMETERS,
    Constraint,
    DesignSpace,
    LineRanges,
    Range,
    load_space,
    tabulate,
)

YAML = """\
name: mine
depth: {low: 1, high: 4, draw: log_uniform}
width: {low: 8, high: 64, step: 8}
bottleneck_ratio: [1, 2]
group_width: 8
constraints:
- {parameter: bottleneck_ratio, rule: shared}
"""


def small(**changes) -> DesignSpace:
    fields = {
        "name": "small",
        "depth": (1, 2, 3),
        "width": (8, 16),
        "bottleneck_ratio": (1, 2),
        "group_width": 8,
        "strides": (2, 2),
    }
    return DesignSpace(**(fields | changes))


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (1, 4, 1, [1, 2, 3, 4]),
        (8, 32, 8, [8, 16, 24, 32]),
        (1.5, 1.8, 0.1, [1.5, 1.6, 1.7, 1.8]),
        (0, 0.3, 0.1, [0, 0.1, 0.2, 0.3]),
        (5, 5, 5, [5]),
    ],
)
def test_a_range_is_the_multiples_of_its_step(low, high, step, values):
    assert Range(low, high, step).values().tolist() == values
    assert Range(low, high, step).probabilities().tolist() == [1 / len(values)] * len(values)


def test_log_uniform_by_hand():
    # (0.5, 1], (1, 2], (2, 3], (3, 4] of a log-uniform number in (0.5, 4]
    expected = [math.log(2), math.log(2), math.log(3 / 2), math.log(4 / 3)]
    p = Range(1, 4, draw="log_uniform").probabilities()
    assert p == pytest.approx([part / math.log(8) for part in expected])


@given(
    st.integers(1, 40),
    st.integers(0, 60),
    st.sampled_from([1, 8, 0.1, 0.001, 2.5]),
)
def test_log_uniform_is_the_stated_probability(first, more, step):
    low, high = first * step, (first + more) * step
    table = tabulate(Range(low, high, step, "log_uniform"))
    # Proportional to ln v - ln(v - q); for v = low to ln low - ln(low - min(q, low / 2)).
    weights = [math.log(low) - math.log(low - min(step, low / 2))]
    weights += [
        math.log((first + k) * step) - math.log((first + k - 1) * step) for k in range(1, more + 1)
    ]
    assert table.probabilities == pytest.approx([w / math.fsum(weights) for w in weights])
    assert table.values == pytest.approx([(first + k) * step for k in range(more + 1)])


@pytest.mark.parametrize("space", NAMED.values(), ids=NAMED)
def test_probabilities_of_the_named_spaces_sum_to_one(space):
    for table in space.tables.values():
        assert table.probabilities.sum() == pytest.approx(1)
        assert (table.probabilities > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 4, "high": 1}, "high: 1 must be at least low 4"),
        ({"low": 1, "high": 4, "step": 0}, "step: 0 must be above 0"),
        ({"low": 1, "high": 4, "step": -1}, "step: -1 must be above 0"),
        ({"low": 0, "high": 4, "draw": "log_uniform"}, "low: 0 must be above 0 for a log-uniform"),
        ({"low": 4, "high": 16, "step": 8}, "low: 4 must be a multiple of step 8"),
        ({"low": 8, "high": 20, "step": 8}, "high: 20 must be a multiple of step 8"),
    ],
)
def test_an_invalid_range_cannot_be_made(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Range(**arguments)
    assert str(caught.value).startswith(message)


def test_a_range_of_more_values_than_fit_in_memory_is_refused():
    with pytest.raises(ValueError, match=r"step: 1e-06 gives 3,000,001 values"):
        Range(1, 4, 1e-6)
    with pytest.raises(ValueError, match=r"high: 100000000\.0 must be"):
        Range(1, 1e8)


@pytest.mark.parametrize("field", ["low", "high", "step"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_range_has_finite_ends(field, value):
    with pytest.raises(ValueError, match=field):
        Range(**({"low": 1, "high": 4, "step": 1} | {field: value}))


def test_domains():
    assert tabulate((4, 1, 2)).values.tolist() == [1, 2, 4]
    assert tabulate((4, 1, 2)).probabilities.tolist() == [1 / 3] * 3
    assert tabulate(5).values.tolist() == [5]
    assert tabulate(5).probabilities.tolist() == [1]


# DNDS, section 3 and table 1; of D and E the table has the approximations C/4! and C/(4!)^2.
@pytest.mark.parametrize(
    ("name", "free_dimensions", "size", "published"),
    [
        ("anynetx_a", 16, (16 * 128 * 3 * 6) ** 4, 1.8e18),
        ("anynetx_b", 13, (16 * 128 * 6) ** 4 * 3, 6.8e16),
        ("anynetx_c", 10, (16 * 128) ** 4 * 3 * 6, 3.2e14),
        ("anynetx_d", 10, 16**4 * math.comb(131, 4) * 18, 1.38e13),
        ("anynetx_e", 10, math.comb(19, 4) * math.comb(131, 4) * 18, 8.17e11),
    ],
)
def test_sizes_and_free_dimensions_of_the_named_spaces(name, free_dimensions, size, published):
    space = NAMED[name]
    assert space.free_dimensions == free_dimensions
    assert space.size == size
    assert space.size == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("name", ["regnetx", "regnety"])
def test_size_and_free_dimensions_of_the_regnet_spaces(name):
    # d < 64; w0 of 8 to 256 by 8, wa of 8 to 256 by 0.1, wm of 1.5 to 3 by 0.001; b, g
    assert NAMED[name].free_dimensions == 6
    assert NAMED[name].size == 63 * 32 * 2481 * 1501 * 3 * 6


ORDERS = {
    "shared": lambda values: len(set(values)) == 1,
    "non_decreasing": lambda values: list(values) == sorted(values),
    "non_increasing": lambda values: list(values) == sorted(values, reverse=True),
}
CONSTRAINTS = [
    (),
    (("width", "non_decreasing"),),
    (("depth", "non_increasing"),),
    (("depth", "shared"), ("width", "non_increasing")),
    (("width", "non_decreasing"), ("depth", "non_decreasing"), ("bottleneck_ratio", "shared")),
    (("width", "non_decreasing"), ("width", "non_increasing")),
    (("depth", "shared"), ("depth", "non_decreasing")),
    (("bottleneck_ratio", "non_decreasing"), ("bottleneck_ratio", "non_decreasing")),
    (("group_width", "shared"),),
]


@pytest.mark.parametrize("constraints", CONSTRAINTS)
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_size_is_what_enumeration_finds(constraints, stages):
    space = small(
        strides=(2,) * stages, constraints=tuple(Constraint(*pair) for pair in constraints)
    )
    found = 1
    assert set(space.tables) < set(PARAMETERS)
    for name in space.tables:
        rules = [ORDERS[rule] for parameter, rule in constraints if parameter == name]
        sequences = itertools.product(space.tables[name].values.tolist(), repeat=stages)
        found *= sum(all(rule(values) for rule in rules) for values in sequences)
    assert space.size == found


@pytest.mark.parametrize(
    ("name", "free_dimensions", "size"),
    [
        ("regnetx_constrained", 5, 40 * 32 * 2481 * 1001 * 6),
        ("control_constant_widths", 7, 16**4 * 128 * 18),
        ("control_decreasing_widths", 10, 16**4 * math.comb(131, 4) * 18),
        ("control_decreasing_depths", 10, math.comb(19, 4) * math.comb(131, 4) * 18),
    ],
)
def test_sizes_of_the_constrained_space_and_the_controls(name, free_dimensions, size):
    assert NAMED[name].free_dimensions == free_dimensions
    assert NAMED[name].size == size


def test_size_of_a_line_space_is_that_of_its_lines():
    line = LineRanges(w0=(8, 16), wa=(10, 20, 30), wm=Range(2, 2.5, 0.1))
    space = small(width=None, line=line)
    assert space.size == 3 * 2 * 3 * 6 * 2
    assert space.free_dimensions == 5  # the group width has one value


def test_a_setting_with_one_value_is_not_free():
    assert small().free_dimensions == 6
    assert small(depth=2).free_dimensions == 4
    assert small(constraints=(Constraint("width", "shared"),)).free_dimensions == 5


def test_two_orders_in_both_directions_share():
    both = (Constraint("width", "non_decreasing"), Constraint("width", "non_increasing"))
    assert small(constraints=both).sequences["width"].order == "shared"
    assert small(constraints=both).sequences["depth"].order == "free"


def test_every_named_space_adds_one_constraint_to_the_one_before():
    added = [NAMED[f"anynetx_{letter}"].constraints for letter in "abcde"]
    assert [len(constraints) for constraints in added] == [0, 1, 2, 3, 4]
    assert all(later[:-1] == earlier for earlier, later in itertools.pairwise(added))
    assert added[-1] == (
        Constraint("bottleneck_ratio", "shared"),
        Constraint("group_width", "shared"),
        Constraint("width", "non_decreasing"),
        Constraint("depth", "non_decreasing"),
    )


@pytest.mark.parametrize("space", NAMED.values(), ids=NAMED)
def test_spaces_survive_yaml(space, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(space.to_yaml("a comment"))
    assert load_space(str(path)) == space
    assert hash(load_space(str(path))) == hash(space)


def test_a_space_as_a_person_writes_it():
    space = DesignSpace.from_yaml(YAML)
    assert space.depth == Range(1, 4, 1, "log_uniform")
    assert space.constraints == (Constraint("bottleneck_ratio", "shared"),)
    assert space.size == 4**4 * 8**4 * 2


CONSTRAINED = """\
name: mine
depth: {low: 1, high: 16}
width: {low: 8, high: 256, step: 8}
bottleneck_ratio: [1, 2]
group_width: 8
strides: [2, 2, 2]
constraints:
- {parameter: bottleneck_ratio, rule: constant}
- {parameter: width, rule: fixed, values: [32, 64, 128]}
- {parameter: depth, rule: non_decreasing, draw: sorted}
- {parameter: depth, rule: ranged, low: 2, high: 8}
limits:
- params < 3e6 + 5.5e6 * (flops / 1e9)
"""


def test_a_space_with_every_kind_of_rule():
    space = DesignSpace.from_yaml(CONSTRAINED)
    assert space.constraints[0] == Constraint("bottleneck_ratio", "shared")
    assert space.size == 2 * math.comb(7 + 2, 3)
    assert space.free_dimensions == 1 + 3
    assert DesignSpace.from_yaml(space.to_yaml()) == space
    assert "rule: shared}" in YAML
    assert "low" not in DesignSpace.from_yaml(YAML).to_yaml().partition("constraints")[2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("values: [32, 64, 128]", "values: [32, 64]", "1].values: 2, but there are 3 stages to"),
        ("values: [32, 64, 128]", "values: [32, 65, 1]", "1].values[1]: 65 is no width of the s"),
        ("values: [32, 64, 128]", "values: 12", "1].values: 12 is no width of the space"),
        ("values: [32, 64, 128]", "low: 3", "1].low: the rule fixed has none"),
        ("values: [32, 64, 128]", "stages: [1]", "1].values: the rule fixed needs them"),
        ("low: 2, high: 8", "values: 2", "3].values: the rule ranged has none"),
        ("low: 2, high: 8", "stages: [1]", "3].low: the rule ranged needs `low`, `high`, or both"),
        ("low: 2, high: 8", "low: 8, high: 2", "3].high: 2 must be at least low 8"),
        ("low: 2, high: 8", "low: .nan", "3].low: nan must be at most"),
        ("low: 2, high: 8", "low: 2, stages: []", "3].stages: [] must name at least one stage"),
        ("low: 2, high: 8", "low: 2, stages: [0]", "3].stages[0]: 0: stages are numbered from 1"),
        ("low: 2, high: 8", "low: 2, stages: [2, 2]", "3].stages[1]: 2: occurs twice"),
        ("low: 2, high: 8", "low: 2, stages: [1, 4]", "3].stages[1]: 4, but the space has 3"),
        ("low: 2, high: 8", "low: 17", "3].rule: 'ranged' leaves no depth for 3 stages beside non"),
        (
            "low: 2, high: 8",
            "low: 2, stages: [1]",
            "3].rule: 'ranged' on a depth that is drawn sorted, beside which the rules must hold",
        ),
        ("rule: ranged, low: 2, high: 8", "rule: shared", "3].rule: 'shared' on a depth that is d"),
        ("rule: ranged, low: 2, high: 8", "rule: decreasing", "3].rule: 'decreasing' leaves no de"),
        ("rule: non_decreasing, draw", "rule: increasing, draw", "2].draw: 'sorted', but the rule"),
        ("rule: constant", "rule: constant, low: 1", "0].low: the rule shared has none"),
        ("rule: constant", "rule: equal", "0].rule: 'equal': must be one of shared, constant, "),
        ("parameter: width", "parameter: wm", "1].parameter: 'wm', but a space without a `line`"),
    ],
)
def test_a_wrong_constraint_is_refused_in_one_line(old, new, message):
    assert old in CONSTRAINED
    with pytest.raises(InputError) as caught:
        DesignSpace.from_yaml(CONSTRAINED.replace(old, new), "s.yaml")
    assert str(caught.value).startswith(f"s.yaml: constraints[{message}")
    assert "\n" not in str(caught.value)


def test_a_wrong_limit_is_refused_with_its_place():
    with pytest.raises(InputError) as caught:
        DesignSpace.from_yaml(CONSTRAINED.replace("(flops /", "(flop /"), "s.yaml")
    assert str(caught.value).startswith(
        "s.yaml: limits[0]: 'params < 3e6 + 5.5e6 * (flop / 1e9)': character 25: 'flop' is not "
    )


def test_a_line_can_be_fixed_and_ranged():
    space = replace(
        NAMED["regnetx"],
        constraints=(
            Constraint("depth", "ranged", low=12, high=28),
            Constraint("w0", "fixed", 24),
            Constraint("wa", "ranged", high=8.2),
            Constraint("group_width", "fixed", (16,)),
        ),
    )
    assert space.size == 17 * 1 * 3 * 1501 * 3
    assert space.free_dimensions == 4
    drawn = space.sample(50, np.random.default_rng(0)).drawn
    assert set(drawn["w0"]) == {24}
    assert set(drawn["group_width"]) == {16}
    assert set(drawn["wa"]) <= {8, 8.1, 8.2}
    assert 12 <= drawn["depth"].min() <= 14
    assert 26 <= drawn["depth"].max() <= 28


def test_a_space_is_frozen():
    with pytest.raises(AttributeError):
        NAMED["regnetx"].name = "other"


def test_named_and_loaded_are_the_same():
    assert DesignSpace.named("regnety") is load_space("regnety") is NAMED["regnety"]
    assert NAMED["regnety"] == replace(NAMED["regnetx"], name="regnety", block="y", se_ratio=0.25)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anynetx_f", "space: 'anynetx_f' is not known; did you mean 'anynetx_e'?"),
        ("qqq", "space: 'qqq' is not one of anynetx_a, "),
        ("nowhere/space.yaml", "nowhere/space.yaml: no such file"),
        ("nowhere.yaml", "nowhere.yaml: no such file"),
    ],
)
def test_a_space_that_is_not_there(name, message):
    with pytest.raises(InputError) as caught:
        load_space(name)
    assert str(caught.value).startswith(message)


LINE = LineRanges(8, 20, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "z"}, "block: 'z' is not one of"),
        ({"strides": ()}, "strides: [] must hold 1 to 6 numbers"),
        ({"strides": (1,) * 7}, "strides: [1, 1, 1, 1, 1, 1, 1] must hold 1 to 6 numbers"),
        ({"strides": (2, 0)}, "strides[1]: 0 must be above 0"),
        ({"width": None}, "width: give either `width` or `line`"),
        ({"line": LINE}, "width: give either `width` or `line`"),
        (
            {"width": None, "line": LINE, "constraints": (Constraint("depth", "shared"),)},
            "constraints[0].rule: 'shared', but the stages of a space with a `line` follow it; "
            "a setting can be fixed or ranged",
        ),
        ({"bottleneck_ratio": None}, "bottleneck_ratio: the x block needs it"),
        ({"group_width": None}, "group_width: the x block needs it"),
        ({"block": "vanilla"}, "bottleneck_ratio: the vanilla block has none"),
        ({"se_ratio": 0.25}, "se_ratio: the x block has none"),
        ({"block": "y", "se_ratio": -1}, "se_ratio: -1 must be above 0"),
        ({"depth": (1, 1)}, "depth: holds a value twice"),
        ({"depth": (0, 1)}, "depth: 0 must be above 0"),
        ({"depth": (1, 1.5)}, "depth: 1.5 must be a whole number"),
        ({"width": Range(0, 8, 8)}, "width: 0 must be above 0"),
        ({"width": Range(0.5, 8, 0.5)}, "width: 0.5 must be a whole number"),
        ({"group_width": (1, 2.5)}, "group_width: 2.5 must be a whole number"),
        ({"bottleneck_ratio": (0.3, 1)}, "bottleneck_ratio: "),
        ({"bottleneck_ratio": (1, 1.2)}, "bottleneck_ratio: "),
        ({"width": None, "line": LineRanges(12, 20, 2)}, "line.w0: 12 must be a multiple of 8"),
        ({"width": None, "line": LineRanges(8, -1, 2)}, "line.wa: -1 must be 0 or more"),
        ({"width": None, "line": LineRanges(8, 20, (1, 2))}, "line.wm: 1 must be above 1"),
        (
            {
                "block": "vanilla",
                "bottleneck_ratio": None,
                "group_width": None,
                "constraints": (Constraint("group_width", "shared"),),
            },
            "constraints[0].parameter: 'group_width', but the vanilla block has none",
        ),
    ],
)
def test_an_invalid_space_cannot_be_made(changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        small(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, "classes: 0 must be above 0"),
        ({"input_channels": -1}, "input_channels: -1 must be above 0"),
        ({"depth": ()}, "depth: "),
        ({"bottleneck_ratio": ()}, "bottleneck_ratio: "),
        ({"bottleneck_ratio": (1, float("inf"))}, "bottleneck_ratio: inf"),
        ({"bottleneck_ratio": (1, float("nan"))}, "bottleneck_ratio: nan"),
        ({"block": "y", "se_ratio": float("inf")}, "se_ratio: inf"),
        ({"width": None, "line": LineRanges(8, float("nan"), 2)}, "line.wa: nan"),
        ({"width": None, "line": LineRanges(8, 20, float("inf"))}, "line.wm: inf"),
    ],
)
def test_a_space_that_nothing_can_be_built_from_cannot_be_made(changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        small(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width:", "widht:", "s.yaml: widht: no such field; did you mean `width`?"),
        ("high: 4", "hihg: 4", "s.yaml: depth.hihg: no such field; did you mean `high`?"),
        ("high: 4", "high: 0", "s.yaml: depth.high: 0 must be at least low 1"),
        ("high: 4", "high: .inf", "s.yaml: depth.high: inf"),
        ("low: 8", "low: 4", "s.yaml: width.low: 4 must be a multiple of step 8"),
        ("draw: log_uniform", "draw: log", "s.yaml: depth.draw: 'log': must be one of uniform, lo"),
        ("rule: shared", "rule: same", "s.yaml: constraints[0].rule: 'same': must be one of shar"),
        (
            "parameter: bottleneck_ratio",
            "parameter: ratio",
            "s.yaml: constraints[0].parameter: 'ratio': must be one of depth, width, bottleneck",
        ),
        ("group_width: 8", "group_width: true", "s.yaml: group_width: True: expected"),
        ("group_width: 8", "group_width: [8, '1']", "s.yaml: group_width[1]: '1': expected float"),
        ("group_width: 8", "group_width: []", "s.yaml: group_width: "),
        ("name: mine", "", "s.yaml: object missing required field name"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(old, new, message):
    assert old in YAML
    with pytest.raises(InputError) as caught:
        DesignSpace.from_yaml(YAML.replace(old, new), "s.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_ranges_with_exponents_are_numbers():
    space = DesignSpace.from_yaml(YAML.replace("high: 64", "high: 64e0"))
    assert space == DesignSpace.from_yaml(YAML)
    assert np.array_equal(space.tables["width"].values, np.arange(8, 65, 8))
