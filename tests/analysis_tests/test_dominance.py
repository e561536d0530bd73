from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analysis.comparison import sample
from analysis.dominance import dominance, ks_test


def ks(a, b, weights_a=None, weights_b=None):
    pair = sample("a", a, weights_a), sample("b", b, weights_b)
    return ks_test(*pair, np.random.default_rng(0))


@pytest.mark.parametrize("sizes", [(4, 7), (30, 30), (60, 25)])
def test_without_ties_it_is_scipys_exact_test(sizes):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(50, 5, n) for n in sizes)
    theirs = stats.ks_2samp(a, b, method="exact")
    assert ks(a, b).distance == pytest.approx(theirs.statistic)
    assert ks(a, b).p_value == pytest.approx(theirs.pvalue, abs=1e-12)


def test_with_ties_it_counts_all_splits():
    a, b = [1, 1, 2, 2], [1, 2, 3, 3, 3]
    pooled = np.array([*a, *b])
    found = ks(a, b)
    distances = []
    for group in combinations(range(9), 4):
        mine, other = pooled[list(group)], np.delete(pooled, group)
        distances.append(max(abs((mine <= e).mean() - (other <= e).mean()) for e in (1, 2, 3)))
    assert found.p_value == pytest.approx(np.mean(np.array(distances) >= found.distance - 1e-9))
    a, b = [1, 1, 1, 1, 1, 2], [1, 2, 2, 2, 2, 2]
    assert ks(a, b).p_value == pytest.approx(2 * (6 * 6 + 1) / 924)  # scipy's: 0.143
    assert ks(a, b).p_value < stats.ks_2samp(a, b, method="exact").pvalue


def test_equal_weights_are_permuted_to_the_same_p_value(planted):
    rng = np.random.default_rng(2)
    a, b = planted.tied(40, rng), planted.tied(40, rng) + 0.6
    plain, weighted = ks(a, b), ks(a, b, np.full(40, 2.0), np.full(40, 9.0))
    assert weighted.distance == pytest.approx(plain.distance)
    assert weighted.p_value == pytest.approx(plain.p_value, abs=0.02)


def words(a, b):
    return dominance(sample("a", a), sample("b", b)).order


def test_the_words_of_dominance():
    rng = np.random.default_rng(3)
    near, far = rng.normal(20, 1, 300), rng.normal(21, 1, 300)
    assert words(near, far) == "A dominates"
    assert words(far, near) == "B dominates"
    assert words(rng.normal(20, 3, 300), rng.normal(20, 1, 300)) == "cross"
    assert words(rng.normal(20, 1, 300), rng.normal(20, 1, 300)) == "undecided"
    assert words([5.0] * 20, [5.0] * 20) == "undecided"


def test_leads_are_the_distances_to_either_side():
    found = dominance(sample("a", [1, 2, 9, 9]), sample("b", [3, 4, 5, 6]))
    assert (found.lead_a, found.lead_b) == (0.5, 0.5)


@pytest.mark.slow
def test_dominance_is_falsely_called_in_at_most_five_percent(planted):
    # a is ahead up to its median and equal to b beyond: no dominance at every level.
    rng = np.random.default_rng(4)
    called = {"tie above": 0, "equal": 0, "true": 0, "cross of a true one": 0}
    for _ in range(1000):
        b = planted.skewed(150, rng)
        a = planted.skewed(150, rng)
        called["equal"] += words(a, b) != "undecided"
        lower = np.where(a < 9, a - 0.8, a)
        called["tie above"] += words(lower, b) == "A dominates"
        called["true"] += words(a - 1.5, b) == "A dominates"
        called["cross of a true one"] += words(a - 0.3, b) == "cross"
    assert called["equal"] <= 64
    assert called["tie above"] <= 64
    assert called["cross of a true one"] <= 64
    assert called["true"] > 400
