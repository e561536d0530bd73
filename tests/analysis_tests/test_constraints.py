"""Candidates of the vocabulary, and what trained networks say of them."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from analysis.constraints import Candidate, candidates, observe, screen
from anynet import DesignSpace, InputError
from anynet.density import log_density
from anynet.space import Constraint

SPACE = DesignSpace(
    name="small",
    depth=(1.0, 2.0, 4.0),
    width=(8.0, 16.0, 32.0, 64.0),
    bottleneck_ratio=(1.0, 2.0),
    group_width=(4.0, 8.0),
    strides=(1, 2, 2),
)


def population(space=SPACE, n=400, seed=0):
    return space.sample(n, np.random.default_rng(seed), resolution=8, unique=False)


def falls(columns):
    return -np.minimum(np.diff(np.log2(np.asarray(columns, float)), axis=1), 0).sum(axis=1)


def observed(error, space=SPACE, n=400, seed=0):
    drawn = population(space, n, seed)
    return observe(drawn, error(drawn))


def noise(drawn):
    return 30 + np.random.default_rng(1).normal(0, 1, len(drawn))


def by_tag(sample):
    return {candidate.tag: candidate for candidate in candidates(sample)}


def test_the_vocabulary_of_a_space_of_stages():
    found = by_tag(observed(noise))
    orders = {
        f"{name}_{rule}"
        for name in ("depth", "width", "bottleneck_ratio", "group_width")
        for rule in ("shared", "non_decreasing", "non_increasing")
    }
    assert orders <= found.keys()
    assert found.keys() - orders <= {"params_limit", "activations_limit", "depth_limit"}
    assert found["width_shared"].shrinkage == pytest.approx(16)
    assert found["width_non_decreasing"].shrinkage == pytest.approx(64 / 20)


def test_distance_is_0_exactly_where_the_smaller_space_draws_the_network():
    sample = observed(noise)
    for candidate in candidates(sample):
        if candidate.kind in ("shared", "order", "range"):
            inside = np.isfinite(log_density(candidate.space, sample.drawn))
            assert np.array_equal(candidate.distance == 0, inside), candidate.tag
            assert 0 < inside.sum() < len(sample), candidate.tag


def test_an_order_leaves_sharing_to_ask_for_and_sharing_leaves_nothing():
    ordered = replace(SPACE, constraints=(Constraint("width", "non_decreasing"),))
    found = by_tag(observed(noise, ordered))
    assert "width_shared" in found
    assert not {"width_non_decreasing", "width_non_increasing"} & found.keys()
    # The rule that is implied is not kept beside it.
    assert found["width_shared"].space.constraints == (Constraint("width", "shared"),)
    shared = replace(SPACE, constraints=(Constraint("width", "shared"),))
    assert not {tag for tag in by_tag(observed(noise, shared)) if tag.startswith("width_non")}


def test_a_range_is_a_candidate_where_the_best_lie_in_a_narrow_one():
    shared = replace(SPACE, constraints=(Constraint("width", "shared"),))

    def wide_is_good(drawn):
        return 30 - 5 * np.log2(drawn.drawn["widths"][:, 0]) + noise(drawn) - 30

    found = by_tag(observed(wide_is_good, shared))["width_range"]
    assert found.space.constraints[-1] == Constraint("width", "ranged", low=64)
    assert found.best.low == 64
    assert found.best.chance <= 0.05
    assert "width_range" not in by_tag(observed(noise, shared, seed=3))


def test_limits_speak_of_cost_over_flops():
    def few_params_are_good(drawn):
        return 20 + 3 * np.log2(drawn.params / drawn.flops) + 0.1 * noise(drawn)

    sample = observed(few_params_are_good)
    found = by_tag(sample)["params_limit"]
    (limit,) = found.space.limits
    bound = float(limit.removeprefix("params <= ").removesuffix(" * flops"))
    ratio = sample.costs["params"] / sample.costs["flops"]
    assert np.array_equal(found.distance == 0, ratio <= bound)
    assert found.shrinkage == pytest.approx(1 / np.mean(ratio <= bound))
    # A population of that space is sampled, and keeps the limit.
    smaller = found.space.sample(50, np.random.default_rng(0), resolution=8)
    assert (smaller.params <= bound * smaller.flops).all()


def test_the_line_is_asked_for_once_its_own_rules_are_there():
    rules = (
        Constraint("bottleneck_ratio", "shared"),
        Constraint("group_width", "shared"),
        Constraint("width", "non_decreasing"),
    )
    for missing in range(3):
        kept = tuple(rule for i, rule in enumerate(rules) if i != missing)
        assert "line" not in by_tag(observed(noise, replace(SPACE, constraints=kept), 100))
    sample = observed(noise, replace(SPACE, constraints=rules), 100)
    line = by_tag(sample)["line"]
    assert line.space.line is not None
    assert np.array_equal(line.distance, sample.e_fit)
    assert line.space.strides == SPACE.strides
    drawn = line.space.sample(20, np.random.default_rng(0), resolution=8, unique=False)
    assert set(np.unique(drawn.drawn["group_width"])) <= {4, 8}


def test_a_sample_of_the_smaller_space_is_asked_for_its_own_error():
    def growing_is_good(drawn):
        return noise(drawn) + 4.0 * falls(drawn.drawn["widths"])

    sample = observed(growing_is_good)
    candidate = by_tag(sample)["width_non_decreasing"]
    found = screen(candidate, sample)
    inside = candidate.distance == 0
    assert found.method == "subset"
    assert found.satisfying == inside.sum()
    assert found.effect == pytest.approx(sample.errors[inside].mean() - sample.errors.mean())
    assert found.low < found.effect < found.high < 0
    assert screen(by_tag(sample)["width_non_increasing"], sample).low > 0


def test_where_too_few_satisfy_it_the_distance_of_the_others_speaks():
    def equal_is_good(drawn):
        spread = np.log2(drawn.drawn["widths"]).std(axis=1)
        return noise(drawn) + 5.0 * spread

    sample = observed(equal_is_good, n=150)
    candidate = by_tag(sample)["width_shared"]
    assert (candidate.distance == 0).sum() < 20
    found = screen(candidate, sample)
    truth = -5.0 * candidate.distance.mean()
    assert found.method == "regression"
    assert found.low < truth < found.high
    assert found.high < 0


def test_the_interval_of_the_regression_holds():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        distance = rng.exponential(1, 80)
        errors = 30 + 2 * distance + rng.normal(0, 0.5 + distance)
        candidate = Candidate("x", "line", "", SPACE, distance, 2.0)
        drawn = population(n=80)
        found = screen(candidate, observe(drawn, errors))
        hits += found.low <= -2 * distance.mean() <= found.high
    assert 0.92 <= hits / 300 <= 0.98


def test_weights_count():
    drawn = population()
    errors = noise(drawn) + 4.0 * falls(drawn.drawn["widths"])
    plain = observe(drawn, errors)
    twice = np.concatenate([np.arange(400), np.arange(200)])  # the first half twice
    from dataclasses import replace as changed

    doubled = changed(
        plain,
        drawn={name: column[twice] for name, column in plain.drawn.items()},
        depths=plain.depths[twice],
        widths=plain.widths[twice],
        costs={name: column[twice] for name, column in plain.costs.items()},
        errors=plain.errors[twice],
        fits={},
    )
    weighted = changed(plain, weights=np.where(np.arange(400) < 200, 2.0, 1.0), fits={})
    for tag in ("width_non_decreasing", "depth_shared"):
        one, other = (screen(by_tag(s)[tag], s).effect for s in (weighted, doubled))
        assert one == pytest.approx(other)


def test_failed_networks_are_left_out():
    drawn = population(n=50)
    errors = noise(drawn)
    errors[:10] = np.nan
    assert len(observe(drawn, errors)) == 40
    with pytest.raises(InputError, match="small: 1 networks with an error, 2 at least"):
        observe(drawn, np.where(np.arange(50) == 0, 5.0, np.nan))
