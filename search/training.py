"""The training loop: one network, one recipe, data that stays on the device.

To be read from top to bottom: the data, the loop, its evaluation, the choices for a machine.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from search.data import DataSet, Split
from search.recipe import Recipe, learning_rate

_EVALUATION_BATCH = 256  # larger ones fall out of a core's cache: 2048 runs at half the speed
_STEPS_BETWEEN_LOSS_CHECKS = 50


@dataclass(frozen=True)
class Training:
    """What one training came to."""

    curve: tuple[float, ...]
    """Validation error in percent after each epoch; shorter than asked where it diverged."""
    diverged: bool
    """The training loss was not finite."""
    images_per_second: float
    """Training images a second of training, evaluations left out."""
    weights: dict[str, torch.Tensor] | None = field(default=None, repr=False, compare=False)
    """State dict on the CPU after the last epoch, where it was asked for."""

    @property
    def error(self) -> float:
        """Validation error in percent after the last epoch, 100 if the network diverged."""
        return 100.0 if self.diverged else self.curve[-1]


class Resident:
    """A data set on the device, as uint8: put there once, for every trial of a worker.

    On a CPU it shares the arrays' memory (Ray's object store). `train` and `validation` are
    images (N, C, H, W) and labels (N,). Nothing here is written to.
    """

    def __init__(self, data: DataSet, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.flip, self.crop_padding = data.flip, data.crop_padding
        self.train = _to_device(data.train, self.device)
        self.validation = _to_device(data.validation, self.device)
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)
            for values in (data.mean, data.std)
        )
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def normalize(self, images: torch.Tensor, *, channels_last: bool) -> torch.Tensor:
        """uint8 (B, C, H, W) to float32, each channel with mean 0 and deviation 1."""
        normal = images.float().mul_(self._scale).add_(self._shift)
        return normal.contiguous(memory_format=_memory_format(channels_last))


def augment(
    images: torch.Tensor, generator: torch.Generator, *, flip: bool, crop_padding: int
) -> torch.Tensor:
    """Crop and mirror a batch of uint8 images (B, C, H, W), each by its own draw.

    The crop is a window of the original size, uniform over the places that it can take in the
    image padded with `crop_padding` black pixels a side; mirroring has probability 1/2.
    """
    count, _, height, width = images.shape
    device = images.device
    if crop_padding:
        padded = functional.pad(images, (crop_padding,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        places = (2, count)
        top, left = torch.randint(2 * crop_padding + 1, places, generator=generator, device=device)
        images = windows[torch.arange(count, device=device), :, top, left]
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    return images


def train(
    module: nn.Module,
    resident: Resident,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
    keep_weights: bool = False,
) -> Training:
    """Train `module`, from images (B, C, H, W) to scores (B, classes), in place.

    The images' order and augmentation are drawn from `seed` alone; with a fixed number of threads
    a CPU gives the same bits whatever ran before. What the module itself draws (dropout,
    stochastic depth) comes from torch's default generators, which are seeded from it meanwhile
    and put back afterwards. CUDA runs the same code, not tested: no GPU was at hand.

    A last batch that would be smaller is dropped; data smaller than a batch are one batch.
    `on_epoch(epoch, error)` hears of each epoch, counted from 1. Raises ValueError where the
    recipe is not resolved or `epochs` is below 1.
    """
    _require_resolved(recipe)
    if epochs < 1:
        raise ValueError(f"epochs: {epochs} must be 1 or more")
    device = resident.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # Another stream than that of the weights and the order. Not `torch.manual_seed`, which
        # would seed the other devices too, and leave them so.
        torch.default_generator.manual_seed(seed ^ 1)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed ^ 1)
        return _train(module, resident, recipe, epochs, seed, on_epoch, keep_weights)


def _train(
    module: nn.Module,
    resident: Resident,
    recipe: Recipe,
    epochs: int,
    seed: int,
    on_epoch: Callable[[int, float], None] | None,
    keep_weights: bool,
) -> Training:
    device = resident.device
    module.to(device).to(memory_format=_memory_format(bool(recipe.channels_last)))
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    images, labels = resident.train
    generator = torch.Generator(device).manual_seed(seed)
    batch_size = min(recipe.batch_size, len(labels))
    steps_per_epoch = len(labels) // batch_size
    steps = epochs * steps_per_epoch
    curve: list[float] = []
    trained, seconds, diverged = 0, 0.0, False

    for epoch in range(epochs):
        started = time.perf_counter()
        module.train()
        order = torch.randperm(len(labels), generator=generator, device=device)
        total_loss = torch.zeros((), device=device)
        for step in range(steps_per_epoch):
            rows = order[step * batch_size : (step + 1) * batch_size]
            if batch_size == 1:
                # Batch normalization has no variance for one value a channel. Taken twice, an
                # image gives the same loss and a variance of 0.
                rows = rows.repeat(2)
            batch = augment(
                images[rows],
                generator,
                flip=bool(recipe.flip),
                crop_padding=recipe.crop_padding or 0,
            )
            batch = resident.normalize(batch, channels_last=bool(recipe.channels_last))
            rate = learning_rate(recipe, epoch * steps_per_epoch + step, steps, steps_per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with _autocast(recipe, device):
                scores = module(batch)
            loss = functional.cross_entropy(
                scores.float(), labels[rows], label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            # Looked at now and then: on a GPU every look waits for all that was queued.
            total_loss += loss.detach()
            last = step + 1 == steps_per_epoch
            if last or (step + 1) % _STEPS_BETWEEN_LOSS_CHECKS == 0:
                diverged = not math.isfinite(total_loss.item())
                if diverged:
                    break
        trained += (step + 1) * batch_size
        seconds += time.perf_counter() - started
        if diverged:
            break
        curve.append(evaluate(module, resident, recipe))
        if on_epoch is not None:
            on_epoch(epoch + 1, curve[-1])

    weights = None
    if keep_weights:
        weights = {
            name: value.detach().cpu().clone() for name, value in module.state_dict().items()
        }
    return Training(tuple(curve), diverged, trained / seconds, weights)


@torch.inference_mode()
def evaluate(module: nn.Module, resident: Resident, recipe: Recipe) -> float:
    """Error on the validation images in percent; scores that are not finite are wrong.

    In the precision and layout of the training. Leaves the module in evaluation mode.
    """
    _require_resolved(recipe)
    module.eval()
    images, labels = resident.validation
    right = torch.zeros((), dtype=torch.int64, device=resident.device)
    for start in range(0, len(labels), _EVALUATION_BATCH):
        rows = slice(start, start + _EVALUATION_BATCH)
        batch = resident.normalize(images[rows], channels_last=bool(recipe.channels_last))
        with _autocast(recipe, resident.device):
            scores = module(batch)
        right += ((scores.argmax(1) == labels[rows]) & scores.isfinite().all(1)).sum()
    return 100.0 * (len(labels) - int(right)) / len(labels)


def resolve(recipe: Recipe, resident: Resident) -> Recipe:
    """The recipe with every choice made that it leaves to the data or to the machine.

    `flip` and `crop_padding`: the data set's own. `channels_last`: true. `precision`: bfloat16
    where the processor has instructions for it (AVX512-BF16 or AMX; on CUDA, compute
    capability 8.0), else float32. A rule and no timing, so that a sweep that is resumed gets the
    same answer. With AVX512-BF16, 12 AnyNets trained 1.8 times as fast as in float32 and torch's
    default layout, channels-last float32 1.4 times (medians, `benchmarks/training_step.py`). On
    CUDA, with AMX, and on CPUs other than x86 nothing was measured.
    """
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(resident.device) else "float32"
    return msgspec.structs.replace(
        recipe,
        precision=precision,
        channels_last=True if recipe.channels_last is None else recipe.channels_last,
        flip=resident.flip if recipe.flip is None else recipe.flip,
        crop_padding=resident.crop_padding if recipe.crop_padding is None else recipe.crop_padding,
    )


def pin_threads(threads: int) -> None:
    """Let torch use so many threads in this process, and no others beside them.

    Trials scale over processes: two trials of two threads each on two cores take up to nine
    times as long as two of one thread.
    """
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        # torch takes this once a process, before any parallel work; later it is too late, and
        # harmless: nothing here forks work between operators.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)


def _require_resolved(recipe: Recipe) -> None:
    for name in ("precision", "channels_last", "flip", "crop_padding"):
        if getattr(recipe, name) in (None, "auto"):
            raise ValueError(
                f"{name}: {getattr(recipe, name)!r} must be decided first, by `resolve`"
            )


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _to_device(split: Split, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels on the device, without a copy where that is the CPU."""
    return _from_numpy(split.images).to(device), _from_numpy(split.labels).to(device)


def _from_numpy(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # Ray's object store hands out read-only arrays; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
