import numpy as np
import pytest

from analysis.selection import select, split
from anynet import InputError
from anynet.reference import Reference


def rungs(make_trial, space="a"):
    """Four networks, all cheap at rung 0; the two better ones promoted with probability 1/2."""
    cheap = [40.0, 30.0, 50.0, 60.0]
    trials = [
        make_trial(f"{space}-{i:03d}", space=space, error=error, epochs=1)
        for i, error in enumerate(cheap)
    ]
    trials += [
        make_trial(
            f"{space}-{i:03d}",
            space=space,
            error=error,
            epochs=4,
            rung=1,
            promotion_probability=0.5,
        )
        for i, error in ((1, 9.0), (0, 8.0))
    ]
    return trials


def test_a_run_is_all_its_spaces_and_a_space_is_one(make_trial, write_run):
    folder = write_run(
        "run",
        [
            make_trial("b-000", space="b", error=3.0),
            make_trial("a-000", space="a", error=2.0),
            make_trial("a-001", space="a", state="failed", error=None, curve=(), reason="oops"),
        ],
    )
    whole = select([str(folder)])
    assert [one.name for one in whole.populations] == ["a", "b"]
    assert whole.notes == ()
    (one,) = select([f"{folder}:a"]).populations
    assert (one.run, one.space) == (str(folder), "a")
    np.testing.assert_array_equal(one.errors, [2.0, np.nan])
    assert one.weights is None
    assert list(one.rows["trial"]) == ["a-000", "a-001"]
    assert one.rows["drawn"].iloc[0] == {"depths": [1]}
    assert one.rows["network"].iloc[0].stages[0].width == 8
    assert "network" not in select([str(folder)], networks=False).populations[0].rows


def test_rungs_give_one_row_a_network_weighted_by_promotion(make_trial, write_run):
    (one,) = select([str(write_run("run", rungs(make_trial)))]).populations
    np.testing.assert_array_equal(one.errors, [8.0, 9.0, np.nan, np.nan])
    np.testing.assert_array_equal(one.weights, [2.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(one.rows["error"], one.errors)
    assert list(one.rows["epochs"]) == [1, 1, 1, 1]
    assert len(one.trials) == 6


def test_a_path_that_exists_wins_over_a_space(make_trial, write_run):
    write_run("run", [make_trial("b-000", space="b", error=3.0)])
    folder = write_run("run:b", [make_trial("a-000", space="a", error=2.0)])
    assert split(str(folder)) == (str(folder), None)
    (one,) = select([str(folder)]).populations
    assert (one.run, one.name) == (str(folder), "a")
    (other,) = select([f"{folder}:a"]).populations
    assert other.name == "a"


def test_runs_of_one_space_are_named_by_run(make_trial, write_run):
    folders = [str(write_run(name, [make_trial()])) for name in ("one", "two")]
    assert [one.name for one in select(folders).populations] == folders


def test_baselines_stand_beside_the_populations(make_trial, write_run):
    vgg = Reference(reference="vgg11", input_channels=3, classes=10)
    beside = make_trial(
        "baseline-000", space="baseline", baseline="vgg", network=None, reference=vgg, error=7.0
    )
    folder = write_run("run", [make_trial(), beside])
    found = select([f"{folder}:a"])
    assert [len(one.errors) for one in found.populations] == [1]
    assert list(found.baselines["baseline"]) == ["vgg"]
    with pytest.raises(InputError, match=r"'baseline' is not in .*, which has a"):
        select([f"{folder}:baseline"])


def test_a_run_that_is_still_going_is_said_once(make_trial, write_run):
    folder = write_run("run", [make_trial(), make_trial("b-000", space="b")])
    (folder / "population.jsonl").write_text("1\n2\n3\n")
    found = select([f"{folder}:a", f"{folder}:b"])
    assert found.notes == (f"{folder}: 2 of 3 trials recorded so far",)


@pytest.mark.parametrize(
    ("suffixes", "rule"),
    [
        ((), "give at least one run"),
        ((":c",), r"'c' is not in .*, which has a, b"),
        (("", ":a"), "a is given twice"),
        ((":a", "/:a"), "a is given twice"),
    ],
)
def test_what_is_refused(make_trial, write_run, suffixes, rule):
    folder = write_run("run", [make_trial(), make_trial("b-000", space="b")])
    with pytest.raises(InputError, match=rule):
        select([f"{folder}{suffix}" for suffix in suffixes])


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"adaptive": True}, "adaptive: 1 of 1 trials were chosen by an optimizer"),
        ({"state": "stopped"}, "state: 1 of 1 trials were stopped early"),
    ],
)
def test_what_is_no_population_is_refused(make_trial, write_run, fields, rule):
    folder = write_run("run", [make_trial(**fields)])
    with pytest.raises(InputError, match=rule):
        select([str(folder)])


def test_an_empty_run_has_no_population(tmp_path):
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no trial has ended yet"):
        select([str(tmp_path)])
