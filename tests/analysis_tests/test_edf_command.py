"""`anynet edf` of populations that were trained in rungs, and of nested spaces that are pooled."""

import json

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import DesignSpace
from anynet.cli import run
from anynet.files import to_yaml
from anynet.space import Constraint
from search.trial import trial_seed

LARGE = DesignSpace(
    name="large",
    depth=(1.0, 2.0, 3.0, 4.0),
    width=(8.0, 16.0, 24.0, 32.0),
    bottleneck_ratio=1.0,
    group_width=8.0,
    strides=(1, 2),
)
SMALL = replace(LARGE, name="small", constraints=(Constraint("depth", "non_decreasing"),))
IMAGES = {"resolution": 8, "channels": 3, "classes": [str(i) for i in range(1000)], "digest": "x"}


@pytest.fixture
def rungs(make_trial, write_run):
    """60 networks, a third of them promoted; brief errors rank as the long ones do."""
    rng = np.random.default_rng(0)
    long = np.sort(10 + 5 * rng.random(60))
    cheap = [make_trial(f"a-{i:03d}", error=float(e) + 30) for i, e in enumerate(long)]
    promoted = sorted(rng.choice(60, 20, replace=False).tolist())
    more = [
        make_trial(
            f"a-{i:03d}", error=float(long[i]), rung=1, epochs=9, promotion_probability=1 / 3
        )
        for i in promoted
    ]
    more.append(make_trial("a-060", state="failed", error=None, curve=(), reason="oops"))
    return write_run("run", cheap + more)


def test_rungs_are_assisted_by_the_brief_trainings(rungs, tmp_path, capsys):
    arguments = ["edf", f"{rungs}:a", "--out", str(tmp_path / "e.svg")]
    found = {}
    for estimator in ("assisted", "hajek", "horvitz_thompson"):
        assert run([*arguments, "--json", "--rungs", estimator]) == 0
        captured = capsys.readouterr()
        assert "a: 20 of 61 networks came to an end, at 9 epochs or before" in captured.err
        assert estimator in captured.err
        found[estimator] = json.loads(captured.out)["populations"][0]
        assert found[estimator]["rungs"]["estimator"] == estimator
        assert found[estimator]["rungs"]["promoted"] == found[estimator]["n"] == 20
        assert found[estimator]["failed"] == 1
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["populations"][0] == found["assisted"]

    def width(one):
        return np.mean(np.subtract(one["band"]["high"], one["band"]["low"]))

    assert width(found["assisted"]) < 0.95 * width(found["hajek"])
    assert found["assisted"]["effective_n"] > 1.3 * found["hajek"]["effective_n"] > 20
    low, high = found["assisted"]["mean_interval"]
    wide = np.diff(found["hajek"]["mean_interval"])
    assert 12 < low < found["assisted"]["mean"] < high < 13
    assert 0.1 < (high - low) / wide < 0.8
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "interval of the mean by Student's t" in captured.out
    assert "n=20 (as " in (tmp_path / "e.svg").read_text()
    assert run([*arguments, "--rungs", "horvitz_thompson", "--band", "dkw"]) == 2
    assert "--band: dkw goes with estimates that are normalized" in capsys.readouterr().err
    assert run([*arguments, "--rungs", "assisted", "--normalize", "flops"]) == 2
    assert "which takes hajek" in capsys.readouterr().err


@pytest.fixture
def sweep(make_trial, write_run):
    """A function that writes a whole run: its sweep, its images, its trials."""

    def write(name, spaces, n=40, epochs=1, seed=0):
        rng = np.random.default_rng(seed)
        window = {"flops": [0.0, 1e12]}
        trials = []
        for space in spaces:
            networks = space.sample(n, rng, resolution=8, flops=tuple(window["flops"]))
            for i, network in enumerate(networks):
                costs = {
                    key: int(getattr(networks, key)[i])
                    for key in ("params", "flops", "activations")
                }
                trials.append(
                    make_trial(
                        f"{space.name}-{i:03d}",
                        space=space.name,
                        drawn=networks.drawn_settings(i),
                        network=network,
                        seed=trial_seed(seed, network, i),
                        error=float(10 + network.stages[0].depth + rng.random()),
                        epochs=epochs,
                        **costs,
                    )
                )
        folder = write_run(name, trials)
        sweep = {"space": list(spaces), "window": window, "data": {}, "recipe": {"lr": 0.1}}
        (folder / "sweep.yaml").write_text(to_yaml(sweep | {"epochs": epochs}, "a test"))
        (folder / "data.yaml").write_text(to_yaml(IMAGES, "a test"))
        return folder

    return write


