import numpy as np

from analysis.results import COLUMNS, load_runs


def test_a_row_a_trial_with_all_columns(make_trial, write_run):
    folder = write_run(
        "run",
        [
            make_trial("a-001", error=20.0, curve=(30.0, 20.0), test_error=21.0, seed=2**62),
            make_trial("a-000", state="failed", error=None, curve=(), reason="oops"),
            make_trial("a-001", rung=1, promotion_probability=0.25, replicate=0),
        ],
    )
    frame = load_runs([folder])
    assert list(frame.columns) == list(COLUMNS)
    assert frame["trial"].tolist() == ["a-000", "a-001", "a-001"]
    assert frame["rung"].tolist() == [0, 0, 1]
    assert frame["promotion_probability"].tolist() == [1, 1, 0.25]
    assert frame["curve"].tolist() == [(), (30.0, 20.0), (12.5,)]
    assert frame["seed"].tolist() == [1, 2**62, 1]
    assert frame["error"].dtype == frame["test_error"].dtype == float
    assert np.isnan(frame["error"][0])
    assert frame["test_error"][1] == 21
    assert np.isnan(frame["test_error"][0])
    assert frame["adaptive"].dtype == bool
    assert frame["network"][0] == make_trial().network


def test_without_networks_the_other_columns_are_the_same(make_trial, write_run):
    folder = write_run("run", [make_trial("a-000"), make_trial("a-001", error=3.0)])
    whole, part = load_runs([folder]), load_runs([folder], networks=False)
    assert list(part.columns) == [name for name in COLUMNS if name != "network"]
    assert part.equals(whole.drop(columns="network"))


def test_runs_stand_in_the_order_given_and_an_empty_one_has_columns(make_trial, write_run):
    one, two = (write_run(name, [make_trial("a-000")]) for name in ("one", "two"))
    assert load_runs([two, one])["run"].tolist() == [str(two), str(one)]
    folder = write_run("empty", [])
    folder.mkdir(exist_ok=True)
    (folder / "trials.jsonl").touch()
    empty = load_runs([folder])
    assert empty.empty
    assert list(empty.columns) == list(COLUMNS)
