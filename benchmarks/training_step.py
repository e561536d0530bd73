"""Images a second of the training loop: precision, layout, and anynet's layers against torch's.

All configurations of a network take turns in one process with one thread; a ratio is taken
within a round, so that what slows the machine slows both of its sides. `figure` is the median,
over a fixed panel of networks, of how much faster the configuration that `resolve` chooses here
is than float32 in torch's default layout.

    python benchmarks/training_step.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from anynet import Network, Stage, Stem, build, cost
from search.data import DataSet, Split
from search.recipe import Precision, Recipe
from search.training import Resident, pin_threads, resolve, train

TARGET = 2.0
BATCH = 128

# Depth, width, bottleneck ratio and group width of the four stages: the first 12 networks that
# anynetx_a with strides (1, 2, 2, 2) and a `cifar` stem of 16 gives for 2.5 to 6 MFLOPs at 28x28
# and seed 0. Written out, so that the panel stays when the sampler changes.
PANEL = (
    ((1, 16, 1, 16), (7, 16, 2, 2), (13, 16, 4, 4), (15, 8, 4, 2)),
    ((9, 16, 4, 4), (4, 40, 2, 2), (2, 8, 4, 2), (3, 192, 2, 8)),
    ((1, 32, 2, 1), (8, 32, 4, 8), (15, 32, 4, 8), (4, 8, 1, 4)),
    ((3, 24, 4, 6), (1, 16, 4, 1), (1, 72, 2, 2), (11, 128, 4, 32)),
    ((1, 24, 4, 2), (1, 48, 4, 1), (4, 88, 1, 1), (1, 40, 2, 20)),
    ((1, 16, 1, 16), (5, 24, 2, 12), (3, 24, 4, 1), (5, 56, 4, 14)),
    ((1, 16, 2, 1), (1, 8, 1, 2), (4, 56, 1, 8), (1, 128, 1, 32)),
    ((1, 48, 2, 8), (1, 64, 4, 2), (3, 16, 4, 4), (2, 64, 4, 4)),
    ((8, 16, 2, 2), (2, 16, 1, 8), (10, 32, 2, 1), (1, 24, 1, 4)),
    ((1, 8, 2, 4), (4, 8, 2, 4), (1, 256, 4, 32), (1, 16, 1, 4)),
    ((5, 8, 2, 4), (5, 24, 2, 2), (1, 32, 1, 1), (3, 144, 1, 4)),
    ((3, 32, 2, 8), (1, 16, 2, 4), (2, 16, 4, 4), (1, 48, 4, 4)),
)


@dataclass(frozen=True)
class Configuration:
    """One way to run the same training."""

    name: str
    precision: Precision
    channels_last: bool
    torch_layers: bool
    """torch's own convolution and normalization, where anynet has a subclass of its own."""

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            lr=0.01,
            batch_size=BATCH,
            precision=self.precision,
            channels_last=self.channels_last,
            flip=True,
            crop_padding=2,
        )


BASE = Configuration("float32 contiguous, torch's layers", "float32", False, True)
CONFIGURATIONS = (
    BASE,
    Configuration("float32 channels_last, torch's layers", "float32", True, True),
    Configuration("float32 channels_last, anynet's layers", "float32", True, False),
    Configuration("bfloat16 channels_last, torch's layers", "bfloat16", True, True),
    Configuration("bfloat16 channels_last, anynet's layers", "bfloat16", True, False),
)


def describe(stages: tuple[tuple[int, int, float, int], ...]) -> Network:
    return Network(
        stem=Stem(kind="cifar", width=16),
        stages=tuple(
            Stage(depth, width, stride, "x", bottleneck_ratio=ratio, group_width=group_width)
            for (depth, width, ratio, group_width), stride in zip(stages, (1, 2, 2, 2), strict=True)
        ),
        input_channels=1,
        classes=10,
    )


