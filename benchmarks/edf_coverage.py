"""How often bands of an EDF hold the distribution they are of, and what cheap trainings save.

    python benchmarks/edf_coverage.py [--quick] [--table PATH]

Samples are drawn, with replacement, from populations that are known wholly: with --table (a
folder) NAS-Bench-Macro's 6,561 networks, and the 117 of Accel-NASBench's ablation, each with a
cheap and a long training; else synthetic ones. A band covers if it holds F on the whole axis. Of
1,000 repetitions a coverage has a standard error of 0.7 points. --quick takes 150.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata, spearmanr

from analysis.bands import Band, area_interval, band, mean_interval, quantile_interval
from analysis.edf import EDF, edf
from analysis.normalize import normalize
from analysis.rungs import Estimator, Promoted, estimate

Floats = npt.NDArray[np.float64]
NOMINAL = 0.95


class Truth(NamedTuple):
    """F of a whole population at its different errors, both (k,)."""

    errors: Floats
    shares: Floats

    def held_by(self, held: Band) -> bool:
        """Whether F lies in the band at each error and just before it, that is everywhere."""
        before = np.append(0.0, self.shares[:-1])
        low, high = held(self.errors)
        low_before, high_before = held(np.nextafter(self.errors, -np.inf))
        tiny = 1e-12
        return bool(
            ((low <= self.shares + tiny) & (self.shares <= high + tiny)).all()
            and ((low_before <= before + tiny) & (before <= high_before + tiny)).all()
        )

    def width(self, held: Band, until: float = 1.0) -> float:
        """Mean of high - low over networks of the population, the best `until` of them."""
        mass = np.diff(self.shares, prepend=0.0) * (self.shares <= max(until, self.shares[0]))
        low, high = held(self.errors)
        return float((high - low) @ mass / mass.sum())


def truth(errors: Floats, weights: Floats | None = None) -> Truth:
    order = np.argsort(errors)
    mass = np.ones(len(errors)) if weights is None else weights
    shares = np.cumsum(mass[order]) / mass.sum()
    last = np.append(np.diff(errors[order]) > 0, True)
    return Truth(errors[order][last], shares[last])


class Space(NamedTuple):
    """A whole population: errors and a complexity of each network."""

    name: str
    errors: Floats
    flops: Floats


def macro(folder: Path) -> Space:
    table = json.loads((folder / "nas_bench_macro/nas-bench-macro_cifar10.json").read_text())
    errors = np.array([100 - entry["mean_acc"] for entry in table.values()])
    percentiles = np.percentile(errors, [0, 5, 25, 50, 75, 100])
    print("NAS-Bench-Macro, error percentiles 0 5 25 50 75 100:", percentiles.round(3).tolist())
    flops = np.array([entry["flops"] for entry in table.values()], float)
    depth = np.array([sum(digit != "0" for digit in key) for key in table])
    window = (flops >= 60e6) & (flops <= 80e6)
    for text, which in (
        ("all", window),
        ("depth >= 7", window & (depth >= 7)),
        ("depth <= 5", window & (depth <= 5)),
    ):
        print(
            f"  60 to 80 MFLOPs, {text:10s} n = {which.sum():5d}, "
            f"mean error {errors[which].mean():.3f}"
        )
    return Space("NAS-Bench-Macro", errors, flops)


def synthetic(diverged: float) -> Space:
    rng = np.random.default_rng(7)
    flops = np.exp(rng.normal(17, 0.4, 6561))
    errors = 6 + 2.5 * rng.gamma(2, 0.7, 6561) + 2 * (18.5 - np.log(flops)).clip(0)
    errors[rng.random(6561) < diverged] = 100
    return Space(f"synthetic, {diverged:.1%} diverged", errors.clip(0, 100), flops)


class Pair(NamedTuple):
    """A population whose cheap and long errors are known, and what either costs."""

    name: str
    cheap: Floats
    long: Floats
    cost: tuple[float, float]


def ablation(folder: Path) -> Pair:
    cheap, long, seconds = [], [], {"proxified": 0.0, "fewproxy": 0.0}
    for seed in (1, 2, 3):
        for scheme, into in (("proxified", cheap), ("fewproxy", long)):
            path = folder / f"accel_nasbench/ablation/{scheme}-seed{seed}.csv"
            rows = {tuple(row[9:]): row for row in csv.reader(path.open())}
            into += [100 - float(rows[key][4]) for key in sorted(rows)]
            seconds[scheme] += sum(float(row[8]) for row in rows.values())
    ratio = seconds["fewproxy"] / seconds["proxified"]
    return Pair("Accel-NASBench ablation", np.array(cheap), np.array(long), (1.0, ratio))


def correlated(space: Space, rho: float) -> Pair:
    """Cheap errors whose normal scores correlate `rho` with the long ones'."""
    rng = np.random.default_rng(11)
    score = norm.ppf((rankdata(space.errors) - 0.5) / len(space.errors))
    cheap = rho * score + np.sqrt(1 - rho**2) * rng.standard_normal(len(score))
    return Pair(space.name, cheap, space.errors, (1.0, 5.0))


