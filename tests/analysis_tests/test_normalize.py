import numpy as np
import pytest

from analysis.edf import populations
from analysis.normalize import normalize, normalized_edfs
from anynet import InputError
from tests.analysis_tests.test_edf import frame_of


def test_each_network_weighs_one_over_bins_times_networks_of_its_bin():
    # Two linear bins from 1 to 3 for both; NDS: 1/(k m_j).
    made = normalize(["a", "b"], [[1, 1.5, 1.9, 3], [1, 2.5, 3]], bins=2, spacing="linear")
    assert made.edges.tolist() == [1, 2, 3]
    assert made.counts == ((3, 1), (1, 2))
    np.testing.assert_allclose(made.weights[0], [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    np.testing.assert_allclose(made.weights[1], [1 / 2, 1 / 4, 1 / 4])
    assert made.notes == ()


def test_bins_are_of_equal_ratio_by_default():
    assert normalize(["a"], [[1, 5, 100]], bins=2).edges.tolist() == pytest.approx([1, 10, 100])


def test_normalized_populations_have_the_same_distribution_of_complexity():
    rng = np.random.default_rng(0)
    flops = [rng.uniform(1, 2, 300), 2 - rng.uniform(0, 1, 300) ** 2]
    made = normalize(["a", "b"], flops, bins=8)
    shares = [
        np.histogram(value, made.edges, weights=weight)[0]
        for value, weight in zip(flops, made.weights, strict=True)
    ]
    np.testing.assert_allclose(shares, np.full((2, 8), 1 / 8))


def test_what_another_population_does_not_reach_is_left_out_and_said():
    made = normalize(["a", "b"], [[1, 2, 3, 4], [2, 3, 3.5, 9]], bins=1)
    assert made.weights[0].tolist() == [0, 1 / 3, 1 / 3, 1 / 3]
    assert made.weights[1].tolist() == [1 / 3, 1 / 3, 1 / 3, 0]
    assert made.notes[0].startswith("a: 1 of 4 networks have flops that another population")
    with pytest.raises(InputError, match="a ends at 2 and b begins at 3: populations that do not"):
        normalize(["a", "b"], [[1, 2], [3, 4]])


def test_an_empty_bin_is_refused_or_merged_out_loud():
    values = [[1, 1.2, 2.5, 3.9, 4], [1, 3.5, 4]]
    with pytest.raises(InputError, match=r"b: no network with params from 2 to 3 \(bin 2 of 3\)"):
        normalize(["a", "b"], values, bins=3, spacing="linear", complexity="params")
    made = normalize(["a", "b"], values, bins=3, spacing="linear", empty="merge")
    assert made.edges.tolist() == [1, 2, 4] or made.edges.tolist() == [1, 3, 4]
    assert made.notes == ("flops: empty bins merged: 1 to 3 (2 bins)",)
    # A merged bin keeps the share of those that it consists of.
    np.testing.assert_allclose(made.weights[1], [2 / 3, 1 / 6, 1 / 6])


def test_weights_of_promotion_are_kept_within_a_bin():
    made = normalize(["a"], [[1, 1, 4, 9]], [[1, 3, 5, 0]], bins=2, spacing="linear")
    np.testing.assert_allclose(made.weights[0], [1 / 8, 3 / 8, 1 / 2, 0])


def test_options_that_are_none_are_said():
    with pytest.raises(InputError, match="bins: 0 must be at least 1"):
        normalize(["a"], [[1]], bins=0)
    with pytest.raises(InputError, match="complexity: 'depth' must be one of flops"):
        normalize(["a"], [[1]], complexity="depth")
    with pytest.raises(InputError, match="a: flops: 0 must be above 0"):
        normalize(["a"], [[0, 1]])


def test_failed_networks_fill_no_bin_and_stay_counted():
    frame = frame_of(error=[1, 2, 3, np.nan], flops=[1.0, 1.0, 2.0, 2.0], space=list("aaaa"))
    frame.loc[3, "state"] = "failed"
    (one,), notes = normalized_edfs(populations(frame), "flops", 2)
    assert notes == ()
    assert (len(one), one.failed) == (3, 1)
    np.testing.assert_allclose(one.weights, [0.25, 0.25, 0.5])
