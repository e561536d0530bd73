import itertools

import numpy as np
import pytest

from analysis.comparison import compare
from analysis.multiplicity import adjust, descend, rung_alpha


def test_holm_by_hand():
    assert adjust([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert adjust([0.6, 0.7]) == pytest.approx([1, 1])
    assert adjust([0.01, 0.04], "bonferroni") == pytest.approx([0.02, 0.08])


def test_a_fixed_sequence_ends_at_the_first_that_is_not_called():
    p = [0.001, 0.04, 0.2, 0.001]
    assert adjust(p, "fixed_sequence").tolist() == [0.001, 0.04, 0.2, 0.2]
    assert descend(p) == 2
    assert descend([]) == 0


def test_all_rungs_together_spend_alpha():
    assert sum(rung_alpha(0.05, k) for k in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)
    assert rung_alpha(0.05, 1) == pytest.approx(0.0304, abs=1e-4)
    with pytest.raises(ValueError, match="count from 1"):
        rung_alpha(0.05, 0)


def test_small_levels_stay_within_reach():
    # As many permutations are drawn as the level of a late rung needs.
    rng = np.random.default_rng(0)
    a, b = rng.normal(20, 1, 40), rng.normal(25, 1, 40)
    confidence = 1 - rung_alpha(0.05, 12)
    assert compare(a, b, confidence=confidence).verdict == "better"


@pytest.mark.slow
def test_a_ladder_calls_something_falsely_in_at_most_five_percent(planted):
    # Rungs 1 and 2 differ, then four equal ones: each population is used by two comparisons.
    rng = np.random.default_rng(1)
    false = {"holm": 0, "fixed_sequence": 0, "spending": 0, "nothing": 0}
    passed = 0
    for _ in range(300):
        rungs = [planted.tied(40, rng) + shift for shift in (3, 1.5, 0, 0, 0, 0)]
        p = np.array(
            [
                compare(better, worse, permutations=799).p_value
                for worse, better in itertools.pairwise(rungs)
            ]
        )
        passed += descend(p) >= 2
        spent = [rung_alpha(0.05, k) for k in range(1, 6)]
        false["holm"] += (adjust(p)[2:] <= 0.05).any()
        false["fixed_sequence"] += descend(p) > 2
        false["spending"] += (p <= spent)[2:].any()
        false["nothing"] += (p <= 0.05)[2:].any()
    assert passed > 240
    assert (
        max(false["holm"], false["fixed_sequence"], false["spending"]) <= 39
    )  # 25 and 3 standard errors
    assert false["nothing"] > 24
