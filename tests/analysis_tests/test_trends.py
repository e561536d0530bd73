import numpy as np
import pytest

from analysis.ranges import best_range
from analysis.trends import cost_law, flops_regimes, power_law, short, trends
from anynet import InputError
from anynet.counting import cost
from anynet.textbook import names, textbook_network

PUBLISHED = [name for name in names() if name.startswith("regnetx_")]


def test_the_published_regnets_follow_the_papers_laws():
    # pycls bounds its sweeps by params < 3 + 5.5 F (millions, GF) and activations < 6.5 √F;
    # the published RegNetX lie along lines with that intercept and that slope.
    counted = [cost(textbook_network(name)) for name in PUBLISHED]
    flops = [one.flops for one in counted]
    params = cost_law(flops, [one.params for one in counted], 1.0)
    assert params.intercept_interval[0] < 3e6 < params.intercept_interval[1]
    assert 3.0e6 < params.slope < 5.5e6
    activations = cost_law(flops, [one.activations for one in counted], 0.5)
    assert activations.slope_interval[0] < 6.5e6 < activations.slope_interval[1]
    exponent = power_law(flops, [one.activations for one in counted])
    assert 0.5 < exponent.exponent < 0.6
    depths = [sum(textbook_network(name).depths) for name in PUBLISHED]
    low, high = power_law(flops, depths).interval
    assert low < 0 < high  # "around 20 blocks in every regime"


def test_a_power_law_is_recovered_and_its_interval_holds():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        flops = 1e9 * np.exp(rng.uniform(-2, 3, 24))
        noise = 0.1 * (1 + np.log(flops / 1e9) ** 2) * rng.normal(size=24)
        law = power_law(flops, 7e6 * (flops / 1e9) ** 0.5 * np.exp(noise))
        covered.append(law.interval[0] <= 0.5 <= law.interval[1])
    assert 0.9 <= np.mean(covered) <= 0.99
    exact = power_law(flops, 7e6 * (flops / 1e9) ** 0.5)
    assert exact.exponent == pytest.approx(0.5)
    assert exact.scale == pytest.approx(7e6)
    assert exact.r2 == pytest.approx(1)
    np.testing.assert_allclose(exact([1e9, 4e9]), [7e6, 14e6])


def test_a_cost_law_is_recovered_and_its_intervals_hold():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        flops = 1e9 * np.exp(rng.uniform(-2, 2, 30))
        law = cost_law(flops, (3e6 + 5e6 * flops / 1e9) * np.exp(0.1 * rng.normal(size=30)), 1.0)
        covered.append(
            [
                law.intercept_interval[0] <= 3e6 <= law.intercept_interval[1],
                law.slope_interval[0] <= 5e6 <= law.slope_interval[1],
            ]
        )
    assert (np.mean(covered, axis=0) > 0.88).all()
    exact = cost_law(flops, 3e6 + 5e6 * flops / 1e9, 1.0)
    np.testing.assert_allclose([exact.intercept, exact.slope, exact(2e9)], [3e6, 5e6, 13e6])


def test_there_is_no_law_where_there_is_nothing_to_fit():
    assert power_law([1e9, 2e9, 3e9], [1, 2, 3]) is None
    assert power_law([1e9] * 5, range(1, 6)) is None
    assert power_law([1e9, 2e9, 3e9, 4e9], [0, 1, 2, 3]) is None
    assert power_law([1e9, 2e9, 3e9, 4e9], [2, 2, 2, 2]) is None
    assert cost_law([1e9] * 5, range(1, 6), 1.0) is None


def planted(n, rng):
    """The best depth is 20 everywhere, the best w0 grows with the root of flops."""
    flops = 1e9 * np.exp(rng.uniform(-1, 3, n))
    depth, w0 = rng.uniform(5, 60, n), 48 * (flops / 1e9) ** 0.5 * np.exp(rng.normal(size=n))
    away = np.log(w0 / (48 * (flops / 1e9) ** 0.5))
    errors = 20 + 0.01 * (depth - 20) ** 2 + 2 * away**2 - np.log(flops) + rng.normal(size=n) / 4
    return flops, {"depth": depth, "w0": w0, "params": 5e6 * flops / 1e9 * depth**0.1}, errors


def test_trends_of_planted_regimes():
    flops, parameters, errors = planted(1200, np.random.default_rng(0))
    found = trends(parameters, errors, flops, flops_regimes(flops, 4))
    assert [len(regime.rows) for regime in found.regimes] == [300] * 4
    middles = [regime.flops[1] for regime in found.regimes]
    assert middles == sorted(middles)
    for regime in found.regimes:
        assert regime.ranges["depth"].low < 20 < regime.ranges["depth"].high
        rows = regime.rows
        assert regime.ranges["w0"] == best_range(parameters["w0"][rows], errors[rows])
        assert len(regime.good) == 30
        assert errors[regime.good].max() <= np.sort(errors[rows])[29]
    medians = [regime.ranges["w0"].median for regime in found.regimes]
    assert medians == sorted(medians)
    low, high = found.laws["w0"].interval
    assert found.laws["w0"].exponent == pytest.approx(0.5, abs=0.1)
    assert high - low < 0.3
    low, high = found.laws["depth"].interval
    assert low < 0 < high
    assert list(found.costs) == ["params"]
    assert found.costs["params"].slope == pytest.approx(5e6 * 20**0.1, rel=0.05)


def test_a_run_is_a_regime_and_failed_networks_are_left_out():
    rng = np.random.default_rng(0)
    flops = np.r_[rng.uniform(4e8, 5e8, 50), rng.uniform(1e9, 2e9, 50)]
    errors = rng.normal(20, 1, 100)
    errors[[3, 70]] = np.nan
    runs = ["large"] * 50 + ["small"] * 50
    found = trends({"a": rng.random(100)}, errors, flops, runs)
    assert [regime.name for regime in found.regimes] == ["large", "small"]  # by flops
    assert found.regimes[0].ranges["a"].n == 49
    assert 3 not in found.regimes[0].good
    with pytest.raises(InputError, match="small: no network with an error yet"):
        trends({"a": rng.random(100)}, np.r_[errors[:50], [np.nan] * 50], flops, runs)


def test_names_of_regimes():
    assert flops_regimes([4e8, 1.61e9, 4.1e8, 1.7e9], 2) == [
        "400M to 410M",
        "1.61G to 1.7G",
        "400M to 410M",
        "1.61G to 1.7G",
    ]
    assert short(12) == "12"
    assert short(12_345) == "12.3k"
    with pytest.raises(InputError, match="regimes: 1 must be 2 or more"):
        flops_regimes([1, 2], 1)
    with pytest.raises(InputError, match="3 networks with 1 different flops do not make 2"):
        flops_regimes([5, 5, 5], 2)
