"""Reference networks by name, for `cost` and `export` and as baselines."""

from __future__ import annotations

from anynet.checks import require_known
from anynet.network import Network, Stage, Stem
from anynet.regnet import RegNet

# (depth, w0, wa, wm, group width) of the published RegNets: DNDS, tables 3 and 4, as in pycls
# `configs/dds_baselines`.
_REGNETX: dict[str, tuple[int, int, float, float, int]] = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (22, 24, 24.48, 2.54, 16),
    "600mf": (16, 48, 36.97, 2.24, 24),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1.6gf": (18, 80, 34.01, 2.25, 24),
    "3.2gf": (25, 88, 26.31, 2.25, 48),
    "4.0gf": (23, 96, 38.65, 2.43, 40),
    "6.4gf": (17, 184, 60.83, 2.07, 56),
    "8.0gf": (23, 80, 49.56, 2.88, 120),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
_REGNETY: dict[str, tuple[int, int, float, float, int]] = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (16, 48, 27.89, 2.09, 8),
    "600mf": (15, 48, 32.54, 2.32, 16),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1.6gf": (27, 48, 20.71, 2.65, 24),
    "3.2gf": (21, 80, 42.63, 2.66, 24),
    "4.0gf": (22, 96, 31.41, 2.24, 64),
    "6.4gf": (25, 112, 33.22, 2.27, 72),
    "8.0gf": (17, 192, 76.82, 2.19, 56),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
}
# (depths, bottleneck ratio, group width of the first stage): He et al. 2016, table 1; Xie et al.
# 2017, table 1. A bottleneck of a ResNet has one group.
_RESNETS: dict[str, tuple[tuple[int, ...], float, int | None]] = {
    "resnet50": ((3, 4, 6, 3), 4.0, None),
    "resnet101": ((3, 4, 23, 3), 4.0, None),
    "resnet152": ((3, 8, 36, 3), 4.0, None),
    "resnext50_32x4d": ((3, 4, 6, 3), 2.0, 4),
    "resnext101_32x4d": ((3, 4, 23, 3), 2.0, 4),
    "resnext152_32x4d": ((3, 8, 36, 3), 2.0, 4),
}

REGNETS: dict[str, tuple[str, RegNet]] = {
    f"regnet{block}_{size}": (block, RegNet(*row))
    for block, table in (("x", _REGNETX), ("y", _REGNETY))
    for size, row in table.items()
}
"""Block and settings of the published RegNets."""


def names() -> tuple[str, ...]:
    """The names that `textbook_network` knows."""
    return (*REGNETS, *_RESNETS)


def textbook_network(name: str) -> Network:
    """The network of that name, for ImageNet. Raises ValueError for an unknown name."""
    require_known("network", name, names())
    if name in REGNETS:
        block, regnet = REGNETS[name]
        return regnet.network(block=block)
    depths, ratio, group_width = _RESNETS[name]
    return Network(
        stem=Stem("imagenet", 64),
        stages=tuple(
            Stage(
                depth=depth,
                width=256 * 2**i,
                stride=1 if i == 0 else 2,
                bottleneck_ratio=ratio,
                group_width=None if group_width is None else group_width * 2**i,
            )
            for i, depth in enumerate(depths)
        ),
    )
