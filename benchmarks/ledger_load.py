"""Loading a ledger of 100,000 trials with 10-point curves into a DataFrame.

    python benchmarks/ledger_load.py [--quick]

The ledger is synthetic and written to a temporary folder. Measured with and without the networks
as objects: EDFs need none. Decoding each line with `json` into a dict is the other side; medians of
alternating rounds. --quick takes 20,000 trials and scales to 100,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec.structs import replace

from analysis.results import load_runs
from anynet import load_network
from search.trial import LEDGER_NAME, Trial, encode_trial


def write_ledger(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    trial = Trial(
        trial="",
        space="regnetx",
        drawn={
            "depth": 22,
            "w0": 24,
            "wa": 24.5,
            "wm": 2.54,
            "bottleneck_ratio": 1,
            "group_width": 16,
        },
        network=load_network("regnetx_400mf"),
        params=5_157_512,
        flops=399_000_000,
        activations=3_130_000,
        seed=1,
        epochs=10,
        state="complete",
        error=0.0,
        started="2026-01-01T00:00:00+00:00",
        seconds=1.5,
        worker="host/1",
    )
    curves = 10 + 80 * np.sort(rng.random((n, 10)))[:, ::-1]
    with open(folder / LEDGER_NAME, "wb") as file:
        for i, curve in enumerate(curves.tolist()):
            line = replace(
                trial, trial=f"regnetx-{i:06d}", seed=i, error=curve[-1], curve=tuple(curve)
            )
            file.write(encode_trial(line))


def by_json(folder: Path) -> pd.DataFrame:
    with open(folder / LEDGER_NAME, "rb") as file:
        return pd.DataFrame([json.loads(line) for line in file])


def timed(function: Callable[[], pd.DataFrame], n: int) -> float:
    start = time.perf_counter()
    assert len(function()) == n
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    quick = parser.parse_args().quick
    n, rounds = (20_000, 3) if quick else (100_000, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ledger(folder, n)
        ways: dict[str, Callable[[], pd.DataFrame]] = {
            "results": lambda: load_runs([folder], networks=False),
            "networks": lambda: load_runs([folder]),
            "json": lambda: by_json(folder),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, function in ways.items():
                seconds[way].append(timed(function, n) * 100_000 / n)
    median = {way: statistics.median(times) for way, times in seconds.items()}
    for way, text in (
        ("results", "load_runs without networks (what `edf` does)"),
        ("networks", "load_runs with networks as objects"),
        ("json", "json.loads a line, then DataFrame"),
    ):
        print(f"{text:48s} {median[way]:6.2f} s for 100,000 trials")
    result = {
        "name": "ledger_load",
        "figure": round(median["results"], 3),
        "unit": "s for 100,000 trials with 10-point curves",
        "target": 2.0,
        "holds": median["results"] < 2.0,
        "detail": {
            "with_networks_s": round(median["networks"], 3),
            "json_s": round(median["json"], 3),
            "ratio_to_json": round(median["json"] / median["results"], 2),
            "trials": n,
            "rounds": rounds,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
