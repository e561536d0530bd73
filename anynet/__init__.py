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
    from anynet.exchange.folding import fold_batch_norms
    from anynet.exchange.timm import from_timm, weights_to_timm
    from anynet.exchange.torchvision import from_torchvision, weights_to_torchvision
    from anynet.export import export_text, export_weights, load_network, load_weights
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
    "export_text": "export",
    "export_weights": "export",
    "fold_batch_norms": "exchange.folding",
    "from_timm": "exchange.timm",
    "from_torchvision": "exchange.torchvision",
    "load_network": "export",
    "load_space": "space",
    "load_weights": "export",
    "register_block": "blocks",
    "weights_to_timm": "exchange.timm",
    "weights_to_torchvision": "exchange.torchvision",
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
    "export_text",
    "export_weights",
    "fold_batch_norms",
    "from_timm",
    "from_torchvision",
    "load_network",
    "load_space",
    "load_weights",
    "register_block",
    "weights_to_timm",
    "weights_to_torchvision",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anynet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"anynet.{_HOME[name]}"), name)
