"""How a network is trained: learning rate and its schedule, decay, augmentation, precision.

Plain numbers; no torch here, so that a sweep file is checked without importing it.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Precision = Literal["auto", "float32", "bfloat16"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recipe for every network of a sweep (DNDS, section 3.1).

    SGD with momentum, a linear warm-up and a half-period cosine. `None` stands for the data
    set's own default (`flip`, `crop_padding`) or for a choice that the start of a sweep makes
    once for this machine (`precision: auto`, `channels_last`); a resolved recipe has no `None`.
    """

    lr: float = 0.1
    """Peak learning rate, for the batch size given."""
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    """L2 penalty on every weight, norms and biases included, as in the papers."""
    batch_size: int = 128
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up, from lr / 10 to lr (pycls `WARMUP_FACTOR` 0.1)."""
    label_smoothing: float = 0.0
    flip: bool | None = None
    """Mirror each training image with probability 1/2."""
    crop_padding: int | None = None
    """Pixels of zero padding a side, of which a window of the original size is cropped."""
    precision: Precision = "auto"
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        _require(self.lr > 0, "lr", self.lr, "must be above 0")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "must lie in [0, 1)")
        if self.nesterov:
            _require(self.momentum > 0, "nesterov", True, "needs a momentum above 0")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "must be 0 or more")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")
        _require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "must be 0 or more")
        _require(
            0 <= self.label_smoothing < 1,
            "label_smoothing",
            self.label_smoothing,
            "must lie in [0, 1)",
        )
        if self.crop_padding is not None:
            _require(self.crop_padding >= 0, "crop_padding", self.crop_padding, "must be 0 or more")


def learning_rate(recipe: Recipe, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step` of `steps` (0-based), constant within a step.

    Half-period cosine lr/2 · (1 + cos(π·step/steps)) (DNDS, section 3.1), multiplied during the
    warm-up by a factor that grows linearly from 1/10 to 1 (pycls `get_lr_fun`).
    """
    rate = 0.5 * recipe.lr * (1.0 + math.cos(math.pi * step / steps))
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        alpha = step / warmup
        rate *= 0.1 * (1.0 - alpha) + alpha
    return rate


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{field}: {value!r} {rule}")
