"""Limits: what they mean, where they hold, and that they are read, never executed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anynet.limits import NAMES, bounds, check_limit, holds

COLUMNS = {
    "flops": np.array([1e9, 4e9, 2e9]),
    "params": np.array([8_500_000, 8_499_999, 20_000_000]),
    "activations": np.array([6_500_000, 12_999_999, 1]),
    "depth": np.array([12, 28, 29]),
}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("params < 3e6 + 5.5e6 * (flops / 1e9)", [False, True, False]),
        ("params <= 3e6 + 5.5e6 * flops / 1e9", [True, True, False]),
        ("activations < 6.5e6 * sqrt(flops / 1e9)", [False, True, True]),
        ("activations < 6.5e6 * (flops / 1e9) ** 0.5", [False, True, True]),
        ("12 <= depth <= 28", [True, True, False]),
        ("12 < depth <= 28", [False, True, False]),
        ("depth > 28", [False, False, True]),
        ("-depth >= -(12 + 2 ** 3 - 8)", [True, False, False]),
        (" flops / depth >= 1e9 / 12 ", [True, True, False]),
        ("sqrt(20 - depth) >= 0", [True, False, False]),  # no root, no limit kept
        ("0 / 0 * depth > 1", [False, False, False]),
        ("9 ** 9 ** 9 > depth", [True, True, True]),
    ],
)
def test_a_limit_holds_where_its_comparison_does(limit, expected):
    check_limit(limit)
    assert holds(limit, COLUMNS).tolist() == expected


RULE = "a limit compares (<, <=, >, >=) sums and products of numbers"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("params < 3e6 + flos", "character 16: 'flos' is not one of flops, params, activations"),
        ("  params < flos", "character 12: 'flos' is not one of"),
        ("params < ", f"character 9: {RULE}"),
        ("params", RULE),
        ("", f"character 1: {RULE}"),
        ("params == 3", RULE),
        ("params < 3 and flops < 4", RULE),
        ("1 < 2", "must name one of flops, params, activations, depth"),
        ("params < '3'", f"character 10: {RULE}"),
        ("params < True", f"character 10: {RULE}"),
        ("params < 1e999", f"character 10: {RULE}"),
        ("params < 3j", f"character 10: {RULE}"),
        ("params < flops // 2", f"character 10: {RULE}"),
        ("params < flops.real", f"character 10: {RULE}"),
        ("params < flops[0]", f"character 10: {RULE}"),
        ("params < log(flops)", f"character 10: {RULE}"),
        ("params < sqrt(flops, 2)", f"character 10: {RULE}"),
        ("params < sqrt(*flops)", "character 15: "),
        ("params < sqrt(x=flops)", f"character 10: {RULE}"),
        ("params < __import__('os').getpid()", f"character 10: {RULE}"),
        ("params < (lambda: 1)()", f"character 10: {RULE}"),
        ("params < flops\0", RULE),
        ("params <" + "(" * 150 + "1" + ")" * 30, "character "),
        ("params < " + "-" * 500 + "1", "510 characters, 200 at most"),
    ],
)
def test_anything_else_is_refused_with_its_place(limit, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_limit(limit)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_deepest_limit_that_is_short_enough_is_read():
    check_limit("params < " + "-" * 190 + "1")
    assert not holds("params < " + "-" * 189 + "1", COLUMNS).any()


def test_a_limit_speaks_of_what_it_says():
    assert set(NAMES) == COLUMNS.keys()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("flops <= 5e6", ("flops", 0, 5_000_000)),
        ("flops < 5e6", ("flops", 0, 4_999_999)),  # counts are whole numbers
        ("flops < 4.5", ("flops", 0, 4)),
        ("3 < params", ("params", 4, math.inf)),
        ("params >= 2.5", ("params", 3, math.inf)),
        ("12 <= depth <= 28", ("depth", 12, 28)),
        ("28 > depth > 12", ("depth", 13, 27)),
        ("activations < 2 * sqrt(9) + 1", ("activations", 0, 6)),
        ("-5 < depth", ("depth", 0, math.inf)),
        ("5 <= 6 <= depth", None),
        ("flops < params", None),
        ("params < 3e6 + flops", None),
        ("2 * params < 5", None),
        ("params < 1 / 0", None),
        ("params < 5 < flops", None),
    ],
)
def test_bounds_of_a_limit_between_numbers(limit, expected):
    check_limit(limit)
    assert bounds(limit) == expected


@pytest.mark.parametrize("limit", ["7 <= depth < 20", "flops > 12.5", "params < 19"])
def test_bounds_hold_where_the_limit_holds(limit):
    _, low, high = bounds(limit)
    counts = np.arange(40)
    columns = dict.fromkeys(NAMES, counts)
    assert holds(limit, columns).tolist() == ((counts >= low) & (counts <= high)).tolist()
