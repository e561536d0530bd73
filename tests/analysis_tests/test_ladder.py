"""The ladder: what it tries, in which order, and by what it decides."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.constraints import ENOUGH, candidates, observe, screen
from analysis.evidence import ladder_data, ladder_words
from analysis.ladder import Rules, climb, decide, promising
from anynet import DesignSpace, InputError

SPACE = DesignSpace(
    name="small",
    depth=(1.0, 2.0, 4.0),
    width=(8.0, 16.0, 32.0, 64.0),
    bottleneck_ratio=(1.0, 2.0),
    group_width=(4.0, 8.0),
    strides=(1, 2, 2),
)
N = 300


def falls(columns):
    return -np.minimum(np.diff(np.log2(np.asarray(columns, float)), axis=1), 0).sum(axis=1)


def growing(drawn):
    """Widths that fall cost 4 points a halving; widths that stay cost 2."""
    stays = np.maximum(1 - np.diff(np.log2(np.asarray(drawn.widths, float)), axis=1), 0)
    return 20 + 2 * stays.sum(axis=1)


def trained(truth, rng, deviation=1.0):
    def train(space, n):
        drawn = space.sample(n, rng, resolution=8, unique=False)
        return observe(drawn, truth(drawn) + rng.normal(0, deviation, n))

    return train


@pytest.fixture(scope="module")
def ladder():
    train = trained(growing, np.random.default_rng(0))
    start = train(SPACE, N)
    rules = Rules(delta=float(start.errors.std()) / 3)
    return climb(start, lambda candidate, n: train(candidate.space, N), rules)


def test_the_planted_constraint_is_found_first_and_as_an_improvement(ladder):
    first = ladder.steps[0]
    assert (first.candidate.tag, first.outcome) == ("width_non_decreasing", "improvement")
    assert first.comparison.verdict == "better"
    assert first.screening.effect < 0
    accepted = {step.candidate.tag: step.outcome for step in ladder.accepted}
    assert accepted["bottleneck_ratio_shared"] == "simplification"
    assert accepted["group_width_shared"] == "simplification"
    assert "width_shared" not in accepted
    assert ladder.end.errors.mean() < 0.9 * 25


def test_what_is_refused_is_not_tried_again_and_leaves_the_space_as_it_is(ladder):
    tags = [step.candidate.tag for step in ladder.steps]
    refused = [step.candidate.tag for step in ladder.steps if step.outcome == "refused"]
    assert all(tags.count(tag) == 1 for tag in refused)
    for before, after in zip(ladder.steps, ladder.steps[1:], strict=False):
        kept = before.base if before.outcome == "refused" else before.candidate.space
        assert after.base == kept


def test_a_truth_turned_round_gives_constraints_turned_round():
    def shrinking(drawn):
        stays = np.maximum(1 + np.diff(np.log2(np.asarray(drawn.widths, float)), axis=1), 0)
        return 20 + 2 * stays.sum(axis=1)

    train = trained(shrinking, np.random.default_rng(1))
    start = train(SPACE, N)
    rules = Rules(delta=float(start.errors.std()) / 3)
    found = climb(start, lambda candidate, n: train(candidate.space, N), rules)
    accepted = {step.candidate.tag: step.outcome for step in found.accepted}
    assert accepted["width_non_increasing"] == "improvement"
    assert not {"width_non_decreasing", "width_shared", "line"} & accepted.keys()


def test_without_fresh_samples_nothing_is_decided_and_what_is_promising_waits():
    train = trained(growing, np.random.default_rng(2))
    start = train(SPACE, N)
    rules = Rules(delta=1.0)
    found = climb(start, lambda candidate, n: None, rules)
    assert (found.steps, found.end) == ((), start)
    assert found.waiting[0][0].tag == "width_non_decreasing"
    assert [c.tag for c, _ in found.waiting] == [c.tag for c, _ in promising(start, rules)]


def test_a_harmful_constraint_is_refused_though_its_own_sample_suggests_it():
    train = trained(growing, np.random.default_rng(3))
    start, rules = train(SPACE, N), Rules(delta=1.0)
    harmful = next(c for c in candidates(start) if c.tag == "width_non_increasing")
    comparison, outcome = decide(train(harmful.space, N), start, rules)
    assert (comparison.verdict, outcome) == ("worse", "refused")


def test_equal_spaces_are_recognized_with_the_power_asked_for():
    rng = np.random.default_rng(4)
    rules = Rules(delta=2.0, power=0.8, decisions=4, most=2)
    drawn = SPACE.sample(400, rng, resolution=8, unique=False)
    pilot = observe(drawn, 30 + rng.normal(0, 3, 400))
    n = rules.networks(pilot)
    drawn = SPACE.sample(n, rng, resolution=8, unique=False)  # of which errors know nothing here
    outcomes = []
    for _ in range(150):
        one, other = (observe(drawn, 30 + rng.normal(0, 3, n)) for _ in range(2))
        outcomes.append(decide(one, other, rules)[1])
    assert outcomes.count("simplification") / 150 > 0.8 - 3 * 0.033


def test_a_sample_without_spread_asks_for_some_networks_and_too_small_a_delta_is_refused():
    rng = np.random.default_rng(6)
    drawn = SPACE.sample(50, rng, resolution=8, unique=False)
    constant = observe(drawn, np.full(50, 30.0))
    assert Rules(delta=1e-3).networks(constant) == ENOUGH
    effects = [screen(one, constant).effect for one in candidates(constant)]
    assert effects == pytest.approx([0.0] * len(effects), abs=1e-9)
    noisy = observe(drawn, 30 + rng.normal(0, 3, 50))
    with pytest.raises(InputError, match="no number of networks tells so little"):
        Rules(delta=1e-4).networks(noisy)


def test_what_was_refused_by_its_name_is_not_tried_again_by_another():
    train = trained(growing, np.random.default_rng(8))
    start, rules = train(SPACE, N), Rules(delta=1.0)
    harmful = next(c for c in candidates(start) if c.tag == "depth_shared")
    given = replace(harmful, tag="space:mine")
    worse = trained(lambda drawn: growing(drawn) + 5, np.random.default_rng(9))
    found = climb(
        start,
        lambda c, n: worse(c.space, N) if c.space == harmful.space else None,
        rules,
        lambda observed: [given],
    )
    assert [(step.candidate.tag, step.outcome) for step in found.steps] == [
        ("space:mine", "refused")
    ]
    assert "depth_shared" not in [candidate.tag for candidate, _ in found.waiting]


def test_promoted_networks_tell_the_spread_of_the_whole_space():
    rng = np.random.default_rng(10)
    drawn = SPACE.sample(400, rng, resolution=8, unique=False)
    errors = 30 + rng.normal(0, 3, 400)
    whole = observe(drawn, errors)
    kept = (errors < 30) | (rng.random(400) < 0.25)
    weights = np.where(errors < 30, 1.0, 4.0)[kept]
    part = replace(observe(drawn, np.where(kept, errors, np.nan)), weights=weights)
    assert part.errors.std() < 0.95 * whole.deviation
    assert part.deviation == pytest.approx(whole.deviation, rel=0.05)


def test_decisions_are_limited_and_share_one_error_rate():
    train = trained(growing, np.random.default_rng(5))
    start = train(SPACE, N)
    rules = Rules(delta=2.0, decisions=2)
    assert rules.confidence == 0.975
    found = climb(start, lambda candidate, n: train(candidate.space, N), rules)
    assert len(found.steps) == 2
    assert found.waiting


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": 0.0}, "delta: 0 must be above 0"),
        ({"delta": float("nan")}, "delta: nan must be above 0"),
        ({"delta": 1.0, "alpha": 1.0}, "alpha: 1 must lie between 0 and 1"),
        ({"delta": 1.0, "decisions": 0}, "decisions: 0 must be 1 or more"),
    ],
)
def test_rules_that_are_none_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Rules(**changes)


def test_the_evidence_holds_every_number_and_says_it_in_words(ladder):
    data = json.loads(json.dumps(ladder_data(ladder)))
    assert data["start"] == {"space": "small", "size": SPACE.size}
    assert data["end"]["size"] == ladder.end.space.size
    assert len(data["steps"]) == len(ladder.steps)
    first, step = data["steps"][0], ladder.steps[0]
    assert first["comparison"]["difference"] == step.comparison.difference
    assert first["screening"]["effect"] == step.screening.effect
    words = ladder_words(ladder)
    assert f"{len(ladder.accepted)} of {len(ladder.steps)} constraints" in words[0]
    assert words[1].startswith("Width non-decreasing: accepted as an improvement.")
    assert f"a change of {-step.comparison.difference:+.2f} points" in words[1]
    assert f"{step.comparison.n_a} networks drawn afresh" in words[1]
