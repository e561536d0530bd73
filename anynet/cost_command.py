"""The command `cost`: what a network needs, counted, estimated and, where asked for, measured."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from anynet import counting, export
from anynet import memory as estimate
from anynet.errors import InputError, WorkFailed
from anynet.memory import Memory, StageMemory
from anynet.network import Network
from anynet.reference import Reference
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
        memories = _memories(network, resolution, batch, precision)
    except ValueError as error:
        raise InputError(f"--{error}".replace("--batch_size", "--batch")) from None
    whole = counting.Cost(*map(sum, zip(*(line.cost for line in lines), strict=True)))
    memory = None
    if memories:
        memory = Memory(*map(sum, zip(*(line.memory for line in memories), strict=True)))
    measured = None
    if measure:
        measured = _measure(network, resolution, batch, precision, device or "cpu", memory)
    if json:
        print_json(
            {
                **whole._asdict(),
                "memory": memory and memory._asdict(),
                "resolution": resolution,
                "batch_size": batch,
                "precision": precision,
                "stages": [
                    {
                        **{k: v for k, v in line._asdict().items() if k != "cost"},
                        **line.cost._asdict(),
                        "memory": part and part.memory._asdict(),
                    }
                    for line, part in itertools.zip_longest(lines, memories[:-1])
                ],
                "passing": memories[-1].memory._asdict() if memories else None,
                "measured": measured,
                "network": network,
            }
        )
        return
    if isinstance(network, Reference):
        _print_reference(source, network, resolution, lines, whole)
    elif memory is not None:
        _print_network(
            f"{source} at {resolution}x{resolution}, memory for {batch} images in {precision}",
            sum(network.depths),
            lines,
            whole,
            memories,
            memory,
        )
    if measured is not None:
        _print_measured(measured, memory)


def _memories(
    network: Network | Reference, resolution: int, batch: int, precision: estimate.Precision
) -> tuple[StageMemory, ...]:
    """The estimate by stage; of a reference network, which is not walked, there is none."""
    if isinstance(network, Reference):
        return ()
    return estimate.memory_by_stage(network, resolution, batch_size=batch, precision=precision)


def _print_reference(
    source: str,
    reference: Reference,
    resolution: int,
    lines: Sequence[counting.StageCost],
    whole: counting.Cost,
) -> None:
    print_table(
        ("", "depth", "width", "resolution", "params", "flops", "activations"),
        [
            *((line.name, line.depth, line.width, line.resolution, *line.cost) for line in lines),
            ("total", sum(line.depth for line in lines), "", "", *whole),
        ],
        title=f"{source} at {resolution}x{resolution}",
    )
    facts = reference.facts
    auxiliary = "; without its auxiliary classifiers" if facts.auxiliary else ""
    print(f"{facts.source}{auxiliary}; images of {facts.smallest} pixels or more.")
    print("Its memory is not estimated: --measure runs a step.")


def _print_network(
    title: str,
    depth: int,
    lines: Sequence[counting.StageCost],
    whole: counting.Cost,
    memories: Sequence[StageMemory],
    memory: Memory,
) -> None:
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
            ("total", depth, "", "", *whole, *shown(memory)),
        ],
        title=title,
    )


def _unit(memory: Memory) -> tuple[str, int]:
    """The unit in which the smaller figure has three digits or more, and its bytes."""
    return ("MiB", 2**20) if min(memory) >= 100 * 2**20 else ("KiB", 2**10)


def _measure(
    network: Network | Reference,
    resolution: int,
    batch: int,
    precision: estimate.Precision,
    device: str,
    estimated: Memory | None,
) -> dict[str, Any]:
    """Memory and seconds of a training step and of inference. Raises InputError, WorkFailed."""
    if device == "cpu" and estimated and estimated.training > (held := _memory_here()):
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


def _print_measured(measured: dict[str, Any], memory: Memory | None) -> None:
    unit, size = _unit(Memory(**measured["memory"]))
    print()
    threads = f"{measured['threads']} thread" + ("s" if measured["threads"] != 1 else "")
    where = f"{measured['device']}, {threads}" if measured["device"] == "cpu" else "cuda"
    print_table(
        ("", f"memory {unit}", "estimate / measured", "milliseconds"),
        [
            (
                name,
                round(measured["memory"][field] / size),
                f"{getattr(memory, field) / measured['memory'][field]:.2f}" if memory else "-",
                round(1000 * measured["seconds"][field], 1),
            )
            for name, field in (("training step", "training"), ("inference", "inference"))
        ],
        title=f"measured here ({where})",
    )
