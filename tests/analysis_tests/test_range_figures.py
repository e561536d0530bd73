import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.factorization import factorization
from analysis.fidelity import rank_agreement
from analysis.importance import importance
from analysis.range_figures import (
    draw_agreement,
    draw_importance,
    draw_range,
    draw_trend,
    label,
    save_agreements,
    save_importance,
    save_ranges,
    save_trends,
)
from analysis.ranges import best_range, best_ranges
from analysis.trends import flops_regimes, trends
from anynet import InputError


@pytest.fixture
def networks():
    rng = np.random.default_rng(0)
    depth, ratio = rng.integers(1, 61, 120).astype(float), rng.choice([1.0, 2, 4], 120)
    errors = 10 + 0.01 * (depth - 20) ** 2 + ratio + rng.normal(size=120) / 3
    return {"depth": depth, "bottleneck_ratio": ratio}, errors, rng.uniform(1e8, 1e9, 120)


def axes():
    return Figure().subplots()


def test_the_best_range_is_shaded_and_its_median_marked(networks):
    parameters, errors, _ = networks
    best = best_range(parameters["depth"], errors)
    ax = axes()
    draw_range(parameters["depth"], errors, best, ax, "depth")
    left, right = ax.patches[0].get_extents().transformed(ax.transData.inverted()).intervalx
    assert left == pytest.approx(best.low, rel=0.05)
    assert right == pytest.approx(best.high, rel=0.05)
    assert ax.lines[0].get_xdata()[0] == best.median
    assert sum(len(line.get_xdata()) for line in ax.lines[1:]) == 120
    assert ax.get_title(loc="left") == f"{best.median:g} ({best.low:g} to {best.high:g})"
    assert ax.get_xlabel() == "depth"


def test_dots_of_few_values_are_spread_near_them_and_each_value_has_its_tick(networks):
    parameters, errors, _ = networks
    ax = axes()
    ratio = parameters["bottleneck_ratio"]
    draw_range(ratio, errors, best_range(ratio, errors), ax, "bottleneck_ratio")
    drawn = np.sort(np.concatenate([line.get_xdata() for line in ax.lines[1:]]))
    assert len(np.unique(drawn)) > 60
    assert (np.abs(np.log2(drawn / np.sort(ratio))) < 0.3).all()
    assert ax.get_xticks().tolist() == [1, 2, 4]


def test_diverged_networks_are_drawn_on_the_edge():
    errors = np.r_[np.linspace(10, 12, 99), 100]
    ax = axes()
    draw_range(np.arange(100.0), errors, best_range(np.arange(100.0), errors), ax)
    top = ax.get_ylim()[1]
    assert top < 13
    assert ax.lines[2].get_ydata()[-1] == top


def test_bars_are_sorted_and_certain_interactions_named():
    rng = np.random.default_rng(1)
    x = {"a": rng.random(200), "width_2": rng.random(200), "c": rng.random(200)}
    y = x["a"] + 6 * (x["width_2"] - 0.5) * (x["c"] - 0.5) + rng.normal(size=200) / 5
    ax = axes()
    draw_importance(importance(x, y, scale="error"), ax, factorization(x, y))
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["a", names[1], names[2], r"width, stage 2 $\times$ c"]
    assert set(names[1:3]) == {"width, stage 2", "c"}
    widths = [bar.get_width() for bar in ax.patches[:3]]
    assert widths == sorted(widths, reverse=True)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "given all others",
        "alone",
        "interaction",
    ]


def test_agreement_and_trend_say_their_figures(networks):
    parameters, errors, flops = networks
    found = rank_agreement(errors, errors**2, rng=np.random.default_rng(0))
    ax = axes()
    draw_agreement(errors, errors**2, found, ax)
    assert "1.000" in ax.get_title(loc="left")
    moved = trends(parameters, errors, flops, flops_regimes(flops, 2))
    ax = axes()
    draw_trend(moved, "depth", parameters["depth"], flops, ax)
    assert f"{moved.laws['depth'].exponent:.2f}" in ax.get_title(loc="left")
    bars = [line for line in ax.lines if len(line.get_xdata()) == 2]
    for bar, regime in zip(bars, moved.regimes, strict=True):
        best = regime.ranges["depth"]
        assert bar.get_ydata().tolist() == [best.low, best.high]


def test_every_figure_is_written(networks, tmp_path):
    parameters, errors, flops = networks
    moved = trends(parameters, errors, flops, flops_regimes(flops, 2))
    found = rank_agreement(errors, errors, rng=np.random.default_rng(0))
    written = [
        save_importance(importance(parameters, errors), tmp_path / "new" / "a.svg"),
        save_agreements([(errors, errors, found, ("a", "b"), "")], tmp_path / "b.svg"),
        save_trends(moved, parameters, flops, tmp_path / "c.svg"),
    ]
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats_and_a_page_of_many_panels(networks, tmp_path, ending):
    parameters, errors, _ = networks
    panels = 9 if ending == "svg" else 1
    many = {f"width_{i}": parameters["depth"] + i for i in range(1, 1 + panels)}
    path = save_ranges(many, errors, best_ranges(many, errors), tmp_path / f"a.{ending}", "title")
    assert path.stat().st_size > 1000
    with pytest.raises(InputError, match=r"must end in one of \.png"):
        save_importance(importance(parameters, errors), tmp_path / "c.jpg")


def test_labels():
    assert label("width_2") == "width, stage 2"
    assert label("bottleneck_ratio") == "bottleneck ratio"
    assert label("w0") == "w0"
    assert label("share_1x1_3") == "share 1x1, stage 3"
