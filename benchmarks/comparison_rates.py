"""How often comparisons of populations are wrong, and how often they find what is there.

    python benchmarks/comparison_rates.py [--quick] [--table nas-bench-macro_cifar10.json]

Populations of networks are drawn again and again from planted error distributions whose truth is
known (skewed; in steps of 100/360, so with many ties; with 4% diverged; heavy-tailed), and from
the table of trained networks where one is given. Every rate is printed with the share that it
may not exceed, or has to reach, within the error of so many repetitions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from analysis.comparison import compare, sample
from analysis.dominance import dominance, ks_test
from analysis.expected_best import expected_best
from analysis.multiplicity import adjust, rung_alpha
from analysis.power import more_networks, networks_needed
from analysis.sequential import sequential_compare

Draw = Callable[[int, np.random.Generator], np.ndarray]


def skewed(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.round((7 + rng.gamma(1.5, 1.6, n)) * 50) / 50


def tied(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.round((7 + rng.gamma(1.5, 1.6, n)) * 3.6) / 3.6


def diverging(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(n) < 0.04, 100.0, skewed(n, rng))


def heavy(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.round(np.minimum(7 + 1.5 * rng.pareto(1.5, n), 100) * 50) / 50


PLANTED: dict[str, Draw] = {f.__name__: f for f in (skewed, tied, diverging, heavy)}
STATISTICS = ("mean", "median", "quantile:0.25", "area:12", "best_of:5")
PERMUTATIONS = 999


class Rates:
    """Rates as they are measured, each held against what it may be."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, rate: float, target: float, n: int, *, at_least: bool = False) -> None:
        """A rate of n repetitions; 3 standard errors of the target are left to chance."""
        slack = 3 * math.sqrt(target * (1 - target) / n)
        holds = rate >= target - slack if at_least else rate <= target + slack
        bound = f"{'>=' if at_least else '<='} {100 * target:.1f}%"
        print(f"{what:68} {100 * rate:6.1f}%  {bound:>9}  {'' if holds else 'FAILS'}", flush=True)
        self.rows.append({"what": what, "rate": round(rate, 4), "target": target, "holds": holds})

    def check(self, what: str, value: str, holds: bool) -> None:
        print(f"{what:68} {value:>18}  {'' if holds else 'FAILS'}", flush=True)
        self.rows.append({"what": what, "value": value, "holds": holds})

    def worst(self, part: str) -> float:
        return max(
            float(r["rate"]) for r in self.rows if "rate" in r and str(r["what"]).startswith(part)
        )


def equal_populations(rates: Rates, draws: dict[str, Draw], repetitions: int) -> None:
    sizes = [(20, 20), (50, 50), (20, 200)]
    for shape, draw in draws.items():
        for n_a, n_b in sizes:
            rng = np.random.default_rng(1)
            p_values: dict[str, list[float]] = {name: [] for name in (*STATISTICS, "KS")}
            words = []
            for _ in range(repetitions):
                a, b = draw(n_a, rng), draw(n_b, rng)
                for name in STATISTICS:
                    found = compare(a, b, statistic=name, permutations=PERMUTATIONS)
                    assert (found.p_value <= 0.05) == (found.verdict != "undecided")
                    p_values[name].append(found.p_value)
                pair = sample("a", a), sample("b", b)
                p_values["KS"].append(ks_test(*pair, rng).p_value)
                words.append(dominance(*pair).order)
            for name, values in p_values.items():
                for alpha in (0.01, 0.05, 0.2):
                    rate = float(np.mean(np.asarray(values) <= alpha))
                    what = f"equal, {shape} {n_a}:{n_b}: p({name}) <= {alpha}"
                    rates.add(what, rate, alpha, repetitions)
            called = float(np.mean([word != "undecided" for word in words]))
            rates.add(f"equal, {shape} {n_a}:{n_b}: a dominance called", called, 0.05, repetitions)


