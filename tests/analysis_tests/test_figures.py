import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.bands import band
from analysis.edf import edf
from analysis.figures import draw_edfs, save_edfs
from anynet import InputError


def legend(edfs):
    ax = Figure().subplots()
    draw_edfs(edfs, ax)
    return ax, [text.get_text() for text in ax.get_legend().get_texts()]


def test_legend_gives_n_minimum_and_mean():
    _, texts = legend([edf("anynetx_a", [10, 20]), edf("regnetx", [5, 10, 15])])
    assert texts == [
        "anynetx_a  n=2, min 10.00, mean 15.00",
        "regnetx  n=3, min 5.00, mean 10.00",
    ]


def test_failed_networks_are_mentioned():
    _, texts = legend([edf("a", [10, float("nan")])])
    assert texts == ["a  n=1, min 10.00, mean 10.00, 1 failed left out"]


def test_a_few_networks_that_learned_nothing_do_not_squeeze_the_rest():
    errors = [*(10 + i / 100 for i in range(99)), 90]
    ax, texts = legend([edf("a", errors)])
    assert ax.get_xlim()[1] < 12
    assert texts[0].endswith("2 beyond")  # 10.98 and 90


def test_the_drawn_step_is_the_edf():
    one = edf("a", [10, 20, 20, 40])
    ax, _ = legend([one])
    x, y = ax.lines[0].get_data()
    for error in (5, 10, 15, 20, 30, 39):
        drawn = y[x <= error]
        assert (drawn[-1] if len(drawn) else 0) == one(error)


@pytest.mark.parametrize("name", ["edf.png", "edf.svg", "edf.pdf"])
def test_formats(tmp_path, name):
    path = save_edfs([edf("a", [1, 2])], tmp_path / "new" / name)
    assert path.stat().st_size > 1000


def test_another_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in one of \.png, \.svg, \.pdf"):
        save_edfs([edf("a", [1, 2])], tmp_path / "edf.jpg")
    assert not list(tmp_path.iterdir())


def test_bands_are_shaded_and_named():
    edfs = [edf("a", [10, 20, 30]), edf("b", [15, 25], [1, 3])]
    ax = Figure().subplots()
    draw_edfs(edfs, ax, [band(one) for one in edfs])
    assert len(ax.collections) == 2
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "shaded: 95% bands of whole curves (Berk-Jones)"
    assert [text.get_text() for text in legend.get_texts()] == [
        "a  n=3, min 10.00, mean 20.00",
        "b  n=2 (as 2), min 15.00, mean 22.50",
    ]
    shaded = ax.collections[0].get_paths()[0].get_extents()
    low, high = band(edfs[0])([15.0])
    points = ax.collections[0].get_paths()[0].vertices
    heights = points[np.isclose(points[:, 0], 10) | np.isclose(points[:, 0], 20)][:, 1]
    assert np.isclose(heights, low).any()
    assert np.isclose(heights, high).any()
    assert shaded.y0 == 0


def test_long_names_go_on_in_the_next_line():
    _, texts = legend([edf("runs/a/long/folder/of/a/sweep: anynetx_a", [10, 20])])
    assert texts[0].count("\n") == 1
    assert texts[0].replace("\n", "").split() == [
        "runs/a/long/folder/of/a/sweep:",
        "anynetx_a",
        "n=2,",
        "min",
        "10.00,",
        "mean",
        "15.00",
    ]


def test_one_network_alone_can_be_drawn(tmp_path):
    save_edfs([edf("a", [7])], tmp_path / "edf.png")
