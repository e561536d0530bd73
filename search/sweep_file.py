"""The sweep file that a person writes: space, data, recipe, epochs, seed, resources; validated.

No torch here: a file is checked, and refused, in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from anynet.checks import require_name, require_positive
from anynet.errors import InputError
from anynet.export import load_network
from anynet.files import decode, parse_yaml, read_text
from anynet.network import Network
from anynet.plugins import Plugin, load_plugin, read_plugin
from anynet.reference import Reference
from anynet.space import DesignSpace, Window, load_space
from search.recipe import Recipe
from search.trial import BASELINE

DataName = Literal["digits", "fashion_mnist", "mnist", "cifar10", "image_folder"]


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which images to train on, and how many of the training images are held out."""

    name: DataName
    root: str | None = None
    """Folder of the files. Needed for `mnist`, `cifar10` and `image_folder`."""
    download: bool = False
    """Let torchvision download into `root` what is not there. Never on by itself."""
    validation: float = 0.1
    """Share of the training images held out; `error` is measured on them."""
    split_seed: int = 0
    """Draws the held-out images. Apart from the sweep's seed, so that sweeps with different
    seeds measure error on the same images."""
    train_images: int | None = None
    """Use only so many of the remaining training images, drawn by `split_seed`, the same share
    of every class (to within one image)."""
    resolution: int | None = None
    """Side in pixels. `image_folder` needs it; elsewhere the data set's own."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation: {self.validation!r} must lie between 0 and 1")
        if self.split_seed < 0:
            raise ValueError(f"split_seed: {self.split_seed!r} must be 0 or more")
        for field in ("train_images", "resolution"):
            if getattr(self, field) is not None:
                require_positive(field, getattr(self, field))


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Windows of cost, [low, high], both included, at the resolution of the data."""

    flops: Window | None = None
    params: Window | None = None
    activations: Window | None = None

    def __post_init__(self) -> None:
        for field, window in self.given().items():
            if not window[0] <= window[1]:
                raise ValueError(f"{field}: {list(window)} must run from low to high")

    def given(self) -> dict[str, Window]:
        """The windows that are set, by name."""
        windows = {field: getattr(self, field) for field in self.__struct_fields__}
        return {field: window for field, window in windows.items() if window is not None}


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one trial gets, and how many run side by side."""

    cpus: int = 1
    """CPU threads a trial. One is the fastest for a population of small networks."""
    gpus: float = 0.0
    """GPUs a trial; a fraction puts several trials on one GPU."""
    workers: int | None = None
    """Trials side by side; left out, as many as the cluster's CPUs (and GPUs) allow."""

    def __post_init__(self) -> None:
        require_positive("cpus", self.cpus)
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise ValueError(f"gpus: {self.gpus!r} must be 0, a fraction of 1, or a whole number")
        if self.workers is not None:
            require_positive("workers", self.workers)


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A network that is trained beside the populations, by the same recipe: one of the two."""

    name: str
    network: Network | None = None
    reference: str | None = None
    """The name of a network that the vocabulary does not describe."""

    def __post_init__(self) -> None:
        require_name("name", self.name)
        if (self.network is None) == (self.reference is None):
            raise ValueError("network: give either `network` or `reference`, one of the two")
        if self.reference is not None:
            Reference(self.reference)

    def build_for(self, input_channels: int, classes: int) -> Network | Reference:
        """The network with the channels and the classes of a data set."""
        if self.network is None:
            assert self.reference is not None
            return Reference(self.reference, input_channels, classes)
        return replace(self.network, input_channels=input_channels, classes=classes)


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sweep: populations of one or more spaces, trained by one recipe on one data set."""

    space: tuple[DesignSpace, ...]
    plugins: tuple[Plugin, ...] = ()
    """Python files that register blocks, by path from the sweep file, or installed modules by
    name. A run's own `sweep.yaml` holds the text of the files, and of modules a digest, so that it
    can be repeated."""
    networks: int = 100
    """Networks a space (DNDS uses 500, and 100 for quick looks)."""
    window: Windows = Windows()
    baselines: tuple[Baseline, ...] = ()
    """Networks that belong to no space, for comparison; windows do not hold for them."""
    data: DataSpec
    recipe: Recipe = Recipe()
    epochs: int = 10
    seed: int = 0
    resources: Resources = Resources()

    def __post_init__(self) -> None:
        for field in ("networks", "epochs"):
            require_positive(field, getattr(self, field))
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed!r} must be 0 or more")
        names = [space.name for space in self.space]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"space[{i}].name: {name!r} occurs twice; give one another name")
        if self.baselines and BASELINE in names:
            raise ValueError(f"space[{names.index(BASELINE)}].name: {BASELINE!r} means baselines")
        called = [baseline.name for baseline in self.baselines]
        for i, name in enumerate(called):
            if name in called[:i]:
                raise ValueError(f"baselines[{i}].name: {name!r} occurs twice; give one another")
        plugins = [plugin.name for plugin in self.plugins]
        for i, name in enumerate(plugins):
            if name in plugins[:i]:
                raise ValueError(f"plugins[{i}]: {name!r} occurs twice; rename one of the two")
        if not names:
            raise ValueError("space: [] must name at least one space")
        if self.recipe.warmup_epochs > self.epochs:
            raise ValueError(
                f"recipe.warmup_epochs: {self.recipe.warmup_epochs:g} must be at most "
                f"epochs {self.epochs}"
            )


