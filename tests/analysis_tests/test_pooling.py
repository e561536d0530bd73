"""Pooled nested spaces, on a finite space of which every network's error is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from msgspec.structs import replace

from analysis.bands import band, quantile_interval
from analysis.pooling import Sample, pool
from anynet import DesignSpace, InputError
from anynet.density import Share, draw_settings, log_density, share
from anynet.space import Constraint

WHOLE = Share(1, 1)
LARGE = DesignSpace(
    name="large",
    depth=(1.0, 2.0, 3.0),
    width=(8.0, 16.0, 24.0),
    bottleneck_ratio=1.0,
    group_width=8.0,
    strides=(1, 2),
)
SMALL = replace(
    LARGE,
    name="small",
    constraints=(Constraint("width", "non_decreasing"), Constraint("depth", "non_decreasing")),
)


def error_of(drawn):
    """A planted error in percent, of depths and widths; no two of the settings have the same."""
    depths, widths = (np.asarray(drawn[name], dtype=float) for name in ("depths", "widths"))
    return (
        20
        + depths @ [1.0, -3.1]
        + widths @ [0.17, -0.33]
        + 0.05 * np.prod(depths, 1) * widths[:, 0]
    )


def sampled(space, n, rng):
    drawn = draw_settings(space, n, rng)
    return Sample(space, drawn, error_of(drawn), WHOLE)


def truth(space):
    """The exact mean error of a space, by enumeration."""
    errors, p = enumerated(space)
    return float(p @ errors)


@pytest.mark.parametrize("target", [LARGE, SMALL], ids=lambda space: space.name)
def test_no_bias_beyond_its_error_and_intervals_that_hold(target):
    rng = np.random.default_rng(0)
    exact = truth(target)
    means, errors, alone = [], [], []
    for _ in range(600):
        samples = [sampled(LARGE, 60, rng), sampled(SMALL, 60, rng)]
        pooled = pool(target, samples)
        means.append(pooled.mean())
        errors.append(pooled.standard_error())
        own = samples[target is SMALL].errors
        alone.append(own.mean())
    off = np.array(means) - exact
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(600)
    covered = np.mean(np.abs(off) <= 1.96 * np.array(errors))
    assert 0.92 <= covered <= 0.975
    # What pooling is for: 4 in 9 of LARGE are in SMALL.
    assert off.std() < 0.93 * np.std(alone)


def enumerated(space):
    """The errors of all settings of a space, and the probability of each."""
    values = [np.array(list(itertools.product(v, v))) for v in ((1, 2, 3), (8, 16, 24))]
    pairs = [(d, w) for d in values[0] for w in values[1]]
    drawn = {
        "depths": np.array([d for d, _ in pairs]),
        "widths": np.array([w for _, w in pairs]),
        "bottleneck_ratios": np.ones((len(pairs), 2)),
        "group_widths": np.full((len(pairs), 2), 8),
    }
    p = np.exp(log_density(space, drawn))
    assert p.sum() == pytest.approx(1)
    return error_of(drawn), p


@pytest.mark.parametrize("target", [LARGE, SMALL], ids=lambda space: space.name)
def test_bands_of_pooled_distributions_hold(target):
    rng = np.random.default_rng(5)
    errors, p = enumerated(target)
    at = np.unique(np.append(errors, np.nextafter(errors, -np.inf)))
    exact = np.array([p[errors <= e].sum() for e in at])
    held = dict.fromkeys(("berk_jones", "dkw"), 0)
    median = 0
    order = np.argsort(errors)
    middle = errors[order][np.searchsorted(np.cumsum(p[order]), 0.5)]
    for _ in range(300):
        one = pool(target, [sampled(LARGE, 60, rng), sampled(SMALL, 60, rng)]).edf("a")
        for kind in held:
            low, high = band(one, 0.9, kind)(at)
            held[kind] += bool(((low <= exact + 1e-9) & (exact - 1e-9 <= high)).all())
        interval = quantile_interval(one, 0.5, 0.9)
        median += interval.low <= middle <= interval.high
    # A share of 300 has a standard error of 1.7 points; ties make bands hold more often.
    assert min(*held.values(), median) / 300 >= 0.87


def test_shares_that_are_roughly_known_make_the_band_wider():
    rng = np.random.default_rng(2)
    one, two = sampled(LARGE, 500, rng), sampled(SMALL, 500, rng)
    sizes = []
    for share_of_small in (Share(1000, 1000), Share(10, 40)):
        found = pool(LARGE, [one, replace_share(two, share_of_small)])
        sizes.append(found.edf("a").sizes)
    at = len(sizes[0]) // 2
    assert sizes[1][at] < 0.7 * sizes[0][at]


def test_weights_are_the_densities_over_the_mixture():
    rng = np.random.default_rng(1)
    one, two = sampled(LARGE, 400, rng), sampled(SMALL, 100, rng)
    pooled = pool(LARGE, [one, two])
    inside = np.isfinite(log_density(SMALL, one.drawn))
    # Of 81 settings SMALL has 36: where both draw, the mixture is 400/81 + 100/36, else 400/81.
    both, large = 1 / (400 + 100 * 81 / 36), 1 / 400
    expected = np.concatenate([np.where(inside, both, large), np.full(100, both)])
    assert pooled.weights == pytest.approx(expected / expected.sum())
    assert (pooled.used, pooled.own, pooled.sizes) == ((400, 100), 400, (400, 100))
    assert pooled.effective_size == pytest.approx(1 / np.square(pooled.weights).sum())
    assert 400 < pooled.effective_size < 500
    small = pool(SMALL, [one, two])
    assert small.used == (inside.sum(), 100)
    assert small.weights == pytest.approx(np.full(inside.sum() + 100, 1 / (inside.sum() + 100)))
    assert small.gain == pytest.approx(1 + inside.sum() / 100)
    assert small.pays
    assert not pool(LARGE, [one]).pays
    assert pool(LARGE, [one]).mean() == pytest.approx(one.errors.mean())


def test_the_error_of_the_shares_is_carried_along():
    rng = np.random.default_rng(2)
    one, two = sampled(LARGE, 2000, rng), sampled(SMALL, 2000, rng)
    exact, rough = Share(1000, 1000), Share(30, 120)
    sure = pool(LARGE, [replace_share(one, exact), replace_share(two, exact)])
    unsure = pool(LARGE, [replace_share(one, exact), replace_share(two, rough)])
    # The derivative, by differences: the share of SMALL one standard error up.
    up = Share(1000, int(1000 * (1 + 0.01)))
    moved = pool(LARGE, [replace_share(one, exact), replace_share(two, up)])
    slope = (moved.mean() - sure.mean()) / np.log(1000 / up.draws)
    by_share = unsure.standard_error() ** 2 - pool_without_share_error(unsure)
    assert rough.relative_error == pytest.approx(0.158, abs=1e-3)
    at_rough = pool(LARGE, [replace_share(one, exact), replace_share(two, Share(30, 121))])
    slope_there = (at_rough.mean() - unsure.mean()) / np.log(120 / 121)
    assert np.sqrt(by_share) == pytest.approx(abs(slope_there) * rough.relative_error, rel=0.03)
    assert slope != 0


def replace_share(sample, share):
    return Sample(sample.space, sample.drawn, sample.errors, share)


def pool_without_share_error(pooled):
    import dataclasses

    return dataclasses.replace(pooled, _share_errors=np.zeros(2)).standard_error() ** 2


def test_a_window_changes_what_the_densities_are_of():
    # Only networks of few parameters: the share of LARGE that fits is another than that of SMALL.
    rng = np.random.default_rng(3)
    window = {"params": (0.0, 22_000.0)}
    shares = {s.name: share(s, rng, resolution=8, draws=100_000, **window) for s in (LARGE, SMALL)}
    assert shares["large"].value > 1.2 * shares["small"].value
    samples, every = [], {}
    for space in (LARGE, SMALL):
        population = space.sample(3000, rng, resolution=8, unique=False, **window)
        every[space.name] = error_of(population.drawn)
        samples.append(Sample(space, population.drawn, every[space.name], shares[space.name]))
    for space in (LARGE, SMALL):
        pooled = pool(space, samples)
        apart = pooled.mean() - every[space.name].mean()
        assert abs(apart) < 4 * every[space.name].std() / np.sqrt(3000)
    # With the shares left out the mixture is wrong, and so is the mean.
    wrong = pool(LARGE, [replace_share(s, WHOLE) for s in samples])
    assert abs(wrong.mean() - pool(LARGE, samples).mean()) > 0.02


def test_failed_networks_are_left_out_and_limits_are_looked_at():
    rng = np.random.default_rng(4)
    one = sampled(LARGE, 300, rng)
    one.errors[:50] = np.nan
    assert pool(LARGE, [one]).sizes == (250,)
    limited = replace(LARGE, name="limited", limits=("depth <= 3",))
    depth = np.asarray(one.drawn["depths"]).sum(axis=1)
    with pytest.raises(InputError, match="large: costs of its networks are not given, and limited"):
        pool(limited, [one])
    costs = {"depth": depth, "flops": np.ones(300)}
    sample = Sample(LARGE, one.drawn, one.errors, WHOLE, costs)
    pooled = pool(limited, [sample])
    assert pooled.used == (int((depth[50:] <= 3).sum()),)
    assert pooled.own == 0
    assert pooled.gain == np.inf


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (SMALL, "large: about 57% of what it draws is drawn by no sample"),
        (replace(LARGE, limits=("depth <= 3",)), "about 100% of what it draws is drawn by no"),
        (replace(LARGE, name="y", block="y", se_ratio=0.25), "y: block: is 'y', but 'x' in large"),
        (replace(LARGE, name="wide", strides=(1, 1)), "wide: strides: is"),
        (DesignSpace.named("regnetx"), "regnetx: has a line, other than large"),
    ],
)
def test_what_cannot_be_pooled_is_refused(other, message):
    rng = np.random.default_rng(5)
    sample = Sample(other, draw_settings(other, 10, rng), np.ones(10), WHOLE)
    with pytest.raises(InputError, match=message):
        pool(LARGE, [sample])
