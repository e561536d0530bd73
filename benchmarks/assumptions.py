"""Do the intervals and tests of fidelity and factorization keep what they say?

Planted truths: pairs of rankings with a known agreement, normal, with ties and with diverged
networks, and surfaces with known shares of main effects and of pairs, over 16 parameters that are
independent or inside a window on the sum of eight. `figure` is the worst coverage of the 95%
intervals of Kendall's tau and Spearman's rho over all settings; it holds if that is 0.88 or more
and the test of factorization, at 5%, rejects no more additive surfaces than 5% and three standard
errors of that share.

With `--table`, a folder that has NAS-Bench-Macro's `nas-bench-macro_cifar10.json` or
Accel-NASBench's `proxified-seed1.csv`, `fewproxy-seed1.csv`, ..., it prints what they say, too.

    python benchmarks/assumptions.py [--quick] [--table FOLDER]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis.factorization import factorization
from analysis.fidelity import kendall, rank_agreement, rank_transfer, spearman

TARGET = 0.88
SETTINGS = [(0.99, "normal"), (0.9, "normal"), (0.9, "ties"), (0.8, "diverged"), (0.0, "normal")]
SIZES = (20, 50, 117)
SURFACES = [(0.7, 0.0), (0.6, 0.1), (0.45, 0.3)]


def rankings(n: int, rho: float, kind: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Two errors of n networks."""
    x = rng.normal(size=n)
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
    if kind == "ties":
        return [np.round(3 * x), np.round(3 * y)]
    if kind == "diverged":
        return [x, np.where(rng.random(n) < 0.05, 100.0, y)]
    return [x, y]


def agreement(draws: int, rng: np.random.Generator) -> float:
    """Print the coverage of the intervals by setting; returns the worst."""
    print(f"  {'agreement':<22}{'n':>5}{'tau':>8}{'covered':>9}{'rho':>8}{'covered':>9}")
    worst = 1.0
    for rho, kind in SETTINGS:
        large = rankings(4_000, rho, kind, rng)
        truth = kendalltau(*large).statistic, spearmanr(*large).statistic
        for n in SIZES:
            covered = np.zeros(2)
            for _ in range(draws):
                x, y = rankings(n, rho, kind, rng)
                intervals = kendall(x, y)[1], spearman(x, y)[1]
                covered += [
                    low <= true <= high for true, (low, high) in zip(truth, intervals, strict=True)
                ]
            covered /= draws
            worst = min(worst, *covered)
            print(f"  {f'{rho} {kind}':<22}{n:>5}{truth[0]:>8.3f}{covered[0]:>9.3f}", end="")
            print(f"{truth[1]:>8.3f}{covered[1]:>9.3f}")
    return float(worst)


def networks(n: int, window: bool, rng: np.random.Generator) -> np.ndarray:
    """n networks of 16 parameters in [0, 1], (n, 16); eight are settings of few values."""
    found = np.empty((0, 16))
    while len(found) < n:
        some = rng.random((20_000, 16))
        some[:, 8:12] = np.floor(3 * some[:, 8:12]) / 2
        some[:, 12:] = np.floor(6 * some[:, 12:]) / 5
        if window:
            some = some[np.abs(some[:, :8].sum(axis=1) - 3) < 0.05]
        found = np.concatenate([found, some])
    return found[:n]


def surface(x: np.ndarray, main: float, pairs: float, rng: np.random.Generator) -> np.ndarray:
    """Errors with these shares of the variance: a step, a wave and smooth effects; three pairs."""
    u = x - x.mean(axis=0)
    added = 1.2 * u[:, 4] - 3 * (x[:, 0] - 0.6) ** 2 - 0.4 * (x[:, 8] > 0.5)
    added += 0.5 * np.sin(4 * x[:, 5]) + 0.3 * (x[:, 1] > 0.3)
    multiplied = u[:, 0] * u[:, 4] + 0.4 * u[:, 8] * u[:, 12] + 0.7 * u[:, 2] * u[:, 5]
    parts = zip(
        (main, pairs, 1 - main - pairs),
        (added, multiplied, rng.normal(size=len(x))),
        strict=True,
    )
    return sum(np.sqrt(share) * (part - part.mean()) / part.std() for share, part in parts)


