import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.run_figures import draw_shape, save_shapes
from analysis.shapes import block_widths, shapes
from anynet import Network, Stage
from anynet.cli import run
from anynet.line_fit import line_errors
from anynet.regnet import RegNet


def network(*stages):
    return Network(stages=tuple(Stage(depth=d, width=w) for d, w in stages))


def table(errors, networks=None):
    return pd.DataFrame(
        {
            "trial": [f"a-{i:03d}" for i in range(len(errors))],
            "error": errors,
            "network": networks or [network((1, 8 * (i + 1))) for i in range(len(errors))],
        }
    )


def test_the_best_come_first_and_the_worst_are_others():
    rows = table([5.0, 1.0, np.nan, 100.0, 3.0, 1.0])
    best, worst = shapes(rows, 2, 2)
    assert [shape.trial for shape in best] == ["a-001", "a-005"]
    assert [shape.trial for shape in worst] == ["a-003", "a-000"]
    assert worst[0].diverged
    best, worst = shapes(rows, 4, 4)
    assert len(best) == 4
    assert [shape.trial for shape in worst] == ["a-003"]
    assert shapes(rows, 0, 1)[0] == []


def test_widths_by_block_and_the_line_nearest_to_them():
    built = network((2, 16), (3, 64), (1, 128))
    (shape,), _ = shapes(table([1.0], [built]), 1, 0)
    assert shape.widths.tolist() == [16, 16, 64, 64, 64, 128]
    assert shape.e_fit == pytest.approx(np.abs(np.log(shape.line / shape.widths)).mean())
    arrays = np.array([built.depths]), np.array([built.widths])
    flat = line_errors(*arrays, np.array([64]), np.array([0.0]), np.array([2.0]))
    assert shape.e_fit < flat[0]


def test_a_regnet_is_its_own_line():
    built = RegNet(depth=13, w0=24, wa=24.48, wm=2.54, group_width=8).network()
    (shape,), _ = shapes(table([1.0], [built]), 1, 0)
    assert shape.e_fit == 0
    assert shape.line.tolist() == shape.widths.tolist()


def test_blocks_of_a_dense_stage_grow_and_have_no_line():
    stage = Stage(depth=3, width=40, block="dense", growth_rate=8)
    dense = Network(stages=(stage,))
    assert block_widths(dense).tolist() == [24, 32, 40]
    (shape,), _ = shapes(table([1.0], [dense]), 1, 0)
    assert shape.line is None
    assert shape.e_fit is None


def test_a_panel_has_the_network_and_its_line_on_an_axis_of_powers_of_two():
    (shape,), _ = shapes(table([4.25], [network((2, 16), (3, 64))]), 1, 0)
    ax = Figure().subplots()
    draw_shape(shape, ax)
    drawn, line = ax.patches
    assert drawn.get_data().values.tolist() == [16, 16, 64, 64, 64]
    assert line.get_data().values.tolist() == shape.line.tolist()
    assert line.get_linestyle() != drawn.get_linestyle()
    assert ax.get_yscale() == "log"
    assert ax.get_title(loc="left") == f"4.25%,  $e_{{fit}}$ {shape.e_fit:.2f}"


def test_more_than_five_networks_go_on_in_another_row(tmp_path):
    best, worst = shapes(table(list(range(1, 10))), 7, 2)
    path = save_shapes([("best", best), ("worst", worst)], tmp_path / "s.svg")
    text = path.read_text()
    assert text.count(">best<") == 1
    assert all(f"{shape.error:.2f}%" in text for shape in (*best, *worst))
    for ending in ("png", "pdf"):
        assert save_shapes([("best", best)], tmp_path / f"s.{ending}").stat().st_size > 1000


@pytest.fixture
def folder(make_trial, write_run):
    trials = [
        make_trial(f"a-{i:03d}", error=float(10 + i), network=network((1 + i, 8), (2, 32)))
        for i in range(6)
    ]
    trials += [make_trial("b-000", space="b", network=network((1, 64)))]
    return write_run("run", trials)


def test_the_command_draws_prints_and_gives_widths(folder, tmp_path, capsys):
    out = tmp_path / "s.svg"
    arguments = ["shapes", str(folder), "--out", str(out), "--best", "2", "--worst", "1"]
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[1:5]] == ["a-000", "a-001", "a-005", "b-000"]
    assert lines[-1] == str(out)
    assert run([*arguments, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["populations"]
    assert first["worst"][0]["widths"] == [8] * 6 + [32] * 2
    assert second["best"][0]["e_fit"] == 0
    assert second["worst"] == []
    assert run([*arguments, "--table", "latex"]) == 0
    assert r"a, best & a-000 & 10.00 & 3 & 8 to 32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--best", "-1"], "--best: -1 must be 0 or more"),
        (["--best", "0", "--worst", "0"], "leaves nothing to draw"),
    ],
)
def test_mistakes(folder, options, words, tmp_path, capsys):
    assert run(["shapes", str(folder), "--out", str(tmp_path / "s.svg"), *options]) == 2
    assert words in capsys.readouterr().err
