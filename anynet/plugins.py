"""Blocks of the user's own, from a Python file that he names: loaded once in each process.

A file is run because a command line or a sweep file names it, never because it lies somewhere.
Workers get its text, so it need not exist where they run.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np

from anynet.blocks import BLOCKS, Block
from anynet.counting import Cost, count, total
from anynet.errors import InputError
from anynet.files import read_text
from anynet.layers import Number
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
    except (Exception, SystemExit) as error:
        BLOCKS.clear()
        BLOCKS.update(before)
        del sys.modules[module.__name__]
        raise InputError(f"{plugin.name}: {_line(error, plugin.name)}{_reason(error)}") from None
    _LOADED[digest] = plugin


_SIDE = 8
_WIDTHS_IN = (64, 192, 128, 256)
_WIDTHS = (128, 192, 256, 256)
_DEPTHS = (1, 2, 3, 2)
"""Stages to try a block with: wider, as wide, deeper; of multiples that most rules allow."""
_SETTINGS = {"bottleneck_ratio": 2.0, "group_width": 8, "kernel": 3, "growth_rate": 16}
_RATIO = 0.25
"""Settings to try, where a block has no default of its own."""


def _try(name: str) -> None:
    """Describe a block for one network and for many at once, with and without all its settings."""
    block = BLOCKS[name]
    settings = {key: value for key, value in block.defaults.items() if value is not None}
    if "group_width" in block.defaults:
        settings.setdefault("group_width", _SETTINGS["group_width"])
    every = {key: _SETTINGS.get(key, _RATIO) for key in block.defaults} | settings
    for given in (settings, every) if every != settings else (settings,):
        for stride in (1, 2):
            try:
                _compare(block, stride, given)
            except ValueError as error:
                if error.__traceback__ and _own(error):
                    raise ValueError(f"block {name!r}: {error}") from None
                raise


def _own(error: Exception) -> bool:
    """Whether the comparison itself raised it, and not the block."""
    return traceback.extract_tb(error.__traceback__)[-1].filename == __file__


def _compare(block: Block, stride: int, settings: dict[str, float]) -> None:
    """Count stages one by one, then all at once as arrays; ValueError where they differ."""
    rows = [
        row
        for row in zip(_WIDTHS_IN, _WIDTHS, _DEPTHS, strict=True)
        if block.valid is None or block.valid(row[1], row[2], **settings)
    ]
    if not rows:
        return
    alone = [_cost(block, stride, row, settings) for row in rows]
    columns = [np.array(column, dtype=float) for column in zip(*rows, strict=True)]
    arrays = {key: np.full(len(rows), float(value)) for key, value in settings.items()}
    if block.valid is not None and not np.all(block.valid(columns[1], columns[2], **arrays)):
        raise ValueError("its `valid` refuses as arrays what it takes as numbers")
    together = _cost(block, stride, columns, arrays)
    for field in Cost._fields:
        values = np.broadcast_to(getattr(together, field), len(rows)).tolist()
        for one, value in zip(alone, values, strict=True):
            if getattr(one, field) != value:
                count_as = f"{value:,.0f} as arrays and {getattr(one, field):,} as numbers"
                raise ValueError(f"counts {count_as} ({field})")


def _cost(
    block: Block, stride: int, stage_of: Sequence[Number], settings: Mapping[str, Number]
) -> Cost:
    """The cost of a stage (width_in, width, depth). ValueError where a block ends otherwise."""
    width_in, width, depth = stage_of
    one = describe_stage(block.name, width_in, width, stride, 1, **settings)
    end = next(count(Description(one.first, (), ()), width_in, _SIDE))
    if not np.all(end.channels == width):
        raise ValueError(f"leaves {end.channels} channels, where its width is {width}")
    if end.side != (side := (_SIDE - 1) // stride + 1):
        raise ValueError(
            f"leaves {end.side} pixels a side of {_SIDE} with stride {stride}, {side} are due"
        )
    stage = describe_stage(block.name, width_in, width, stride, depth, **settings)
    cost = total(Description((), (stage,), ()), width_in, _SIDE)
    if not isinstance(width, np.ndarray) and not all(isinstance(n, Integral) for n in cost):
        raise ValueError("a width in it is not a whole number: use `rint` or `inner_width`")
    return cost


def blame(error: BaseException) -> str | None:
    """File, line and reason in one line, where an error comes out of a plugin; else None."""
    for plugin in loaded():
        if line := _line(error, plugin.name):
            return f"{plugin.name}: {line}{_reason(error)}"
    return None


def _line(error: BaseException, name: str) -> str:
    if isinstance(error, SyntaxError) and error.filename == name:
        return f"line {error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    return f"line {frames[-1].lineno}: " if frames else ""


def _reason(error: BaseException) -> str:
    if "truth value of an array" in str(error):
        return (
            "an `if`, `min` or `max` on a width; a description is also counted with arrays of "
            "widths: use When, rint, numpy.maximum"
        )
    if isinstance(error, SyntaxError):
        return str(error.msg)
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
