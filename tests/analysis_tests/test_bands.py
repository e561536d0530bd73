import numpy as np
import pytest
from scipy.stats import binom, kstwo

from analysis.bands import (
    LARGEST_ERROR,
    area_interval,
    band,
    berk_jones_level,
    divergence_limit,
    mean_interval,
    quantile_interval,
)
from analysis.edf import EDF, edf
from anynet import InputError

KINDS = ("dkw", "berk_jones", "pointwise")


def holds(one, errors, shares):
    """Whether F, given at its different errors, lies in the band everywhere."""
    before = np.append(0.0, shares[:-1])
    low, high = one(errors)
    low_before, high_before = one(np.nextafter(errors, -np.inf))
    inside = (low <= shares + 1e-12) & (shares <= high + 1e-12)
    inside_before = (low_before <= before + 1e-12) & (before <= high_before + 1e-12)
    return bool(inside.all() and inside_before.all())


def divergence(p, q):
    first = p * np.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * np.log((1 - p) / (1 - q)) if p < 1 else 0.0)


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.02, 0.5, 0.97, 1 - 1e-9])
@pytest.mark.parametrize("level", [1e-7, 0.01, 0.3, 4.0])
def test_the_divergence_limit_has_that_divergence(p, level):
    q = float(divergence_limit(np.array([p]), level)[0])
    assert p <= q <= 1
    if q < 1 - 1e-12:
        assert divergence(p, q) == pytest.approx(level, rel=1e-5)


def test_the_level_of_one_network_in_closed_form():
    # n = 1: -ln(1 - F) <= c below the error and -ln F <= c from it on, so that F(X), which is
    # uniform, lies between exp(-c) and 1 - exp(-c).
    for confidence in (0.5, 0.95):
        c = berk_jones_level(1, confidence)
        assert 1 - 2 * np.exp(-c) == pytest.approx(confidence, abs=1e-4)


@pytest.mark.parametrize("n", [7, 60, 3000])
def test_the_level_holds_in_a_simulation(n):
    repetitions = 20_000 if n < 100 else 1000
    uniform = np.sort(np.random.default_rng(5).random((repetitions, n)), axis=1)
    high = divergence_limit(np.arange(n + 1) / n, berk_jones_level(n, 0.9) / n)
    inside = (uniform <= high[:-1]) & (uniform >= 1 - high[:-1][::-1])
    error = np.sqrt(0.09 / repetitions)
    assert inside.all(axis=1).mean() == pytest.approx(0.9, abs=3.5 * error)


def test_levels_beyond_the_exact_ones_go_on_without_a_jump():
    assert berk_jones_level(1001, 0.95) == pytest.approx(berk_jones_level(1000, 0.95), abs=2e-3)
    assert berk_jones_level(10**6, 0.95) > berk_jones_level(10**4, 0.95)


def test_dkw_is_the_exact_kolmogorov_distance_around_the_edf():
    one = edf("a", [10, 20, 30, 40])
    held = band(one, 0.9, "dkw")
    distance = kstwo.ppf(0.9, 4)
    assert held.errors.tolist() == [-np.inf, 10, 20, 30, 40]
    np.testing.assert_allclose(held.high[:2], np.array([0, 0.25]) + distance)
    np.testing.assert_allclose(held.low[3:], np.array([0.75, 1]) - distance)
    assert held.low[0] == 0
    assert held.high[-1] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_bands_contain_the_edf_ascend_and_stay_within_0_and_1(kind):
    rng = np.random.default_rng(1)
    errors = rng.integers(5, 30, 80).astype(float)
    for weights in (None, rng.random(80) ** 3):
        one = edf("a", errors, weights)
        held = band(one, 0.95, kind)
        low, high = held(one.errors)
        assert (low <= one(one.errors)).all()
        assert (high >= one(one.errors)).all()
        for side in (held.low, held.high):
            assert (np.diff(side) >= 0).all()
            assert side.min() >= 0
            assert side.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_equal_weights_are_no_weights(kind):
    errors = np.random.default_rng(1).random(40)
    plain = band(edf("a", errors), 0.9, kind)
    weighted = band(EDF("a", np.sort(errors), np.full(40, 1 / 40)), 0.9, kind)
    np.testing.assert_allclose(plain.low, weighted.low, atol=1e-9)
    np.testing.assert_allclose(plain.high, weighted.high, atol=1e-9)


