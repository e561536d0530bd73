import numpy as np
import pytest
from scipy import stats

from analysis.comparison import compare, judge, parse_statistic
from analysis.intervals import Sample, mean_variance, quantile, quantile_limits
from anynet import InputError

STATISTICS = ("mean", "median", "quantile:0.25", "area:12", "best_of:5")


@pytest.mark.parametrize(
    ("low", "high", "delta", "word"),
    [
        (-0.5, 0.5, 0.5, "equivalent"),
        (0.1, 0.4, 0.5, "equivalent"),  # different for sure, and by too little to matter
        (0.1, 0.6, 0.5, "better"),
        (-0.6, -0.1, 0.5, "worse"),
        (0.1, 0.4, None, "better"),
        (0.0, 0.4, None, "undecided"),
        (-0.6, 0.5, 0.5, "undecided"),
    ],
)
def test_the_four_words_in_their_order(low, high, delta, word):
    assert judge(low, high, delta) == word


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_is_better_where_its_errors_are_lower(planted, statistic):
    rng = np.random.default_rng(0)
    a, b = planted.skewed(80, rng), planted.skewed(80, rng) + 1.5
    found, back = (compare(*pair, statistic=statistic) for pair in ((a, b), (b, a)))
    assert (found.verdict, back.verdict) == ("better", "worse")
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(found.value_b - found.value_a)
    assert found.p_value < 0.01
    assert back.difference == pytest.approx(-found.difference)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), rel=0.1)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_p_value_and_the_interval_agree(planted, statistic):
    rng = np.random.default_rng(1)
    decided = 0
    for shift in np.linspace(0, 1.5, 20):
        a, b = planted.tied(30, rng), planted.tied(40, rng) + shift
        for confidence in (0.8, 0.95):
            found = compare(a, b, statistic=statistic, confidence=confidence, permutations=499)
            assert (found.p_value <= 1 - confidence) == (found.verdict != "undecided")
            decided += found.verdict != "undecided"
    assert 5 < decided < 38


def test_means_agree_with_students_t_where_nothing_is_special():
    rng = np.random.default_rng(2)
    a, b = rng.normal(40, 3, 300), rng.normal(41, 3, 300)
    found = compare(a, b)
    limits = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(limits), abs=0.03)


def test_permutation_p_values_are_exact_for_small_populations():
    # All 20 splits of 6 networks: t is largest for this one, and as large the other way.
    found = compare([1, 2, 3], [11, 12, 14], permutations=20_000)
    assert found.p_value == pytest.approx(2 * 1 / 20, abs=0.01)


def test_areas_count_errors_up_to_the_limit():
    found = compare([5, 10, 100], [6, 50, 50], statistic="area:20")
    assert found.value_a == pytest.approx(35 / 3)
    assert found.value_b == pytest.approx(46 / 3)


def test_quantiles_are_those_of_the_edf():
    def of(errors, share, weights=None):
        return quantile(Sample(np.asarray(errors, float), weights), share)

    assert of([4, 1, 2, 3], 0.5) == 2.5
    assert of([1, 2, 3], 0.5) == 2
    assert of([1, 2, 3, 4, 5], 0.25) == 2
    assert of([1, 2, 9], 0.5, np.array([1.0, 1.0, 4.0])) == 9


def test_limits_of_a_quantile_are_order_statistics_with_binomial_chances():
    ends, chance = quantile_limits(Sample(np.arange(1.0, 6.0), None), 0.5)
    assert ends.tolist() == [0, 1, 2, 3, 4, 5, 100]
    binomial = np.array([1, 5, 10, 10, 5, 1]) / 32
    assert chance == pytest.approx((np.append(binomial, 0) + np.insert(binomial, 0, 0)) / 2)


@pytest.mark.parametrize("statistic", ["mean", "median", "area:12"])
def test_few_networks_decide_nothing(statistic):
    found = compare([5, 6], [50, 60], statistic=statistic)
    assert found.verdict == "undecided"
    assert found.high - found.low > 50


def test_a_best_of_too_many_has_no_interval(planted):
    rng = np.random.default_rng(3)
    found = compare(planted.skewed(29, rng), planted.skewed(29, rng), statistic="best_of:10")
    assert (found.low, found.high, found.p_value) == (-100, 100, 1)
    assert (
        compare(planted.skewed(30, rng), planted.skewed(30, rng), statistic="best_of:10").high < 100
    )


@pytest.mark.parametrize("statistic", STATISTICS)
def test_equal_weights_are_no_weights(planted, statistic):
    rng = np.random.default_rng(4)
    a, b = planted.tied(60, rng), planted.tied(50, rng) + 0.5
    plain = compare(a, b, statistic=statistic)
    weighted = compare(a, b, statistic=statistic, weights_a=np.full(60, 3.0), weights_b=np.ones(50))
    if statistic == "best_of:5":  # with replacement, and a variance by influence
        assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high), abs=0.15)
    else:
        assert weighted.p_value == pytest.approx(plain.p_value)
        assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


