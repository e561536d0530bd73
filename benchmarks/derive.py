"""A planted truth over AnyNetX_A, and how often the ladder finds it.

Errors are computed from the network: widths that grow by less than 1.5 doublings from stage to
stage cost points, depths that do not double, and distance from a quantized line; sharing
bottleneck ratios and group widths changes nothing. So constant widths, too, are worse than growing
ones by more than what counts as equal. A decoy, ratios that do not increase, is planted to harm.
One training adds noise of one point. Each seed climbs from fresh samples with the tool's own
numbers of networks, and puts the decoy before a decision, whether or not it was suggested. Once
more with the truth reversed.

    python benchmarks/derive.py [--quick]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import numpy as np

from analysis.constraints import Observed, candidates, observe, screen
from analysis.ladder import Ladder, Rules, climb, decide
from anynet import DesignSpace
from anynet.line_fit import fit_lines

WINDOW = (360e6, 400e6)
DECOY = "bottleneck_ratio_non_increasing"
PLANTED = {
    "as the papers have it": {
        "width_non_decreasing": "improvement",
        "depth_non_decreasing": "improvement",
        "bottleneck_ratio_shared": "simplification",
        "group_width_shared": "simplification",
        "line": "improvement",
    },
    "reversed": {
        "width_non_increasing": "improvement",
        "depth_non_increasing": "improvement",
        "bottleneck_ratio_shared": "simplification",
        "group_width_shared": "simplification",
    },
}
WRONG = {
    "as the papers have it": ("width_non_increasing", "width_shared", "depth_non_increasing"),
    "reversed": ("width_non_decreasing", "width_shared", "depth_non_decreasing", "line"),
}


def short(values, sign: int, growth: float):
    """How far a sequence is from so many doublings (or halvings) at every step."""
    return np.maximum(growth - sign * np.diff(np.log2(values), axis=1), 0).sum(axis=1)


def planted(population, sign: int):
    error = 15 + 2.0 * short(population.widths, sign, 1.5)
    error += 1.5 * short(population.depths, sign, 1.0)
    if sign > 0:
        error += 8 * fit_lines(population.depths, population.widths).e_fit
    if population.space.line is None:
        ratios = population.drawn["bottleneck_ratios"]
        falls = (np.diff(ratios, axis=1) <= 0).all(axis=1) & (np.ptp(ratios, axis=1) > 0)
        error += 5.0 * falls
    return error


def trained(space: DesignSpace, n: int, sign: int, rng) -> Observed:
    population = space.sample(n, rng, flops=WINDOW, unique=False)
    errors = planted(population, sign) + rng.normal(0, 1, n)
    return observe(population, np.clip(errors, 0, 100))


def study(seed: int, sign: int) -> tuple[Ladder, bool, str, int]:
    """A ladder; whether a small sample suggested the decoy, what was decided, networks trained."""
    rng = np.random.default_rng([seed, sign > 0])
    space = DesignSpace.named("anynetx_a")
    start = trained(space, 600, sign, rng)
    rules = Rules(delta=float(start.errors.std()) / 3, power=0.99)
    ladder = climb(start, lambda c, m: trained(c.space, m, sign, rng), rules)
    small = trained(space, 60, sign, rng)
    decoy = next(c for c in candidates(small) if c.tag == DECOY)
    _, outcome = decide(trained(decoy.space, rules.networks(start), sign, rng), start, rules)
    networks = len(start) + sum(step.comparison.n_a for step in ladder.steps)
    return ladder, screen(decoy, small).effect < -rules.delta / 2, outcome, networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    seeds = 1 if parser.parse_args().quick else 100
    detail: dict[str, dict[str, object]] = {}
    solved_in_all = []
    for sign, truth in ((1, "as the papers have it"), (-1, "reversed")):
        steps: Counter[str] = Counter()
        solved = suggested = refused = 0
        trained_networks, largest = [], 0
        for seed in range(seeds):
            ladder, looked_good, outcome, networks = study(seed, sign)
            found = {step.candidate.tag: step.outcome for step in ladder.accepted}
            steps.update(f"{tag}: {what}" for tag, what in found.items())
            right = PLANTED[truth].items() <= found.items() and not found.keys() & set(WRONG[truth])
            decoy_refused = outcome == "refused" and DECOY not in found
            solved += right and decoy_refused
            if not (right and decoy_refused):
                print(f"  seed {seed}: {found}, decoy {outcome}", flush=True)
            suggested += looked_good
            refused += decoy_refused
            trained_networks.append(networks)
            largest = max(largest, *(step.comparison.n_a for step in ladder.steps))
        solved_in_all.append(solved / seeds)
        detail[truth] = {
            "seeds": seeds,
            "solved": solved,
            "decoy_refused": refused,
            "decoy_suggested_by_60": suggested,
            "largest_n": largest,
            "mean_networks": round(float(np.mean(trained_networks))),
            "accepted": dict(steps.most_common()),
        }
        print(f"truth {truth}: solved in {solved} of {seeds} seeds")
        print(
            f"  decoy: looked good among 60 networks in {suggested}, refused in {refused}; "
            f"at most {largest} networks a space, {np.mean(trained_networks):,.0f} in all (mean)"
        )
        for what, count in steps.most_common():
            print(f"  {count:4d}  {what}")
    figure = min(solved_in_all)
    print(
        json.dumps(
            {
                "name": "derive",
                "figure": figure,
                "unit": "share of seeds in which the planted truth is found and the decoy refused",
                "target": 0.95,
                "holds": figure >= 0.95,
                "detail": detail,
            }
        )
    )


if __name__ == "__main__":
    main()
