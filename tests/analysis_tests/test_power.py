import numpy as np
import pytest
from scipy import stats

from analysis.comparison import compare
from analysis.power import more_networks, networks_needed
from anynet import InputError


def test_it_is_the_textbook_formula():
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    assert networks_needed(2.0, effect=0.5) == pytest.approx(2 * (z * 2 / 0.5) ** 2, rel=0.025)
    z = stats.norm.isf(0.025) + stats.norm.isf(0.1)
    assert networks_needed(2.0, delta=0.5) == pytest.approx(2 * (z * 2 / 0.5) ** 2, rel=0.025)


def test_more_power_confidence_and_spread_take_more():
    base = networks_needed(2.0, effect=0.5)
    assert networks_needed(2.0, effect=0.5, power=0.9) > base
    assert networks_needed(2.0, effect=0.5, confidence=0.99) > base
    assert networks_needed(2.0, 3.0, effect=0.5) > base
    assert networks_needed(2.0, effect=-0.5) == base
    assert networks_needed(2.0, effect=0.5, delta=5.0) < base  # surely equivalent sooner


def test_what_nothing_decides_has_no_number():
    assert networks_needed(2.0) is None


def test_pilots_stand_for_their_deviation():
    rng = np.random.default_rng(0)
    pilot = rng.normal(20, 2, 4000)
    assert networks_needed(pilot, effect=0.5) == pytest.approx(
        networks_needed(2.0, effect=0.5), rel=0.05
    )
    # The variance of a normal sample's median is pi / 2 times that of its mean.
    assert networks_needed(pilot, effect=0.5, statistic="median") == pytest.approx(
        np.pi / 2 * networks_needed(2.0, effect=0.5), rel=0.15
    )
    assert networks_needed(pilot, effect=0.5, statistic="best_of:100") >= 300


def test_more_networks_for_what_is_undecided():
    rng = np.random.default_rng(1)
    a, b = rng.normal(20, 2, 40), rng.normal(20.6, 2, 80)
    found = compare(a, b)
    assert found.verdict == "undecided"
    more_a, more_b = more_networks(found)
    assert more_b == pytest.approx(2 * more_a, abs=2)
    nearer = compare(a, b, delta=0.2)
    assert more_networks(nearer, power=0.9)[0] > more_a
    assert more_networks(compare(a, b + 5)) == (0, 0)
    assert more_networks(compare([5, 6], [5, 6.1], statistic="best_of:2")) is None
    assert more_networks(compare([7.0, 8.0], [8.0, 7.0])) is None  # no difference, no delta


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": 2.0, "power": 1}, "power: 1 must lie"),
        ({"a": 2.0, "statistic": "median"}, "a standard deviation goes with the mean"),
        ({"a": 70.0}, "standard deviation 70 must lie"),
        ({"a": [1.0], "effect": 1}, "a: 1 networks"),
        ({"a": 2.0, "delta": 0}, "delta: 0 must be above 0"),
    ],
)
def test_bad_plans_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        networks_needed(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_equivalents_and_differences_are_found_with_the_power_stated(planted, power):
    rng = np.random.default_rng(2)
    deviation = planted.skewed(500_000, rng).std()
    delta = deviation / 3
    n, m = (networks_needed(deviation, power=power, **{k: delta}) for k in ("delta", "effect"))
    words = {"equal": [], "apart": [], "different": []}
    repetitions = 600
    for _ in range(repetitions):
        a, b = planted.skewed(n, rng), planted.skewed(n, rng)
        words["equal"].append(compare(a, b, delta=delta, permutations=799).verdict)
        words["apart"].append(compare(a, b + delta, delta=delta, permutations=799).verdict)
        words["different"].append(compare(a[:m], b[:m] + delta, permutations=799).verdict)
    slack = 3 * np.sqrt(power * (1 - power) / repetitions)
    assert words["equal"].count("equivalent") / repetitions > power - slack
    assert words["apart"].count("equivalent") / repetitions < 0.025 + 0.019
    assert words["different"].count("better") / repetitions > power - slack