def load_sweep(path: str | Path) -> Sweep:
    """Read a sweep file. Raises InputError (file, field, value, rule)."""
    return parse_sweep(read_text(path), str(path))


def parse_sweep(text: str, source: str, *, run_plugins: bool = True) -> Sweep:
    """Read a sweep file's text; `source` names it in errors. Raises InputError.

    Runs the plugins that it names, unless `run_plugins` is false.

    `space` is a space or a list of them; each a name, a file, or a mapping: a whole space, or
    `base` (a name or a file) with the fields that differ from it.
    """
    data = parse_yaml(text, source)
    if not isinstance(data, dict):
        raise InputError(f"{source}: must be a mapping with at least `space` and `data`")
    if "plugins" in data:
        plugins = _plugins(data["plugins"], source, run_plugins)
        data = data | {"plugins": msgspec.to_builtins(plugins)}
    if "space" in data:
        entries = data["space"]
        entries = entries if isinstance(entries, list) else [entries]
        spaces = [
            _space(entry, source, f"space[{i}]" if len(entries) > 1 else "space")
            for i, entry in enumerate(entries)
        ]
        data = data | {"space": msgspec.to_builtins(spaces)}
    if "baselines" in data:
        entries = data["baselines"]
        entries = entries if isinstance(entries, list) else [entries]
        baselines = [_baseline(e, source, f"baselines[{i}]") for i, e in enumerate(entries)]
        data = data | {"baselines": msgspec.to_builtins(baselines)}
    return decode(data, Sweep, source)


def _plugins(entries: Any, source: str, run: bool) -> list[Plugin]:
    """Paths from the folder of the sweep file and names of modules, or (in a run's own) what was
    read there; run in this order if `run`. Otherwise no name is looked up, for Python runs the
    packages around a module to find it."""
    plugins = []
    for i, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        at = f"plugins[{i}]"
        if not isinstance(entry, dict | str):
            raise InputError(
                f"{source}: {at}: {entry!r} must be the path of a Python file or a module's name"
            )
        try:
            if isinstance(entry, dict):
                plugin = decode(entry, Plugin, source, at)
            elif entry.endswith(".py"):
                plugin = read_plugin(Path(source).parent / entry)
            else:
                plugin = read_plugin(entry) if run else decode({"name": entry}, Plugin, source, at)
        except InputError as error:
            named = str(error).startswith(f"{source}: ")
            raise error if named else InputError(f"{source}: {at}: {error}") from None
        if run:
            load_plugin(plugin)
        plugins.append(plugin)
    return plugins


def _baseline(entry: Any, source: str, at: str) -> Baseline:
    """A name, a file, `base` with what differs, or (in a run's own sweep) the network itself."""
    if isinstance(entry, str):
        return _named_baseline(Path(entry).stem, entry, source, at)
    if not isinstance(entry, dict):
        raise InputError(f"{source}: {at}: {entry!r} must be a name, a file, or a mapping")
    if "base" not in entry:
        return decode(entry, Baseline, source, at)
    base, name = entry["base"], entry.get("name")
    if not isinstance(base, str):
        raise InputError(f"{source}: {at}.base: {base!r} must be a name or a file")
    baseline = _named_baseline(name or Path(base).stem, base, source, f"{at}.base")
    changes = {field: value for field, value in entry.items() if field not in ("base", "name")}
    if not changes:
        return baseline
    if baseline.network is None:
        field = next(iter(changes))
        raise InputError(f"{source}: {at}.{field}: {base} is not described in stages to change")
    if name is None:
        raise InputError(f"{source}: {at}.name: give the changed {base} a name")
    return replace(
        baseline,
        network=decode(msgspec.to_builtins(baseline.network) | changes, Network, source, at),
    )


def _named_baseline(name: str, source_of: str, source: str, at: str) -> Baseline:
    try:
        network = load_network(source_of)
        if isinstance(network, Reference):
            return Baseline(name, reference=network.reference)
        return Baseline(name, network)
    except (InputError, ValueError) as error:
        raise InputError(f"{source}: {at}: {error}") from None


def _space(entry: Any, source: str, at: str) -> DesignSpace:
    if isinstance(entry, str):
        try:
            return load_space(entry)
        except InputError as error:
            raise InputError(f"{source}: {at}: {error}") from None
    if not isinstance(entry, dict):
        raise InputError(f"{source}: {at}: {entry!r} must be a name, a file, or a mapping")
    if "base" in entry:
        base = _space(entry["base"], source, f"{at}.base")
        changes = {field: value for field, value in entry.items() if field != "base"}
        entry = msgspec.to_builtins(base) | changes
    return decode(entry, DesignSpace, source, at)
