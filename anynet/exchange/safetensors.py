"""Weights as safetensors, with the network in the metadata."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from anynet.errors import InputError
from anynet.exchange.metadata import metadata, read_bytes, read_network
from anynet.files import write_bytes

if TYPE_CHECKING:
    from anynet.model import AnyNet


def save_safetensors(module: AnyNet, path: str | os.PathLike[str], note: str = "") -> Path:
    """Write the weights, statistics of batch norm included, with the network. Whole or not at all.

    Raises InputError where the file cannot be written.
    """
    from safetensors.torch import save

    state = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    return write_bytes(path, save(state, metadata(module.network, note)))


def load_safetensors(path: str | os.PathLike[str]) -> AnyNet:
    """The module of such a file, on the CPU and in eval mode; its `network` is the network.

    Raises InputError where the file is not one of ours, or its weights are not the network's.
    """
    from safetensors.torch import load

    from anynet.model import build

    network = read_network(path)
    module = build(network, device="meta").to_empty(device="cpu").eval()
    try:
        module.load_state_dict(load(read_bytes(path)))
    except Exception as error:  # safetensors raises its own; torch a RuntimeError of many lines
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: not the weights of its network: {reason}") from None
    return module
