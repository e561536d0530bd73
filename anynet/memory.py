"""Memory of a training step and of inference, from the description alone.

`allocations.py` plays what torch does with the layers that `model.py` builds; the most that is
held at a time is the estimate. Nothing is built, and torch is not imported.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from anynet.allocations import Walk, add_loss
from anynet.checks import require_known, require_positive
from anynet.counting import DEFAULT_RESOLUTION, check_resolution
from anynet.network import Network, describe

DEFAULT_BATCH = 128
Precision = Literal["float32", "bfloat16"]
"""bfloat16 is torch's autocast: params, their gradients and momentum stay in float32."""


class Memory(NamedTuple):
    """Peak bytes of a training step, and of inference, for one batch."""

    training: int
    inference: int


class StageMemory(NamedTuple):
    """One line of the account: `name` (stem, stage 1, ..., head, passing) and its bytes."""

    name: str
    memory: Memory


def memory(
    network: Network,
    resolution: int = DEFAULT_RESOLUTION,
    *,
    batch_size: int = DEFAULT_BATCH,
    precision: Precision = "float32",
) -> Memory:
    """Peak bytes of a training step and of inference, for one batch of square images.

    A step is that of `search/training.py`: forward, cross-entropy, backward, SGD with momentum,
    channels last, with the gradients of the step before held until the backward pass. Params,
    momentum and the images of the batch count; a data set does not. Inference is a forward pass
    in eval mode.

    Training is within 15% of what torch allocates on a CPU for batch norm networks at batch 32
    and above (of 200 random ones all but one, textbook networks within 1%). It can be further off
    at smaller batches, with other norms, and for networks of a megabyte or two, where the passing
    needs of oneDNN count; not measured on a GPU (docs/networks.md).

    Raises ValueError where the resolution or the batch size is not above 0, or the precision is
    not known.
    """
    lines = memory_by_stage(network, resolution, batch_size=batch_size, precision=precision)
    return Memory(
        sum(line.memory.training for line in lines), sum(line.memory.inference for line in lines)
    )


def memory_by_stage(
    network: Network,
    resolution: int = DEFAULT_RESOLUTION,
    *,
    batch_size: int = DEFAULT_BATCH,
    precision: Precision = "float32",
) -> tuple[StageMemory, ...]:
    """The same as `memory`, a line for the stem, each stage and the head, and one beside them.

    Training: the params of a stage, their gradients and momentum, and what its layers hold when
    the forward pass ends. Inference: the params alone. The last line, `passing`, is what the peak
    holds beside these: in training mostly gradients of activations, in inference the activations.
    The lines sum to the whole.
    """
    check_resolution(resolution)
    require_positive("batch_size", batch_size)
    require_known("precision", precision, get_args(Precision))
    names = ["stem", *(f"stage {i + 1}" for i in range(len(network.stages))), "head", "passing"]
    training, inference = (
        _lines(network, Walk(network, resolution, batch_size, precision, training=training))
        for training in (True, False)
    )
    return tuple(
        StageMemory(name, Memory(*values))
        for name, *values in zip(names, training, inference, strict=True)
    )


def _lines(network: Network, walk: Walk) -> list[int]:
    """Bytes of each line of the account."""
    description = describe(network)
    ends = [0]

    def end() -> None:
        ends.append(walk.fixed + (walk.live if walk.training else 0))

    walk.sequence(description.stem)
    end()
    with walk.holding():
        for stage in description.stages:
            with walk.holding():
                walk.sequence(stage.first)
                for times, layers in stage.others:
                    for _ in range(int(times)):
                        walk.sequence(layers)
            end()
    walk.sequence(description.head)
    if walk.training:
        add_loss(walk)
    end()
    if walk.training:
        walk.live += walk.fixed
        walk.peak += walk.fixed
        walk.run_backward()
        peak = walk.peak
    else:
        peak = walk.fixed + walk.peak
    return [*(after - before for before, after in pairwise(ends)), peak - ends[-1]]
