import json

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.curves import training_curves
from analysis.run_figures import draw_curves, save_curves
from analysis.selection import select
from anynet import InputError
from anynet.cli import run

NAN = float("nan")


@pytest.fixture
def curves(make_trial, write_run):
    """A function from keyword arguments of trials to the curves of their population."""

    def make(*rows):
        trials = []
        for i, row in enumerate(rows):
            row = {"trial": f"a-{i:03d}", "epochs": 3, "curve": (90.0, 80.0, 70.0)} | row
            trials.append(make_trial(**{"error": (*row["curve"], 100.0)[0]} | row))
        return training_curves(select([str(write_run("run", trials))]).populations[0])

    return make


def diverged(*curve):
    return {"curve": curve, "state": "diverged", "error": 100.0}


def test_quartiles_are_those_of_all_networks_by_epoch(curves):
    rows = [{"curve": (float(90 - i), float(50 + i), float(10 * i))} for i in range(5)]
    one = curves(*rows)
    assert one.errors.tolist() == [list(row["curve"]) for row in rows]
    assert one.quartiles.tolist() == [[87, 51, 10], [88, 52, 20], [89, 53, 30]]


def test_a_network_that_diverged_counts_with_100_from_then_on(curves):
    one = curves({}, diverged(60.0), diverged(), {"curve": (85.0, 75.0, 65.0)})
    assert one.diverged.tolist() == [-1, 1, 0, -1]
    np.testing.assert_equal(one.errors[1], [60, NAN, NAN])
    assert np.isnan(one.errors[2]).all()
    assert one.quartiles[1].tolist() == [85, 80, 70]  # of 60 85 90 100; 75 80 100 100; ...
    assert one.quartiles[2].tolist() == [90, 100, 100]


def test_failed_networks_are_left_out(curves):
    one = curves({}, {"state": "failed", "error": None, "curve": (5.0,)})
    assert len(one) == 1


def test_a_population_without_a_curve_is_refused(curves):
    with pytest.raises(InputError, match="a: no trial has a curve"):
        curves({"state": "failed", "error": None, "curve": ()})


def rung(trial, number, curve, probability=1.0, **fields):
    return {
        "trial": trial,
        "rung": number,
        "epochs": (1, 3)[number],
        "curve": curve,
        "promotion_probability": probability,
    } | fields


def test_a_rung_that_goes_on_continues_the_curve_and_the_promoted_stand_for_the_others(curves):
    one = curves(
        rung("a", 0, (50.0,)),
        rung("b", 0, (60.0,)),
        rung("c", 0, (70.0,)),
        rung("d", 0, (80.0,)),
        rung("a", 1, (40.0, 30.0), 1.0),
        rung("d", 1, (75.0, 72.0), 1 / 3),
    )
    np.testing.assert_equal(
        one.errors, [[50, 40, 30], [60, NAN, NAN], [70, NAN, NAN], [80, 75, 72]]
    )
    assert one.quartiles[1].tolist() == [60, 75, 72]
    assert one.quartiles[0].tolist() == [50, 40, 30]


def test_a_rung_that_trains_anew_has_a_curve_of_its_own(curves):
    one = curves(
        rung("a", 0, (50.0,)),
        rung("b", 0, (60.0,)),
        rung("c", 0, (70.0,)),
        rung("a", 1, (55.0, 40.0, 30.0), 0.5),
        rung("b", 1, (), 1.0, state="diverged", error=100.0),
    )
    np.testing.assert_equal(one.errors[0], [55, 40, 30])
    np.testing.assert_equal(one.errors[2], [70, NAN, NAN])
    assert one.quartiles[1].tolist() == [55, 40, 30]  # weight 2 against the one that diverged


def test_the_axis_is_logarithmic_where_errors_fall_far(curves, make_trial, write_run):
    for last, scale in ((60.0, "linear"), (2.0, "log"), (0.0, "linear")):
        ax = Figure().subplots()
        rows = [{"trial": f"a-{i}", "curve": (90.0, 70.0, last)} for i in range(3)]
        trials = [make_trial(epochs=3, error=last, **row) for row in rows]
        folder = write_run(f"run{last}", trials)
        draw_curves([training_curves(select([str(folder)]).populations[0])], ax)
        assert ax.get_yscale() == scale


def test_every_network_is_a_thin_line_and_crosses_stand_where_training_stopped(curves):
    one = curves({}, {"curve": (85.0, 75.0, 65.0)}, diverged(60.0, 55.0), diverged())
    ax = Figure().subplots()
    draw_curves([one], ax)
    (thin,) = (c for c in ax.collections if isinstance(c, LineCollection))
    drawn = [line.tolist() for line in thin.get_segments() if len(line)]
    assert drawn[:2] == [[[1, 90], [2, 80], [3, 70]], [[1, 85], [2, 75], [3, 65]]]
    cross = next(line for line in ax.lines if line.get_marker() == "x")
    assert np.column_stack(cross.get_data()).tolist() == [[2, 55], [1, 90]]
    median = next(line for line in ax.lines if line.get_linewidth() > 1)
    assert median.get_ydata().tolist() == one.quartiles[1].tolist()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [r"a  n=4, 2 diverged ($\times$)", "median; shaded: middle half"]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats_and_a_training_of_one_epoch(curves, tmp_path, ending):
    one = curves({"epochs": 1, "curve": (50.0,)})
    assert save_curves([one], tmp_path / f"c.{ending}").stat().st_size > 1000


def test_the_command(make_trial, write_run, tmp_path, capsys):
    trials = [
        make_trial(f"a-{i:03d}", epochs=4, curve=(80.0, 60.0, 40.0, 20.0 + i), error=20.0 + i)
        for i in range(3)
    ]
    folder = write_run("run", [*trials, make_trial("a-003", epochs=4, **diverged(70.0))])
    out = tmp_path / "c.svg"
    assert run(["curves", str(folder), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a", "4", "1", "80.00", "70.00", "to", "80.00", "0"]
    assert lines[3].split() == ["a", "4", "4", "21.00", "20.00", "to", "22.00", "1"]
    assert lines[-1] == str(out)
    assert run(["curves", str(folder), "--out", str(out), "--json"]) == 0
    (population,) = json.loads(capsys.readouterr().out)["populations"]
    assert population["diverged"] == 1
    assert population["errors"][3] == [70, None, None, None]
    assert population["median"] == [80, 60, 40, 21]
    assert run(["curves", str(folder), "--out", str(out), "--table", "latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{tabular}")