def additive(draws: int, rng: np.random.Generator) -> list[bool]:
    """Print what is found of planted surfaces; returns which additive ones are rejected."""
    print(f"\n  {'planted main, pairs':<22}{'n':>5}{'window':>8}{'main':>7}{'pairs':>7}", end="")
    print(f"{'covered':>9}{'p < 0.05':>10}")
    rejected: list[bool] = []
    for main, pairs in SURFACES:
        for n in (100, 300):
            for window in (False, True):
                rows = []
                for _ in range(draws if n == 100 else draws // 2):
                    x = networks(n, window, rng)
                    errors = surface(x, main, pairs, rng)
                    columns = {str(i): column for i, column in enumerate(x.T)}
                    one = factorization(columns, errors, scale="error")
                    low, high = one.additive_interval
                    inside = low <= main / (main + pairs) <= high
                    rows.append((one.main, one.pairs, inside, one.p < 0.05))
                    if not pairs:
                        rejected.append(one.p < 0.05)
                mean = np.mean(rows, axis=0)
                print(f"  {f'{main} {pairs}':<22}{n:>5}{'yes' if window else 'no':>8}", end="")
                print(f"{mean[0]:>7.2f}{mean[1]:>7.2f}{mean[2]:>9.2f}{mean[3]:>10.2f}", flush=True)
    return rejected


def tables(folder: Path) -> None:
    """What real tables of trained networks say."""
    for short in sorted(folder.glob("proxified-seed*.csv")):
        sides = []
        for path in (short, folder / short.name.replace("proxified", "fewproxy")):
            with open(path, newline="", encoding="utf-8") as file:
                sides.append(np.array([100 - float(row[4]) for row in csv.reader(file)]))
        print(f"\n  {short.name}: {rank_agreement(*sides, rng=np.random.default_rng(0))}")
    macro = folder / "nas-bench-macro_cifar10.json"
    if macro.exists():
        table = json.loads(macro.read_text(encoding="utf-8"))
        layers = np.array([[int(digit) for digit in key] for key in table], dtype=float)
        columns = {f"layer_{i + 1}": column for i, column in enumerate(layers.T)}
        errors = np.array([100 - row["mean_acc"] for row in table.values()])
        print(f"\n  all, ranks: {factorization(columns, errors).statement()}")
        print(f"  all, errors: {factorization(columns, errors, scale='error').statement()}")
        one = np.array([100 - row["test_acc"][0] for row in table.values()])
        some = np.random.default_rng(0).choice(len(one), 100, replace=False)
        few = {name: column[some] for name, column in columns.items()}
        print(f"  100, one seed: {factorization(few, one[some]).statement()}")
        flops = np.array([row["flops"] for row in table.values()])
        order = np.argsort(flops)
        rng = np.random.default_rng(1)
        sides = [rng.choice(part, 150, replace=False) for part in (order[:1500], order[-1500:])]
        halves = [({n: c[rows] for n, c in columns.items()}, one[rows]) for rows in sides]
        print(f"  small to large: {rank_transfer(*halves[0], *halves[1])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    parser.add_argument("--table", type=Path, help="folder with real tables")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("Planted truths, and how often 95% intervals hold them\n")
    worst = agreement(200 if options.quick else 1_000, rng)
    tests = additive(6 if options.quick else 40, rng)
    if options.table is not None:
        tables(options.table)
    rejected = float(np.mean(tests))
    most = 0.05 + 3 * float(np.sqrt(0.05 * 0.95 / len(tests)))
    print(f"\n  worst coverage of agreement {worst:.3f}")
    print(f"  of {len(tests)} additive surfaces {rejected:.3f} rejected at 0.05\n")
    print(
        json.dumps(
            {
                "name": "assumptions",
                "figure": round(worst, 3),
                "unit": "coverage",
                "target": TARGET,
                "holds": worst >= TARGET and rejected <= most,
                "detail": {
                    "additive_rejected": round(rejected, 3),
                    "additive_surfaces": len(tests),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