def test_nested_spaces_are_pooled_where_it_pays(sweep, tmp_path, capsys):
    folder = sweep("run", [LARGE, SMALL])
    arguments = ["edf", str(folder), "--pool", "--out", str(tmp_path / "e.png")]
    assert run([*arguments, "--json"]) == 0
    large, small = json.loads(capsys.readouterr().out)["populations"]
    inside = sum(errors_of_nested(folder))
    # All of SMALL is in LARGE, and of LARGE's networks those whose depths do not decrease.
    assert small["n"] == 40 + inside
    assert small["pooled"]["own"] == 40
    assert small["pooled"]["gain"] == pytest.approx(1 + inside / 40)
    assert small["pooled"]["spaces"] == ["large"]
    assert large["n"] == 80
    assert 1.1 < large["pooled"]["gain"] < 2
    assert large["effective_n"] == pytest.approx(large["pooled"]["effective_n"], rel=0.25)
    assert sum(large["weights"]) == pytest.approx(1)
    assert len(large["band"]["low"]) == len(set(large["errors"])) + 1
    assert run(arguments) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["space", "own", "n", "pooled", "as", "gain", "pooled"]
    assert lines[1].split()[:2] == ["large", "40"]
    assert lines[1].split()[-1] == lines[2].split()[-1] == "yes"
    assert "small: with networks of large its own 40 count as" in captured.err


def errors_of_nested(folder):
    """Whether each of LARGE's networks has depths that do not decrease."""
    for line in (folder / "trials.jsonl").read_text().splitlines():
        trial = json.loads(line)
        if trial["space"] == "large":
            yield trial["drawn"]["depths"][0] <= trial["drawn"]["depths"][1]


def test_where_nothing_is_gained_it_is_said(sweep, tmp_path, capsys):
    narrow = replace(LARGE, name="narrow", depth=(1.0,))
    other = replace(LARGE, name="other", block="vanilla", bottleneck_ratio=None, group_width=None)
    folder = sweep("run", [LARGE, narrow, other], n=12, seed=2)
    arguments = ["edf", str(folder), "--pool", "--out", str(tmp_path / "e.png")]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    plain = ["edf", str(folder), "--out", str(tmp_path / "e.png"), "--json"]
    found = {p["name"]: p for p in json.loads(captured.out)["populations"]}
    assert not any(one["pooled"]["pays"] for one in found.values())
    assert found["other"]["pooled"]["gain"] is None
    assert "narrow: with large its 12 networks would count as" in captured.err
    assert "other: no other space has its structure, so that nothing is pooled" in captured.err
    assert "--pool: nothing is gained" in captured.err
    assert run(plain) == 0
    for one in json.loads(capsys.readouterr().out)["populations"]:
        assert found[one["name"]]["errors"] == one["errors"]
        assert found[one["name"]]["weights"] is None


def test_two_runs_of_a_space_are_one_sample(sweep, tmp_path, capsys):
    one, two = sweep("one", [LARGE], seed=1), sweep("two", [LARGE], seed=2)
    arguments = ["edf", str(one), str(two), "--pool", "--out", str(tmp_path / "e.png"), "--json"]
    assert run(arguments) == 0
    (population,) = json.loads(capsys.readouterr().out)["populations"]
    assert (population["n"], population["pooled"]["own"]) == (80, 80)
    assert not population["pooled"]["pays"]
    # A longer sweep of the first seed begins with the networks of the first.
    longer = sweep("longer", [LARGE], seed=1, n=60)
    arguments[3:3] = [str(longer)]
    assert run(arguments) == 0
    (population,) = json.loads(capsys.readouterr().out)["populations"]
    assert (population["n"], population["pooled"]["own"]) == (100, 100)


def test_other_trainings_are_not_pooled(sweep, tmp_path, capsys):
    one, two = sweep("one", [LARGE]), sweep("two", [SMALL], epochs=2)
    arguments = ["edf", str(one), str(two), "--pool", "--out", str(tmp_path / "e.png")]
    assert run(arguments) == 2
    assert "epochs: 2, but 1 in" in capsys.readouterr().err


def test_rungs_are_not_pooled(rungs, tmp_path, capsys):
    assert run(["edf", str(rungs), "--pool", "--out", str(tmp_path / "e.png")]) == 2
    assert "--pool: a: was trained in rungs" in capsys.readouterr().err
