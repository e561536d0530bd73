"""Fitting the quantized line to 10,000 AnyNetX_E networks on one core, against a plain loop.

The plain loop does what DNDS, section 3.3, says, one network after the other: a grid search over
(w0, wa, wm) at the network's depth, every grid point one NumPy evaluation. It runs on a subset,
in turns with the vectorised fit; `detail.ratio` is the median over the turns of seconds a network.
`figure` is the seconds of the core that the vectorised fit of all networks takes (CPU time of a
process with one thread, so that what else runs on the machine counts little), which `--quick`
scales up from 5,000.

    python benchmarks/line_fit.py [--quick]
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from anynet.line_fit import fit_lines
from anynet.regnet import quantize_line
from anynet.space import NAMED

TARGET = 10.0
NETWORKS = 10_000
WINDOW = (360e6, 400e6)
TURN = 5
"""Networks that the plain loop fits in one turn."""
WM = np.linspace(1.5, 3, 7)
WA_VALUES = 12


def plain_fit(depths: np.ndarray, widths: np.ndarray) -> float:
    """The least e_fit on a grid of all w0 to the widest stage, 7 wm and 12 wa."""
    blocks = np.log(np.repeat(widths, depths))
    wa = np.geomspace(1, widths.max(), WA_VALUES)
    return min(
        float(np.abs(np.log(quantize_line(len(blocks), w0, a, m).quantized) - blocks).mean())
        for w0 in range(8, int(widths.max()) + 8, 8)
        for a in wa
        for m in WM
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    quick = parser.parse_args().quick
    n, turns = (5_000, 2) if quick else (NETWORKS, 4)

    space = NAMED["anynetx_e"]
    population = space.sample(min(n, 1_000), np.random.default_rng(0), flops=WINDOW)
    # A tenth from the window of DNDS, the rest without a window: any depth and width.
    rest = space.sample(n - n // 10, np.random.default_rng(1), resolution=32)
    depths = np.concatenate([population.depths[: n // 10], rest.depths])
    widths = np.concatenate([population.widths[: n // 10], rest.widths])
    fit_lines(depths[:100], widths[:100])

    ratios, nearer = [], []
    spent = wall = 0.0
    e_fits = np.empty(n)
    parts = np.array_split(np.random.default_rng(2).permutation(n), turns)
    for part in parts:
        start, start_wall = time.process_time(), time.perf_counter()
        e_fits[part] = fit_lines(depths[part], widths[part]).e_fit
        ours = time.process_time() - start
        wall += time.perf_counter() - start_wall
        spent += ours
        start = time.process_time()
        plain = [plain_fit(depths[i], widths[i]) for i in part[:TURN]]
        loop = time.process_time() - start
        ratios.append((loop / TURN) / (ours / len(part)))
        nearer += [float(value - e_fits[i]) for value, i in zip(plain, part[:TURN], strict=True)]
    compared = len(nearer)
    seconds = spent * NETWORKS / n
    ratio = statistics.median(ratios)

    print(f"Quantized lines fitted to AnyNetX_E networks on one core, in {turns} turns\n")
    print(f"  {'':<24}{'networks':>10}{'s / 10,000':>12}{'mean e_fit':>12}")
    some = np.concatenate([part[:TURN] for part in parts])
    print(f"  {'anynet.fit_lines':<24}{n:>10,}{seconds:>12.2f}{e_fits.mean():>12.4f}")
    print(f"  {'  of the subset':<24}{compared:>10,}{'':>12}{e_fits[some].mean():>12.4f}")
    plain_mean = e_fits[some].mean() + statistics.mean(nearer)
    print(f"  {'plain loop, coarse grid':<24}{compared:>10,}{seconds * ratio:>12.0f}", end="")
    print(f"{plain_mean:>12.4f}\n\n  {ratio:.0f} times as fast; e_fit of the plain loop is above")
    print(
        f"  ours for {sum(value > 1e-9 for value in nearer)} of {compared}, below it for ", end=""
    )
    print(f"{sum(value < -1e-9 for value in nearer)}\n")
    print(
        json.dumps(
            {
                "name": "line_fit",
                "figure": round(seconds, 3),
                "unit": "s",
                "target": TARGET,
                "holds": seconds < TARGET,
                "detail": {
                    "ratio": round(ratio, 1),
                    "ratios": [round(value, 1) for value in ratios],
                    "networks": n,
                    "wall_seconds_for_10000": round(wall * NETWORKS / n, 3),
                    "mean_e_fit": round(float(e_fits.mean()), 4),
                    "plain_loop_networks": compared,
                    "plain_loop_points_of_w0": len(WM) * WA_VALUES,
                    "plain_loop_mean_excess": round(statistics.mean(nearer), 4),
                    "plain_loop_nearer_for": sum(value < -1e-9 for value in nearer),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
