"""Networks as graphs with their weights, ONNX and torch.export's own files, and the weights back.

Both take images (B, channels, r, r) of any B and of the one resolution that they were traced at.
A graph keeps the batch norms that the module has, so that every weight is in it by its name.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anynet.errors import InputError
from anynet.exchange.metadata import metadata, read_bytes, read_network, require_library
from anynet.exchange.safetensors import module_with_weights
from anynet.files import write_bytes
from anynet.network import Network
from anynet.reference import Reference

if TYPE_CHECKING:
    import torch

    from anynet.model import AnyNet


def save_onnx(
    module: AnyNet, path: str | os.PathLike[str], *, resolution: int, note: str = ""
) -> Path:
    """Write the module, as it infers, as ONNX: input `images`, output `scores`.

    Raises InputError where onnx or onnxscript is not installed or the file cannot be written.
    """
    for library in ("onnx", "onnxscript"):
        require_library(library, "onnx")
    import torch

    images, batch = _example(module, resolution)
    with _inferring(module), _quietly():
        program: Any = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: batch},),
            verbose=False,
            optimize=False,  # it would fold batch norms, and drop or merge weights that are equal
        )
        _simplify(program)
    model = program.model_proto
    for key, value in metadata(module.network, note).items():
        model.metadata_props.add(key=key, value=value)
    return write_bytes(path, model.SerializeToString())


def _simplify(program: Any) -> None:
    """Take out what the exporter writes and no runtime needs: zeros as biases, known shapes."""
    from onnxscript import optimizer

    for node in program.model.graph:
        # A bias of the network's own is an initializer, which no node produces.
        if node.op_type == "Conv" and node.inputs[-1].producer() is not None:
            node.replace_input_with(len(node.inputs) - 1, None)
    weights = set(program.model.graph.initializers)

    def should_fold(node: Any) -> bool | None:
        """Never what is computed from a weight's values; for the rest the optimizer decides."""
        if node.op_type in ("Shape", "CastLike"):  # of its shape, of its type
            return None
        return False if any(x is not None and x.name in weights for x in node.inputs) else None

    optimizer.fold_constants(program.model, should_fold=should_fold)
    optimizer.remove_unused_nodes(program.model)


def load_onnx(path: str | os.PathLike[str]) -> AnyNet:
    """The module of an ONNX file of ours with its weights, on the CPU and in eval mode.

    Raises InputError where the file is none of ours, or its batch norms were folded.
    """
    network = read_network(path)
    onnx = require_library("onnx", "onnx")
    import torch

    graph = onnx.load_from_string(read_bytes(path)).graph
    state = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    return _with_weights(network, state, path)


def load_torch_export(path: str | os.PathLike[str]) -> AnyNet:
    """The module of a .pt2 file of ours, as `load_onnx`. Raises InputError.

    The weights are read as the numbers that they are: `torch.export.load` would unpickle what
    lies beside them, and a pickle of a stranger's runs what he likes.
    """
    network = read_network(path)
    try:
        with zipfile.ZipFile(path) as archive:
            state = _stored(archive)
    except (zipfile.BadZipFile, LookupError, TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{path}: its weights are not stored as torch.export stores them since torch 2.9"
        ) from None
    return _with_weights(network, state, path)


_WEIGHTS = "/data/weights/"
_CONFIG = f"{_WEIGHTS}model_weights_config.json"


def _stored(archive: zipfile.ZipFile) -> dict[str, torch.Tensor]:
    """The tensors of an archive by name: a JSON file of their shapes, and a file of each's bytes.

    (torch/_export/serde/schema.py, `PayloadConfig` and `ScalarType`.) Raises LookupError,
    TypeError, ValueError or RuntimeError where something is not as it should be.
    """
    import torch

    dtypes = {5: torch.int64, 7: torch.float32}
    (config,) = (name for name in archive.namelist() if name.endswith(_CONFIG))
    folder = config.removesuffix(_CONFIG) + _WEIGHTS
    tensors = {}
    for name, item in json.loads(archive.read(config))["config"].items():
        meta = item["tensor_meta"]
        data = bytearray(archive.read(folder + item["path_name"]))
        sizes, strides = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
        flat = torch.frombuffer(data, dtype=dtypes[meta["dtype"]])
        tensors[name] = flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
    return tensors


def _with_weights(
    network: Network | Reference, state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> AnyNet:
    """The network's module with those of the tensors that it has names for."""
    import torch

    from anynet.model import build

    wanted = build(network, device="meta").state_dict()
    counters = {key for key in wanted if key.endswith(".num_batches_tracked")}
    for key in wanted:
        if key not in state and key not in counters:
            folded = (
                "its batch norms are folded into its convolutions, so it has no weights to give "
                "back; a graph that is exported without --fold has"
            )
            is_norm = key.rpartition(".")[0] + ".num_batches_tracked" in counters
            raise InputError(f"{path}: {folded if is_norm else f'{key} is not in its graph'}")
    # How many batches a statistic has seen is no part of an ONNX graph, and changes no output.
    zero = torch.zeros((), dtype=torch.long)
    return module_with_weights(
        network,
        {key: state.get(key, zero) if key in counters else state[key] for key in wanted},
        path,
    )


def save_torch_export(
    module: AnyNet, path: str | os.PathLike[str], *, resolution: int, note: str = ""
) -> Path:
    """Write the module, as it infers, as a .pt2 file for `torch.export.load(path).module()`.

    Raises InputError where the file cannot be written.
    """
    import torch

    images, batch = _example(module, resolution)
    with _inferring(module), _quietly():
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
        file = io.BytesIO()
        torch.export.save(program, file, extra_files=metadata(module.network, note))
    return write_bytes(path, file.getvalue())


def _example(module: AnyNet, resolution: int) -> tuple[torch.Tensor, Any]:
    """Two images (a batch of one would be taken for fixed), and the size that may vary."""
    import torch

    shape = (2, module.network.input_channels, resolution, resolution)
    return torch.zeros(shape), torch.export.Dim("batch", min=1)


@contextlib.contextmanager
def _inferring(module: torch.nn.Module) -> Iterator[None]:
    """In eval mode for now."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' notes on themselves, which are for those who write exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
