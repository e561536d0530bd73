import numpy as np
import pandas as pd
import pytest

from analysis.edf import edf, edfs_by_population, populations
from analysis.results import COLUMNS
from anynet import InputError


def frame_of(**columns):
    n = len(columns["error"])
    base = {name: [None] * n for name in COLUMNS}
    base |= {"run": ["run"] * n, "space": ["a"] * n, "epochs": [1] * n, "rung": [0] * n}
    base |= {"trial": [f"t{i}" for i in range(n)], "state": ["complete"] * n}
    base |= {"promotion_probability": [1.0] * n, "replicate": [0] * n, "adaptive": [False] * n}
    return pd.DataFrame(base | columns).astype({"error": float})


def test_share_of_networks_with_error_at_most_e():
    one = edf("a", [30, 10, 20, 20])
    assert one([9.99, 10, 15, 20, 30, 99]).tolist() == [0, 0.25, 0.25, 0.75, 1, 1]
    assert (one.minimum, one.mean, len(one)) == (10, 20, 4)


def test_diverged_networks_count_and_failed_ones_are_left_out_and_counted():
    one = edf("a", [10, 100, np.nan, np.nan])
    assert one(99) == 0.5
    assert one.mean == 55
    assert (len(one), one.failed) == (2, 2)


def test_nothing_to_draw_is_said():
    with pytest.raises(InputError, match=r"a: no trial with an error yet \(1 failed\)"):
        edf("a", [np.nan])
    with pytest.raises(InputError, match="no trial has ended"):
        edfs_by_population(frame_of(error=[]))


def test_a_population_is_a_run_and_a_space_in_the_order_of_the_ledger():
    frame = frame_of(error=[1, 2, 3, 4], space=["b", "a", "b", "a"])
    edfs = edfs_by_population(frame)
    assert [one.name for one in edfs] == ["b", "a"]
    assert edfs[0].errors.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("runs", "spaces", "names"),
    [
        (["r", "r"], ["a", "b"], ["a", "b"]),
        (["r", "s"], ["a", "a"], ["r", "s"]),
        (["r", "s", "s"], ["a", "a", "b"], ["r: a", "s: a", "s: b"]),
    ],
)
def test_names_are_as_short_as_keeps_them_apart(runs, spaces, names):
    frame = frame_of(error=[1.0] * len(runs), run=runs, space=spaces)
    assert [one.name for one in edfs_by_population(frame)] == names


def test_fidelities_are_never_mixed():
    with pytest.raises(InputError, match=r"run: a: trainings of \[1, 2\] epochs"):
        edfs_by_population(frame_of(error=[1, 2], epochs=[1, 2]))


def test_weights_are_shares_and_networks_of_weight_0_are_not_there():
    one = edf("a", [30, 10, 20, 5, np.nan, np.nan], [1, 2, 1, 0, 3, 0])
    assert one.errors.tolist() == [10, 20, 30]
    assert one.weights.tolist() == [0.5, 0.25, 0.25]
    assert one([5, 10, 25, 30]).tolist() == [0, 0.5, 0.75, 1]
    assert (one.minimum, one.mean, one.failed) == (10, 17.5, 1)
    assert one.effective_size == pytest.approx(1 / (0.25 + 2 * 0.0625))
    assert edf("a", [1, 2], [3, 3]).weights is None


def test_quantiles_are_the_least_error_that_reaches_the_share():
    one = edf("a", [10, 20, 20, 40])
    assert [one.quantile(q) for q in (0.01, 0.25, 0.26, 0.75, 0.76, 1)] == [10, 10, 20, 20, 40, 40]
    tenths = edf("a", np.arange(9.0), [1] * 8 + [2])
    assert tenths.quantile(0.8) == 7  # eight times 0.1 is 0.7999999999999999


