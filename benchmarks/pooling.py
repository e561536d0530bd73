"""Nested spaces pooled: bias, coverage and saving, on spaces whose truth is known by enumeration.

A space of two stages, and the half of it in which neither depth nor width decreases, with an error
planted for every setting. Many studies of n networks a space are simulated; figure: the variance
of the smaller space's mean from its own networks, over that from the pooled ones.

    python benchmarks/pooling.py [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import json

import numpy as np
from msgspec.structs import replace

from analysis.pooling import Sample, pool
from anynet import DesignSpace
from anynet.density import Share, draw_settings, log_density, share
from anynet.space import Constraint

LARGE = DesignSpace(
    name="large",
    depth=(1.0, 2.0, 3.0, 4.0),
    width=(8.0, 16.0, 24.0, 32.0),
    bottleneck_ratio=1.0,
    group_width=8.0,
    strides=(1, 2),
)
DEEPER = replace(LARGE, name="deeper", constraints=(Constraint("depth", "non_decreasing"),))
SMALL = replace(
    DEEPER,
    name="small",
    constraints=(*DEEPER.constraints, Constraint("width", "non_decreasing")),
)
SPACES = (LARGE, DEEPER, SMALL)
N = 60
TARGET = 1.3


def planted(drawn, rng=None):
    """Error in percent; with `rng`, as one training of many gives it (0.5 points of noise)."""
    depths, widths = (np.asarray(drawn[name], dtype=float) for name in ("depths", "widths"))
    error = 20 + depths @ [1, -2] + widths @ [0.1, -0.2] + 0.03 * np.prod(depths, 1) * widths[:, 0]
    return error if rng is None else error + rng.normal(0, 0.5, len(error))


def exact(space):
    depths, widths = (list(itertools.product(v, v)) for v in ((1, 2, 3, 4), (8, 16, 24, 32)))
    pairs = list(itertools.product(depths, widths))
    drawn = {
        "depths": np.array([d for d, _ in pairs]),
        "widths": np.array([w for _, w in pairs]),
        "bottleneck_ratios": np.ones((len(pairs), 2)),
        "group_widths": np.full((len(pairs), 2), 8),
    }
    return float(np.exp(log_density(space, drawn)) @ planted(drawn))


def of_the_paper(rng, n=100, window=(360e6, 400e6)):
    """The share of the window and the effective size for each of DNDS's nested spaces."""
    spaces = [DesignSpace.named(f"anynetx_{letter}") for letter in "abcde"]
    samples = [
        Sample(
            space,
            space.sample(n, rng, flops=window, unique=False).drawn,
            np.zeros(n),
            share(space, rng, flops=window),
        )
        for space in spaces
    ]
    return {
        space.name: (sample.share, pool(space, samples).effective_size)
        for space, sample in zip(spaces, samples, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    studies = 500 if parser.parse_args().quick else 5000
    rng = np.random.default_rng(0)
    pooled, own = ({space.name: [] for space in SPACES} for _ in range(2))
    for _ in range(studies):
        samples = []
        for space in SPACES:
            drawn = draw_settings(space, N, rng)
            samples.append(Sample(space, drawn, planted(drawn, rng), Share(1, 1)))
        for space, sample in zip(SPACES, samples, strict=True):
            found = pool(space, samples)
            pooled[space.name].append((found.mean(), found.standard_error(), found.effective_size))
            own[space.name].append(sample.errors.mean())
    print(f"{studies} studies of {N} networks a space; errors in points\n")
    print("space    truth   bias (±2 se)      95% covers  effective n  variance own / pooled")
    rows = {}
    for space in SPACES:
        means, errors, sizes = np.array(pooled[space.name]).T
        truth = exact(space)
        off = means - truth
        se = off.std() / np.sqrt(studies)
        row = rows[space.name] = {
            "truth": truth,
            "bias": off.mean(),
            "bias_standard_error": se,
            "coverage": float(np.mean(np.abs(off) <= 1.96 * errors)),
            "effective_size": sizes.mean(),
            "saving": np.var(own[space.name]) / off.var(),
        }
        print(
            f"{space.name:7} {truth:6.2f}  {row['bias']:+.4f} ±{2 * se:.4f}  "
            f"{100 * row['coverage']:9.1f}%  {row['effective_size']:11.0f}  {row['saving']:8.2f}"
        )
    print("\n100 networks each of AnyNetX_A to E, 360 to 400 MFLOPs at 224x224, all pooled:")
    print("space      share of draws  effective n")
    papers = of_the_paper(np.random.default_rng(1))
    for name, (fits, size) in papers.items():
        print(f"{name}  {100 * fits.value:6.3f}% ±{100 * fits.relative_error:.1f}%  {size:11.0f}")
    saving = rows["small"]["saving"]
    unbiased = all(abs(r["bias"]) < 4 * r["bias_standard_error"] for r in rows.values())
    covers = all(r["coverage"] > 0.93 for r in rows.values())
    print(
        json.dumps(
            {
                "name": "pooling",
                "figure": round(float(saving), 3),
                "unit": "variance of the own mean over that of the pooled one (smallest space)",
                "target": TARGET,
                "holds": bool(saving >= TARGET and unbiased and covers),
                "detail": {
                    "studies": studies,
                    "n": N,
                    "spaces": rows,
                    "effective_n_of_100": {
                        name: round(size, 1) for name, (_, size) in papers.items()
                    },
                },
            }
        )
    )


if __name__ == "__main__":
    main()
