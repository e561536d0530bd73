import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import with_style
from analysis.run_figures import draw_tradeoff, save_tradeoff
from analysis.selection import select
from analysis.tradeoff import pareto_front, tradeoff
from anynet.cli import run


def by_definition(costs, errors):
    """The front, pair by pair."""
    able = ~np.isnan(costs) & (errors < 100)
    front = []
    for i in range(len(costs)):
        beaten = (
            able
            & (costs <= costs[i])
            & (errors <= errors[i])
            & ((costs < costs[i]) | (errors < errors[i]))
        )
        front.append(bool(able[i] and not beaten.any()))
    return front


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_network_beats(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 30))
    costs, errors = rng.integers(1, 8, n).astype(float), rng.integers(1, 8, n).astype(float)
    errors[rng.random(n) < 0.2] = 100
    errors[rng.random(n) < 0.1] = np.nan
    costs[rng.random(n) < 0.1] = np.nan
    assert pareto_front(costs, errors).tolist() == by_definition(costs, errors)


def test_equal_networks_are_both_on_the_front_and_the_cheapest_diverged_one_is_not():
    front = pareto_front([1, 2, 2, 2, 3], [100, 5, 5, 6, 5])
    assert front.tolist() == [False, True, True, False, False]
    assert not pareto_front([1, 2], [100, 100]).any()


def test_columns_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="must both be"):
        pareto_front([1, 2], [1])


@pytest.fixture
def folder(make_trial, write_run):
    """Two populations and two baselines: one dearer and better than all, one cheap and poor."""
    rows = [
        ("a-000", "a", 100, 20.0),
        ("a-001", "a", 200, 10.0),
        ("a-002", "a", 300, 15.0),
        ("b-000", "b", 150, 12.0),
        ("b-001", "b", 400, 100.0),
        ("b-002", "b", 120, None),
    ]
    states = {100.0: "diverged", None: "failed"}
    trials = [
        make_trial(
            trial,
            space=space,
            flops=flops,
            params=500 - flops,
            error=error,
            state=states.get(error, "complete"),
        )
        for trial, space, flops, error in rows
    ]
    for name, flops, error in (("resnet", 1000, 5.0), ("lenet", 50, 60.0)):
        trials.append(
            make_trial(
                f"{name}-000", space="baseline", baseline=name, flops=flops, params=9, error=error
            )
        )
    return write_run("run", trials)


def found(folder, cost="flops"):
    selection = select([str(folder)], networks=False)
    return tradeoff(selection.populations, selection.baselines, cost)


def test_the_front_is_that_of_all_populations_and_baselines_have_rivals(folder):
    one = found(folder)
    assert one.front["trial"].tolist() == ["a-000", "b-000", "a-001"]
    own = one.networks[one.networks["own_front"]]
    assert own["trial"].tolist() == ["a-000", "a-001", "b-000"]
    assert len(one.networks) == 5  # the failed one has no error
    resnet, lenet = one.baselines.to_dict("records")
    assert (resnet["name"], resnet["rival_error"]) == ("resnet", 10)
    assert np.isnan(resnet["rival_cost"])
    assert (lenet["name"], lenet["rival_cost"]) == ("lenet", 100)
    assert np.isnan(lenet["rival_error"])


def test_another_cost_is_another_front(folder):
    assert found(folder, "params").front["trial"].tolist() == ["a-002", "a-001"]


def test_of_rungs_the_last_error_and_its_seconds_count(make_trial, write_run):
    folder = write_run(
        "run",
        [
            make_trial("a-000", error=30.0, seconds=1.0),
            make_trial("a-001", error=40.0, seconds=1.0),
            make_trial("a-000", rung=1, epochs=3, error=9.0, seconds=3.5),
        ],
    )
    networks = found(folder, "seconds").networks
    assert networks[["trial", "error", "seconds"]].values.tolist() == [["a-000", 9.0, 3.5]]


