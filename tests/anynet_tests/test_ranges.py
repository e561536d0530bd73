"""What ranges are drawn as: pycls's ways, against simulations of how pycls describes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from anynet.ranges import Range, tabulate


def _log_uniform(low, high, step, n, rng):
    """A log-uniform number in (low - min(step, low/2), high], rounded up."""
    below = math.log(low - min(step, low / 2))
    return np.ceil(np.exp(-rng.uniform(-math.log(high), -below, n)) / step) * step


def _normal(low, high, step, n, rng, of=lambda x: x, back=lambda x: x):
    """Of mean half-way and deviation a sixth, drawn anew outside, rounded to the nearest."""
    a, b = of(low), of(high)
    drawn = back(rng.normal((a + b) / 2, (b - a) / 6, 2 * n))
    return np.round(drawn[(drawn >= low) & (drawn <= high)][:n] / step) * step


def _power2_or_log_uniform(low, high, step, n, rng):
    """A power of 2; in the place of those from `step` on, a log-uniform number."""
    powers = 2.0 ** np.floor(rng.uniform(math.log2(low), math.log2(high) + 1, n))
    if high < step:
        return powers
    return np.where(powers >= step, _log_uniform(max(low, step), high, step, n, rng), powers)


SIMULATIONS = {
    "uniform": lambda low, high, step, n, rng: (
        np.floor(rng.uniform(low, high + step, n) / step) * step
    ),
    "log_uniform": _log_uniform,
    "normal": _normal,
    "log_normal": lambda *given: _normal(*given, of=math.log, back=np.exp),
    "power2_or_log_uniform": _power2_or_log_uniform,
}


@pytest.mark.parametrize(
    ("draw", "low", "high", "step"),
    [
        ("uniform", 6, 16, 1),
        ("uniform", 0.5, 2.5, 0.25),
        ("log_uniform", 8, 256, 8),
        ("log_uniform", 16, 64, 8),
        ("log_uniform", 2, 3, 0.05),
        ("normal", 1, 20, 1),
        ("normal", -1, 1, 0.25),
        ("normal", 8, 64, 8),
        ("log_normal", 1, 32, 1),
        ("log_normal", 2, 16, 0.5),
        ("power2_or_log_uniform", 1, 32, 8),
        ("power2_or_log_uniform", 1, 128, 8),
        ("power2_or_log_uniform", 16, 128, 8),
        ("power2_or_log_uniform", 1, 4, 8),
        ("power2_or_log_uniform", 0.25, 4, 4),
    ],
)
def test_a_draw_is_what_pycls_does(draw, low, high, step):
    drawn = SIMULATIONS[draw](low, high, step, 60_000, np.random.default_rng(7))
    table = tabulate(Range(low, high, step, draw))
    distance = np.abs(drawn[:, None] - table.values)
    assert distance.min(axis=1).max() < 1e-9  # no value is missing
    observed = np.bincount(distance.argmin(axis=1), minlength=len(table.values))
    expected = len(drawn) * table.probabilities
    assert expected.min() > 5
    assert chisquare(observed, expected).pvalue > 1e-3


def test_normal_by_hand():
    # [1, 1.5), [1.5, 2.5), [2.5, 3] of a normal number of mean 2 and deviation 1/3 in [1, 3]
    inside = math.erf(3 / math.sqrt(2))
    middle = math.erf(1.5 / math.sqrt(2)) / inside
    p = Range(1, 3, draw="normal").probabilities()
    assert p == pytest.approx([(1 - middle) / 2, middle, (1 - middle) / 2])
    assert Range(4, 4, draw="normal").probabilities().tolist() == [1]


def test_power2_or_log_uniform_by_hand():
    table = tabulate(Range(1, 32, 8, "power2_or_log_uniform"))
    assert table.values.tolist() == [1, 2, 4, 8, 16, 24, 32]
    expected = [1 / 6] * 5 + [math.log2(3 / 2) / 6, math.log2(4 / 3) / 6]
    assert table.probabilities == pytest.approx(expected)
    assert Range(1, 4, 8, "power2_or_log_uniform").values().tolist() == [1, 2, 4]
    from_step_on = Range(8, 128, 8, "power2_or_log_uniform")
    plain = Range(8, 128, 8, "log_uniform")
    assert from_step_on.values().tolist() == plain.values().tolist()
    assert from_step_on.probabilities() == pytest.approx(plain.probabilities())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 1, "log_normal"), "low: 0 must be above 0 for a log-normal draw"),
        ((0, 4, 1, "power2_or_log_uniform"), "low: 0 must be above 0 for a power2-or-log-unif"),
        ((3, 8, 1, "power2_or_log_uniform"), "low: 3 must be a power of 2"),
        ((1, 24, 8, "power2_or_log_uniform"), "high: 24 must be a power of 2"),
        ((1, 32, 3, "power2_or_log_uniform"), "step: 3 must be a power of 2"),
        ((1, 4.5, 1, "normal"), "high: 4.5 must be a multiple of step 1"),
        ((-8, 4, 1, "uniform"), None),
        ((-8, 4, 2, "normal"), None),
    ],
)
def test_what_a_draw_asks_of_its_ends(arguments, message):
    if message is None:
        assert Range(*arguments).probabilities().sum() == pytest.approx(1)
    else:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            Range(*arguments)
        assert str(caught.value).startswith(message)
