"""Blocks of the user's own, from a Python file or an installed module that he names.

Either is run, once a process, because a command line or a sweep file names it, never because it
lies somewhere. Workers get a file's text, so it need not exist where they run; a module they
import by name, and it must be the same one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
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


class Plugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What registers blocks: a Python file (its name and text) or an installed module.

    Of a module the dotted name, the `digest` of its source (of a package's, all of its files) and
    the `version` of the distribution that it belongs to, where one is known.
    """

    name: str
    source: str | None = None
    version: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.source is None and not _is_module_name(self.name):
            raise ValueError(f"name: {self.name!r} must be the dotted name of a module")
        # A run keeps a copy under this name.
        if self.source is not None and (
            not self.name.endswith(".py") or Path(self.name).name != self.name
        ):
            raise ValueError(f"name: {self.name!r} must be the plain name of a Python file (.py)")
        if self.source is not None and (self.version, self.digest) != (None, None):
            raise ValueError(f"source: {self.name} has a text, so neither version nor digest")

    @property
    def is_module(self) -> bool:
        """Whether it is imported by name, and not run from its text."""
        return self.source is None


_LOADED: dict[str, Plugin] = {}
"""By the digest of the text, or the name of the module."""


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process, in the order they were loaded: what its workers need too."""
    return tuple(_LOADED.values())


def read_plugin(path: str | Path) -> Plugin:
    """The plugin in a Python file, or the installed module of that name, not run yet.

    (Python itself imports the packages around a module in order to find it.) Raises InputError.
    """
    if str(path).endswith(".py"):
        return Plugin(Path(path).name, read_text(path))
    if not _is_module_name(str(path)):
        raise InputError(
            f"plugin: {str(path)!r} must be a Python file (.py) or the dotted name of a module"
        )
    return _find_module(str(path))


def load_plugin(plugin: Plugin) -> None:
    """Run a plugin in this process, unless the same one was run before.

    Raises InputError, with the line, where it fails, registers nothing, registers a block that
    cannot be counted for many networks at once, or is a module with another source than the
    plugin's. The vocabulary is then as it was.
    """
    if plugin.source is None:
        _load_module(plugin)
        return
    digest = _digest(plugin.source)
    if digest in _LOADED:
        return
    name = f"anynet_plugin_{digest[:12]}"

    def execute() -> None:
        module = ModuleType(name)
        module.__file__ = plugin.name
        sys.modules[name] = module
        exec(compile(plugin.source or "", plugin.name, "exec"), module.__dict__)

    _register(plugin, name, execute)
    _LOADED[digest] = plugin


def _load_module(plugin: Plugin) -> None:
    found = _find_module(plugin.name)
    if plugin.digest not in (None, found.digest):
        raise InputError(
            f"{plugin.name}: is {described(found)} here, but the sweep's is {described(plugin)}"
        )
    if plugin.name in _LOADED:
        return
    _register(found, plugin.name, lambda: importlib.import_module(plugin.name))
    _LOADED[plugin.name] = found


def described(plugin: Plugin) -> str:
    """Which one of a module's texts it is, in a few words."""
    version = f"version {plugin.version}" if plugin.version else "of no known version"
    return f"{version} (source {(plugin.digest or 'unknown')[:12]})"


def _register(plugin: Plugin, name: str, execute: Callable[[], object]) -> None:
    """Run the plugin's code, which becomes the module `name`, and try the blocks that it adds."""
    blocks, modules = dict(BLOCKS), set(sys.modules)
    try:
        execute()
        # A module that something imported before has added its blocks already.
        new = [
            key
            for key, block in BLOCKS.items()
            if key not in blocks or _is_within(str(block.describe.__module__), name)
        ]
        if not new:
            raise ValueError("it registers no block")
        for key in new:
            _try(key)
    except (Exception, SystemExit) as error:
        BLOCKS.clear()
        BLOCKS.update(blocks)
        for key in [key for key in sys.modules if key not in modules and _is_within(key, name)]:
            del sys.modules[key]
        raise InputError(f"{plugin.name}: {_line(error, plugin)}{_reason(error)}") from None


def _is_within(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def _is_module_name(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _find_module(name: str) -> Plugin:
    """The module of that name with the digest of its source. Raises InputError."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:  # a package around it, or one that such a package needs
        if error.name is None or not _is_within(name, error.name):
            raise InputError(f"{name}: cannot be imported: {_reason(error)}") from None
        spec = None
    except (Exception, SystemExit) as error:
        raise InputError(f"{name}: cannot be imported: {_reason(error)}") from None
    if spec is None:
        raise InputError(f"{name}: neither a Python file (.py) nor a module installed here")
    if spec.submodule_search_locations:
        folders = [Path(folder) for folder in spec.submodule_search_locations]
        files = sorted(path for folder in folders for path in folder.rglob("*.py"))
        texts = [f"{path.name}\n{read_text(path)}" for path in files]
    else:
        texts = [_source(spec)]
    if spec.loader is None or not any(texts):
        raise InputError(f"{name}: has no Python source, by which a run could know it")
    return Plugin(name, version=_version(name), digest=_digest("\0".join(texts)))


def _source(spec: ModuleSpec) -> str:
    """The text of a module that is one file; empty where it has none."""
    try:
        return spec.loader.get_source(spec.name) or ""  # type: ignore[union-attr]
    except (AttributeError, ImportError, OSError):
        return ""


def _version(name: str) -> str | None:
    """The version of the distribution that a module belongs to."""
    top = name.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, ()):
        return importlib.metadata.version(distribution)
    version = getattr(sys.modules.get(top), "__version__", None)
    return version if isinstance(version, str) else None


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
        if line := _line(error, plugin):
            return f"{plugin.name}: {line}{_reason(error)}"
    return None


def _line(error: BaseException, plugin: Plugin) -> str:
    """The line of the plugin that an error comes from; of a package with the file's name."""
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    if not plugin.is_module:
        found = [(number, "") for file, number in frames if file == plugin.name]
    else:
        spec = importlib.util.find_spec(plugin.name)
        folders = tuple(f"{f}{os.sep}" for f in (spec and spec.submodule_search_locations) or ())
        origin = spec.origin if spec else None
        found = [
            (number, f"{Path(file).name} " if folders else "")
            for file, number in frames
            if file == origin or file.startswith(folders or ("\0",))
        ]
    return f"{found[-1][1]}line {found[-1][0]}: " if found else ""


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
