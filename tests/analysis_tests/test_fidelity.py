import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from analysis.fidelity import (
    agreement_by_rung,
    kendall,
    paired,
    rank_agreement,
    rank_transfer,
    spearman,
)
from anynet import InputError, Network, Stage


def pair(n, rho, rng, ties=None):
    x = rng.normal(size=n)
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
    return (x, y) if ties is None else (np.round(x * ties), np.round(y * ties))


def agreement(x, y, **options):
    return rank_agreement(x, y, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("ties", [None, 2])
def test_correlations_are_scipys_and_intervals_those_of_networks_left_out(ties):
    x, y = pair(23, 0.8, np.random.default_rng(0), ties)
    for ours, theirs in ((kendall, kendalltau), (spearman, spearmanr)):
        value, (low, high) = ours(x, y)
        assert value == pytest.approx(theirs(x, y).statistic)
        others = [theirs(np.delete(x, i), np.delete(y, i)).statistic for i in range(23)]
        error = np.sqrt(22 / 23 * np.square(others - np.mean(others)).sum())
        reach = 1.959964 * error / (1 - value**2)
        center = np.arctanh(value)
        assert np.arctanh([low, high]) == pytest.approx([center - reach, center + reach])


def test_blocks_do_not_change_the_result(monkeypatch):
    x, y = pair(40, 0.7, np.random.default_rng(0))
    before = kendall(x, y), spearman(x, y)
    monkeypatch.setattr("analysis.fidelity._CELLS", 90)
    assert (kendall(x, y), spearman(x, y)) == before


@pytest.mark.parametrize(("rho", "n"), [(0.99, 50), (0.5, 30)])
def test_intervals_hold_the_truth_as_often_as_they_say(rho, n):
    rng = np.random.default_rng(5)
    # Of a normal pair: 2/pi asin(rho) and 6/pi asin(rho/2); the latter of a large sample.
    tau, rank_rho = 2 / np.pi * np.arcsin(rho), 6 / np.pi * np.arcsin(rho / 2)
    covered = []
    for _ in range(300):
        x, y = pair(n, rho, rng)
        intervals = kendall(x, y)[1], spearman(x, y)[1]
        covered.append(
            [low <= t <= h for (low, h), t in zip(intervals, (tau, rank_rho), strict=True)]
        )
    assert (np.mean(covered, axis=0) >= 0.89).all()
    assert (np.mean(covered, axis=0) <= 0.995).all()


def test_the_same_ranking_agrees_wholly_and_the_opposite_one_not_at_all():
    errors = np.random.default_rng(0).normal(size=60)
    same = agreement(errors, np.exp(errors))
    assert (same.kendall, same.recall, same.regret, same.regret_of_best) == (1, 1, 0, 0)
    assert same.spearman == pytest.approx(1)
    opposite = agreement(errors, -errors)
    assert opposite.kendall == -1
    assert opposite.recall == 0
    assert opposite.regret_of_best == pytest.approx(np.ptp(errors))


def test_recall_and_regret_by_hand():
    long = np.arange(20.0)
    cheap = long.copy()
    cheap[[1, 7]] = cheap[[7, 1]]  # of the top four, one falls out
    cheap[[0, 2]] = cheap[[2, 0]]  # the pick is the third best
    found = agreement(cheap, long, top=0.2)
    assert found.recall == 0.75
    assert found.recall_interval[0] < 0.75 < found.recall_interval[1]
    assert found.regret_of_best == 2
    low, high = found.regret_interval
    assert low < found.regret < high


def test_tied_networks_share_the_last_places_of_the_top():
    long = np.r_[np.zeros(10), np.ones(10)]
    assert agreement(np.arange(20.0), long, top=0.25).recall == pytest.approx(0.5)


def test_the_regret_is_what_draws_of_a_quarter_lose():
    rng = np.random.default_rng(1)
    cheap, long = pair(40, 0.6, rng)
    lost = []
    for some in rng.integers(40, size=(20_000, 10)):
        lost.append(long[some][cheap[some].argmin()] - long[some].min())
    error = np.std(lost) / np.sqrt(len(lost))
    assert agreement(cheap, long).regret == pytest.approx(np.mean(lost), abs=4 * error)


def frame(errors, rung=0, first=1):
    networks = [Network(stages=(Stage(depth=first + i, width=8),)) for i in range(len(errors))]
    return pd.DataFrame({"network": networks, "error": errors, "rung": rung})


def test_networks_are_paired_by_what_they_build_and_seeds_averaged():
    cheap = pd.concat([frame([1.0, 2, 3, 4, 5, 6]), frame([3.0, np.nan])])
    long = frame([20.0, 30, 40, 50, 60, np.nan], first=2)
    x, y = paired(cheap, long)
    assert x.tolist() == [2, 3, 4, 5, 6]
    assert y.tolist() == [20, 30, 40, 50, 60]
    assert paired(cheap, cheap)[0][0] == 2
    with pytest.raises(InputError, match="fidelity: 1 networks with an error in both, 5 at least"):
        paired(cheap, frame([1.0], first=3))


def test_rungs_of_a_run_are_compared_with_its_last():
    errors = np.random.default_rng(0).normal(20, 2, 30)
    run = pd.concat(
        [frame(errors, 0), frame(errors[:20] - 5, 1), frame(np.sort(errors[:20]) - 8, 2)]
    )
    found = agreement_by_rung(run, rng=np.random.default_rng(0))
    assert list(found) == [0, 1]
    assert found[0].n == 20
    assert found[0].kendall == pytest.approx(found[1].kendall)
    with pytest.raises(InputError, match="1 rung, two at least"):
        agreement_by_rung(frame(errors), rng=np.random.default_rng(0))


def regime(n, seed, scale=1.0, sign=1.0):
    rng = np.random.default_rng(seed)
    depth, share = rng.uniform(1, 40, n), rng.uniform(0.1, 1, n)
    effect = ((depth - 20) / 12) ** 2 - 3 * share
    return {"depth": depth, "width": 256 * scale * share}, sign * effect + rng.normal(size=n) / 2


def test_effects_that_are_the_same_transfer_and_opposite_ones_do_not():
    own = regime(150, 0)
    same = rank_transfer(*own, *regime(150, 1))
    assert same.parameters == ("depth", "width")
    assert same.n == (150, 150)
    assert same.spearman_interval[1] > same.own > 0.7
    assert rank_transfer(*own, *regime(150, 1, sign=-1)).spearman_interval[1] < -0.5


def test_a_parameter_that_grows_with_cost_transfers_by_its_place_within_the_regime():
    own, grown = regime(150, 0), regime(150, 1, scale=8)
    by_value = rank_transfer(*own, *grown)
    by_place = rank_transfer(*own, *grown, relative=True)
    assert by_place.spearman > by_value.spearman + 0.05
    assert by_place.spearman > by_place.own - 0.08


def test_errors_that_no_parameter_explains_are_ranked_by_none():
    rng = np.random.default_rng(3)
    own = [
        rank_transfer(*regime(60, seed), {"depth": rng.random(60)}, rng.normal(size=60)).own
        for seed in range(20)
    ]
    assert abs(np.mean(own)) < 0.12


def test_refusals():
    with pytest.raises(InputError, match="3 networks with an error in both"):
        agreement([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(InputError, match="the same error, which ranks none"):
        agreement([1.0] * 6, range(6))
    with pytest.raises(InputError, match="top: 1 must lie between 0 and 1"):
        agreement(range(6), range(6), top=1)
    with pytest.raises(ValueError, match="cheap, long: shapes"):
        agreement(range(6), range(7))
    with pytest.raises(InputError, match="no parameter varies in both regimes"):
        rank_transfer({"a": range(9)}, range(9), {"b": range(9)}, range(9))
    with pytest.raises(InputError, match="9 and 4 networks with an error, 5 at least of each"):
        rank_transfer({"a": range(9)}, range(9), {"a": range(4)}, range(4))
