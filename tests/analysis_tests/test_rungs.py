import numpy as np
import pytest

from analysis.bands import quantile_interval
from analysis.edf import populations
from analysis.rungs import Promoted, estimate, from_population, promoted_edf
from anynet import InputError
from tests.analysis_tests.test_bands import holds
from tests.analysis_tests.test_edf import rungs_frame


def space(correlation, rng, n=3000):
    """Cheap and long errors of a whole space, the long ones ascending; 1% diverge."""
    long = np.sort(8 + 3 * rng.gamma(2, 0.7, n))
    long[-n // 100 :] = 100
    score = np.linspace(-2, 2, n)
    cheap = correlation * score + np.sqrt(1 - correlation**2) * rng.standard_normal(n)
    return cheap, long


def promote(cheap, long, rng, n=200, independent=False):
    """n networks of the space; half of the best quarter by cheap error promoted, a tenth else."""
    drawn = rng.integers(0, len(cheap), n)
    order = np.argsort(cheap[drawn])
    probability, promoted = np.ones(n), np.zeros(n, bool)
    for part, count in ((order[: n // 4], n // 8), (order[n // 4 :], 3 * n // 40)):
        probability[part] = count / len(part)
        promoted[rng.permutation(part)[:count]] = True
    if independent:
        promoted = rng.random(n) < probability
    return Promoted("a", cheap[drawn], np.where(promoted, long[drawn], np.nan), probability)


def test_horvitz_thompson_by_hand():
    nan = np.nan
    sample = Promoted(
        "a",
        np.array([1.0, 2, 3, 4]),
        np.array([10.0, nan, 20, nan]),
        np.array([0.8, 0.5, 0.5, 0.1]),
    )
    found = estimate(sample, "horvitz_thompson")
    assert found([9, 10, 20, 99]) == pytest.approx([0, 1.25 / 4, 3.25 / 4, 3.25 / 4])
    assert found.mass == pytest.approx(3.25 / 4)
    normalized = estimate(sample, "hajek")
    assert normalized([10, 20]) == pytest.approx([1.25 / 3.25, 1])
    assert promoted_edf(sample)([10, 20]) == pytest.approx([1.25 / 3.25, 1])


def test_horvitz_thompson_is_unbiased_and_the_promoted_alone_are_not():
    rng = np.random.default_rng(0)
    cheap, long = space(0.9, rng)
    at = np.quantile(long, [0.05, 0.3, 0.7])
    found, naive = [], []
    for _ in range(600):
        sample = promote(cheap, long, rng, independent=True)
        found.append(estimate(sample, "horvitz_thompson")(at))
        naive.append(
            [np.nanmean(np.where(np.isnan(sample.long), np.nan, sample.long <= e)) for e in at]
        )
    error = np.std(found, axis=0) / np.sqrt(600)
    assert (np.abs(np.mean(found, axis=0) - [0.05, 0.3, 0.7]) < 3 * error).all()
    assert (np.mean(naive, axis=0) - [0.05, 0.3, 0.7] > 0.05).all()


@pytest.mark.parametrize("correlation", [0.98, 0.1, -0.6])
def test_assisted_estimates_are_nearly_unbiased_and_use_what_helps(correlation):
    rng = np.random.default_rng(1)
    cheap, long = space(correlation, rng)
    at = np.quantile(long, [0.1, 0.5, 0.9])
    assisted, plain, used = [], [], []
    for _ in range(120):
        sample = promote(cheap, long, rng)
        found = estimate(sample)
        assisted.append(found(at))
        plain.append(estimate(sample, "hajek")(at))
        used.append(found.assistance)
        assert 0 <= found.assistance <= 1
    bias = np.mean(assisted, axis=0) - [0.1, 0.5, 0.9]
    assert (np.abs(bias) < 3.5 * np.std(assisted, axis=0) / np.sqrt(120) + 0.005).all()
    ratio = np.std(assisted, axis=0)[1] / np.std(plain, axis=0)[1]
    if correlation == 0.98:
        assert ratio < 0.75
        assert np.mean(used) > 0.7
    else:
        assert ratio < 1.1
    if correlation == 0.1:
        assert np.mean(used) < 0.3


@pytest.mark.parametrize("estimator", ["horvitz_thompson", "hajek", "assisted"])
@pytest.mark.parametrize("correlation", [0.98, -0.3])
def test_bands_cover_also_where_the_cheap_training_ranks_badly(estimator, correlation):
    rng = np.random.default_rng(2)
    cheap, long = space(correlation, rng)
    errors, counts = np.unique(long, return_counts=True)
    shares = np.cumsum(counts) / len(long)
    independent = estimator == "horvitz_thompson"
    covered = 0
    for _ in range(150):
        sample = promote(cheap, long, rng, independent=independent)
        covered += holds(estimate(sample, estimator).band(0.9), errors, shares)
    assert covered / 150 >= 0.9 - 2.5 * 0.0245


@pytest.mark.parametrize("estimator", ["horvitz_thompson", "hajek", "assisted"])
def test_estimates_and_bands_ascend_within_0_and_1(estimator):
    rng = np.random.default_rng(3)
    sample = promote(*space(0.5, rng), rng, n=80, independent=True)
    found = estimate(sample, estimator)
    held = found.band()
    for values in (found.shares, held.low, held.high):
        assert (np.diff(values) >= 0).all()
        assert values.min() >= 0
        assert values.max() <= 1
    assert (held.low <= found.shares + 1e-12).all()
    assert (held.high >= found.shares - 1e-12).all()


def test_a_thinned_estimate_holds_what_the_whole_one_does(monkeypatch):
    rng = np.random.default_rng(4)
    sample = promote(*space(0.9, rng), rng, n=1000)
    whole = estimate(sample, "hajek").band()
    monkeypatch.setattr("analysis.rungs._MOST_STEPS", 40)
    thin = estimate(sample, "hajek").band()
    assert len(thin.errors) == 41
    at = sample.long[~np.isnan(sample.long)]
    assert (thin(at)[0] <= whole(at)[0] + 1e-9).all()
    assert (thin(at)[1] >= whole(at)[1] - 1e-9).all()


def test_the_same_seed_gives_the_same_estimate():
    rng = np.random.default_rng(5)
    sample = promote(*space(0.9, rng), rng)
    one, two, other = (estimate(sample, seed=seed).shares for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


def test_two_promoted_networks_are_enough_for_an_answer():
    sample = Promoted("a", np.arange(9.0), np.array([5.0, 7] + [np.nan] * 7), np.full(9, 2 / 9))
    low, high = estimate(sample).band()(6.0)
    assert low < 0.2
    assert high > 0.8


def test_from_a_run_with_rungs():
    (population,) = populations(rungs_frame())
    sample = from_population(population)
    assert sample.cheap.tolist() == [40, 30, 100, 60]
    np.testing.assert_array_equal(sample.long, [np.nan, 10, 100, np.nan])
    assert sample.probability.tolist() == [0.5, 0.125, 1, 1]


def test_what_was_not_promoted_by_chance_is_refused():
    with pytest.raises(InputError, match=r"a: promotion_probability: 0.0 must lie in \(0, 1\]"):
        Promoted("a", np.ones(2), np.ones(2), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="a: no network was promoted yet"):
        Promoted("a", np.ones(1), np.array([np.nan]), np.ones(1))
    with pytest.raises(InputError, match="a: a network without a cheap error"):
        Promoted("a", np.array([np.nan]), np.ones(1), np.ones(1))
    with pytest.raises(InputError, match="estimator: 'ratio' must be one of"):
        estimate(Promoted("a", np.ones(1), np.ones(1), np.ones(1)), "ratio")


@pytest.mark.parametrize("estimator", ["assisted", "hajek", "horvitz_thompson"])
def test_an_estimate_as_an_edf_has_its_steps_and_sizes(estimator):
    rng = np.random.default_rng(3)
    cheap, long = space(0.9, rng)
    sample = promote(cheap, np.round(long, 1), rng)  # with ties
    found = estimate(sample, estimator)
    one = found.edf(sample, failed=2)
    assert (len(one), one.failed, one.name) == (found.promoted, 2, "a")
    assert one.weights.sum() == pytest.approx(1)
    at = np.unique(one.errors)[:-1]
    assert one(at) == pytest.approx(found(at))
    assert one.sizes[1:][np.searchsorted(one.errors, at)] == pytest.approx(found.sizes[1:-1])
    assert one.mean == pytest.approx(found.mean)


@pytest.mark.parametrize("estimator", ["assisted", "hajek"])
def test_intervals_read_off_an_estimate_cover(estimator):
    rng = np.random.default_rng(8)
    cheap, long = space(0.95, rng)
    long = np.minimum(long, np.quantile(long, 0.98))  # none diverged
    middle = np.quantile(long, 0.5)
    mean = median = 0
    for _ in range(200):
        sample = promote(cheap, long, rng)
        found = estimate(sample, estimator)
        interval = found.mean_interval()
        mean += interval.low <= long.mean() <= interval.high
        interval = quantile_interval(found.edf(sample), 0.5)
        median += interval.low <= middle <= interval.high
    assert mean / 200 >= 0.95 - 3 * 0.0154
    assert median / 200 >= 0.95 - 2.5 * 0.0154


def test_an_estimate_that_is_not_normalized_has_the_mean_of_its_band():
    rng = np.random.default_rng(4)
    cheap, long = space(0.9, rng)
    sample = promote(cheap, long, rng, independent=True)
    found = estimate(sample, "horvitz_thompson")
    interval = found.mean_interval()
    assert interval.method == "band"
    assert interval.low < long.mean() < interval.high
    assert estimate(sample, "hajek").mean_interval().method == "Student's t"
