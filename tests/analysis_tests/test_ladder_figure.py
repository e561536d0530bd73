import json

import pytest
from matplotlib.figure import Figure

from analysis.evidence import read_evidence
from analysis.ladder_figure import draw_ladder, save_ladder
from anynet import InputError
from anynet.cli import run


def step(words, outcome, difference, low, high, suggested):
    """As `analysis.evidence.ladder_data` gives it; differences are b - a."""
    return {
        "base": "anynetx_a",
        "space": "anynetx_a+x",
        "constraint": "x",
        "kind": "shared",
        "words": words,
        "shrinkage": 10.0,
        "range": None,
        "screening": {"satisfying": 9, "method": "subset", "effect": suggested, "low": -9e-05,
                      "high": None},
        "comparison": {
            "statistic": "mean", "value_a": 10 - difference, "value_b": 10.0,
            "difference": difference, "low": low, "high": high, "p_value": 1e-05,
            "verdict": "better", "n_a": 120, "n_b": 80, "delta": 0.5, "confidence": 0.997,
        },
        "outcome": outcome,
    }  # fmt: skip


@pytest.fixture
def document():
    steps = [
        step("width increasing", "improvement", 2.0, 1.0, 3.0, -2.5),
        step("bottleneck ratio shared", "simplification", 0.1, -0.2, 0.4, 0.0),
        step("depth from 12 to 28", "refused", -1.5, -2.5, -0.5, None),
    ]
    waiting = {key: steps[0][key] for key in ("space", "constraint", "kind", "shrinkage", "range")}
    waiting |= {"words": "group width at least 8", "screening": steps[0]["screening"]}
    return {
        "version": 1,
        "start": {"space": "anynetx_a", "size": 1e18},
        "end": {"space": "anynetx_a+x", "size": 1e16, "networks": 120},
        "rules": {"delta": 0.5, "alpha": 0.05, "decisions": 16, "power": 0.9, "most": 600,
                  "confidence": 0.996875},
        "steps": steps,
        "waiting": [waiting],
        "runs": ["runs/a"],
    }  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(document):
        path = tmp_path / "space.evidence.json"
        path.write_text(json.dumps(document))
        return path

    return write


def test_a_row_has_the_change_its_interval_and_the_outcome(document, write):
    ax = Figure().subplots()
    draw_ladder(read_evidence(write(document)), ax)
    points = {line.get_marker(): line for line in ax.lines if line.get_marker() in "osX"
              and len(line.get_xdata()) == 1 and line.get_markerfacecolor() != "white"}  # fmt: skip
    found = {marker: (line.get_xdata()[0], line.get_ydata()[0]) for marker, line in points.items()}
    # b - a in the file, so that the change that the constraint makes is its negative.
    assert found == {"o": (-2.0, 0), "s": (-0.1, -1), "X": (1.5, -2)}
    assert len({line.get_color() for line in points.values()}) == 3
    intervals = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 1.5]
    intervals = [x for x in intervals if len(x) == 2]
    assert [list(x) for x in intervals] == [[-3.0, -1.0], [-0.4, 0.2], [0.5, 2.5]]
    rings = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [(r.get_xdata()[0], r.get_ydata()[0]) for r in rings] == [(-2.5, 0), (0, -1), (-2.5, -3)]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert list(band.intervalx) == pytest.approx([-0.5, 0.5])


def test_constraints_networks_and_what_was_not_tried_are_written(document, write):
    ax = Figure().subplots()
    draw_ladder(read_evidence(write(document)), ax)
    words = [text.get_text() for text in ax.get_yticklabels()]
    assert words[0] == "width increasing"
    assert words[-1] == "group width at least 8"
    assert [text.get_text() for text in ax.texts] == ["120 / 80"] * 3 + ["not tried", "n"]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend[0] == "improvement, interval at 99.69%"
    assert legend[-1] == "equivalent: within 0.5 points"


def test_a_promise_far_beyond_is_on_the_edge(document, write):
    document["steps"][0]["screening"]["effect"] = -400.0
    ax = Figure().subplots()
    draw_ladder(read_evidence(write(document)), ax)
    left, right = ax.get_xlim()
    assert left > -12
    rings = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert all(left < ring.get_xdata()[0] < right for ring in rings)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats_with_and_without_steps(document, write, tmp_path, ending):
    evidence = read_evidence(write(document))
    assert save_ladder(evidence, tmp_path / f"l.{ending}").stat().st_size > 1000
    evidence = read_evidence(write(document | {"steps": []}))
    assert save_ladder(evidence, tmp_path / f"m.{ending}").stat().st_size > 1000


def test_another_file_is_refused(document, write, tmp_path):
    for changed, words in (
        ({"version": 2}, "version: 2"),
        ({"steps": [{"words": "x"}]}, "screening"),
        ({"rules": {"delta": "much", "confidence": 0.95}}, "delta"),
    ):
        with pytest.raises(InputError, match=words) as error:
            read_evidence(write(document | changed))
        assert str(error.value).startswith(str(tmp_path / "space.evidence.json"))


def test_the_command(document, write, tmp_path, capsys):
    path, out = str(write(document)), tmp_path / "l.svg"
    assert run(["ladder", path, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "width", "increasing", "improvement", "-2.00", "-3.00", "to", "-1.00", "-2.50", "8.00",
        "10.00", "120", "/", "80",
    ]  # fmt: skip
    assert lines[-1] == str(out)
    assert run(["ladder", path, "--out", str(out), "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [found["change"] for found in steps] == [-2.0, -0.1, 1.5]
    assert run(["ladder", path, "--out", str(out), "--table", "latex"]) == 0
    assert r"-3.00 to -1.00 & -2.50 & 8.00" in capsys.readouterr().out
    empty = str(write(document | {"steps": [], "waiting": []}))
    for other, words in (
        (str(tmp_path / "no.json"), "no.json"),
        (empty, "no constraint was tried"),
    ):
        assert run(["ladder", other, "--out", str(out)]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
