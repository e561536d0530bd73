"""What a network needs on this machine: measured memory and time of a training step, and of
inference. `memory.py` estimates the memory without building anything.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

# Read when torch is first imported: its profiler else writes lines of its own on standard error.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function

from anynet.checks import require_known, require_positive
from anynet.counting import check_resolution
from anynet.memory import DEFAULT_BATCH, Memory, Precision
from anynet.model import build
from anynet.network import Network
from anynet.reference import Reference

_REPEATS = 5


class Times(NamedTuple):
    """Seconds of a training step and of a forward pass in eval mode, for one batch: medians."""

    training: float
    inference: float
    threads: int
    """Threads that torch had for one operation (on a GPU they do not matter)."""


def measure_memory(
    network: Network | Reference,
    resolution: int,
    *,
    batch_size: int = DEFAULT_BATCH,
    precision: Precision = "float32",
    device: str = "cpu",
) -> Memory:
    """Peak bytes of a training step and of inference, as torch's allocator has them.

    The step is that of `memory.memory`, the second one, with momentum. On a CPU the peak of the
    memory events of torch's profiler; on CUDA `torch.cuda.max_memory_allocated` (which has not
    been run yet: no GPU was at hand), less what was held before. Builds the network with random
    weights and images. Raises ValueError where the resolution or the batch size is not above 0.
    """
    _check(resolution, batch_size, precision)
    if torch.device(device).type == "cuda":
        return _measure_cuda(network, resolution, batch_size, precision, device)
    events = [ProfilerActivity.CPU]
    with profile(activities=events, profile_memory=True) as profiled:
        work = _Work(network, resolution, batch_size, precision, device)
        work.train()
        with record_function(_TRAINING):
            work.train()
        work.forget()
        with record_function(_INFERENCE):
            work.infer()
    return Memory(_peak(profiled, _TRAINING), _peak(profiled, _INFERENCE))


def measure_times(
    network: Network | Reference,
    resolution: int,
    *,
    batch_size: int = DEFAULT_BATCH,
    precision: Precision = "float32",
    device: str = "cpu",
    repeats: int = _REPEATS,
) -> Times:
    """Seconds of a training step and of inference on this machine, medians of `repeats` runs.

    A first run of each is not counted. Raises ValueError as `measure_memory` does.
    """
    _check(resolution, batch_size, precision)
    require_positive("repeats", repeats)
    work = _Work(network, resolution, batch_size, precision, device)
    training = _median_seconds(work.train, repeats, device)
    work.forget()
    inference = _median_seconds(work.infer, repeats, device)
    return Times(training, inference, torch.get_num_threads())


_TRAINING, _INFERENCE = "anynet training step", "anynet inference"


class _Work:
    """A module with images, labels and an optimizer: what the two measured functions need."""

    def __init__(
        self,
        network: Network | Reference,
        resolution: int,
        batch_size: int,
        precision: str,
        device: str,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        channels_last = torch.channels_last
        module: nn.Module = build(network, generator=generator, device=device)
        self.module = module.to(memory_format=channels_last)
        self.optimizer = torch.optim.SGD(
            module.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-5, fused=True
        )
        shape = (batch_size, network.input_channels, resolution, resolution)
        images = torch.empty(shape, device=device, memory_format=channels_last)
        self.images = images.copy_(torch.randn((1, *shape[1:]), generator=generator))
        self.labels = torch.arange(batch_size, device=device) % network.classes
        self.autocast = torch.autocast(
            torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"
        )

    def train(self) -> None:
        """One step of `search/training.py`."""
        self.module.train()
        with self.autocast:
            scores = self.module(self.images)
        loss = functional.cross_entropy(scores.float(), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def forget(self) -> None:
        """Let go of gradients and momentum, which inference does not need."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()

    @torch.inference_mode()
    def infer(self) -> None:
        """The scores of the batch."""
        self.module.eval()
        with self.autocast:
            self.module(self.images)


def _peak(profiled: profile, name: str) -> int:
    """The most that was allocated at a time within the recorded function of that name.

    Everything is allocated under the profiler; what is freed that was not, is another's.
    """
    recorded = profiled.profiler.kineto_results.experimental_event_tree()  # type: ignore[union-attr]
    events = sorted(_flat(recorded), key=lambda event: event.start_time_ns)
    (window,) = (event for event in events if event.name == name)
    held: dict[int, int] = {}
    total = peak = 0
    for event in events:
        if event.name != "[memory]" or event.start_time_ns > window.end_time_ns:
            continue
        amount, pointer = event.extra_fields.alloc_size, event.extra_fields.ptr
        if amount > 0:
            held[pointer] = amount
            total += amount
        else:
            total -= held.pop(pointer, 0)
        if event.start_time_ns >= window.start_time_ns:
            peak = max(peak, total)
    return peak


def _flat(events: list[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _flat(event.children)


def _measure_cuda(
    network: Network | Reference, resolution: int, batch_size: int, precision: str, device: str
) -> Memory:
    gc.collect()
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    work = _Work(network, resolution, batch_size, precision, device)
    work.train()
    peaks = []
    for function in (work.train, work.infer):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
        work.forget()
    return Memory(*peaks)


def _median_seconds(function: Callable[[], None], repeats: int, device: str) -> float:
    seconds = []
    for turn in range(repeats + 1):
        started = time.perf_counter()
        function()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _check(resolution: int, batch_size: int, precision: str) -> None:
    check_resolution(resolution)
    require_positive("batch_size", batch_size)
    require_known("precision", precision, get_args(Precision))
