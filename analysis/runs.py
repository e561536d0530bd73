"""What a run's folder says of its trials: the spaces, the window, the training and the images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from anynet.errors import InputError
from anynet.files import decode, parse_yaml, read_text
from anynet.space import DesignSpace, Window

_SWEEP, _DATA = "sweep.yaml", "data.yaml"
_TRAINING = ("data", "recipe", "epochs", "window")
"""Fields of a sweep that trials must share, for their errors to be compared."""


@dataclass(frozen=True)
class Setting:
    """How the trials of a run came about.

    `spaces` by name, with the channels and classes of the run's images; `window` of cost by name;
    `sweep` is the file as plain data, `images` what `data.yaml` holds.
    """

    run: str
    spaces: dict[str, DesignSpace]
    window: dict[str, Window]
    sweep: dict[str, Any]
    images: dict[str, Any]

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return int(self.images["resolution"])

    def space(self, name: str) -> DesignSpace:
        """The space of that name. Raises InputError where the run has none such."""
        if name not in self.spaces:
            raise InputError(
                f"{self.run}: sweep.yaml: has no space {name!r}, but {', '.join(self.spaces)}"
            )
        return self.spaces[name]


def read_setting(run: str | os.PathLike[str]) -> Setting:
    """The setting of a run. Raises InputError where its folder does not say."""
    sweep, images = (_mapping(Path(run) / name) for name in (_SWEEP, _DATA))
    spaces = [
        decode(entry, DesignSpace, str(Path(run) / _SWEEP), f"space[{i}]")
        for i, entry in enumerate(sweep.get("space") or ())
    ]
    built = {"input_channels": images["channels"], "classes": len(images["classes"])}
    spaces = [replace(space, **built) for space in spaces]
    window = {name: (float(low), float(high)) for name, (low, high) in sweep["window"].items()}
    return Setting(os.fspath(run), {space.name: space for space in spaces}, window, sweep, images)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: no such file; the run must be one of `anynet sweep`")
    data = parse_yaml(read_text(path), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: must be a mapping")
    return data


def require_same_training(one: Setting, other: Setting) -> None:
    """Raise InputError where the trials of two runs were not trained and measured alike."""
    for field in _TRAINING:
        first, second = one.sweep.get(field), other.sweep.get(field)
        if first == second:
            continue
        if isinstance(first, dict) and isinstance(second, dict):
            key = next(k for k in {**first, **second} if first.get(k) != second.get(k))
            field, first, second = f"{field}.{key}", first.get(key), second.get(key)
        raise InputError(
            f"{other.run}: {field}: {second!r}, but {first!r} in {one.run}: errors of other "
            "trainings do not compare"
        )
    if one.images.get("digest") != other.images.get("digest"):
        raise InputError(
            f"{other.run}: was trained on other images than {one.run}: their errors do not compare"
        )