def test_the_step_ends_at_the_best_error_and_baselines_are_named(folder):
    ax = Figure().subplots()
    draw_tradeoff(found(folder), ax)
    step = next(
        line
        for line in ax.lines
        if line.get_drawstyle() == "steps-post" and line.get_color() == "black"
    )
    assert step.get_xdata()[:-1].tolist() == [100, 150, 200]
    assert step.get_ydata().tolist() == [20, 12, 10, 10]
    assert ax.get_xscale() == "log"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "a  n=3",
        "b  n=2, 1 beyond",
        "Pareto front, 3 networks; thin: of each population",
        "a  resnet 5.00%",
        "b  lenet 60.00%, beyond",
    ]
    assert [text.get_text() for text in ax.texts] == ["a", "b"]


def test_a_baseline_far_above_the_networks_is_on_the_edge(make_trial, write_run):
    trials = [make_trial(f"a-{i:03d}", error=10.0 + i / 10, flops=100 + i) for i in range(20)]
    trials.append(make_trial("x-000", space="baseline", baseline="nin", flops=90, error=88.0))
    ax = Figure().subplots()
    draw_tradeoff(found(write_run("run", trials)), ax)
    assert ax.get_ylim()[1] < 13
    assert ax.get_legend().get_texts()[-1].get_text() == "a  nin 88.00%, beyond"
    star = next(line for line in ax.lines if line.get_marker() == "*")
    assert star.get_ydata()[0] == ax.get_ylim()[1]


def test_letters_of_baselines_that_stand_close_do_not_hide_each_other(make_trial, write_run):
    trials = [make_trial(f"a-{i:03d}", error=10.0 + i, flops=100 * (i + 1)) for i in range(20)]
    for i in range(5):
        beside = {"space": "baseline", "baseline": f"n{i}", "flops": 500 + i, "error": 20 + i / 50}
        trials.append(make_trial(f"n{i}-000", **beside))
    with with_style(small=True):
        figure = Figure(figsize=(3.4, 3), layout="constrained")
        ax = figure.subplots()
        draw_tradeoff(found(write_run("run", trials)), ax)
        figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) == 5
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats(folder, tmp_path, ending):
    assert save_tradeoff(found(folder), tmp_path / f"t.{ending}").stat().st_size > 1000


def test_the_command_prints_the_front_and_the_baselines(folder, tmp_path, capsys):
    out = tmp_path / "t.svg"
    assert run(["tradeoff", str(folder), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["a-000", "b-000", "a-001"]
    assert lines[-3].split()[:2] == ["resnet", "5.00"]
    assert lines[-3].split()[-2:] == ["10.00", "-"]
    assert lines[-1] == str(out)
    assert run(["tradeoff", f"{folder}:b", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [network["trial"] for network in document["front"]] == ["b-000"]
    assert document["baselines"][0]["rival_cost"] is None


def test_a_table_for_a_document_is_all_that_is_printed(folder, tmp_path, capsys):
    out = tmp_path / "t.svg"
    assert run(["tradeoff", str(folder), "--out", str(out), "--table", "markdown"]) == 0
    captured = capsys.readouterr()
    assert all(line.startswith("|") for line in captured.out.splitlines() if line)
    assert "| a-000 | a | 20.00 | 100 | 400 |" in captured.out
    assert captured.err.splitlines()[-1] == str(out)


def test_other_lengths_of_training_are_said(make_trial, write_run, tmp_path, capsys):
    one = write_run("one", [make_trial("a-000")])
    two = write_run("two", [make_trial("a-000", epochs=3)])
    assert run(["tradeoff", str(one), str(two), "--out", str(tmp_path / "t.svg")]) == 0
    assert "trainings of 1, 3 epochs stand in one figure" in capsys.readouterr().err


def test_mistakes_are_said_in_one_line(folder, make_trial, write_run, tmp_path, capsys):
    failed = write_run("failed", [make_trial(state="failed", error=None)])
    out = str(tmp_path / "t.svg")
    for arguments, words in (
        (["--out", out], "RUN[:SPACE]: give at least one run"),
        ([str(folder), "--out", "t.jpg"], "must end in one of .png"),
        ([str(failed), "--out", out], "no network of the populations has an error"),
        ([str(folder), "--out", out, "--cost", "memory"], "--cost"),
    ):
        assert run(["tradeoff", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert words in captured.err
