"""Densities of drawn settings and shares of windows: against identities, draws and counts."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import DesignSpace, InputError
from anynet.density import log_density, share
from anynet.space import Constraint

TINY = DesignSpace(
    name="tiny",
    depth=(1.0, 2.0),
    width=(8.0, 16.0, 24.0),
    bottleneck_ratio=(1.0, 2.0),
    group_width=(1.0, 8.0),
    strides=(1, 2),
)
GROWING = replace(TINY, name="growing", constraints=(Constraint("width", "non_decreasing"),))


def draws(space, n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return space.sample(n, rng, resolution=32, unique=False).drawn


def test_a_draw_of_the_whole_space_is_as_likely_as_its_size_says():
    # Everything in TINY is uniform: 1 of 2^2 · 3^2 · 2^2 · 2^2.
    assert np.exp(log_density(TINY, draws(TINY))) == pytest.approx(np.full(2000, 1 / 576))
    # Of the 9 pairs of widths 6 do not decrease.
    found = np.exp(log_density(GROWING, draws(TINY)))
    assert set(np.round(found * 384, 9)) == {0.0, 1.0}
    assert np.mean(found > 0) == pytest.approx(2 / 3, abs=0.04)


@pytest.mark.parametrize(
    ("larger", "smaller", "ratio"),
    [("anynetx_a", "anynetx_b", 27), ("anynetx_b", "anynetx_c", 216)],
)
def test_nested_spaces_differ_by_the_share_of_the_smaller_one(larger, smaller, ratio):
    # 1 in 27 of A has the same bottleneck ratio in all stages, 1 in 216 of B the same groups.
    drawn = draws(DesignSpace.named(smaller))
    one = log_density(DesignSpace.named(smaller), drawn)
    assert np.exp(one - log_density(DesignSpace.named(larger), drawn)) == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["anynetx_a", "anynetx_d", "anynetx_e", "regnetx"])
def test_the_mean_of_inverse_densities_is_the_size(name):
    # E[1/q] over draws of q is the number of settings: what importance weights rest on.
    space = replace(
        DesignSpace.named(name),
        constraints=(*DesignSpace.named(name).constraints,)
        if name == "regnetx"
        else (
            *DesignSpace.named(name).constraints,
            Constraint("width", "ranged", high=64),
            Constraint("depth", "ranged", high=4),
        ),
    )
    rng = np.random.default_rng(1)
    drawn = {
        k if name == "regnetx" else f"{k}s": s.draw(40_000, rng) for k, s in space.sequences.items()
    }
    inverse = np.exp(-log_density(space, drawn))
    error = inverse.std() / np.sqrt(len(inverse))
    assert abs(inverse.mean() - space.size) < 4 * error + 1e-9 * space.size


def test_regnets_outside_the_ranges_are_never_drawn():
    space = DesignSpace.named("regnetx_constrained")
    drawn = draws(DesignSpace.named("regnetx"), 3000)
    inside = np.isfinite(log_density(space, drawn))
    expected = (
        (drawn["depth"] <= 40) & (drawn["wm"] >= 2) & (np.ravel(drawn["bottleneck_ratio"]) == 1)
    )
    assert 0 < inside.sum() < 3000
    assert np.array_equal(inside, expected)


def test_the_share_in_a_window_is_that_of_the_sampler():
    space = DesignSpace.named("anynetx_a")
    found = share(space, np.random.default_rng(0), flops=(360e6, 400e6), draws=200_000)
    assert found.draws >= 200_000
    assert found.value == pytest.approx(0.0211, abs=4 * 0.0211 * found.relative_error)
    assert found.relative_error == pytest.approx((found.accepted) ** -0.5, rel=0.02)
    whole = share(TINY, np.random.default_rng(0), resolution=32, draws=1)
    assert (whole.value, whole.relative_error) == (1.0, 0.0)
    none = share(TINY, np.random.default_rng(0), params=(0, 1), resolution=32, draws=1)
    assert (none.value, none.relative_error) == (0.0, np.inf)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ({}, "drawn: no settings, but tiny draws depths, widths, bottleneck_ratios, group_widths"),
        ({"depths": [[1, 2]]}, "drawn: width of 2 stages is not there"),
        ({"depths": [[1, 2, 1]]}, "drawn: depth of 2 stages is not there"),
    ],
)
def test_settings_of_another_kind_of_space_are_refused(drawn, message):
    with pytest.raises(InputError, match=message):
        log_density(TINY, drawn)


def test_a_constant_of_the_space_is_looked_at():
    ranged = replace(TINY, name="se", block="y", se_ratio=(0.25, 0.5))
    fixed = replace(ranged, name="fixed", se_ratio=0.25)
    drawn = draws(ranged, 500)
    found = np.exp(log_density(fixed, drawn))
    both = (drawn["se_ratios"] == 0.25).all(axis=1)
    assert np.array_equal(found > 0, both)
    assert found[both] == pytest.approx(np.full(both.sum(), 1 / 576))
    with pytest.raises(InputError, match="drawn: se_ratios, but tiny draws"):
        log_density(TINY, drawn)
