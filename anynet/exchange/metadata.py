"""The network within a file of weights or of a graph: named texts, read back without torch."""

from __future__ import annotations

import importlib
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anynet.errors import InputError
from anynet.files import parse_yaml, to_json
from anynet.network import Network, decode_network
from anynet.reference import Reference

VERSION = "1"
"""The version of these keys; a file of another one is refused."""
_VERSION_KEY, NETWORK_KEY, _NOTE_KEY = "anynet.version", "anynet.network", "anynet.note"
KEYS = (_VERSION_KEY, NETWORK_KEY, _NOTE_KEY)


def metadata(network: Network | Reference, note: str = "") -> dict[str, str]:
    """What a file says of itself: the version, the network as JSON, where it comes from."""
    return {_VERSION_KEY: VERSION, NETWORK_KEY: to_json(network), _NOTE_KEY: note}


def network_of(texts: Mapping[str, str], source: str) -> Network | Reference:
    """The network of `metadata(network)`. Raises InputError naming `source`."""
    if NETWORK_KEY not in texts:
        raise InputError(f"{source}: no file of anynet ({NETWORK_KEY} is not in its metadata)")
    if (version := texts.get(_VERSION_KEY)) != VERSION:
        raise InputError(f"{source}: {_VERSION_KEY}: {version!r}, but this anynet reads {VERSION}")
    return decode_network(parse_yaml(texts[NETWORK_KEY], source), f"{source}: {NETWORK_KEY}")


def require_library(name: str, extra: str) -> Any:
    """The library `name`, imported. Raises InputError saying what to install."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed: pip install 'anynet-nas[{extra}]'") from None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file. Raises InputError where it is not there or not readable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


SUFFIXES = (".safetensors", ".pt2", ".onnx")
"""How files that hold a network in their metadata end."""


def read_network(path: str | os.PathLike[str]) -> Network | Reference:
    """The network in the metadata of a .safetensors, .pt2 or .onnx file. Raises InputError."""
    read = {".safetensors": _of_safetensors, ".pt2": _of_torch_export, ".onnx": _of_onnx}
    return network_of(read[Path(path).suffix](path), str(path))


def _of_safetensors(path: str | os.PathLike[str]) -> dict[str, str]:
    """Eight bytes of length, then a JSON object with `__metadata__` (safetensors, format.md)."""
    data = read_bytes(path)
    try:
        (length,) = struct.unpack("<Q", data[:8])
        texts = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (struct.error, ValueError, AttributeError):
        raise InputError(f"{path}: not a safetensors file") from None
    return dict(texts)


def _of_torch_export(path: str | os.PathLike[str]) -> dict[str, str]:
    """A zip archive with the extra files of `torch.export.save` under `extra/`."""
    read_bytes(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.rpartition("/")[2]: archive.read(name).decode()
                for name in archive.namelist()
                if "/extra/" in name and name.rpartition("/")[2] in KEYS
            }
    except (zipfile.BadZipFile, UnicodeDecodeError):
        raise InputError(f"{path}: not a file of torch.export") from None


def _of_onnx(path: str | os.PathLike[str]) -> dict[str, str]:
    data = read_bytes(path)
    onnx = require_library("onnx", "onnx")
    try:
        model = onnx.load_from_string(data)
    except Exception:  # protobuf's own error, by whichever of its implementations is there
        raise InputError(f"{path}: not an ONNX file") from None
    return {item.key: item.value for item in model.metadata_props}