def test_berk_jones_is_narrower_where_the_good_networks_are():
    one = edf("a", np.arange(500.0))
    narrow, even = band(one), band(one, kind="dkw")
    width = {held.kind: np.subtract(*held([2.0, 250.0])[::-1]) for held in (narrow, even)}
    assert width["berk_jones"][0] < 0.45 * width["dkw"][0]
    assert width["berk_jones"][1] < 1.3 * width["dkw"][1]


def test_a_thinned_band_holds_what_the_whole_one_does(monkeypatch):
    one = edf("a", np.random.default_rng(2).random(3000))
    for kind in KINDS:
        whole = band(one, kind=kind)
        monkeypatch.setattr("analysis.bands._MOST_STEPS", 400)
        thin = band(one, kind=kind)
        monkeypatch.undo()
        assert len(thin.errors) <= 400 < len(whole.errors)
        at = np.append(one.errors, one.errors - 1e-9)
        assert (thin(at)[0] <= whole(at)[0]).all()
        assert (thin(at)[1] >= whole(at)[1]).all()
        assert np.max(whole(at)[0] - thin(at)[0]) < 0.02


@pytest.mark.parametrize("kind", ["dkw", "berk_jones"])
@pytest.mark.parametrize("ties", [False, True])
def test_bands_cover_as_often_as_they_say(kind, ties):
    rng = np.random.default_rng(3)
    space = 8 + 3 * rng.gamma(2, 0.7, 2000)
    space[:40] = 100
    space = np.round(space) if ties else space
    errors, counts = np.unique(space, return_counts=True)
    shares = np.cumsum(counts) / len(space)
    covered = np.mean(
        [
            holds(band(edf("a", rng.choice(space, 60)), 0.8, kind), errors, shares)
            for _ in range(400)
        ]
    )
    assert covered >= 0.8 - 2.5 * 0.0253
    if not ties:
        assert covered <= 0.8 + 3 * 0.0253


@pytest.mark.parametrize("kind", ["dkw", "berk_jones"])
def test_bands_of_weighted_samples_cover(kind):
    # Networks of low error are drawn eight times as often, and weigh an eighth.
    rng = np.random.default_rng(4)
    space = np.sort(8 + 3 * rng.gamma(2, 0.7, 2000))
    chance = np.where(np.arange(2000) < 600, 8.0, 1.0)
    chance /= chance.sum()
    shares = np.arange(1, 2001) / 2000
    covered, unweighted = 0, 0
    for _ in range(200):
        drawn = rng.choice(2000, 120, p=chance)
        covered += holds(band(edf("a", space[drawn], 1 / chance[drawn]), 0.9, kind), space, shares)
        unweighted += holds(band(edf("a", space[drawn]), 0.9, kind), space, shares)
    assert covered / 200 >= 0.9 - 2.5 * 0.0212
    assert unweighted / 200 < 0.1


def test_a_tail_that_no_heavy_network_was_seen_in_stays_open():
    # 100 networks of weight 1 below, 10 of weight 10 above: one of the latter may be missing below.
    errors = np.append(np.linspace(10, 12, 100), np.linspace(20, 30, 10))
    weighted = band(edf("a", errors, [1] * 100 + [10] * 10))
    light = band(edf("a", np.linspace(10, 30, 200)))
    assert weighted(9.0)[1] > 3 * light(9.0)[1]


def test_quantile_interval_is_that_of_binomial_tails():
    one = edf("a", np.arange(1.0, 31.0))
    found = quantile_interval(one, 0.5, 0.95)
    # Of 30, order statistics 10 and 21 hold the median with 95.7% (David and Nagaraja, 7.1).
    assert (found.low, found.high) == (10, 21)
    assert binom.cdf(20, 30, 0.5) - binom.cdf(9, 30, 0.5) > 0.95
    assert binom.cdf(19, 30, 0.5) - binom.cdf(10, 30, 0.5) < 0.95
    assert found.method == "order statistics"
    assert quantile_interval(edf("a", [7, 8]), 0.5) == (0, LARGEST_ERROR, "order statistics")


def test_weighted_quantile_interval_covers():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(300):
        uniform = rng.beta(1, 2, 100)  # density 2 (1 - x); weighted to a uniform one
        found = quantile_interval(edf("a", uniform, 1 / (1 - uniform)), 0.3, 0.9)
        covered += found.low <= 0.3 <= found.high
    assert 0.85 <= covered / 300 <= 0.97