def poor(pair: Pair, rho: float) -> Pair:
    return correlated(Space(pair.name, pair.long, pair.long), rho)._replace(cost=pair.cost)


# Bands of one population ----------------------------------------------------------------------


def bands_of(
    name: str, target: Truth, draw: Callable[[], EDF], repetitions: int
) -> dict[str, float]:
    kinds = ("dkw", "berk_jones")
    covered, widths, tails = (dict.fromkeys(kinds, 0.0) for _ in range(3))
    for _ in range(repetitions):
        sample = draw()
        for kind in kinds:
            held = band(sample, NOMINAL, kind)  # type: ignore[arg-type]
            covered[kind] += target.held_by(held) / repetitions
            widths[kind] += target.width(held) / repetitions
            tails[kind] += target.width(held, 0.1) / repetitions
    for kind in kinds:
        print(
            f"{name:46s} {kind:11s} {covered[kind]:7.3f} {widths[kind]:8.3f} {tails[kind]:8.3f}",
            flush=True,
        )
    return {f"{name}, {kind}": round(covered[kind], 4) for kind in kinds}


def weighted_cases(space: Space, rng: np.random.Generator, repetitions: int) -> dict[str, float]:
    """Samples with weights: normalized complexity, importance, and promotion of the cheap best."""
    n, bins, result = 200, 4, {}
    logs = np.log(space.flops)
    low, high = np.quantile(logs, [0.02, 0.98])
    inside = (logs >= low) & (logs <= high)
    errors, flops = space.errors[inside], space.flops[inside]
    ends = np.array([flops.min(), flops.max()])
    other = np.geomspace(*ends, 200)  # the other population only sets the bins
    place = np.clip(np.digitize(flops, np.geomspace(*ends, bins + 1)) - 1, 0, bins - 1)
    mass = np.bincount(place, minlength=bins)

    def normalized() -> EDF:
        while True:
            drawn = rng.integers(0, len(errors), n)
            # Both ends are drawn as well, at weights that hardly count, to fix the bins.
            weights = np.append(np.ones(n), [1e-9, 1e-9])
            both = np.append(flops[drawn], ends)
            if (np.bincount(place[drawn], minlength=bins) > 0).all():
                made = normalize(["a", "b"], [both, other], [weights, np.ones(200)], bins=bins)
                return edf("a", errors[drawn], made.weights[0][:n])

    target = truth(errors, 1 / mass[place])
    least = n * mass.min() / len(errors)
    name = f"normalized, n = {n}, least bin {least:.0f}"
    result |= bands_of(name, target, normalized, repetitions)

    chance = 0.1 + rankdata(space.flops) / len(logs)
    cumulative = np.cumsum(chance / chance.sum())

    def importance() -> EDF:
        drawn = np.minimum(np.searchsorted(cumulative, rng.random(n)), len(logs) - 1)
        return edf("a", space.errors[drawn], 1 / chance[drawn])

    return result | bands_of(
        f"importance, n = {n}, weights 1 to 11", truth(space.errors), importance, repetitions
    )


