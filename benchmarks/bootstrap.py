"""Best ranges of six parameters of 5,000 networks, against a loop of 10,000 draws.

The loop does what DNDS, section 3.2, says: draw 25% of the networks with replacement, find the
best, note its six parameters, 10,000 times; then the percentiles of what was noted. Ours computes
what the loop tends to. In each turn, on new errors, both are timed, and every percentile of ours
must lie within the loop's own Monte Carlo error: between those of its noted values whose ranks
enclose the percentile with 4 standard deviations (so one percentile in 16,000 at most would fail by
chance). `figure` is the median over the turns of the ratio of their times.

Then ours alone on 10⁶ networks: seconds, and the peak memory of the whole process.

    python benchmarks/bootstrap.py [--quick]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis.ranges import best_ranges
from anynet.space import NAMED

TARGET = 100.0
NETWORKS, DRAWS, MANY = 5_000, 10_000, 10**6
LEVELS = (0.025, 0.5, 0.975)
REPEATS = 20
"""Runs of ours a turn: one takes less than the clock of a busy machine can tell."""


def loop(parameters: np.ndarray, errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The parameters, (6, n), of the best of a quarter of the networks, 10,000 times."""
    n = len(errors)
    noted = np.empty((DRAWS, len(parameters)))
    for i in range(DRAWS):
        drawn = rng.integers(n, size=n // 4)
        noted[i] = parameters[:, drawn[errors[drawn].argmin()]]
    return noted


def inside(value: float, noted: np.ndarray, level: float) -> bool:
    """Whether a percentile agrees with noted values, within their own Monte Carlo error."""
    spread = 4 * np.sqrt(DRAWS * level * (1 - level))
    ranks = np.clip([DRAWS * level - spread, DRAWS * level + spread], 0, DRAWS - 1)
    low, high = np.sort(noted)[ranks.astype(int)]
    return bool(low <= value <= high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    turns = 5 if parser.parse_args().quick else 15

    # A RegNet's six drawn settings, whose ties and lists are those of real tables.
    tables = NAMED["regnetx"].tables
    names = ("depth", "w0", "wa", "wm", "bottleneck_ratio", "group_width")
    rng = np.random.default_rng(0)

    ratios, ours, loops = [], [], []
    agree = compared = 0
    for _ in range(turns):
        columns = {
            name: rng.choice(tables[name].values, NETWORKS, p=tables[name].probabilities)
            for name in names
        }
        # Errors as a validation set of 10,000 images gives them: in hundredths, with ties.
        away = np.abs(np.log(columns["depth"] / 20)) + np.abs(columns["wm"] - 2.5)
        errors = np.round(8 + 2 * away + rng.gamma(2, 1, NETWORKS), 2)
        table = np.stack(list(columns.values()))
        start = time.perf_counter()
        noted = loop(table, errors, rng)
        percentiles = np.percentile(noted, [100 * level for level in LEVELS], axis=0)
        loops.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(REPEATS):
            found = best_ranges(columns, errors)
        ours.append((time.perf_counter() - start) / REPEATS)
        ratios.append(loops[-1] / ours[-1])
        for i, name in enumerate(names):
            one = found[name]
            for level, value in zip(LEVELS, (one.low, one.median, one.high), strict=True):
                agree += inside(value, noted[:, i], level)
                compared += 1

    print(f"Best ranges of 6 parameters, {NETWORKS:,} networks, {turns} turns; the last:\n")
    print(f"  {'':<18}{'2.5%':>8}{'50%':>8}{'97.5%':>8}   loop: {'2.5%':>8}{'50%':>8}{'97.5%':>8}")
    for i, name in enumerate(names):
        one, three = found[name], percentiles[:, i]
        print(f"  {name:<18}{one.low:>8g}{one.median:>8g}{one.high:>8g}", end="         ")
        print(f"{three[0]:>8g}{three[1]:>8g}{three[2]:>8g}")

    wide = {name: rng.random(MANY) for name in names}
    errors = rng.gamma(2, 1, MANY)
    start = time.perf_counter()
    best_ranges(wide, errors)
    seconds = time.perf_counter() - start
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    ratio = statistics.median(ratios)
    loop_ms, ours_ms = 1e3 * statistics.median(loops), 1e3 * statistics.median(ours)
    print(f"\n  loop {loop_ms:,.0f} ms, ours {ours_ms:.2f} ms: {ratio:,.0f} times as fast")
    print(f"  {agree} of {compared} percentiles within the loop's Monte Carlo error")
    print(f"  {MANY:,} networks: {seconds:.2f} s, {memory:.2f} GB at the peak\n")
    holds = ratio >= TARGET and agree == compared and seconds < 2 and memory < 1
    print(
        json.dumps(
            {
                "name": "bootstrap",
                "figure": round(ratio, 1),
                "unit": "times as fast",
                "target": TARGET,
                "holds": holds,
                "detail": {
                    "ratios": [round(value) for value in ratios],
                    "loop_ms": round(loop_ms, 1),
                    "ours_ms": round(ours_ms, 3),
                    "percentiles_inside": agree,
                    "percentiles": compared,
                    "seconds_for_1000000": round(seconds, 3),
                    "peak_gb": round(memory, 3),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