def test_area_is_the_integral_of_the_edf_up_to_the_limit():
    one = edf("a", [10, 20, 100], [1, 2, 1])
    grid = np.linspace(0, 40, 400_001)
    assert one.area(40) == pytest.approx(one(grid).mean(), abs=1e-4)
    assert one.area(40) == pytest.approx(1 - (0.25 * 0.25 + 0.5 * 0.5 + 0.25))


def test_weights_that_are_none_are_said():
    with pytest.raises(InputError, match=r"a: weights: -1\.0 must be a number of at least 0"):
        edf("a", [1, 2], [1, -1])
    with pytest.raises(InputError, match="a: weights: nan must be"):
        edf("a", [1, 2], [1, np.nan])
    with pytest.raises(InputError, match=r"a: weights: \(1,\) must have the shape \(2,\)"):
        edf("a", [1, 2], [1])


def rungs_frame(**changes):
    """Four networks: t0 and t1 promoted, t1 twice; t2 diverged at the lowest rung; t3 was not."""
    columns = {
        "trial": ["t0", "t1", "t2", "t3", "t0", "t1", "t1"],
        "rung": [0, 0, 0, 0, 1, 1, 2],
        "epochs": [1, 1, 1, 1, 3, 3, 9],
        "error": [40.0, 30.0, 100.0, 60.0, 25.0, 20.0, 10.0],
        "state": ["complete", "complete", "diverged", "complete"] + ["complete"] * 3,
        "promotion_probability": [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25],
    }
    return frame_of(**(columns | changes))


def test_of_rungs_the_longest_is_drawn_with_inverse_probabilities():
    (population,) = populations(rungs_frame())
    table = population.networks.set_index("trial")
    assert table["probability"].to_dict() == {"t0": 0.5, "t1": 0.125, "t2": 1.0, "t3": 1.0}
    assert table["weight"].to_dict() == {"t0": 0.0, "t1": 8.0, "t2": 1.0, "t3": 0.0}
    assert table["cheap"].to_dict() == {"t0": 40, "t1": 30, "t2": 100, "t3": 60}
    one = population.edf()
    assert one.errors.tolist() == [10, 100]
    np.testing.assert_allclose(one.weights, [8 / 9, 1 / 9])
    assert (population.epochs, population.rungs) == (9, 3)
    assert "2 of 4 networks came to an end" in population.note


def test_a_network_that_failed_after_its_promotion_is_counted():
    frame = rungs_frame(state=["complete"] * 6 + ["failed"])
    frame.loc[6, "error"] = np.nan
    frame.loc[2, ["error", "state"]] = [50.0, "complete"]
    with pytest.raises(InputError, match=r"a: no trial with an error yet \(1 failed\)"):
        edfs_by_population(frame)
    frame.loc[2, ["error", "state"]] = [100.0, "diverged"]
    (one,) = edfs_by_population(frame)
    assert (one.errors.tolist(), one.failed) == ([100], 1)


def test_what_is_no_sample_of_a_space_is_refused():
    with pytest.raises(InputError, match=r"run: a: adaptive: 1 of 2 trials were chosen by an opt"):
        edfs_by_population(frame_of(error=[1, 2], adaptive=[False, True]))
    with pytest.raises(InputError, match=r"run: a: state: 1 of 2 trials were stopped early"):
        edfs_by_population(frame_of(error=[1, 2], state=["complete", "stopped"]))
    with pytest.raises(InputError, match=r"t1: promotion_probability: 0.0 must lie in \(0, 1\]"):
        edfs_by_population(frame_of(error=[1, 2], promotion_probability=[1.0, 0.0]))
    with pytest.raises(InputError, match=r"run: a: t1: rung: has no record of rung 0"):
        edfs_by_population(frame_of(error=[1, 2], rung=[0, 1]))


def test_of_replicates_the_first_training_counts():
    (one,) = edfs_by_population(
        frame_of(error=[1, 2, 9], trial=["t0", "t1", "t1"], replicate=[0, 0, 1])
    )
    assert one.errors.tolist() == [1, 2]
