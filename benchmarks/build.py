"""Building RegNetX-400MF, against torchvision's constructor of the same network.

    python benchmarks/build.py [--quick]

On the meta device and on the CPU, where both draw all weights. torchvision's `regnet_x_400mf` is
400 wide in its last stage where pycls and anynet are 384, so its stages are given explicitly;
parameters are compared before anything is timed. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torchvision.models.regnet import BlockParams, RegNet

from anynet import build, load_network

network = load_network("regnetx_400mf")


def ours(device: str) -> torch.nn.Module:
    return build(network, device=device)


def theirs(device: str) -> torch.nn.Module:
    params = BlockParams(
        depths=list(network.depths),
        widths=list(network.widths),
        group_widths=[stage.group_width for stage in network.stages],
        bottleneck_multipliers=[1.0] * len(network.stages),
        strides=[stage.stride for stage in network.stages],
    )
    with torch.device(device):
        return RegNet(params)


def seconds(make, device: str) -> float:
    start = time.perf_counter()
    make(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds")
    rounds = 9 if parser.parse_args().quick else 31
    torch.set_num_threads(1)
    counts = [sum(p.numel() for p in make("meta").parameters()) for make in (ours, theirs)]
    assert counts[0] == counts[1], counts
    detail: dict[str, float] = {}
    for device in ("meta", "cpu"):
        pairs = [(seconds(ours, device), seconds(theirs, device)) for _ in range(rounds)]
        a, b = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        detail[f"{device}_ratio"] = round(statistics.median(x / y for x, y in pairs), 3)
        detail |= {f"{device}_anynet_ms": round(a, 2), f"{device}_torchvision_ms": round(b, 2)}
        print(f"{device:5} anynet {a:8.2f} ms   torchvision {b:8.2f} ms", end="   ")
        print(f"ratio {detail[f'{device}_ratio']:.2f}")
    figure = max(detail["meta_ratio"], detail["cpu_ratio"])
    result = {
        "name": "build",
        "figure": figure,
        "unit": "x torchvision",
        "target": 1.0,
        "holds": figure <= 1.0,
        "detail": detail | {"rounds": rounds},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