def test_weights_move_the_mean_and_widen_the_interval(planted):
    rng = np.random.default_rng(5)
    a, b = planted.skewed(100, rng), planted.skewed(100, rng)
    weights = rng.exponential(1, 100)
    found = compare(a, b, weights_a=weights)
    assert found.value_a == pytest.approx(np.average(a, weights=weights))
    assert found.high - found.low > compare(a, b).high - compare(a, b).low
    none = np.zeros(100)
    none[:50] = 1
    assert compare(a, b, weights_a=none) == compare(a[:50], b)


def test_the_variance_of_a_weighted_mean_is_that_of_samples(planted):
    rng = np.random.default_rng(6)
    means, estimates = [], []
    for _ in range(1500):
        errors = planted.skewed(60, rng)
        weights = rng.exponential(1, 60)
        means.append(np.average(errors, weights=weights))
        estimates.append(mean_variance(Sample(errors, weights)))
    assert np.mean(estimates) == pytest.approx(np.var(means), rel=0.1)


def test_the_same_populations_give_the_same_numbers():
    a, b = [7, 8, 9, 100], [7, 7.5, 8, 9.5]
    assert compare(a, b) == compare(a, b)


def test_populations_without_spread():
    assert compare([8.0] * 20, [8.0] * 20, delta=0.1).verdict == "equivalent"
    assert compare([8.0] * 20, [8.0] * 20).p_value == 1
    assert compare([8.0] * 20, [9.0] * 20).verdict == "better"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode", "'mode' must be mean, median"),
        ("quantile:1", "quantile:SHARE"),
        ("best_of:2.5", "best_of:M"),
        ("area:0", "area:LIMIT"),
        ("mean:3", "must be mean"),
    ],
)
def test_what_is_no_statistic_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_statistic(text)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1], [1, 2]), {}, "a: 1 networks; a population has at least 2"),
        (([1, 2], [1, 101]), {}, "b: error 101 must lie between 0 and 100"),
        (([1, np.nan], [1, 2]), {}, "a: error nan must lie"),
        (([1, 2], [1, 2]), {"delta": 0}, "delta: 0 must lie"),
        (([1, 2], [1, 2]), {"confidence": 1}, "confidence: 1 must lie"),
        (([1, 2], [1, 2]), {"weights_a": [1]}, "a: weights must be one number"),
        (([1, 2], [1, 2]), {"weights_b": [0, 1]}, "b: 1 networks with a weight"),
        (([1, 2], [1, 2]), {"statistic": "best_of:3"}, "best_of:3 needs at least as many"),
    ],
)
def test_bad_input_is_one_line(arguments, options, message):
    with pytest.raises(InputError, match=message):
        compare(*arguments, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("n_a", "n_b"), [(25, 25), (20, 120)])
@pytest.mark.parametrize("shape", ["tied", "diverging"])
def test_equal_populations_are_called_different_in_at_most_five_percent(planted, shape, n_a, n_b):
    draw = getattr(planted, shape)
    rng = np.random.default_rng(7)
    p_values = {statistic: [] for statistic in STATISTICS}
    for _ in range(1000):
        a, b = draw(n_a, rng), draw(n_b, rng)
        for statistic in STATISTICS:
            p_values[statistic].append(compare(a, b, statistic=statistic, permutations=999).p_value)
    for statistic, values in p_values.items():
        for alpha in (0.01, 0.05, 0.2):
            rate = np.mean(np.asarray(values) <= alpha)
            assert rate <= alpha + 2.5 * np.sqrt(alpha * (1 - alpha) / 1000), (statistic, alpha)
        if statistic in ("mean", "area:12"):  # and not because nothing is ever called
            assert np.mean(np.asarray(values) <= 0.2) > 0.1


@pytest.mark.slow
def test_students_t_would_be_wrong_where_few_meet_many_and_some_diverge(planted):
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(300):
        a, b = planted.diverging(20, rng), planted.diverging(200, rng)
        wrong += stats.ttest_ind(a, b, equal_var=False).pvalue <= 0.05
    assert wrong > 90


def test_promotion_by_chance_makes_equal_populations_no_different(planted):
    # Those below an error of 9% are promoted for sure, of the others 1 in 4.
    rng = np.random.default_rng(12)
    called = {"weighted": 0, "not": 0}
    for _ in range(60):
        errors, whole = planted.skewed(80, rng), planted.skewed(80, rng)
        probability = np.where(errors < 9, 1.0, 0.25)
        kept = rng.random(80) < probability
        for how, weights in (("weighted", 1 / probability[kept]), ("not", None)):
            found = compare(errors[kept], whole, weights_a=weights, permutations=399)
            called[how] += found.verdict != "undecided"
    # Of 60 at 5%, 3 are to be expected; 9 or more come about with a chance of 0.3%.
    assert called["weighted"] < 9
    assert called["not"] > 30
