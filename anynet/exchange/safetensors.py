"""Weights as safetensors, with the network in the metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anynet.errors import InputError
from anynet.exchange.metadata import metadata, read_bytes, read_network
from anynet.files import write_bytes
from anynet.network import Network
from anynet.reference import Reference

if TYPE_CHECKING:
    from torch import Tensor

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

    network = read_network(path)
    try:
        state = load(read_bytes(path))
    except Exception as error:  # safetensors raises its own
        raise InputError(f"{path}: not a safetensors file: {error}") from None
    return module_with_weights(network, state, path)


def module_with_weights(
    network: Network | Reference, state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> AnyNet:
    """The network's module with the weights that a file at `path` held, in eval mode.

    Raises InputError where they are not the network's: other names, other shapes.
    """
    from anynet.model import build

    module = build(network, device="meta").to_empty(device="cpu").eval()
    try:
        module.load_state_dict(state)
    except RuntimeError as error:  # torch's has many lines
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: not the weights of its network: {reason}") from None
    return module
