"""Candidates drawn, resolved and counted a second, against a naive reference in plain Python.

    python benchmarks/sampling.py [--quick]

Both sides do the whole work of a candidate: draw its settings, fit widths and group widths, count
params, flops and activations, compare with the window. The reference below takes one candidate
at a time, block by block, and uses nothing of anynet. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import math
import os
import random
import statistics
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
from msgspec.structs import replace

from anynet import DesignSpace
from anynet.network import Stem
from anynet.sampling import CHUNK, sample
from anynet.space import Range

WINDOW = (360e6, 400e6)


# The reference: AnyNetX_A at 224x224.
def log_uniform(low: int, high: int, step: int) -> tuple[list[int], list[float]]:
    values = list(range(low, high + 1, step))
    below = [low - min(step, low / 2)] + [v - step for v in values[1:]]
    weights = [math.log(v) - math.log(b) for v, b in zip(values, below, strict=True)]
    return values, list(itertools.accumulate(w / sum(weights) for w in weights))


DEPTHS, WIDTHS = log_uniform(1, 16, 1), log_uniform(8, 1024, 8)


def draw(table: tuple[list[int], list[float]], rng: random.Random) -> int:
    values, cumulative = table
    return values[min(bisect.bisect(cumulative, rng.random()), len(values) - 1)]


def conv(cost: list[int], c_in: int, c_out: int, k: int, side: int, groups: int = 1) -> None:
    weights = k * k * c_in * c_out // groups
    cost[0] += weights
    cost[1] += weights * side * side
    cost[2] += c_out * side * side


def norm(cost: list[int], width: int) -> None:
    cost[0] += 2 * width


def reference_candidate(rng: random.Random) -> bool:
    stages = []
    for _ in range(4):
        depth, width = draw(DEPTHS, rng), draw(WIDTHS, rng)
        ratio, group = rng.choice((1, 2, 4)), rng.choice((1, 2, 4, 8, 16, 32))
        inner = max(1, width // ratio)
        group = min(group, inner)
        inner = max(group, round(inner / group) * group)
        stages.append((depth, inner * ratio, inner, group))
    cost, side, c_in = [0, 0, 0], 112, 32
    conv(cost, 3, 32, 3, side)
    norm(cost, 32)
    for depth, width, inner, group in stages:
        for block in range(depth):
            stride = 2 if block == 0 else 1
            out = (side - 1) // stride + 1
            if stride != 1 or c_in != width:
                conv(cost, c_in, width, 1, out)
                norm(cost, width)
            conv(cost, c_in, inner, 1, side)
            norm(cost, inner)
            conv(cost, inner, inner, 3, out, inner // group)
            norm(cost, inner)
            conv(cost, inner, width, 1, out)
            norm(cost, width)
            side, c_in = out, width
    cost[0] += c_in * 1000 + 1000
    cost[1] += c_in * 1000 + 1000
    cost[2] += 1000
    return WINDOW[0] <= cost[1] <= WINDOW[1]


def reference_rate(seconds: float, rng: random.Random) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(200):
            reference_candidate(rng)
        done += 200
    return done / (time.perf_counter() - start)


# anynet: independent draws, so that nothing but drawing, resolving and counting is timed.
ANYNETX_A = DesignSpace.named("anynetx_a")
_REGNETX = DesignSpace.named("regnetx")
CIFAR_REGNET = replace(
    _REGNETX,
    name="cifar_regnet",  # pycls, configs/sweeps/cifar/cifar_regnet.yaml
    block="y",
    se_ratio=0.25,
    depth=Range(6, 16),
    line=replace(_REGNETX.line, wm=Range(2, 3, step=0.001, draw="log_uniform")),
    bottleneck_ratio=1,
    group_width=(1, 2, 4, 8, 16, 32),
    strides=(2, 2),
    stem=Stem("cifar", 16),
    classes=10,
)


def anynet_rate(space: DesignSpace, networks: int, rng: np.random.Generator, **window) -> tuple:
    start = time.perf_counter()
    population = sample(space, networks, rng, unique=False, **window)
    seconds = time.perf_counter() - start
    return population.draws / seconds, population.accepted / seconds, population.acceptance_rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    quick = parser.parse_args().quick
    rounds, share = (5, 1) if quick else (9, 3)
    plain, rng = random.Random(0), np.random.default_rng(0)
    rows = []
    for _ in range(rounds):
        slow = reference_rate(1.0 * share, plain)
        fast, valid, accepted = anynet_rate(
            ANYNETX_A, 40_000 * share, rng, flops=WINDOW, resolution=224
        )
        line, line_valid, line_accepted = anynet_rate(
            CIFAR_REGNET,
            4_000 * share,
            rng,
            flops=(0.12e9, 0.13e9),
            params=(0, 2e6),
            activations=(0, 1e6),
            resolution=32,
        )
        rows.append((slow, fast, valid, accepted, line, line_valid, line_accepted))
    slow, fast, valid, accepted, line, line_valid, line_accepted = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    ratio = statistics.median(row[1] / row[0] for row in rows)
    print(f"{'':34}{'candidates/s':>14}{'in window/s':>14}{'accepted':>10}")
    print(f"{'plain Python, AnyNetX_A':34}{slow:14,.0f}")
    print(f"{'anynet, AnyNetX_A, 360-400 MF':34}{fast:14,.0f}{valid:14,.0f}{accepted:10.2%}")
    print(f"{'anynet, RegNetY, 120-130 MF, 32x32':34}{line:14,.0f}{line_valid:14,.0f}", end="")
    print(f"{line_accepted:10.2%}")
    print(f"ratio, AnyNetX_A: {ratio:.0f}")
    result = {
        "name": "sampling",
        "figure": round(ratio, 1),
        "unit": "x plain Python",
        "target": 100,
        "holds": ratio >= 100 and fast >= 1.5e6 and line >= 3e6,
        "detail": {
            "anynetx_a_candidates_per_second": round(fast),
            "anynetx_a_target": 1.5e6,
            "regnet_candidates_per_second": round(line),
            "regnet_target": 3e6,
            "reference_candidates_per_second": round(slow),
            "rounds": rounds,
            "chunk": CHUNK,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
