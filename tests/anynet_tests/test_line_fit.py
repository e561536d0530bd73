"""Lines fitted to networks: lines are found again, and nothing on a plain grid is nearer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anynet.line_fit import DEEPEST, fit_lines, line_errors
from anynet.regnet import quantize_line, quantize_lines
from anynet.space import NAMED
from anynet.textbook import REGNETS, textbook_network


def lines_of_the_space(stages, count, seed):
    """Stages, before the group fix, of RegNets drawn from the space's grid."""
    rng = np.random.default_rng(seed)
    tables = NAMED["regnetx"].tables
    drawn = {
        name: rng.choice(tables[name].values, 60_000, p=tables[name].probabilities)
        for name in ("depth", "w0", "wa", "wm")
    }
    _, widths, depths = quantize_lines(
        drawn["depth"].astype(np.int64), drawn["w0"], drawn["wa"], drawn["wm"], stages
    )
    return depths[:count], widths[:count]


def networks(space, count, seed, widest=1024):
    """Depths and widths of networks of a space, without a window."""
    population = NAMED[space].sample(count * 4, np.random.default_rng(seed), resolution=32)
    fits = (population.depths.sum(axis=1) <= 64) & (population.widths.max(axis=1) <= widest)
    return population.depths[fits][:count], population.widths[fits][:count]


def stages_of(depth, w0, wa, wm):
    widths, depths = np.unique(quantize_line(depth, w0, wa, wm).quantized, return_counts=True)
    return depths.tolist(), widths.tolist()


def plain_error(depths, widths, w0, wa, wm):
    """e_fit, block by block."""
    blocks = [width for depth, width in zip(depths, widths, strict=True) for _ in range(depth)]
    line = quantize_line(len(blocks), w0, wa, wm).quantized
    return math.fsum(abs(math.log(w / v)) for w, v in zip(line, blocks, strict=True)) / len(blocks)


def brute_force(depths, widths):
    """The least e_fit on a plain grid: every w0 up to the widest stage, 31 wm, 60 wa."""
    blocks = np.log(np.repeat(widths, depths))
    w0 = np.arange(8, max(widths) + 8, 8.0)[:, None, None, None]
    wm = np.linspace(1.5, 3, 31)[:, None, None]
    wa = np.geomspace(0.5, max(widths), 60)[:, None]
    levels = np.rint(np.log((w0 + wa * np.arange(len(blocks))) / w0) / np.log(wm))
    lines = np.rint(w0 * np.power(wm, levels) / 8) * 8
    return np.abs(np.log(lines) - blocks).mean(axis=-1).min()


@pytest.mark.parametrize("stages", range(1, 7))
def test_a_line_is_found_again(stages):
    depths, widths = lines_of_the_space(stages, 250, stages)
    assert len(depths) > 200
    fit = fit_lines(depths, widths)
    assert fit.e_fit.max() == 0
    for i in range(len(depths)):
        found = stages_of(depths[i].sum(), fit.w0[i], fit.wa[i], fit.wm[i])
        assert found == (depths[i].tolist(), widths[i].tolist())


def test_e_fit_is_the_error_of_the_line():
    for space in ("anynetx_a", "anynetx_e"):
        depths, widths = networks(space, 100, 0)
        fit = fit_lines(depths, widths)
        plain = [
            plain_error(depths[i], widths[i], fit.w0[i], fit.wa[i], fit.wm[i])
            for i in range(len(depths))
        ]
        assert fit.e_fit == pytest.approx(plain, abs=1e-12)
        assert fit.e_fit == pytest.approx(
            line_errors(depths, widths, fit.w0, fit.wa, fit.wm), abs=1e-12
        )
        assert (fit.w0 % 8 == 0).all()
        assert (fit.w0 >= 8).all()
        assert (fit.wa >= 0).all()
        assert ((fit.wm >= 1.5) & (fit.wm <= 3)).all()


@pytest.mark.parametrize(("space", "count"), [("anynetx_e", 60), ("anynetx_a", 20)])
def test_nothing_on_a_plain_grid_is_nearer(space, count):
    depths, widths = networks(space, count, 3, widest=400)
    assert len(depths) == count
    fit = fit_lines(depths, widths)
    plain = np.array([brute_force(depths[i], widths[i]) for i in range(count)])
    assert (fit.e_fit <= plain + 1e-9).all()
    assert fit.e_fit.mean() < plain.mean() - 0.005


def test_splitting_a_stage_changes_nothing():
    fit = fit_lines([[3, 4]], [[24, 64]])
    split = fit_lines([[1, 2, 1, 3]], [[24, 24, 64, 64]])
    assert [column.tolist() for column in fit] == [column.tolist() for column in split]