@pytest.mark.parametrize("method", ["bootstrap_t", "mixture", "band"])
def test_mean_interval_covers_where_diverged_networks_are_seen(method):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(150):
        errors = np.where(rng.random(100) < 0.15, 100.0, rng.uniform(5, 15, 100))
        found = mean_interval(edf("a", errors), method=method)
        covered += found.low <= 0.15 * 100 + 0.85 * 10 <= found.high
    assert covered / 150 >= 0.95 - 2.5 * 0.018


def test_rare_diverged_networks_are_allowed_for_by_the_mixture():
    rng = np.random.default_rng(11)
    covered = dict.fromkeys(("bootstrap_t", "mixture", "auto"), 0)
    widths = {"bootstrap_t": [], "mixture": []}
    for _ in range(150):
        one = edf("a", np.where(rng.random(100) < 0.02, 100.0, rng.uniform(5, 15, 100)))
        for method in covered:
            found = mean_interval(one, method=method)
            covered[method] += found.low <= 0.02 * 100 + 0.98 * 10 <= found.high
            if method in widths and one.errors[-1] == 100:
                widths[method].append(found.high - found.low)
        seen = one.errors[-1] == 100
        assert mean_interval(one).method == ("mixture" if seen else "bootstrap-t")
    assert covered["mixture"] / 150 >= 0.95 - 2.5 * 0.018
    # One sample in eight sees none of them, and then nothing narrow can hold the mean.
    assert covered["bootstrap_t"] / 150 < 0.92
    assert covered["auto"] / 150 < 0.92
    assert np.mean(widths["mixture"]) < 0.75 * np.mean(widths["bootstrap_t"])


def test_the_mixture_of_weighted_networks_covers():
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(150):
        # Diverged networks are drawn half as often as the space has them, so weigh twice as much.
        diverged = rng.random(120) < 0.05
        errors = np.where(diverged, 100.0, rng.uniform(5, 15, 120))
        found = mean_interval(edf("a", errors, np.where(diverged, 2.0, 1.0)), method="mixture")
        share = 2 * 0.05 / (2 * 0.05 + 0.95)
        covered += found.low <= share * 100 + (1 - share) * 10 <= found.high
    assert covered / 150 >= 0.95 - 2.5 * 0.018


def test_without_diverged_networks_the_mixture_allows_for_unseen_ones():
    one = edf("a", np.random.default_rng(13).uniform(5, 15, 100))
    plain, wide = mean_interval(one), mean_interval(one, method="mixture")
    assert wide.low == pytest.approx(plain.low)
    # None of 100: up to 1 - 0.025^(1/100) = 3.6% may be, each 90 points above the mean.
    most = 1 - 0.025**0.01
    reach = np.hypot(plain.high - one.mean, most * (100 - one.mean))
    assert wide.high == pytest.approx(one.mean + reach)


def test_a_large_sample_has_the_interval_that_the_bootstrap_has(monkeypatch):
    errors = np.random.default_rng(8).gamma(1, 4, 1500)
    slow = mean_interval(edf("a", errors))
    monkeypatch.setattr("analysis.bands._RESAMPLED", 1000)
    fast = mean_interval(edf("a", errors))
    assert (slow.method, fast.method) == ("bootstrap-t", "Hall")
    width = slow.high - slow.low
    assert fast.low == pytest.approx(slow.low, abs=0.05 * width)
    assert fast.high == pytest.approx(slow.high, abs=0.05 * width)


def test_area_interval_is_that_of_capped_errors():
    errors = np.random.default_rng(9).uniform(5, 15, 60)
    one = edf("a", np.append(errors, [100] * 3))
    found = area_interval(one, 12.0)
    capped = mean_interval(edf("a", np.minimum(one.errors, 12)))
    assert found.low == pytest.approx(1 - capped.high / 12)
    assert found.high == pytest.approx(1 - capped.low / 12)
    assert found.low < one.area(12.0) < found.high


def test_few_or_equal_errors_are_left_to_the_band():
    assert mean_interval(edf("a", [7, 8])).method == "band"
    found = mean_interval(edf("a", [7.0] * 50))
    assert found.method == "band"
    assert found.low < 7 < found.high


def test_what_no_band_can_be_is_said():
    one = edf("a", [1, 2])
    with pytest.raises(InputError, match=r"--confidence: 1 must lie between 0 and 1"):
        band(one, 1)
    with pytest.raises(InputError, match=r"--band: 'ks' must be one of auto, dkw"):
        band(one, kind="ks")
    with pytest.raises(InputError, match=r"quantile: 1.5 must lie"):
        quantile_interval(one, 1.5)
    with pytest.raises(InputError, match=r"limit: 0 must be above 0"):
        area_interval(one, 0)
