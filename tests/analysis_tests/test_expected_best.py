from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from analysis.expected_best import best_variance, best_weights, expected_best


@pytest.mark.parametrize("m", range(1, 8))
def test_it_is_the_mean_over_all_subsets(m):
    errors = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    by_hand = np.mean([min(subset) for subset in combinations(errors, m)])
    assert expected_best(errors, m) == pytest.approx(by_hand)


def test_of_one_it_is_the_mean_and_of_all_the_least():
    errors = np.random.default_rng(0).uniform(5, 9, 300)
    assert expected_best(errors, 1) == pytest.approx(errors.mean())
    assert expected_best(errors, 300) == pytest.approx(errors.min())


def test_shares_are_exact_where_binomials_overflow():
    n, m = 6561, 100
    for i in (1, 2, 50, 500):
        exact = Fraction(comb(n - i, m - 1), comb(n, m))
        assert best_weights(n, m)[i - 1] == pytest.approx(float(exact), rel=1e-9)
    assert best_weights(n, m).sum() == pytest.approx(1)


def test_samples_of_a_population_are_unbiased_for_its_exact_value():
    rng = np.random.default_rng(1)
    population = np.round(rng.gamma(2, 3, 400), 1)
    for m in (3, 20):
        found = [expected_best(rng.choice(population, 25, replace=False), m) for _ in range(4000)]
        off = np.mean(found) - expected_best(population, m)
        assert abs(off) < 3 * np.std(found) / np.sqrt(4000)
    with_replacement = expected_best(population[:25], 20, np.ones(25))
    assert with_replacement > expected_best(population[:25], 20)


def test_the_jackknife_in_closed_form_is_the_jackknife():
    errors = np.random.default_rng(2).integers(0, 9, 30).astype(float)
    without = [expected_best(np.delete(errors, i), 6) for i in range(30)]
    by_hand = 29 / 30 * ((without - np.mean(without)) ** 2).sum()
    assert best_variance(errors, 6, None) == pytest.approx(by_hand)


def test_the_variance_is_that_of_samples():
    rng = np.random.default_rng(3)
    draws = [rng.gamma(2, 3, 200) for _ in range(600)]
    for weights in (None, np.ones(200)):
        estimated = np.mean([best_variance(one, 10, weights) for one in draws])
        observed = np.var([expected_best(one, 10, weights) for one in draws])
        assert estimated == pytest.approx(observed, rel=0.15)


def test_weights_count_networks():
    errors, times = np.array([4.0, 2.0, 7.0]), np.array([1, 3, 2])
    survival = np.array([6, 3, 2, 0]) / 6
    assert expected_best(errors, 2, times) == pytest.approx(
        np.array([2.0, 4.0, 7.0]) @ -np.diff(survival**2)
    )
    assert expected_best(errors, 2, times) == pytest.approx(expected_best(errors, 2, times * 0.1))


def test_the_best_of_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="best of 4 out of 3"):
        expected_best([1, 2, 3], 4)
