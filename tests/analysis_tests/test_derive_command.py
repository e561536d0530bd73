"""`anynet derive`: from runs to a space, its evidence, and the sweep that would decide more."""

from __future__ import annotations

import json

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import DesignSpace
from anynet.cli import run
from anynet.files import to_yaml
from anynet.space import Constraint, load_space
from search.ledger import Ledger
from search.sweep_file import load_sweep
from search.trial import trial_seed

SPACE = DesignSpace(
    name="small",
    depth=(1.0, 2.0, 4.0),
    width=(8.0, 16.0, 32.0, 64.0),
    bottleneck_ratio=(1.0, 2.0),
    group_width=(4.0, 8.0),
    strides=(1, 2, 2),
)
GROWING = replace(SPACE, name="growing", constraints=(Constraint("width", "non_decreasing"),))
IMAGES = {
    "name": "digits",
    "classes": [str(i) for i in range(10)],
    "channels": 1,
    "resolution": 8,
    "train_images": 1000,
    "validation_images": 500,
    "digest": "abc",
}
N = 250


def planted(population):
    stays = np.maximum(1 - np.diff(np.log2(population.widths.astype(float)), axis=1), 0)
    return 20 + 2 * stays.sum(axis=1)


@pytest.fixture
def make_run(tmp_path, make_trial):
    """A function that writes a run of planted errors: spaces, seed, and changes of its files."""

    def make(name, *spaces, seed=0, epochs=1, digest="abc", n=N, error=planted):
        folder = tmp_path / name
        rng = np.random.default_rng(seed)
        with Ledger(folder) as ledger:
            for space in spaces:
                space = replace(space, input_channels=1, classes=10)
                population = space.sample(n, rng, resolution=8, unique=False)
                errors = np.clip(error(population) + rng.normal(0, 1, n), 0, 100)
                for i in range(n):
                    ledger.append(
                        make_trial(
                            f"{space.name}-{i:03d}",
                            space=space.name,
                            drawn=population.drawn_settings(i),
                            network=population[i],
                            seed=trial_seed(seed, population[i], i),
                            params=int(population.params[i]),
                            flops=int(population.flops[i]),
                            activations=int(population.activations[i]),
                            error=float(errors[i]),
                            epochs=epochs,
                        )
                    )
        sweep = {
            "space": list(spaces),
            "networks": n,
            "window": {},
            "data": {"name": "digits"},
            "recipe": {"lr": 0.1},
            "epochs": epochs,
            "seed": seed,
        }
        (folder / "sweep.yaml").write_text(to_yaml(sweep))
        (folder / "data.yaml").write_text(to_yaml(IMAGES | {"digest": digest}))
        return folder

    return make


def derive(*arguments):
    return run(["derive", *map(str, arguments)])


def test_one_space_alone_suggests_and_writes_the_sweep_that_decides(make_run, tmp_path, capsys):
    folder = make_run("a", SPACE)
    out, following = tmp_path / "space.yaml", tmp_path / "next.yaml"
    assert derive(folder, "--out", out, "--confirm", following) == 0
    printed = capsys.readouterr().out
    assert "No constraint was tried" in printed
    assert "width non-decreasing" in printed
    assert load_space(str(out)) == replace(SPACE, input_channels=1, classes=10)
    sweep = load_sweep(following)
    assert sweep.space[0].constraints == (Constraint("width", "non_decreasing"),)
    assert sweep.seed == 1
    assert sweep.networks > 20
    assert (sweep.epochs, sweep.recipe.lr) == (1, 0.1)


@pytest.mark.parametrize(
    ("confirm", "rule"),
    [("space.yaml", "must be another file than --out"), ("next", "must end in .yaml")],
)
def test_the_sweep_file_is_not_written_over_the_space(make_run, tmp_path, capsys, confirm, rule):
    folder = make_run("a", SPACE, n=4)
    out, confirm = tmp_path / "space.yaml", tmp_path / confirm
    assert derive(folder, "--out", out, "--confirm", confirm) == 2
    assert capsys.readouterr().err == f"anynet: --confirm: {confirm}: {rule}\n"
    assert not out.exists()


def test_a_run_without_a_trial_is_named(make_run, tmp_path, capsys):
    full, empty = make_run("a", SPACE, n=4), make_run("b", GROWING, n=4)
    (empty / "trials.jsonl").write_text("")
    for runs in ([empty], [full, empty]):
        assert derive(*runs, "--out", tmp_path / "space.yaml") == 2
        assert capsys.readouterr().err == f"anynet: {empty}: no trial has ended yet\n"


def test_a_fresh_sample_decides_and_its_evidence_stands_beside_the_space(
    make_run, tmp_path, capsys
):
    first, second = make_run("a", SPACE), make_run("b", GROWING, seed=1)
    out = tmp_path / "space.yaml"
    assert derive(first, second, "--out", out, "--delta", 0.8) == 0
    printed = capsys.readouterr().out
    assert "accepted as an improvement" in printed
    space = load_space(str(out))
    assert space.constraints == GROWING.constraints
    assert "accepted as an improvement" in out.read_text()
    data = json.loads((tmp_path / "space.evidence.json").read_text())
    (step,) = data["steps"]
    assert step["outcome"] == "improvement"
    assert step["comparison"]["n_a"] == N
    assert step["comparison"]["value_a"] < step["comparison"]["value_b"]
    assert data["start"]["size"] / data["end"]["size"] == pytest.approx(64 / 20)
    assert data["runs"] == [str(first), str(second)]
    assert "accepted as an improvement" in (tmp_path / "space.evidence.md").read_text()
    evidence, figure = str(tmp_path / "space.evidence.json"), tmp_path / "ladder.svg"
    assert run(["ladder", evidence, "--out", str(figure), "--json"]) == 0
    (drawn,) = json.loads(capsys.readouterr().out)["steps"]
    found = step["comparison"]
    assert drawn["change"] == pytest.approx(found["value_a"] - found["value_b"])
    assert (drawn["low"], drawn["high"]) == (-found["high"], -found["low"])
    assert f"{N} / {N}" in figure.read_text()


