"""What a network is: describe, sample, count, build, export.

Names are imported when they are first used, so that `anynet --help` starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anynet.blocks import register_block
    from anynet.counting import Cost, cost, cost_by_stage
    from anynet.errors import InputError
    from anynet.export import load_network
    from anynet.model import build
    from anynet.network import Head, Network, Stage, Stem
    from anynet.regnet import RegNet
    from anynet.sampling import Population
    from anynet.space import DesignSpace, load_space

_HOME = {
    "Cost": "counting",
    "DesignSpace": "space",
    "Head": "network",
    "InputError": "errors",
    "Network": "network",
    "Population": "sampling",
    "RegNet": "regnet",
    "Stage": "network",
    "Stem": "network",
    "build": "model",
    "cost": "counting",
    "cost_by_stage": "counting",
    "load_network": "export",
    "load_space": "space",
    "register_block": "blocks",
}

__all__ = [
    "Cost",
    "DesignSpace",
    "Head",
    "InputError",
    "Network",
    "Population",
    "RegNet",
    "Stage",
    "Stem",
    "build",
    "cost",
    "cost_by_stage",
    "load_network",
    "load_space",
    "register_block",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anynet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"anynet.{_HOME[name]}"), name)
