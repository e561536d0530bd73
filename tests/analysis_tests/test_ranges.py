import numpy as np
import pytest

from analysis.ranges import BestRange, best_chances, best_range, best_ranges
from anynet import InputError

DRAWS = 4000


def drawn_form(values, errors, weights, m, rng):
    """What the papers do: draw m networks, note the value of the best; lots decide ties."""
    known = np.flatnonzero(~np.isnan(errors))
    p = None if weights is None else weights[known] / weights[known].sum()
    noted = np.empty(DRAWS)
    for i in range(DRAWS):
        drawn = rng.choice(known, m, p=p)
        best = drawn[errors[drawn] == errors[drawn].min()]
        noted[i] = values[rng.choice(best)]
    return noted


@pytest.mark.parametrize("n", [7, 60, 400])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_closed_form_is_what_draws_tend_to(n, ties, weighted):
    rng = np.random.default_rng([n, ties, weighted])
    errors = rng.normal(10, 2, n)
    if ties:
        errors = np.round(errors)
    errors[rng.integers(n)] = np.nan
    values = rng.integers(0, 12, n).astype(float)
    weights = rng.random(n) if weighted else None
    found = best_range(values, errors, weights)
    noted = drawn_form(values, errors, weights, found.draws, rng)
    networks, chances = best_chances(errors, found.draws, weights)
    for value in range(12):
        exact = chances[values[networks] == value].sum()
        share = (noted == value).mean()
        assert abs(share - exact) < 4.5 * np.sqrt(exact * (1 - exact) / DRAWS) + 1e-12
    for level, value in ((0.025, found.low), (0.5, found.median), (0.975, found.high)):
        around = 4.5 * np.sqrt(level * (1 - level) / DRAWS)
        assert (noted < value).mean() <= level + around
        assert (noted <= value).mean() >= level - around


def test_the_chance_of_a_rank_is_the_published_formula():
    n, m = 500, 125
    networks, chances = best_chances(np.arange(n)[::-1], m)
    i = np.arange(1, len(networks) + 1)
    expected = ((n - i + 1) / n) ** m - ((n - i) / n) ** m
    assert (networks == n - i).all()
    np.testing.assert_allclose(chances, expected, rtol=1e-9, atol=1e-18)
    assert 100 < len(networks) < n


def test_many_networks_of_equal_error_share_alike():
    errors = np.r_[np.zeros(300), np.ones(700)]
    networks, chances = best_chances(errors, 5)
    assert len(networks) == 1000
    assert chances[errors[networks] == 0].sum() == pytest.approx(1 - 0.7**5)
    np.testing.assert_allclose(chances[:300], (1 - 0.7**5) / 300)


def test_a_network_of_weight_two_is_two_networks():
    rng = np.random.default_rng(0)
    errors, values = rng.normal(size=30), rng.integers(0, 9, 30)
    weights = np.where(np.arange(30) < 10, 2.0, 1.0)
    a, chances_a = best_chances(errors, 8, weights)
    b, chances_b = best_chances(np.r_[errors, errors[:10]], 8)
    merged = np.bincount(b % 30, chances_b, 30)
    np.testing.assert_allclose(chances_a, merged[a])
    one = best_range(values, errors, weights, share=0.25)
    assert one.inside == pytest.approx(
        weights[(values >= one.low) & (values <= one.high)].sum() / weights.sum()
    )


def test_all_parameters_at_once_are_each_alone():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=200)
    parameters = {"a": rng.random(200), "b": rng.integers(0, 3, 200)}
    for name, one in best_ranges(parameters, errors).items():
        assert one == best_range(parameters[name], errors)
        assert isinstance(one, BestRange)
        assert one.low <= one.median <= one.high
        assert (one.n, one.draws) == (200, 50)


def test_a_planted_optimum_is_found_and_its_range_is_no_accident():
    rng = np.random.default_rng(1)
    depth, other = rng.uniform(1, 60, 500), rng.random(500)
    errors = 8 + 0.002 * (depth - 20) ** 2 + rng.gamma(2, 0.2, 500)
    found = best_ranges({"depth": depth, "other": other}, errors, rng=rng)
    assert found["depth"].low < 20 < found["depth"].high
    assert found["depth"].inside < 0.6
    assert found["depth"].chance < 0.01
    assert found["other"].inside > 0.6
    assert found["other"].chance > 0.05


def test_the_chance_of_parameters_that_do_nothing_is_uniform():
    rng = np.random.default_rng(2)
    found = [
        best_ranges({"a": rng.random(80)}, rng.normal(size=80), rng=rng, shuffles=99)["a"].chance
        for _ in range(300)
    ]
    for level in (0.1, 0.5, 0.9):
        assert abs(np.mean(np.array(found) <= level) - level) < 0.09


def test_refusals():
    with pytest.raises(InputError, match="share: 0 must be above 0"):
        best_range([1, 2], [1, 2], share=0)
    with pytest.raises(InputError, match="confidence: 1 must lie between"):
        best_range([1, 2], [1, 2], confidence=1)
    with pytest.raises(InputError, match="best of no network"):
        best_range([1.0, 2], [np.nan, np.nan])
    with pytest.raises(ValueError, match=r"weights: must be \(2,\) finite"):
        best_range([1, 2], [1, 2], [1, -1])
    with pytest.raises(ValueError, match="value: shape"):
        best_range([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="value: must be a finite number"):
        best_range([1, np.nan], [1, 2])
    assert best_range([np.nan, 2], [np.nan, 2]).median == 2