def sequential(rates: Rates, draws: dict[str, Draw], repetitions: int) -> None:
    """Every call takes into account all looks so far: one after each of 500 pairs."""
    for shape, draw in draws.items():
        rng = np.random.default_rng(2)
        called = 0
        for _ in range(repetitions):
            found = sequential_compare(draw(500, rng), draw(500, rng))
            called += found.decided_at is not None
        rates.add(f"sequential, {shape}: equal, 500 looks", called / repetitions, 0.05, repetitions)
    for name, draw in (("shift of 1", skewed), ("other shape, same mean", tied)):
        rng = np.random.default_rng(3)
        far, stops = 0, []
        mean = 7 + 1.5 * 1.6
        for _ in range(repetitions):
            a = draw(300, rng)
            b = skewed(300, rng) + 1 if name == "shift of 1" else np.round(rng.normal(mean, 1, 300))
            found = sequential_compare(a, b)
            truth = 1.0 if name == "shift of 1" else 0.0
            far += not found.low <= truth <= found.high
            stops.append(found.decided_at or 300)
        what = f"sequential, {name}: limits leave out the truth"
        rates.add(what, far / repetitions, 0.05, repetitions)
        if name == "shift of 1":
            needed = networks_needed(1.96, effect=1.0)
            what = f"sequential, shift of 1 (a plan for 80% takes {needed}): median stop"
            rates.check(what, f"{np.median(stops):.0f} pairs", bool(np.median(stops) < 300))


def planning(rates: Rates, repetitions: int) -> None:
    deviation = float(skewed(1_000_000, np.random.default_rng(0)).std())
    for power in (0.8, 0.9):
        delta = deviation / 3
        n = networks_needed(deviation, delta=delta, power=power)
        assert n is not None
        rng = np.random.default_rng(4)
        words = [
            compare(
                skewed(n, rng), skewed(n, rng), delta=delta, permutations=2 * PERMUTATIONS + 1
            ).verdict
            for _ in range(repetitions)
        ]
        found = words.count("equivalent") / repetitions
        what = f"power: equal, delta a third of a deviation, n = {n}: equivalent"
        rates.add(what, found, power, repetitions, at_least=True)
        rng = np.random.default_rng(5)
        words = [
            compare(
                skewed(n, rng),
                skewed(n, rng) + delta,
                delta=delta,
                permutations=2 * PERMUTATIONS + 1,
            ).verdict
            for _ in range(repetitions)
        ]
        what = f"power: apart by delta, n = {n}: equivalent"
        rates.add(what, words.count("equivalent") / repetitions, 0.025, repetitions)
        n = networks_needed(deviation, effect=delta, power=power)
        assert n is not None
        rng = np.random.default_rng(6)
        words = [
            compare(
                skewed(n, rng), skewed(n, rng) + delta, permutations=2 * PERMUTATIONS + 1
            ).verdict
            for _ in range(repetitions)
        ]
        what = f"power: apart by a third of a deviation, n = {n}: better"
        rates.add(what, words.count("better") / repetitions, power, repetitions, at_least=True)
    for statistic in ("mean", "median", "best_of:10"):
        rng = np.random.default_rng(7)
        found, sizes = 0, []
        for _ in range(repetitions):
            pilot = skewed(60, rng), skewed(60, rng)
            n = networks_needed(*pilot, effect=0.7, statistic=statistic)
            assert n is not None
            sizes.append(n)
            a, b = skewed(n, rng), skewed(n, rng) + 0.7
            one = compare(a, b, statistic=statistic, permutations=2 * PERMUTATIONS + 1)
            found += one.verdict == "better"
        # A pilot is a sample itself: some plans are too small, and 5 points are left to that.
        what = (
            f"power: {statistic}, apart by 0.7, pilots of 60 (n = {np.median(sizes):.0f}): better"
        )
        rates.add(what, found / repetitions, 0.75, repetitions, at_least=True)
    undecided = compare(skewed(30, rng), skewed(30, rng) + 0.3)
    rates.check(
        "30 networks each, apart by 0.3: how many more", f"{more_networks(undecided)}", True
    )


def coverage(rates: Rates, repetitions: int) -> None:
    """Intervals of populations that differ in shape; no limit is claimed for the mean of lumps."""
    truth_rng = np.random.default_rng(8)
    large = {name: draw(1_000_000, truth_rng) for name, draw in PLANTED.items()}
    for first, second in (("skewed", "heavy"), ("tied", "diverging")):
        for n in (50, 200):
            for statistic in ("mean", "median", "quantile:0.25", "area:12", "best_of:10"):
                truth = _truth(large[second], statistic) - _truth(large[first], statistic)
                rng = np.random.default_rng(9)
                missed = 0
                for _ in range(repetitions):
                    a, b = PLANTED[first](n, rng), PLANTED[second](n, rng)
                    found = compare(a, b, statistic=statistic, permutations=PERMUTATIONS)
                    missed += not found.low - 0.02 <= truth <= found.high + 0.02
                what = f"coverage, {first} and {second}, n = {n}: {statistic} missed"
                rate = missed / repetitions
                if statistic == "mean":
                    rates.check(what + " (no claim)", f"{100 * rate:.1f}%", True)
                else:
                    rates.add(what, rate, 0.05, repetitions)