def test_a_space_that_nobody_suggested_is_decided_too(make_run, tmp_path, capsys):
    falling = replace(SPACE, name="falling", constraints=(Constraint("width", "non_increasing"),))
    folder = make_run("a", SPACE, falling)
    assert derive(folder, "--out", tmp_path / "space.yaml", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    (step,) = data["steps"]
    assert (step["constraint"], step["outcome"]) == ("space:falling", "refused")
    assert step["comparison"]["verdict"] == "worse"
    assert data["end"]["space"] == "small"
    assert {path.rpartition(".")[2] for path in data["written"]} == {"yaml", "json", "md"}


def test_samples_of_one_space_are_one_by_whatever_name(make_run, tmp_path, capsys):
    again = replace(SPACE, name="again")
    runs = [make_run("a", SPACE), make_run("b", again, GROWING, seed=1)]
    assert derive(*runs, "--out", tmp_path / "s.yaml", "--delta", 0.8, "--json") == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["comparison"]["n_b"] == 2 * N


def test_networks_of_one_seed_count_once(make_run, tmp_path, capsys):
    runs = [make_run("a", SPACE, n=60), make_run("b", SPACE, n=100), make_run("c", GROWING, seed=1)]
    assert derive(*runs, "--out", tmp_path / "s.yaml", "--delta", 0.8, "--json") == 0
    captured = capsys.readouterr()
    (step,) = json.loads(captured.out)["steps"]
    assert step["comparison"]["n_b"] == 100
    assert captured.err == (
        f"anynet: {runs[1]}: small: 60 networks are those of another run, drawn from the same "
        "seed: they count once\n"
    )


def test_a_space_that_drops_a_limit_is_no_smaller_one(make_run, tmp_path, capsys):
    limited = replace(SPACE, name="limited", limits=("depth <= 9",))
    kept = replace(GROWING, name="kept", limits=limited.limits)
    runs = [make_run("a", limited), make_run("b", GROWING, kept, seed=1)]
    out = tmp_path / "s.yaml"
    assert derive(*runs, "--start", "limited", "--out", out, "--delta", 0.8, "--json") == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["space"] == "kept"
    assert load_space(str(out)).limits == limited.limits


def test_a_limit_alone_is_decided_by_its_sample(make_run, tmp_path, capsys):
    shallow = replace(SPACE, name="shallow", limits=("depth <= 6",))

    def deeper(population):
        return 20 + population.depths.sum(axis=1)

    runs = [make_run("a", SPACE, error=deeper), make_run("b", shallow, seed=1, error=deeper)]
    assert derive(*runs, "--out", tmp_path / "s.yaml", "--json") == 0
    step = json.loads(capsys.readouterr().out)["steps"][0]
    assert (step["constraint"], step["outcome"]) == ("space:shallow", "improvement")
    assert step["screening"]["effect"] < 0
    assert step["shrinkage"] > 1


def test_runs_without_a_trained_network_of_a_space_are_refused(make_run, tmp_path, capsys):
    folder = make_run("a", SPACE, n=2)
    (folder / "trials.jsonl").write_text("")
    assert derive(folder, "--out", tmp_path / "s.yaml") == 2
    assert "no trial has ended yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, "epochs: 2, but 1 in"),
        ({"digest": "xyz"}, "was trained on other images than"),
    ],
)
def test_runs_of_other_trainings_are_refused(changes, message, make_run, tmp_path, capsys):
    runs = [make_run("a", SPACE), make_run("b", GROWING, seed=1, **changes)]
    assert derive(*runs, "--out", tmp_path / "space.yaml") == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "space.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "--out: x.txt: must end in .yaml"),
        (["--out", "x.yaml", "--start", "none"], "--start: 'none' is not a space of the runs"),
        (["--out", "x.yaml", "--delta", "0"], "delta: 0 must be above 0 points of error"),
        (["--out", "x.yaml", "--alpha", "2"], "alpha: 2 must lie between 0 and 1"),
        (["--out", "x.yaml", "--delta", "1e-6"], "delta: 1e-06: no number of networks"),
        (["--out", "x.yaml", "--power", "1"], "power: 1 must lie between 0 and 1"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, make_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert derive(make_run("a", SPACE, n=60), *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_is_no_run_of_ours_is_refused(write_run, make_trial, tmp_path, capsys):
    folder = write_run("bare", [make_trial()])
    assert derive(folder, "--out", tmp_path / "space.yaml") == 2
    assert "sweep.yaml: no such file; the run must be one of" in capsys.readouterr().err
    assert derive("--out", tmp_path / "space.yaml") == 2
    assert "RUN: give at least one run" in capsys.readouterr().err
