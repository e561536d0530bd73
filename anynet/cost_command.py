"""The command `cost`: what a network needs, counted, estimated and, where asked for, measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from anynet import counting, export
from anynet import memory as estimate
from anynet.errors import InputError, WorkFailed
from anynet.memory import Memory
from anynet.network import Network
from anynet.terminal import Whole, print_json, print_table


def cost(
    source: Annotated[str, Parameter(name="NETWORK")],
    /,
    *,
    resolution: Whole = counting.DEFAULT_RESOLUTION,
    batch: Whole = estimate.DEFAULT_BATCH,
    precision: estimate.Precision = "float32",
    measure: Annotated[bool, Parameter(negative="")] = False,
    device: Literal["cpu", "cuda"] | None = None,
    json: bool = False,
) -> None:
    """Params, flops (multiply-adds), activations and memory of a network, a line a stage.

    Memory is what a training step and inference hold at their peak, estimated: a stage's params,
    their gradients and momentum, and what it keeps for the backward pass; of inference the params
    alone. The line `passing` is what the peak holds beside these.

    Examples: anynet cost regnetx_400mf; anynet cost net.yaml --resolution 32 --measure

    Parameters
    ----------
    source
        A name (regnetx_400mf, resnet50, ...), a file of ours, or a pycls config.
    resolution
        Side of the images in pixels.
    batch
        Images of the batch that the memory and the times are for.
    precision
        float32, or bfloat16 by autocast.
    measure
        Run a training step and inference here, and print measured memory and times too.
    device
        Where to measure: cpu (default) or cuda.
    json
        Print one JSON document; memory in bytes.
    """
    network = export.load_network(source)
    if device is not None and not measure:
        raise InputError(f"--device: {device} says where to measure; add --measure")
    try:
        lines = counting.cost_by_stage(network, resolution)
        memories = estimate.memory_by_stage(
            network, resolution, batch_size=batch, precision=precision
        )
    except ValueError as error:
        raise InputError(f"--{error}".replace("--batch_size", "--batch")) from None
    whole = counting.cost(network, resolution)
    memory = estimate.memory(network, resolution, batch_size=batch, precision=precision)
    measured = None
    if measure:
        measured = _measure(network, resolution, batch, precision, device or "cpu", memory)
    if json:
        print_json(
            {
                **whole._asdict(),
                "memory": memory._asdict(),
                "resolution": resolution,
                "batch_size": batch,
                "precision": precision,
                "stages": [
                    {
                        **line._asdict(),
                        **line.cost._asdict(),
                        "cost": None,
                        "memory": part.memory._asdict(),
                    }
                    for line, part in zip(lines, memories, strict=False)
                ],
                "passing": memories[-1].memory._asdict(),
                "measured": measured,
                "network": network,
            }
        )
        return
    unit, size = _unit(memory)

    def shown(memory: Memory) -> list[int]:
        return [round(value / size) for value in memory]

    columns = ("params", "flops", "activations", f"training {unit}", f"inference {unit}")
    *parts, passing = memories
    print_table(
        ("", "depth", "width", "resolution", *columns),
        [
            *(
                (
                    line.name,
                    line.depth,
                    line.width,
                    line.resolution,
                    *line.cost,
                    *shown(part.memory),
                )
                for line, part in zip(lines, parts, strict=True)
            ),
            ("passing", *[""] * 6, *shown(passing.memory)),
            ("total", sum(network.depths), "", "", *whole, *shown(memory)),
        ],
        title=f"{source} at {resolution}x{resolution}, memory for {batch} images in {precision}",
    )
    if measured is not None:
        _print_measured(measured, memory, unit, size)


def _unit(memory: Memory) -> tuple[str, int]:
    """The unit in which the smaller figure has three digits or more, and its bytes."""
    return ("MiB", 2**20) if min(memory) >= 100 * 2**20 else ("KiB", 2**10)


def _measure(
    network: Network,
    resolution: int,
    batch: int,
    precision: estimate.Precision,
    device: str,
    estimated: Memory,
) -> dict[str, Any]:
    """Memory and seconds of a training step and of inference. Raises InputError, WorkFailed."""
    if device == "cpu" and estimated.training > (held := _memory_here()):
        raise InputError(
            f"--batch: {batch} images need about {estimated.training / 2**30:.1f} GiB to train, "
            f"and this machine has {held / 2**30:.1f}"
        )
    from anynet.measure import measure_memory, measure_times

    work: dict[str, Any] = {"batch_size": batch, "precision": precision, "device": device}
    try:
        memory = measure_memory(network, resolution, **work)
        times = measure_times(network, resolution, **work)
    except RuntimeError as error:  # no such device, or not enough memory on it
        raise WorkFailed(f"--measure: {str(error).strip().splitlines()[0]}") from None
    return {
        "device": device,
        "threads": times.threads,
        "memory": memory._asdict(),
        "seconds": {"training": times.training, "inference": times.inference},
    }


def _memory_here() -> float:
    """Bytes of memory that this machine, or the group that the process is in, has in all."""
    held = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(held, float(text)) if text != "max" else held


def _print_measured(measured: dict[str, Any], memory: Memory, unit: str, size: int) -> None:
    print()
    threads = f"{measured['threads']} thread" + ("s" if measured["threads"] != 1 else "")
    where = f"{measured['device']}, {threads}" if measured["device"] == "cpu" else "cuda"
    print_table(
        ("", f"memory {unit}", "estimate / measured", "milliseconds"),
        [
            (
                name,
                round(measured["memory"][field] / size),
                f"{getattr(memory, field) / measured['memory'][field]:.2f}",
                round(1000 * measured["seconds"][field], 1),
            )
            for name, field in (("training step", "training"), ("inference", "inference"))
        ],
        title=f"measured here ({where})",
    )
