"""The command `export`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, get_args

from cyclopts import Parameter

from anynet.counting import DEFAULT_RESOLUTION
from anynet.errors import InputError
from anynet.exchange.metadata import SUFFIXES
from anynet.export import (
    Format,
    WeightsFormat,
    export_text,
    export_weights,
    load_network,
    load_weights,
    summary,
)
from anynet.files import to_json, write_text
from anynet.network import Network
from anynet.reference import Reference
from anynet.terminal import Whole, print_notes, replace_from_options
from search.trial import LEDGER_NAME


def export(
    source: Annotated[str, Parameter(name="NETWORK|RUN")],
    /,
    *,
    to: Format = "anynet",
    out: Path,
    space: str | None = None,
    input_channels: Whole | None = None,
    classes: Whole | None = None,
    weights: Path | None = None,
    seed: Whole | None = None,
    resolution: Whole | None = None,
    fold: bool = False,
) -> None:
    """Write a network, or the best one of a run, as a file that a library reads.

    Formats with weights take those of a .safetensors, .onnx or .pt2 file of ours (as the source,
    or given by --weights), and otherwise fresh ones: runs do not keep weights.

    Example: anynet export runs/fashion --space regnetx --to pycls --out best.yaml

    Parameters
    ----------
    source
        A name (regnetx_400mf), a file of ours, a pycls config, or the folder of a run.
    to
        anynet: our YAML. pycls: a pycls config. torchvision, timm, d2l: Python code with a
        build() that returns the library's module. safetensors: weights, with the network in the
        metadata. onnx, torch_export: graphs with weights. All with the resolved stages.
    out
        File to write.
    space
        Of a run: only the networks of this space.
    input_channels
        Give the network another number of input channels (pycls takes 3 only).
    classes
        Give the network another number of classes.
    weights
        Weights of the network: a .safetensors, .onnx or .pt2 file of ours.
    seed
        Seed of fresh weights (0).
    resolution
        Side in pixels of the images that a graph takes: that of the run, else 224.
    fold
        Fold the batch norms of a graph into its convolutions; its weights cannot be read back.
    """
    _spare_runs(out)
    _require_ending(out, to)
    side = DEFAULT_RESOLUTION
    if os.path.isdir(source):
        from analysis.results import run_resolution

        network, comment = _best(source, space)
        side = run_resolution(source) or side
    elif space is not None:
        raise InputError(f"--space: {space!r} goes with a run, and {source} is not a folder")
    else:
        network, comment = load_network(source), source
    for field, value in (("input_channels", input_channels), ("classes", classes)):
        if value is not None and value != getattr(network, field):
            network = replace_from_options(network, **{field: value})
            comment += f"\n{field} {value} instead of the original's"
    if to == "onnx" or to == "safetensors" or to == "torch_export":
        if weights is None and source.endswith(SUFFIXES):
            weights = Path(source)
        _export_weights(network, to, out, comment, weights, seed, resolution, side, fold)
    else:
        for option, given in (
            ("--weights", weights is not None),
            ("--seed", seed is not None),
            ("--resolution", resolution is not None),
            ("--fold", fold),
        ):
            if given:
                raise InputError(f"{option}: goes with weights ({_WITH_WEIGHTS}), not with {to}")
        text = f"{comment}\n{summary(network, side)}"
        write_text(out, export_text(network, to, text))
    print(out)


def _spare_runs(out: Path) -> None:
    """Refuse to write over what a run consists of."""
    if out.exists() and (out.parent / LEDGER_NAME).exists():
        raise InputError(f"--out: {out}: is a file of a run; give another path")


def _require_ending(out: Path, to: Format) -> None:
    """Refuse the ending of another format: files are read back by their endings."""
    own = _ENDINGS[to]
    if out.suffix not in own and any(out.suffix in others for others in _ENDINGS.values()):
        raise InputError(f"--out: {out}: must end in {own[0]} for --to {to}")


_ENDINGS: dict[Format, tuple[str, ...]] = {
    "anynet": (".yaml", ".yml", ".json"),
    "pycls": (".yaml", ".yml"),
    "torchvision": (".py",),
    "timm": (".py",),
    "d2l": (".py",),
    "onnx": (".onnx",),
    "safetensors": (".safetensors",),
    "torch_export": (".pt2",),
}
_WITH_WEIGHTS = ", ".join(get_args(WeightsFormat))
_LARGEST_SIDE = 4096


def _export_weights(
    network: Network | Reference,
    to: WeightsFormat,
    out: Path,
    comment: str,
    weights: Path | None,
    seed: int | None,
    resolution: int | None,
    side: int,
    fold: bool,
) -> None:
    """Write the network with weights of a file, or with fresh ones, and say which.

    A graph takes images of `resolution`, or else of the side that the network was trained at.
    """
    if to == "safetensors":
        for option, given in (("--resolution", resolution is not None), ("--fold", fold)):
            if given:
                raise InputError(f"{option}: goes with a graph (onnx, torch_export), not with {to}")
    if resolution is not None and not 1 <= resolution <= _LARGEST_SIDE:
        raise InputError(f"--resolution: {resolution} must lie between 1 and {_LARGEST_SIDE}")
    if weights is not None and weights.suffix not in SUFFIXES:
        raise InputError(f"--weights: {weights} must be a file of ours ({', '.join(SUFFIXES)})")
    if seed is not None and weights is not None:
        raise InputError(f"--seed: {seed} goes with fresh weights, and {weights} has weights")
    if isinstance(network, Reference):
        if fold:
            raise InputError(
                f"--fold: goes with networks in stages, and {network.reference} is none"
            )
        if to != "safetensors":
            try:
                network.require_resolution(resolution or side)
            except ValueError as error:
                raise InputError(f"--{error}") from None
    elif fold and network.norm != "batch":
        raise InputError(f"--fold: the network has no batch norm to fold (norm {network.norm})")
    if seed is not None and not 0 <= seed < 2**63:
        raise InputError(f"--seed: {seed} must lie between 0 and 2**63 - 1")
    import torch

    from anynet.exchange.folding import fold_batch_norms
    from anynet.model import build

    if weights is not None:
        module = load_weights(weights)
        if module.network != network:
            raise InputError(f"--weights: {weights} holds weights of another network")
        comment += f"\nweights of {weights}"
    else:
        module = build(network, generator=torch.Generator().manual_seed(seed or 0)).eval()
        fresh = f"weights are fresh (seed {seed or 0}), not trained"
        print(f"anynet: {out}: {fresh}", file=sys.stderr)
        comment += f"\n{fresh}"
    if fold:
        module = fold_batch_norms(module)
        comment += "\nbatch norms folded"
    side = resolution or side
    note = f"{comment}\n{summary(network, side)}"
    export_weights(module, to, out, resolution=side, note=note)


def _best(run: str, space: str | None) -> tuple[Network | Reference, str]:
    """The network of least error of a run, and a line that says where it comes from."""
    from analysis.results import load_runs, unfinished

    frame = load_runs([run])
    print_notes([unfinished(frame)])
    if space is not None:
        known = sorted(frame["space"].unique())
        if space not in known:
            raise InputError(f"--space: {space!r} is not in {run}, which has {', '.join(known)}")
        frame = frame[frame["space"] == space]
    else:
        frame = frame[frame["baseline"].isna()]
    frame = frame[frame["state"] == "complete"]
    if frame.empty:
        raise InputError(f"{run}: no complete trial to export yet")
    frame = frame[frame["rung"] == frame["rung"].max()]
    best = frame.sort_values("error", kind="stable").iloc[0]
    epochs = f"{best['epochs']} epoch" + ("s" if best["epochs"] > 1 else "")
    comment = (
        f"trial {best['trial']} of {run}: validation error {best['error']:.2f}% after "
        f"{epochs}, the least of {len(frame)}\n"
        f"drawn: {to_json(best['drawn'])}"
    )
    return best["network"], comment
