"""Counting one network, against torch's FlopCounterMode on the meta device.

    python benchmarks/counting.py [--quick]

The counter reports floating point operations, two a multiply-add, and leaves biases out; what
both count is compared before anything is timed. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

WITHOUT_TORCH = """
import sys, timeit
from anynet import cost, load_network
network = load_network("regnetx_400mf")
seconds = min(timeit.repeat(lambda: cost(network), number=200, repeat=5)) / 200
print(1e3 * seconds, "torch" in sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    rounds = 5 if parser.parse_args().quick else 15

    alone = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    ).stdout.split()

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from anynet import build, cost, load_network

    torch.set_num_threads(1)
    network = load_network("regnetx_400mf")
    images = torch.empty(1, 3, 224, 224, device="meta")

    def by_torch() -> tuple[float, int]:
        start = time.perf_counter()
        module = build(network, device="meta").eval()
        with FlopCounterMode(display=False) as counter:
            module(images)
        return time.perf_counter() - start, counter.get_total_flops()

    def by_anynet() -> tuple[float, int]:
        start = time.perf_counter()
        for _ in range(100):
            counted = cost(network)
        return (time.perf_counter() - start) / 100, counted.flops

    biases = network.classes
    assert by_torch()[1] == 2 * (by_anynet()[1] - biases)
    pairs = [(by_torch()[0], by_anynet()[0]) for _ in range(rounds)]
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    theirs, ours = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"regnetx_400mf, built and counted by FlopCounterMode on meta  {theirs:9.2f} ms")
    print(f"regnetx_400mf, counted by anynet                             {ours:9.3f} ms")
    print(f"the same in a process without torch, best of 5               {float(alone[0]):9.3f} ms")
    print(f"ratio                                                        {ratio:9.0f}")
    result = {
        "name": "counting",
        "figure": round(ours, 4),
        "unit": "ms a network",
        "target": 0.3,
        "holds": ours < 0.3 and float(alone[0]) < 0.3 and alone[1] == "False",
        "detail": {
            "ratio_to_flop_counter": round(ratio),
            "flop_counter_ms": round(theirs, 2),
            "without_torch_ms": round(float(alone[0]), 4),
            "torch_imported": alone[1] == "True",
            "rounds": rounds,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
