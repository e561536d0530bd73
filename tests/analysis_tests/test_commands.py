import json

import pytest
import torch

from anynet.cli import run
from anynet.export import load_network
from anynet.network import Network, Stage


def network(width):
    return Network(stages=(Stage(depth=1, width=width),), input_channels=1, classes=10)


@pytest.fixture
def finished_run(make_trial, write_run):
    return write_run(
        "run",
        [
            make_trial("a-000", space="a", network=network(8), error=20.0),
            make_trial("b-000", space="b", network=network(16), error=10.0),
            make_trial("a-001", space="a", network=network(24), error=15.0),
            make_trial("a-002", space="a", state="diverged", error=100.0, reason="not finite"),
            make_trial("b-001", space="b", state="failed", error=None, curve=(), reason="oops"),
        ],
    )


def test_edf_draws_every_population_and_prints_where(finished_run, tmp_path, capsys):
    out = tmp_path / "edf.svg"
    assert run(["edf", str(finished_run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip().endswith(str(out))
    svg = out.read_text()
    assert "a  n=3, min 15.00, mean 45.00" in svg
    assert "b  n=1, min 10.00, mean 10.00, 1 failed left out" in svg


def test_edf_json(finished_run, tmp_path, capsys):
    assert run(["edf", str(finished_run), "--out", str(tmp_path / "e.png"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [p["name"] for p in document["populations"]] == ["a", "b"]
    assert document["populations"][0]["errors"] == [15.0, 20.0, 100.0]


def test_edf_json_has_bands_and_intervals(finished_run, tmp_path, capsys):
    arguments = ["edf", str(finished_run), "--out", str(tmp_path / "e.png"), "--json"]
    assert run([*arguments, "--band", "dkw", "--confidence", "0.8"]) == 0
    document = json.loads(capsys.readouterr().out)
    one = document["populations"][0]
    assert document["confidence"] == 0.8
    assert one["weights"] is None
    assert (one["band"]["kind"], one["band"]["errors"]) == ("dkw", [0.0, 15.0, 20.0, 100.0])
    assert one["median"] == 20
    assert one["median_interval"][0] <= 20 <= one["median_interval"][1]
    assert one["mean_method"] == "band"
    assert one["quantiles"]["0.25"] == 15
    assert run([*arguments, "--band", "none"]) == 0
    assert "band" not in json.loads(capsys.readouterr().out)["populations"][0]


def test_edf_takes_the_mean_of_diverged_networks_apart(make_trial, write_run, tmp_path, capsys):
    trials = [make_trial(f"a-{i:03d}", error=10.0 + i) for i in range(11)]
    trials.append(make_trial("a-011", state="diverged", error=100.0, reason="not finite"))
    folder = write_run("run", trials)
    assert run(["edf", str(folder), "--out", str(tmp_path / "e.png")]) == 0
    assert "interval of the mean by mixture" in capsys.readouterr().out


def test_edf_normalizes_populations_and_says_what_it_merges(
    make_trial, write_run, tmp_path, capsys
):
    trials = [
        make_trial(f"{space}-{i:03d}", space=space, params=params, error=float(i))
        for space, sizes in (("a", (100, 200, 300)), ("b", (100, 290, 300)))
        for i, params in enumerate(sizes)
    ]
    arguments = ["edf", str(write_run("run", trials)), "--out", str(tmp_path / "e.png")]
    arguments += ["--normalize", "params", "--bins", "3"]
    assert run(arguments) == 2
    assert "b: no network with params from 144.2 to 208 (bin 2 of 3)" in one_line(capsys)
    assert run([*arguments, "--merge-empty", "--json"]) == 0
    captured = capsys.readouterr()
    assert "anynet: params: empty bins merged: " in captured.err
    document = json.loads(captured.out)
    assert document["normalized"] == "params"
    assert sum(document["populations"][1]["weights"]) == pytest.approx(1)


def test_edf_of_a_run_with_rungs_draws_the_longest(make_trial, write_run, tmp_path, capsys):
    trials = [make_trial(f"a-{i:03d}", error=50.0 + i) for i in range(6)]
    trials += [
        make_trial(f"a-{i:03d}", error=20.0 + i, rung=1, epochs=3, promotion_probability=p)
        for i, p in ((0, 0.5), (1, 0.5), (4, 0.25))
    ]
    folder = write_run("run", trials)
    (folder / "population.jsonl").write_text("{}\n" * 6)
    arguments = ["edf", str(folder), "--out", str(tmp_path / "e.png"), "--json"]
    assert run([*arguments, "--rungs", "hajek"]) == 0
    captured = capsys.readouterr()
    assert "recorded so far" not in captured.err
    assert "a: 3 of 6 networks came to an end, at 3 epochs or before" in captured.err
    assert "probabilities of promotion (hajek)" in captured.err
    one = json.loads(captured.out)["populations"][0]
    assert one["errors"] == [20, 21, 24]
    assert one["weights"] == pytest.approx([0.25, 0.25, 0.5])
    assert run(["export", str(folder), "--out", str(tmp_path / "best.yaml")]) == 0
    assert "trial a-000" in (tmp_path / "best.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--bins", "3"], "--bins: goes with --normalize"),
        (["--merge-empty"], "--merge-empty: goes with --normalize"),
        (["--pool", "--normalize", "flops"], "--pool: does not go with --normalize"),
        (["--pool"], "sweep.yaml: no such file; the run must be one of `anynet sweep`"),
        (["--rungs", "hajek"], "--rungs: hajek goes with runs with rungs, and none"),
        (["--confidence", "1"], "--confidence: 1.0 must lie between 0 and 1"),
        (["--confidence", "2", "--band", "none"], "--confidence: 2.0 must lie between 0 and 1"),
        (["--normalize", "params", "--bins", "0"], "bins: 0 must be at least 1"),
    ],
)
def test_options_of_edf_that_cannot_be_are_one_line(finished_run, tmp_path, capsys, options, line):
    assert run(["edf", str(finished_run), "--out", str(tmp_path / "e.png"), *options]) == 2
    assert line in one_line(capsys)
    assert not (tmp_path / "e.png").exists()


def test_trials_that_an_optimizer_chose_have_no_edf(make_trial, write_run, tmp_path, capsys):
    folder = write_run("run", [make_trial(adaptive=True)])
    assert run(["edf", str(folder), "--out", str(tmp_path / "e.png")]) == 2
    assert "a: adaptive: 1 of 1 trials were chosen by an optimizer" in one_line(capsys)


def test_the_figure_does_not_depend_on_the_order_in_which_trials_ended(
    make_trial, write_run, tmp_path, capsys
):
    trials = [make_trial(f"{space}-{i:03d}", space=space) for space in "ab" for i in range(3)]
    names = []
    for run_name, order in (("one", trials), ("two", trials[::-1])):
        write_run(run_name, order)
        out = str(tmp_path / f"{run_name}.png")
        assert run(["edf", str(tmp_path / run_name), "--out", out, "--json"]) == 0
        populations = json.loads(capsys.readouterr().out)["populations"]
        names.append([population["name"] for population in populations])
    assert names == [["a", "b"], ["a", "b"]]


def test_edf_of_a_ledger_with_a_line_being_written(finished_run, tmp_path):
    with open(finished_run / "trials.jsonl", "ab") as file:
        file.write(b'{"trial": "a-003", "spa')
    assert run(["edf", str(finished_run), "--out", str(tmp_path / "e.png")]) == 0


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_unreadable_ledger_line_is_named_and_kept(finished_run, tmp_path, capsys):
    ledger = finished_run / "trials.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*lines[:2], b'{"trial": 3}\n', *lines[2:]]))
    before = ledger.read_bytes()
    assert run(["edf", str(finished_run), "--out", str(tmp_path / "e.png")]) == 2
    assert "trials.jsonl: line 3: not a trial record" in one_line(capsys)
    assert ledger.read_bytes() == before


def test_what_is_not_a_run_is_refused(tmp_path, capsys):
    assert run(["edf", str(tmp_path / "none"), "--out", str(tmp_path / "e.png")]) == 2
    assert "none: no such folder" in one_line(capsys)
    assert run(["edf", str(tmp_path), "--out", str(tmp_path / "e.png")]) == 2
    assert "not a run (no trials.jsonl in it)" in one_line(capsys)


def test_the_same_run_twice_is_refused(finished_run, tmp_path, capsys):
    again = f"{finished_run}/../run"
    assert run(["edf", str(finished_run), again, "--out", str(tmp_path / "e.png")]) == 2
    assert "a is given twice" in one_line(capsys)


def test_export_of_a_run_writes_its_best_network(finished_run, tmp_path):
    out = tmp_path / "best.yaml"
    assert run(["export", str(finished_run), "--out", str(out)]) == 0
    assert load_network(str(out)) == network(16)
    assert "trial b-000" in out.read_text()


def test_export_of_one_space(finished_run, tmp_path):
    out = tmp_path / "best.yaml"
    assert run(["export", str(finished_run), "--space", "a", "--out", str(out)]) == 0
    assert load_network(str(out)) == network(24)


def test_export_to_pycls_needs_three_channels_and_says_how(finished_run, tmp_path, capsys):
    arguments = ["export", str(finished_run), "--to", "pycls", "--out", str(tmp_path / "p.yaml")]
    assert run(arguments) == 2
    assert "--input-channels 3" in one_line(capsys)
    assert not (tmp_path / "p.yaml").exists()
    assert run([*arguments, "--input-channels", "3"]) == 0
    assert load_network(str(tmp_path / "p.yaml")).widths == (16,)


def test_export_refusals(finished_run, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.yaml")]
    assert run(["export", str(finished_run), "--space", "c", *out]) == 2
    assert "'c' is not in" in one_line(capsys)
    assert run(["export", "resnet50", "--space", "c", *out]) == 2
    assert "goes with a run" in one_line(capsys)


def test_export_of_a_run_without_a_complete_trial(make_trial, write_run, tmp_path, capsys):
    folder = write_run("run", [make_trial(state="failed", error=None, curve=())])
    assert run(["export", str(folder), "--out", str(tmp_path / "x.yaml")]) == 2
    assert "no complete trial to export yet" in one_line(capsys)


def test_what_a_run_consists_of_is_not_written_over(finished_run, capsys):
    ledger = finished_run / "trials.jsonl"
    before = ledger.read_bytes()
    assert run(["export", str(finished_run), "--out", str(ledger)]) == 2
    assert "is a file of a run; give another path" in one_line(capsys)
    assert ledger.read_bytes() == before


def test_a_run_that_is_not_finished_is_said_to_be_so(finished_run, tmp_path, capsys):
    (finished_run / "population.jsonl").write_text("{}\n" * 12)
    assert run(["edf", str(finished_run), "--out", str(tmp_path / "e.png")]) == 0
    assert f"{finished_run}: 5 of 12 trials recorded so far" in capsys.readouterr().err


def test_an_export_of_a_run_is_described_at_the_runs_resolution(finished_run, tmp_path):
    (finished_run / "data.yaml").write_text("resolution: 8\n")
    out = tmp_path / "best.yaml"
    assert run(["export", str(finished_run), "--out", str(out)]) == 0
    assert "# at 8x8: " in out.read_text()
    graph = tmp_path / "best.pt2"
    assert run(["export", str(finished_run), "--to", "torch_export", "--out", str(graph)]) == 0
    assert torch.export.load(graph).example_inputs[0][0].shape[-2:] == (8, 8)
