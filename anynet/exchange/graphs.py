"""Networks as graphs with their weights: ONNX, and torch.export's own files.

Both take images (B, channels, r, r) of any B and of the one resolution that they were traced at.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anynet.exchange.metadata import metadata, require_library
from anynet.files import write_bytes

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
        )
    model = program.model_proto
    for key, value in metadata(module.network, note).items():
        model.metadata_props.add(key=key, value=value)
    return write_bytes(path, model.SerializeToString())


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
