import json

import numpy as np
import pytest

from analysis.fidelity import kendall, spearman
from anynet import Network, Stage
from anynet.cli import run

NETWORKS = [
    Network(stages=(Stage(depth=1 + i, width=8),), input_channels=1, classes=10) for i in range(9)
]
CHEAP = np.array([30.0, 28, 33, 21, 20, 25, 18, 17, 40])
LONG = np.array([12.0, 11, 9, 8, 7.5, 7, 5, 6, 100])


@pytest.fixture
def make_run(make_trial, write_run):
    def make(name, errors, epochs, space="a", rows=range(9)):
        trials = [
            make_trial(
                f"t-{i:03d}",
                space=space,
                network=NETWORKS[j],
                error=float(errors[j]),
                epochs=epochs,
            )
            for i, j in enumerate(rows)
        ]
        return str(write_run(name, trials))

    return make


def fidelity(capsys, tmp_path, *arguments):
    out = tmp_path / "f.svg"
    assert run(["fidelity", *arguments, "--out", str(out), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["pairs"], out.read_text()


def test_networks_are_paired_whatever_their_trials_are_called(make_run, capsys, tmp_path):
    short = make_run("short", CHEAP, 2)
    long = make_run("long", LONG, 20, rows=[8, 3, 1, 0, 2, 5, 4, 7])  # number 6 is missing
    both = np.array([0, 1, 2, 3, 4, 5, 7, 8])
    (pair,), text = fidelity(capsys, tmp_path, long, short)  # the order is that of the epochs
    assert (pair["cheap"], pair["long"], pair["n"]) == ("2 epochs", "20 epochs", 8)
    assert pair["errors"] == [CHEAP[both].tolist(), LONG[both].tolist()]
    tau, interval = kendall(CHEAP[both], LONG[both])
    assert pair["kendall"] == tau
    assert tuple(pair["kendall_interval"]) == interval
    rho, interval = spearman(CHEAP[both], LONG[both])
    assert f"{rho:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" in text
    assert "error (%), 20 epochs" in text


def test_spaces_of_other_names_are_paired_where_there_are_two(make_run, capsys, tmp_path):
    pairs, _ = fidelity(
        capsys, tmp_path, make_run("one", CHEAP, 2, "a"), make_run("two", LONG, 20, "b")
    )
    assert [pair["n"] for pair in pairs] == [9]


def test_each_shorter_training_is_compared_with_the_longest(make_run, capsys, tmp_path):
    runs = [make_run("a", CHEAP, 2), make_run("b", (CHEAP + LONG) / 2, 5), make_run("c", LONG, 20)]
    pairs, _ = fidelity(capsys, tmp_path, *runs)
    assert [(pair["cheap"], pair["long"]) for pair in pairs] == [
        ("2 epochs", "20 epochs"),
        ("5 epochs", "20 epochs"),
    ]


def test_equally_long_trainings_are_named_by_their_runs(make_run, capsys, tmp_path):
    one, two = make_run("one", CHEAP, 5), make_run("two", LONG, 5)
    (pair,), _ = fidelity(capsys, tmp_path, one, two)
    assert (pair["cheap"], pair["long"]) == (f"5 epochs, {one}", f"5 epochs, {two}")


def test_rungs_are_compared_with_the_last(make_trial, write_run, capsys, tmp_path):
    trials = []
    for i, network in enumerate(NETWORKS):
        common = {"network": network, "trial": f"t-{i:03d}"}
        trials.append(make_trial(error=float(CHEAP[i]), **common))
        if i != 4:
            trials.append(
                make_trial(
                    error=float(LONG[i]), rung=1, epochs=6, promotion_probability=0.5, **common
                )
            )
    (pair,), _ = fidelity(capsys, tmp_path, str(write_run("run", trials)))
    assert (pair["cheap"], pair["long"], pair["n"]) == ("1 epoch", "6 epochs", 8)
    assert pair["errors"][1] == np.delete(LONG, 4).tolist()


def test_the_table(make_run, capsys, tmp_path):
    runs = [make_run("short", CHEAP, 2), make_run("long", LONG, 20)]
    assert run(["fidelity", *runs, "--out", str(tmp_path / "f.png")]) == 0
    tau, _ = kendall(CHEAP, LONG)
    assert f"{tau:.3f}" in capsys.readouterr().out
    options = ["--table", "markdown", "--top", "0.2"]
    assert run(["fidelity", *runs, "--out", str(tmp_path / "f.pdf"), *options]) == 0
    printed = capsys.readouterr().out
    assert "| a | 2 epochs | 20 epochs | 9 |" in printed
    assert "top 20% found" in printed


def test_what_cannot_be_compared_is_said(make_run, capsys, tmp_path):
    out = ["--out", str(tmp_path / "f.svg")]
    one, few = make_run("one", CHEAP, 2), make_run("few", LONG, 9, rows=[0, 1, 2])
    for arguments, words in (
        ([one], "needs a run with rungs, or two runs of the same networks"),
        ([one, few], "a: fidelity: 3 networks with an error in both, 5 at least"),
        ([one, few, "--top", "1.5"], "--top: 1.5 must lie between 0 and 1"),
        ([one, few, "--confidence", "95"], "--confidence: 95 must lie between 0 and 1"),
        ([one, few, "--seed", "-1"], "--seed: -1 must be 0 or more"),
    ):
        assert run(["fidelity", *arguments, *out]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert words in captured.err
