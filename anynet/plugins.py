"""Blocks of the user's own, from a Python file that he names: loaded once in each process.

A file is run because a command line or a sweep file names it, never because it lies somewhere.
Workers get its text, so it need not exist where they run.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from anynet.blocks import BLOCKS
from anynet.errors import InputError
from anynet.files import read_text
from anynet.network import Description, describe_stage


class Plugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Python file that registers blocks: its name, and its text."""

    name: str
    source: str


_LOADED: dict[str, Plugin] = {}


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process, in the order they were loaded: what its workers need too."""
    return tuple(_LOADED.values())


def read_plugin(path: str | Path) -> Plugin:
    """The plugin in a Python file, not run yet. Raises InputError."""
    if not str(path).endswith(".py"):
        raise InputError(f"plugin: {str(path)!r} must be a Python file (.py)")
    return Plugin(Path(path).name, read_text(path))


def load_plugin(plugin: Plugin) -> None:
    """Run a plugin in this process, unless the same text was run before.

    Raises InputError, with the line, where it fails, registers nothing, or registers a block that
    cannot be counted for many networks at once. The vocabulary is then as it was.
    """
    digest = hashlib.sha256(plugin.source.encode()).hexdigest()
    if digest in _LOADED:
        return
    before = dict(BLOCKS)
    module = ModuleType(f"anynet_plugin_{digest[:12]}")
    module.__file__ = plugin.name
    sys.modules[module.__name__] = module
    try:
        exec(compile(plugin.source, plugin.name, "exec"), module.__dict__)
        new = [name for name in BLOCKS if name not in before]
        if not new:
            raise ValueError("it registers no block")
        for name in new:
            _try(name)
    except Exception as error:
        BLOCKS.clear()
        BLOCKS.update(before)
        del sys.modules[module.__name__]
        raise InputError(f"{plugin.name}: {_line(error, plugin.name)}{_reason(error)}") from None
    _LOADED[digest] = plugin


def _try(name: str) -> None:
    """Describe a block for one network and for two at once."""
    from anynet.counting import total

    block = BLOCKS[name]
    settings: dict[str, Any] = {key: value for key, value in block.defaults.items() if value}
    if "group_width" in block.defaults:
        settings["group_width"] = 8
    ours = {"width_in": 64, "width": 128, "depth": 2}
    one = total(_of(describe_stage(name, **ours, stride=2, **settings)), 64, 32)
    arrays = {key: np.array([float(value)] * 2) for key, value in (ours | settings).items()}
    many = total(_of(describe_stage(name, stride=2, **arrays)), 64, 32)
    for field in one._fields:
        if getattr(many, field)[0] != getattr(one, field):
            raise ValueError(f"block {name!r}: counts other {field} for arrays than for numbers")


def _of(stage: Any) -> Description:
    return Description((), (stage,), ())


def _line(error: Exception, name: str) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    return f"line {frames[-1].lineno}: " if frames else ""


def _reason(error: Exception) -> str:
    if "truth value of an array" in str(error):
        return (
            "an `if`, `min` or `max` on a width; a description is also counted with arrays of "
            "widths: use When, rint, numpy.maximum"
        )
    if isinstance(error, SyntaxError):
        return str(error.msg)
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