def _truth(errors: np.ndarray, statistic: str) -> float:
    kind, _, value = statistic.partition(":")
    if kind == "mean":
        return float(errors.mean())
    if kind == "area":
        return float(np.minimum(errors, float(value)).mean())
    if kind == "best_of":
        return expected_best(errors, int(value))
    return float(np.quantile(errors, float(value or 0.5), method="inverted_cdf"))


def ladder(rates: Rates, repetitions: int) -> None:
    """Six equal spaces, each compared with the next: any call of a difference is false."""
    for method in ("holm", "fixed_sequence", "spending"):
        rng = np.random.default_rng(10)
        false = 0
        for _ in range(repetitions):
            rungs = [tied(40, rng) for _ in range(6)]
            p = [
                compare(a, b, permutations=PERMUTATIONS).p_value
                for a, b in zip(rungs[1:], rungs, strict=False)
            ]
            if method == "spending":
                false += any(one <= rung_alpha(0.05, k) for k, one in enumerate(p, start=1))
            else:
                false += bool((adjust(p, method) <= 0.05).any())
        rates.add(
            f"ladder of 5 equal rungs, {method}: any call", false / repetitions, 0.05, repetitions
        )


def best_of(rates: Rates, errors: np.ndarray, name: str, repetitions: int) -> None:
    """The estimate of a whole population is its exact value, and that of samples is unbiased."""
    n = len(errors)
    ordered = [Fraction(float(e)) for e in np.sort(errors)]
    for m in (1, 5, 25, 100):
        total = math.comb(n, m)
        exact = sum(
            (e * math.comb(n - i, m - 1) for i, e in enumerate(ordered, start=1)), Fraction(0)
        )
        gap = abs(expected_best(errors, m) - float(exact / total))
        rates.check(
            f"best of {m} of all {n} of {name}: off the exact value", f"{gap:.1e}", gap < 1e-9
        )
    rng = np.random.default_rng(11)
    for m in (5, 25):
        truth = expected_best(errors, m)
        found = [
            expected_best(rng.choice(errors, 50, replace=False), m) for _ in range(10 * repetitions)
        ]
        score = (np.mean(found) - truth) / (np.std(found) / math.sqrt(len(found)))
        what = f"best of {m} by samples of 50 of {name}: bias in standard errors"
        rates.check(what, f"{score:+.2f}", bool(abs(score) < 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    parser.add_argument("--table", type=Path, help="nas-bench-macro_cifar10.json")
    arguments = parser.parse_args()
    quick = arguments.quick
    repetitions = 90 if quick else 1000
    start = time.perf_counter()
    draws = {name: PLANTED[name] for name in (("tied", "diverging") if quick else PLANTED)}
    whole, name = heavy(2000, np.random.default_rng(0)), "a planted population"
    if arguments.table:
        table = json.loads(arguments.table.read_text())
        whole = np.array([100 - network["mean_acc"] for network in table.values()])
        name = "the table"
        draws["table"] = lambda n, rng: rng.choice(whole, n)
    print(f"{repetitions} repetitions a rate")
    rates = Rates()
    equal_populations(rates, draws, repetitions // (3 if quick else 1))
    sequential(rates, draws, repetitions)
    planning(rates, repetitions)
    coverage(rates, repetitions // (3 if quick else 1))
    ladder(rates, repetitions)
    best_of(rates, whole, name, repetitions)
    at_five = [r for r in rates.rows if str(r["what"]).endswith("<= 0.05")]
    failing = [str(r["what"]) for r in rates.rows if not r["holds"]]
    worst = max(float(r["rate"]) for r in at_five)
    result = {
        "name": "comparison_rates",
        "figure": worst,
        "unit": "largest share of equal populations called different at 5%",
        "target": 0.064,
        "holds": not failing and (quick or worst <= 0.064),
        "detail": {
            "rates": len(rates.rows),
            "repetitions": repetitions,
            "outside_3_standard_errors": failing,
            "largest_sequential": rates.worst("sequential"),
            "seconds": round(time.perf_counter() - start),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