def test_a_line_scaled_by_a_whole_number_stays_one():
    # wm = 2 keeps widths multiples of 8; w0 and wa scale with them.
    depths = [[1, 2, 4, 6]]
    widths = np.array([[16, 32, 64, 128]])
    fit = fit_lines(depths, widths)
    assert fit.e_fit[0] == 0
    for scale in (2, 3, 5, 10):
        scaled = fit_lines(depths, widths * scale)
        assert scaled.e_fit[0] == 0
        errors = line_errors(
            np.array(depths), widths * scale, fit.w0 * scale, fit.wa * scale, np.array([2.0])
        )
        assert (
            errors[0]
            == line_errors(np.array(depths), widths, fit.w0, fit.wa, np.array([2.0])).item()
        )


def test_scaled_widths_fit_alike_where_rounding_matters_little():
    # Rounding to 8 moves a width w by at most 4/w, here 1%.
    depths, widths = networks("anynetx_e", 100, 5, widest=512)
    once, twice = fit_lines(depths, widths * 50), fit_lines(depths, widths * 100)
    assert np.abs(once.e_fit - twice.e_fit).mean() < 0.01


def test_growing_networks_are_nearer_than_shrinking_ones():
    # A line does not shrink. So of those of a network of shrinking widths the nearest is constant,
    # at the median; and it is as near to the mirrored network, which grows.
    depths, widths = networks("anynetx_e", 300, 6)
    fit, turned = fit_lines(depths, widths), fit_lines(depths[:, ::-1], widths[:, ::-1])
    blocks = [np.log(np.repeat(w, d)) for d, w in zip(depths, widths, strict=True)]
    constant = [np.abs(b - np.median(b)).mean() for b in blocks]
    assert turned.e_fit == pytest.approx(constant, abs=1e-9)
    assert (fit.e_fit <= turned.e_fit + 1e-9).all()
    grows = widths[:, -1] > 2 * widths[:, 0]
    assert (fit.e_fit[grows] < turned.e_fit[grows] - 0.01).mean() > 0.9
    assert fit.e_fit.mean() < turned.e_fit.mean() / 2


def test_a_networks_fit_does_not_depend_on_its_company():
    depths, widths = networks("anynetx_e", 200, 7)
    together = fit_lines(depths, widths).e_fit
    alone = [fit_lines(depths[i : i + 1], widths[i : i + 1]).e_fit[0] for i in range(40)]
    assert np.abs(together[:40] - alone).mean() < 1e-3
    order = np.random.default_rng(0).permutation(len(depths))
    assert np.abs(fit_lines(depths[order], widths[order]).e_fit - together[order]).mean() < 1e-3


def test_constant_width_is_a_line_of_slope_0():
    fit = fit_lines([[5, 3], [2, 2]], [[48, 48], [128, 128]])
    assert fit.e_fit.tolist() == [0, 0]
    assert fit.w0.tolist() == [48, 128]
    assert fit.wa.tolist() == [0, 0]


def test_published_regnets_are_near_lines():
    for name in REGNETS:
        network = textbook_network(name)
        (e_fit,) = fit_lines([network.depths], [network.widths]).e_fit
        assert e_fit < 0.1, name


@pytest.mark.parametrize(
    ("depths", "widths"),
    [
        ([[1]], [[1]]),
        ([[1]], [[1_000_000]]),
        ([[DEEPEST]], [[8]]),
        ([[500, 1, 499]], [[3, 1_000_000, 77_777]]),
        ([[1] * 6], [[1, 2, 3, 4, 5, 6]]),
    ],
)
def test_extremes_have_a_fit(depths, widths):
    fit = fit_lines(depths, widths)
    assert np.isfinite(fit.e_fit).all()
    assert fit.e_fit[0] == pytest.approx(
        plain_error(depths[0], widths[0], fit.w0[0], fit.wa[0], fit.wm[0])
    )


def test_no_networks_have_no_fits():
    fit = fit_lines(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64))
    assert [len(column) for column in fit] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("depths", "widths", "message"),
    [
        ([[1, 0]], [[8, 8]], "depths[0][1]: 0 must be above 0"),
        ([[1, 1]], [[8, -8]], "widths[0][1]: -8 must be above 0"),
        ([[1, 1]], [[8, 2_000_000]], "widths[0][1]: 2000000 must be above 0, and at most"),
        ([[1.5]], [[8]], "depths: float64 must be whole numbers"),
        ([[1, 1]], [[8]], "depths, widths: shapes (1, 2) and (1, 1) must both be (n, stages)"),
        ([1, 1], [8, 8], "depths, widths: shapes (2,) and (2,)"),
        ([[1], [1001]], [[8], [8]], "depths[1]: 1,001 blocks, a line is fitted to 1,000 at most"),
    ],
)
def test_what_is_no_network_is_refused(depths, widths, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fit_lines(depths, widths)
    assert str(caught.value).startswith(message)
