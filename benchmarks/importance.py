"""Shares of variance of sixteen parameters from 200 networks, against Optuna's fANOVA.

Errors are planted: five parameters have shares of the variance that are known (30% and 15% of
two continuous ones, 8% of one with three values, 5% of one with six, 2% of a continuous one), one
pair has 10%, eleven parameters have nothing, and 30% are noise. Every turn draws new networks,
and both estimate from the same ones. `figure` is the median over the turns of the ratio of their
times; ours also gives intervals and all 120 pairs in its time. It holds only where the root mean
square error of our shares (`unique`), over the five parameters and all turns, is not above that of
fANOVA. `detail` has the means: most of what a single estimate is off by is chance, which both
share, but fANOVA's means are off too, for settings of few values most of all.

    python benchmarks/importance.py [--quick]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis.importance import importance

TARGET = 5.0
NETWORKS = 200
SHARES = {"x0": 0.3, "x1": 0.15, "b0": 0.08, "g0": 0.05, "x2": 0.02}
PAIR, NOISE = 0.1, 0.3


def planted(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sixteen independent parameters in [0, 1], and errors."""
    x = {f"x{i}": rng.random(NETWORKS) for i in range(8)}
    x |= {f"b{i}": rng.integers(0, 3, NETWORKS) / 2 for i in range(4)}
    x |= {f"g{i}": rng.integers(0, 6, NETWORKS) / 5 for i in range(4)}
    terms = {
        "x0": (x["x0"] - 0.5) * np.sqrt(12),
        "x1": ((x["x1"] - 0.5) ** 2 - 1 / 12) * np.sqrt(180),
        "b0": (x["b0"] - 0.5) * np.sqrt(6),
        "g0": (x["g0"] - 0.5) * np.sqrt(60 / 7),
        "x2": (x["x2"] - 0.5) * np.sqrt(12),
    }
    errors = sum(np.sqrt(share) * terms[name] for name, share in SHARES.items())
    errors = errors + np.sqrt(PAIR) * 12 * (x["x0"] - 0.5) * (x["x1"] - 0.5)
    return x, 10 + errors + np.sqrt(NOISE) * rng.normal(size=NETWORKS)


def fanova(x: dict[str, np.ndarray], errors: np.ndarray, seed: int) -> dict[str, float]:
    """Optuna's default evaluator, on a study that holds the same networks."""
    study = optuna.create_study()
    uniform = dict.fromkeys(x, FloatDistribution(0, 1))
    for i, error in enumerate(errors):
        params = {name: float(values[i]) for name, values in x.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=uniform, value=float(error))
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return evaluator.evaluate(study)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    turns = 3 if parser.parse_args().quick else 20
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    found: dict[str, list[dict[str, float]]] = {"ours": [], "fanova": []}
    seconds: dict[str, list[float]] = {"ours": [], "fanova": []}
    for turn in range(turns):
        x, errors = planted(np.random.default_rng(turn))
        start = time.perf_counter()
        shares = importance(x, errors, scale="error")
        seconds["ours"].append(time.perf_counter() - start)
        found["ours"].append({e.name: (e.unique or e.alone).value for e in shares.effects})
        start = time.perf_counter()
        found["fanova"].append(fanova(x, errors, turn))
        seconds["fanova"].append(time.perf_counter() - start)

    names = list(x)
    true = np.array([SHARES.get(name, 0.0) for name in names])
    planted_ones = true > 0
    values = {
        side: np.array([[one[name] for name in names] for one in found[side]]) for side in found
    }
    away = {side: np.sqrt(((values[side] - true) ** 2).mean(axis=0)) for side in found}
    off = {side: float(np.sqrt((away[side][planted_ones] ** 2).mean())) for side in found}
    rest = {side: float(np.sqrt((away[side][~planted_ones] ** 2).mean())) for side in found}
    speed = statistics.median(
        slow / fast for slow, fast in zip(seconds["fanova"], seconds["ours"], strict=True)
    )

    print(f"Shares of variance, {NETWORKS} networks, 16 parameters, {turns} turns\n")
    print(f"  {'parameter':<12}{'planted':>9}{'ours':>9}{'fANOVA':>9}")
    means = {side: values[side].mean(axis=0) for side in found}
    for name, share in SHARES.items():
        i = names.index(name)
        print(f"  {name:<12}{share:>9.3f}{means['ours'][i]:>9.3f}{means['fanova'][i]:>9.3f}")
    print(f"\n  root mean square error {off['ours']:.3f} ours, {off['fanova']:.3f} fANOVA")
    print(f"  of parameters without effect {rest['ours']:.3f} and {rest['fanova']:.3f}")
    print(f"  {speed:.0f} times as fast\n")
    print(
        json.dumps(
            {
                "name": "importance",
                "figure": round(speed, 1),
                "unit": "times as fast",
                "target": TARGET,
                "holds": speed >= TARGET and off["ours"] <= off["fanova"],
                "detail": {
                    "rms_error_ours": round(off["ours"], 4),
                    "rms_error_fanova": round(off["fanova"], 4),
                    "rms_error_without_effect_ours": round(rest["ours"], 4),
                    "rms_error_without_effect_fanova": round(rest["fanova"], 4),
                    "means_ours": {
                        name: round(float(means["ours"][names.index(name)]), 3) for name in SHARES
                    },
                    "means_fanova": {
                        name: round(float(means["fanova"][names.index(name)]), 3) for name in SHARES
                    },
                },
            }
        )
    )


if __name__ == "__main__":
    main()