def intervals(space: Space, n: int, rng: np.random.Generator, repetitions: int) -> dict[str, float]:
    limit = float(np.quantile(space.errors, 0.9))
    whole = edf("all", space.errors)
    ways = {
        "median": (whole.quantile(0.5), lambda s: quantile_interval(s, 0.5)),
        "quantile 0.1": (whole.quantile(0.1), lambda s: quantile_interval(s, 0.1)),
        "mean, as printed": (whole.mean, lambda s: mean_interval(s)),
        "mean, bootstrap-t": (whole.mean, lambda s: mean_interval(s, method="bootstrap_t")),
        "mean, mixture": (whole.mean, lambda s: mean_interval(s, method="mixture")),
        "mean, band": (whole.mean, lambda s: mean_interval(s, method="band")),
        "area, bootstrap-t": (whole.area(limit), lambda s: area_interval(s, limit)),
    }
    covered, widths = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for _ in range(repetitions):
        sample = edf("a", rng.choice(space.errors, n))
        for way, (value, function) in ways.items():
            found = function(sample)
            covered[way] += (found.low <= value <= found.high) / repetitions
            widths[way] += (found.high - found.low) / repetitions
    for way in ways:
        name = f"{space.name}, n = {n}"
        print(f"{name:36s} {way:20s} {covered[way]:7.3f} {widths[way]:8.3f}", flush=True)
    return {f"{space.name}, n = {n}, {way}": round(share, 4) for way, share in covered.items()}


# Rungs ----------------------------------------------------------------------------------------


def promote(
    pair: Pair, n: int, shares: Sequence[float], strata: bool, rng: np.random.Generator
) -> Promoted:
    """n networks; of each of equally many, by cheap error, a share is promoted by chance.

    Exactly that share where the parts are `strata`, else each network independently.
    """
    drawn = rng.integers(0, len(pair.cheap), n)
    cheap, long = pair.cheap[drawn], pair.long[drawn]
    order = np.argsort(cheap, kind="stable")
    probability = np.ones(n)
    promoted = np.zeros(n, bool)
    for part, share in zip(np.array_split(order, len(shares)), shares, strict=True):
        count = round(share * len(part))
        probability[part] = count / len(part)
        promoted[rng.permutation(part)[:count]] = True
    if not strata:
        promoted = rng.random(n) < probability
    return Promoted("a", cheap, np.where(promoted, long, np.nan), probability)


def equal_size(width: float, tail: bool) -> float:
    """How many networks, all trained long, have a Berk-Jones band of this mean width."""
    sizes = np.unique(np.geomspace(10, 3000, 40).astype(int))
    until = 0.1 if tail else 1.0
    widths = []
    for n in sizes.tolist():
        line = truth(np.arange(1, n + 1) / n)
        widths.append(line.width(band(edf("a", line.errors)), until))
    return float(np.exp(np.interp(-np.log(width), -np.log(widths), np.log(sizes))))


FIFTH, BEST = (0.2, 0.2, 0.2, 0.2), (0.5, 0.1, 0.1, 0.1)
DESIGNS: tuple[tuple[str, tuple[float, ...], bool, Estimator], ...] = (
    ("each, p = 0.2", FIFTH, False, "horvitz_thompson"),
    ("each, p = 0.2", FIFTH, False, "hajek"),
    ("each, p = 0.2", FIFTH, False, "assisted"),
    ("a fifth", FIFTH, True, "hajek"),
    ("a fifth", FIFTH, True, "assisted"),
    ("more of the best", BEST, True, "hajek"),
    ("more of the best", BEST, True, "assisted"),
)


