"""Reference networks by name, for `cost` and `export` and as baselines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from anynet.checks import require_known
from anynet.network import Head, Network, Stage, Stem
from anynet.reference import FACTS, Reference
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
    "resnext101_32x8d": ((3, 4, 23, 3), 1.0, 8),
    "resnext101_64x4d": ((3, 4, 23, 3), 1.0, 4),
    "resnext152_32x4d": ((3, 8, 36, 3), 2.0, 4),
}

# depths of DenseNet-BC with growth rate 32: Huang et al. 2017, table 1.
_DENSENETS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32)}
# (expansion, width, depth, stride): Sandler et al. 2018, table 2.
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# (expansion, kernel, width, depth, stride): Tan and Le 2019, table 1.
_EFFICIENTNET_B0 = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
# (block, blocks a stage), for CIFAR-10: Radosavovic et al. 2019 (NDS), He et al. 2016, section 4.2.
_CIFAR: dict[str, tuple[str, int]] = {
    "r56": ("res_basic", 9),
    "r110": ("res_basic", 18),
    "v56": ("vanilla", 9),
}


def _basic_resnet(depths: tuple[int, ...]) -> Network:
    """He et al. 2016, table 1."""
    return Network(_stages(depths, (64, 128, 256, 512), block="res_basic"), Stem("imagenet", 64))


def _bottleneck_resnet(
    depths: tuple[int, ...], ratio: float, group_width: int | None = None, **changes: Any
) -> Network:
    stages = tuple(
        Stage(
            depth=depth,
            width=256 * 2**i,
            stride=1 if i == 0 else 2,
            bottleneck_ratio=ratio,
            group_width=None if group_width is None else group_width * 2**i,
        )
        for i, depth in enumerate(depths)
    )
    return replace(Network(stages, Stem("imagenet", 64)), **changes)


def _preact_resnet50() -> Network:
    """He et al. 2016b: ResNet v2, its first convolution with a norm and an activation."""
    widths = (256, 512, 1024, 2048)
    stages = _stages((3, 4, 6, 3), widths, block="preact_bottleneck", bottleneck_ratio=4.0)
    return Network(stages, Stem("imagenet", 64), Head("norm_linear"))


def _densenet(depths: tuple[int, ...]) -> Network:
    growth_rate, width = 32, 64
    stages = []
    for i, depth in enumerate(depths):
        width = (width // 2 if i else width) + depth * growth_rate
        stride = 2 if i else 1
        stages.append(Stage(depth, width, stride, "dense", growth_rate=growth_rate))
    return Network(tuple(stages), Stem("imagenet", 64), Head("norm_linear"))


def _mobilenet_v2() -> Network:
    return Network(
        tuple(
            Stage(depth, width, stride, "mbconv", expansion=float(expansion))
            for expansion, width, depth, stride in _MOBILENET_V2
        ),
        Stem("simple", 32),
        Head(width=1280, dropout=0.2),
        activation="relu6",
    )


def _efficientnet_b0() -> Network:
    return Network(
        tuple(
            Stage(
                depth,
                width,
                stride,
                "mbconv",
                expansion=float(expansion),
                kernel=kernel,
                se_ratio=0.25,
            )
            for expansion, kernel, width, depth, stride in _EFFICIENTNET_B0
        ),
        Stem("simple", 32),
        Head(width=1280, dropout=0.2),
        activation="silu",
        stochastic_depth=0.2,
    )


def _cifar(block: str, depth: int) -> Network:
    stages = _stages((depth, depth, depth), (16, 32, 64), block=block)
    return Network(stages, Stem("cifar", 16), classes=10)


def _stages(depths: tuple[int, ...], widths: tuple[int, ...], **settings: Any) -> tuple[Stage, ...]:
    """Stages of one block, the first with stride 1, the others with stride 2."""
    return tuple(
        Stage(depth, width, 2 if i else 1, **settings)
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True))
    )


_NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet18": lambda: _basic_resnet((2, 2, 2, 2)),
    "resnet34": lambda: _basic_resnet((3, 4, 6, 3)),
    **{name: partial(_bottleneck_resnet, *row) for name, row in _RESNETS.items()},
    # He et al. 2019, figure 2: ResNet-D.
    "resnet50d": lambda: _bottleneck_resnet(
        (3, 4, 6, 3), 4.0, stem=Stem("deep", 64), shortcut="avg_pool"
    ),
    "preact_resnet50": _preact_resnet50,
    **{name: partial(_densenet, depths) for name, depths in _DENSENETS.items()},
    "mobilenet_v2": _mobilenet_v2,
    "efficientnet_b0": _efficientnet_b0,
    **{name: partial(_cifar, *row) for name, row in _CIFAR.items()},
}
REGNETS: dict[str, tuple[str, RegNet]] = {
    f"regnet{block}_{size}": (block, RegNet(*row))
    for block, table in (("x", _REGNETX), ("y", _REGNETY))
    for size, row in table.items()
}
"""Block and settings of the published RegNets."""


def names() -> tuple[str, ...]:
    """The names that `textbook_network` knows."""
    return (*_NETWORKS, *REGNETS, *FACTS)


def textbook_network(name: str) -> Network | Reference:
    """The network of that name as it was published: for ImageNet, R-56, R-110, V-56 and NiN for
    CIFAR-10, LeNet-5 for MNIST.

    A `Network` where the vocabulary describes it, else a `Reference`. Raises ValueError for an
    unknown name.
    """
    require_known("network", name, names())
    if name in FACTS:
        channels = 1 if name == "lenet5" else 3
        return Reference(name, channels, 10 if name in ("lenet5", "nin") else 1000)
    if name in REGNETS:
        block, regnet = REGNETS[name]
        return regnet.network(block=block)
    return _NETWORKS[name]()
