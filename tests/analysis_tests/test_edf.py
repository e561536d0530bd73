import numpy as np
import pandas as pd
import pytest

from analysis.edf import edf, edfs_by_population
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
