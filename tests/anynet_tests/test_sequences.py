"""Sequences of settings: distributed as rejection would leave them, and counted exactly."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from anynet.sequences import Sequences, Table

OBEYS = {
    "free": lambda values: True,
    "shared": lambda values: len(set(values)) == 1,
    "non_decreasing": lambda values: list(values) == sorted(values),
    "non_increasing": lambda values: list(values) == sorted(values, reverse=True),
    "increasing": lambda values: list(values) == sorted(set(values)),
    "decreasing": lambda values: list(values) == sorted(set(values), reverse=True),
}
FIVE = (0.35, 0.15, 0.05, 0.2, 0.25)


def made(p, allowed, order, **options) -> Sequences:
    return Sequences(
        Table(np.arange(len(p), dtype=float), np.array(p)),
        np.array(allowed, dtype=bool),
        order,
        **options,
    )


def obeying(p, allowed, order) -> dict[tuple[int, ...], float]:
    """All sequences that obey, each with its probability if all others are rejected."""
    rows = [[i for i, is_allowed in enumerate(row) if is_allowed] for row in allowed]
    weights = {s: math.prod(p[i] for i in s) for s in itertools.product(*rows) if OBEYS[order](s)}
    return {s: weight / math.fsum(weights.values()) for s, weight in weights.items()}


def compare(drawn, expected: dict[tuple[int, ...], float]) -> None:
    """Chi-square of drawn sequences; nothing may be drawn that is not expected."""
    counts = Counter(map(tuple, drawn.astype(int).tolist()))
    assert counts.keys() <= expected.keys()
    n = len(drawn)
    f = sorted((n * probability, counts[s]) for s, probability in expected.items())
    rare = [pair for pair in f if pair[0] < 5]
    bins = [pair for pair in f if pair[0] >= 5]
    if rare:
        bins.append((sum(e for e, _ in rare), sum(o for _, o in rare)))
    if len(bins) > 1:
        assert chisquare([o for _, o in bins], [e for e, _ in bins]).pvalue > 1e-3


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("order", OBEYS)
@pytest.mark.parametrize("p", [(0.1, 0.2, 0.3, 0.4), FIVE], ids=len)
def test_draws_are_distributed_as_rejection_leaves_them(p, order, stages):
    sequences = made(p, np.ones((stages, len(p))), order)
    drawn = sequences.draw(60_000, np.random.default_rng(stages))
    assert drawn.shape == (60_000, stages)
    compare(drawn, obeying(p, sequences.allowed, order))


MASKS = {
    "one stage": [[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
    "fixed first": [[0, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 1, 1]],
    "fixed inside": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]],
    "all alike": [[0, 1, 1, 1, 1]] * 4,
    "gaps": [[1, 0, 1, 0, 1], [0, 1, 1, 1, 1], [1, 1, 1, 0, 1], [1, 0, 1, 1, 1]],
    "turned": [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
}


@pytest.mark.parametrize("order", OBEYS)
@pytest.mark.parametrize("allowed", MASKS.values(), ids=MASKS)
def test_what_single_stages_allow_conditions_the_draws_too(allowed, order):
    expected = obeying(FIVE, allowed, order)
    sequences = made(FIVE, allowed, order)
    assert sequences.size == len(expected)
    if expected:
        compare(sequences.draw(60_000, np.random.default_rng(0)), expected)


@given(st.data())
def test_sizes_and_what_occurs_are_what_enumeration_finds(data):
    stages, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    allowed = np.array(
        data.draw(
            st.lists(
                st.lists(st.booleans(), min_size=n, max_size=n), min_size=stages, max_size=stages
            )
        )
    )
    order = data.draw(st.sampled_from(list(OBEYS)))
    found = obeying([1 / n] * n, allowed, order)
    sequences = made([1 / n] * n, allowed, order)
    assert sequences.size == len(found)
    if found:
        columns = [set(column) for column in zip(*found, strict=True)]
        assert [set(np.flatnonzero(row)) for row in sequences.occurring] == columns
        differ = [len(column) > 1 for column in columns]
        assert sequences.free == (differ[0] if order == "shared" else sum(differ))


def all_sequences(n, stages):
    return np.array(list(itertools.product(range(n), repeat=stages)), dtype=float)


@pytest.mark.parametrize("order", OBEYS)
@pytest.mark.parametrize("allowed", [np.ones((3, 5)), *MASKS.values()], ids=["all", *MASKS])
def test_probabilities_are_those_that_enumeration_finds(allowed, order):
    expected = obeying(FIVE, allowed, order)
    every = all_sequences(5, len(allowed))
    if not expected:
        return
    found = np.exp(made(FIVE, allowed, order).log_probability(every))
    assert found == pytest.approx([expected.get(tuple(map(int, row)), 0.0) for row in every])
    assert math.fsum(found) == pytest.approx(1)


@pytest.mark.parametrize("order", ["non_increasing", "non_decreasing"])
def test_probabilities_of_sorted_draws_count_the_orders(order):
    sequences = made(FIVE, np.ones((4, 5)), order, distribution="sorted")
    expected: Counter[tuple[int, ...]] = Counter()
    for s in itertools.product(range(5), repeat=4):
        key = tuple(sorted(s, reverse=order == "non_increasing"))
        expected[key] += math.prod(FIVE[i] for i in s)
    every = all_sequences(5, 4)
    found = np.exp(sequences.log_probability(every))
    assert found == pytest.approx([expected.get(tuple(map(int, row)), 0.0) for row in every])


def test_what_is_no_value_is_never_drawn():
    sequences = Sequences(
        Table(np.array([8.0, 16.0, 2.5]).cumsum(), np.array([0.2, 0.3, 0.5])), np.ones((1, 3), bool)
    )
    values = np.array([[8.0], [8.1], [24.0], [26.5], [0.0], [100.0], [26.5 + 1e-12]])
    with np.errstate(divide="ignore"):
        expected = np.log([0.2, 0, 0.3, 0.5, 0, 0, 0.5])
    assert sequences.log_probability(values) == pytest.approx(expected)


def test_sizes_that_no_float_holds_are_exact():
    n = 10**5
    gap = np.ones((6, n), dtype=bool)
    gap[2, 0] = False
    whole = made([1 / n] * n, np.ones((6, n)), "increasing")
    assert whole.size == math.comb(n, 6)
    # Without the lowest value in the third place nothing is lost: two lower ones come before it.
    assert made([1 / n] * n, gap, "increasing").size == math.comb(n, 6)
    # With ties the only sequences lost begin with three of the lowest.
    lost = math.comb(n + 2, 3)
    assert made([1 / n] * n, gap, "non_decreasing").size == math.comb(n + 5, 6) - lost


@pytest.mark.parametrize("descends", [False, True])
def test_sorted_draws_are_independent_draws_that_are_sorted(descends):
    order = "non_increasing" if descends else "non_decreasing"
    sequences = made(FIVE, np.ones((3, 5)), order, distribution="sorted")
    expected: Counter[tuple[int, ...]] = Counter()
    for s in itertools.product(range(5), repeat=3):
        expected[tuple(sorted(s, reverse=descends))] += math.prod(FIVE[i] for i in s)
    drawn = sequences.draw(60_000, np.random.default_rng(0))
    compare(drawn, expected)
    # Conditioning keeps 1 of the 3! orders of different values, and all there is of equal ones.
    conditional = obeying(FIVE, np.ones((3, 5)), order)
    equal = math.fsum(conditional[i, i, i] for i in range(5))
    assert equal > 1.5 * math.fsum(expected[i, i, i] for i in range(5))
    with pytest.raises(AssertionError):
        compare(drawn, conditional)


def test_the_same_sequences_are_drawn_however_they_are_kept_to():
    # Values that no sequence reaches change nothing but the numbers drawn with.
    allowed = np.ones((3, 5), dtype=bool)
    allowed[2] = [1, 1, 1, 0, 0]
    sequences = made(FIVE, allowed, "non_decreasing")
    reached = made(FIVE, sequences.occurring, "non_decreasing")
    assert obeying(FIVE, sequences.occurring, "non_decreasing") == pytest.approx(
        obeying(FIVE, allowed, "non_decreasing")
    )
    compare(reached.draw(60_000, np.random.default_rng(1)), obeying(FIVE, allowed, reached.order))


def test_rare_values_at_the_end_are_neither_lost_nor_left():
    p = np.array([1 - 3e-9, 1e-9, 1e-9, 1e-9])
    allowed = np.array([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=bool)
    compare(
        made(p, allowed, "increasing").draw(20_000, np.random.default_rng(0)),
        obeying(p, allowed, "increasing"),
    )