def rungs_of(pair: Pair, rng: np.random.Generator, repetitions: int) -> tuple[dict, dict]:
    n = 500
    covered: dict[str, float] = {}
    saved: dict[str, dict[str, float]] = {}
    target = truth(pair.long)
    rank = spearmanr(pair.cheap, pair.long).statistic
    for design, shares, strata, estimator in DESIGNS:
        held = width = tail = used = mean = 0.0
        for _ in range(repetitions):
            found = estimate(promote(pair, n, shares, strata, rng), estimator)
            one = found.band(NOMINAL)
            held += target.held_by(one) / repetitions
            width += target.width(one) / repetitions
            tail += target.width(one, 0.1) / repetitions
            used += found.assistance / repetitions
            interval = found.mean_interval(NOMINAL)
            mean += (interval.low <= pair.long.mean() <= interval.high) / repetitions
        equal, equal_tail = equal_size(width, tail=False), equal_size(tail, tail=True)
        promoted = float(np.mean(shares)) * n
        saving = {
            f"cost 1:{ratio:g}": round(1 - (n / ratio + promoted) / equal, 3)
            for ratio in (pair.cost[1], 10.0, 27.0)
        }
        print(
            f"{rank:8.2f}  {design:16s} {estimator:17s} {held:6.3f} {width:7.3f} {tail:7.3f} "
            f"{used:5.2f} {mean:6.3f} {equal:6.0f} {equal_tail:6.0f}  "
            + " ".join(f"{share:7.0%}" for share in saving.values()),
            flush=True,
        )
        name = f"{pair.name}, Spearman {rank:.2f}, {design}, {estimator}"
        covered[name] = round(held, 4)
        saved[name] = saving
    return covered, saved


def million() -> dict[str, float]:
    errors = 100 * np.random.default_rng(0).random(10**6)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        band(edf("a", errors))
        seconds.append(time.perf_counter() - start)
    print(f"EDF with band of a million errors: first {seconds[0]:.2f} s, best {min(seconds):.2f} s")
    return {"first_s": round(seconds[0], 3), "best_s": round(min(seconds), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    parser.add_argument("--table", type=Path, help="folder of tables of trained networks")
    options = parser.parse_args()
    repetitions = 150 if options.quick else 1000
    rng = np.random.default_rng(0)
    speed = million()

    space = macro(options.table) if options.table else synthetic(0.01)
    print(f"\n{space.name}, {repetitions} repetitions, nominal {NOMINAL:.0%}")
    print(f"{'sample':46s} {'band':11s} covers    width  in best tenth")
    coverage: dict[str, float] = {}
    for n in (50, 100, 500):
        coverage |= bands_of(
            f"n = {n}",
            truth(space.errors),
            lambda n=n: edf("a", rng.choice(space.errors, n)),  # type: ignore[misc]
            repetitions,
        )
    coverage |= weighted_cases(space, rng, repetitions)

    print(f"\n{'intervals':57s} covers    width")
    interval: dict[str, float] = {}
    for one, n in ((space, 100), (space, 500), (synthetic(0.02), 100), (synthetic(0.02), 500)):
        interval |= intervals(one, n, np.random.default_rng(1), repetitions // 2)

    print(
        "\n500 networks trained cheaply, about 100 of them long; widths of 95% bands; `used`: how\n"
        "much of the prediction; `mean`: how often its interval holds it; `equals`: networks, all\n"
        "long, that have such a band (b.t.: by its width in the best tenth); saving at that size,\n"
        "for a long training that costs so many cheap ones, both from the start (a third of the\n"
        "repetitions)"
    )
    good = ablation(options.table) if options.table else correlated(space, 0.985)
    ratio = good.cost[1]
    print(f"{good.name}")
    print(
        "Spearman  promoted         estimator         covers   width    b.t.  used   mean equals"
        "   b.t.  "
        f"{f'1:{ratio:.1f}':>7s} {'1:10':>7s} {'1:27':>7s}"
    )
    saving: dict[str, dict[str, float]] = {}
    for pair in (good, poor(good, 0.2), poor(good, -0.4)):
        held, saved = rungs_of(pair, np.random.default_rng(2), repetitions // 3)
        coverage |= held
        saving |= saved

    least = min(coverage.values())
    error = float(np.sqrt(NOMINAL * (1 - NOMINAL) / repetitions))
    # Of some thirty coverages one lies two errors below by chance; of none should be three.
    holds = all(
        share >= NOMINAL - 3 * error * (np.sqrt(3) if "Spearman" in name else 1)
        for name, share in coverage.items()
    )
    result = {
        "name": "edf_coverage",
        "figure": least,
        "unit": "least coverage of a 95% band",
        "target": NOMINAL,
        "holds": bool(holds),
        "detail": {
            "repetitions": repetitions,
            "standard_error": round(error, 4),
            "bands": coverage,
            "intervals": interval,
            "saving": saving,
            "million_errors": speed,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
