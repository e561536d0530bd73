"""A user's mistakes, as the user makes them: one line, exit code 2, and no file lost."""

import pytest

from anynet.cli import run

SWEEP = """\
space: {base: anynetx_a, stem: {kind: cifar, width: 8}, strides: [1, 2, 2]}
networks: 2
window: {flops: [0.1e6, 0.3e6]}
data: {name: digits}
epochs: 1
"""
NETWORK = """\
stages:
- {depth: 1, width: 32}
- {depth: 1, width: 128, bottleneck_ratio: 2, group_width: 24}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "network.yaml").write_text(NETWORK)
    return tmp_path


@pytest.fixture
def refusal(here, capsys):
    """A function from a command line to the one line it is refused with; no file may change."""

    def contents():
        return {p: p.read_bytes() for p in here.rglob("*") if p.is_file() and p.name != ".lock"}

    def call(command):
        before = contents()
        assert run(command.split()) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert contents() == before
        return captured.err

    return call


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_misspelt_field(here, refusal):
    edit(here / "sweep.yaml", "epochs", "epoch")
    line = refusal("sweep sweep.yaml --out run")
    assert line == "anynet: sweep.yaml: epoch: no such field; did you mean `epochs`?\n"
    assert not (here / "run").exists()


def test_a_width_that_groups_do_not_divide(refusal):
    assert refusal("cost network.yaml") == (
        "anynet: network.yaml: stages[1].group_width: 24 does not divide the inner width 64 "
        "(width 128, bottleneck_ratio 2)\n"
    )


def test_a_window_that_nothing_fits(here, refusal, monkeypatch):
    monkeypatch.setattr("anynet.sampling.PATIENCE", 20_000)
    edit(here / "sweep.yaml", "[0.1e6, 0.3e6]", "[1, 2]")
    line = refusal("sweep sweep.yaml --out run")
    assert "anynetx_a: nothing of 32,768 draws fits within flops 1:2 (draws cost " in line
    assert not (here / "run").exists()


def test_a_data_folder_that_is_not_there(here, refusal):
    edit(here / "sweep.yaml", "{name: digits}", "{name: cifar10, root: nowhere}")
    assert refusal("sweep sweep.yaml --out run").startswith(
        "anynet: sweep.yaml: data.root: 'nowhere'"
    )


def test_an_unreadable_ledger_line(here, refusal, make_trial, write_run):
    write_run("run", [make_trial("anynetx_a-000")])
    ledger = here / "run" / "trials.jsonl"
    ledger.write_bytes(b"not json\n" + ledger.read_bytes())
    for command in ("sweep sweep.yaml --out run", "edf run --out edf.png", "export run --out n.y"):
        assert "run/trials.jsonl: line 1: not a trial record" in refusal(command)


def test_an_output_folder_of_another_sweep(here, refusal):
    (here / "run").mkdir()
    (here / "run" / "sweep.yaml").write_text(SWEEP.replace("epochs: 1", "epochs: 5"))
    assert refusal("sweep sweep.yaml --out run") == (
        "anynet: run/sweep.yaml: epochs is 5 there and 1 in sweep.yaml; this folder is another "
        "sweep's: give --out another one\n"
    )


def test_a_figure_of_an_unknown_kind(refusal, make_trial, write_run):
    write_run("run", [make_trial()])
    assert "--out: edf.bmp: must end in one of .png, .svg, .pdf" in refusal("edf run --out edf.bmp")
