"""Networks to and from files: our YAML, pycls YAML, and what `exchange` writes for other libraries.

Exports carry the *resolved* stages, because libraries disagree about the group fix.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anynet.counting import DEFAULT_RESOLUTION, cost
from anynet.errors import InputError
from anynet.exchange.d2l import to_d2l
from anynet.exchange.metadata import SUFFIXES, read_network
from anynet.exchange.names import left_out
from anynet.exchange.pycls import from_pycls, to_pycls
from anynet.exchange.timm import to_timm
from anynet.exchange.torchvision import reference_to_torchvision, to_torchvision
from anynet.files import parse_yaml, read_text
from anynet.network import Network, decode_network
from anynet.reference import Reference
from anynet.textbook import names, textbook_network

if TYPE_CHECKING:
    from anynet.model import AnyNet

TextFormat = Literal["anynet", "pycls", "torchvision", "timm", "d2l"]
WeightsFormat = Literal["onnx", "safetensors", "torch_export"]
Format = Literal[TextFormat, WeightsFormat]

_RULE = (
    "The stages are resolved: quantized, and fitted to the group widths by pycls's rule\n"
    "(adjust_block_compatibility, halves to even). Other libraries round otherwise."
)


def export_text(network: Network | Reference, to: TextFormat, comment: str = "") -> str:
    """The text of the file that holds `network` in the format `to`. Raises InputError."""
    if to == "anynet":
        return network.to_yaml(comment)
    if isinstance(network, Reference):
        if to != "torchvision":
            raise InputError(f"--to: {to} has no {network.reference} in stages of equal blocks")
        return _comment(comment) + reference_to_torchvision(network)
    if to == "pycls":
        return _comment(comment) + to_pycls(network)
    code = {"torchvision": to_torchvision, "timm": to_timm, "d2l": to_d2l}[to](network)
    return _comment(f"{comment}\n{_RULE}\n{left_out(network)}".rstrip()) + code


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def export_weights(
    module: AnyNet,
    to: WeightsFormat,
    path: str | os.PathLike[str],
    *,
    resolution: int = DEFAULT_RESOLUTION,
    note: str = "",
) -> Path:
    """Write the module with its weights in the format `to`; `resolution` is a graph's. InputError.

    `note` is kept in the file's metadata, beside the network.
    """
    if to == "safetensors":
        from anynet.exchange.safetensors import save_safetensors

        return save_safetensors(module, path, note)
    from anynet.exchange.graphs import save_onnx, save_torch_export

    save = save_onnx if to == "onnx" else save_torch_export
    return save(module, path, resolution=resolution, note=note)


def load_weights(path: str | os.PathLike[str]) -> AnyNet:
    """The module of a .safetensors, .pt2 or .onnx file of ours, with its weights and its `network`.

    On the CPU and in eval mode. Raises InputError where the file is none of ours or has no weights
    to give back: a graph whose batch norms are folded.
    """
    from anynet.exchange import graphs, safetensors

    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: must be a file with weights ({', '.join(SUFFIXES)})")
    if suffix == ".safetensors":
        return safetensors.load_safetensors(path)
    return graphs.load_onnx(path) if suffix == ".onnx" else graphs.load_torch_export(path)


def summary(network: Network | Reference, resolution: int = DEFAULT_RESOLUTION) -> str:
    """One line of costs, for the head of an exported file."""
    counted = cost(network, resolution)
    return (
        f"at {resolution}x{resolution}: {counted.params:,} params, {counted.flops:,} flops "
        f"(multiply-adds), {counted.activations:,} activations"
    )


def load_network(name_or_path: str) -> Network | Reference:
    """A network by name, from a file of ours (YAML or JSON), of pycls, or with weights in it.

    Files with weights (.safetensors, .pt2, .onnx) hold the network in their metadata. Raises
    InputError.
    """
    if name_or_path in names():
        return textbook_network(name_or_path)
    file_like = "/" in name_or_path or name_or_path.endswith((".yaml", ".yml", ".json", *SUFFIXES))
    if not file_like and not os.path.exists(name_or_path):
        try:
            return textbook_network(name_or_path)
        except ValueError as error:
            raise InputError(str(error)) from None
    if name_or_path.endswith(SUFFIXES):
        return read_network(name_or_path)
    text = read_text(name_or_path)
    data = parse_yaml(text, name_or_path)
    if isinstance(data, dict) and "MODEL" in data:
        return from_pycls(text, name_or_path)
    return decode_network(data, name_or_path)