def build_for(network: Network, configuration: Configuration) -> nn.Module:
    module = build(network, generator=torch.Generator().manual_seed(0))
    if configuration.torch_layers:
        for layer in module.modules():
            for kind in (nn.Conv2d, nn.BatchNorm2d):
                if isinstance(layer, kind):
                    layer.__class__ = kind  # the same parameters, computed as torch does
    return module


def random_images(steps: int) -> Resident:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        return Split(images, rng.integers(0, 10, count))

    data = DataSet(
        name="random",
        classes=tuple("0123456789"),
        train=split(steps * BATCH),
        validation=split(1),
        test=None,
        mean=(0.5,),
        std=(0.29,),
        flip=True,
        crop_padding=2,
    )
    return Resident(data)


def measure(
    network: Network, resident: Resident, rounds: int, configurations: list[Configuration]
) -> dict[str, list[float]]:
    """Images a second of each configuration, one figure a round; a first round is thrown away."""
    modules = {c: build_for(network, c) for c in configurations}
    rates: dict[str, list[float]] = {c.name: [] for c in configurations}
    for turn in range(rounds + 1):
        for configuration, module in modules.items():
            result = train(module, resident, configuration.recipe, epochs=1, seed=turn)
            if turn:
                rates[configuration.name].append(result.images_per_second)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6 networks, half a minute")
    quick = parser.parse_args().quick
    pin_threads(1)
    panel, rounds, steps = (PANEL[:6], 3, 2) if quick else (PANEL, 7, 4)
    resident = random_images(steps)
    decided = resolve(Recipe(), resident)
    chosen = next(
        c for c in CONFIGURATIONS if not c.torch_layers and c.precision == decided.precision
    )

    # A quick run leaves out what this machine would not choose and torch alone cannot do.
    configurations = [c for c in CONFIGURATIONS if not quick or c.torch_layers or c is chosen]

    print(f"Images a second, batch {BATCH}, 1x28x28, one thread, median of {rounds} rounds")
    print("and how many times as fast as float32 contiguous\n")
    for letter, configuration in zip("ABCDE", configurations, strict=False):
        mark = "  <- chosen here" if configuration is chosen else ""
        print(f"  {letter}  {configuration.name}{mark}")
    print(
        "\n  MFLOPs       A"
        + "".join(f"{letter:>15}" for letter in "BCDE"[: len(configurations) - 1])
    )
    ratios: dict[str, list[float]] = {c.name: [] for c in configurations}
    speeds: dict[str, list[float]] = {c.name: [] for c in configurations}
    for stages in panel:
        network = describe(stages)
        rates = measure(network, resident, rounds, configurations)
        cells = []
        for name, values in rates.items():
            pairs = zip(values, rates[BASE.name], strict=True)
            ratios[name].append(statistics.median(value / base for value, base in pairs))
            speeds[name].append(statistics.median(values))
            cells.append((speeds[name][-1], ratios[name][-1]))
        print(
            f"  {cost(network, 28).flops / 1e6:6.2f}  {cells[0][0]:6.0f}"
            + "".join(f"{speed:7.0f} x{ratio:5.2f} " for speed, ratio in cells[1:]),
            flush=True,
        )
    middle = {name: statistics.median(values) for name, values in ratios.items()}
    worst = {name: min(values) for name, values in ratios.items()}
    for label, row in (("median", middle), ("worst", worst)):
        print(
            f"  {label:<14}" + "".join(f"{'':7} x{row[c.name]:5.2f} " for c in configurations[1:])
        )
    print()

    figure = middle[chosen.name]
    print(
        json.dumps(
            {
                "name": "training_step",
                "figure": round(figure, 3),
                "unit": "x",
                "target": TARGET,
                "holds": figure >= TARGET,
                "detail": {
                    "chosen": chosen.name,
                    "networks": len(panel),
                    "rounds": rounds,
                    "torch": torch.__version__,
                    "median_ratio": {name: round(value, 3) for name, value in middle.items()},
                    "worst_ratio": {name: round(value, 3) for name, value in worst.items()},
                    "images_per_second": {
                        name: round(statistics.median(values)) for name, values in speeds.items()
                    },
                },
            }
        )
    )


if __name__ == "__main__":
    main()
