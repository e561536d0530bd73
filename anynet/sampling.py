"""Seeded, vectorised drawing of populations inside windows of cost.

Candidates are drawn in chunks of fixed size, resolved and counted as arrays; those inside the
windows are kept. So a sample of 10 is the beginning of the sample of 100 with the same seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anynet.blocks import BLOCKS, SETTINGS, WHOLE_SETTINGS
from anynet.counting import DEFAULT_RESOLUTION, Cost, check_resolution, total
from anynet.errors import InputError
from anynet.limits import holds
from anynet.network import Network, Stage, assemble, with_effective
from anynet.regnet import fix_columns, quantize_lines
from anynet.space import DesignSpace, Window

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
Columns = dict[str, Array]

CHUNK = 1 << 14
"""Candidates a chunk: large enough to amortize the walk, small enough for the cache."""
PATIENCE = 5_000_000
"""Candidates drawn without one new network before a window counts as empty."""

PLURAL = {
    "depth": "depths",
    "width": "widths",
    "bottleneck_ratio": "bottleneck_ratios",
    "group_width": "group_widths",
    "se_ratio": "se_ratios",
    "kernel": "kernels",
    "expansion": "expansions",
    "growth_rate": "growth_rates",
    "share_1x1": "shares_1x1",
    "share_3x3": "shares_3x3",
    "share_5x5": "shares_5x5",
    "reduce_3x3": "reduces_3x3",
    "reduce_5x5": "reduces_5x5",
}
SINGULAR = {plural: name for name, plural in PLURAL.items()}
"""A setting of one stage, by the name that columns of it have (`widths`: `width`)."""
_WHOLE = {"depths", "widths", *(PLURAL[name] for name in WHOLE_SETTINGS)}


@dataclass(frozen=True, eq=False)
class Population:
    """`n` sampled networks, as columns.

    `depths` and `widths` (int) are of shape (n, stages), as are the columns of `settings`: what
    the stages' blocks were resolved to (`bottleneck_ratios`, `group_widths`, ...), for every
    setting that is not one number for all. `params`, `flops` and `activations` are (n,) int64, at
    `resolution`. `drawn` holds the settings as sampled, by name: (n, stages)
    for settings of stages, (n,) for settings of the line. `draws` candidates were drawn for it,
    of which `accepted` lay in the windows, repeats included.
    """

    space: DesignSpace
    resolution: int
    depths: Array
    widths: Array
    settings: Columns
    params: Array
    flops: Array
    activations: Array
    drawn: Columns
    draws: int
    accepted: int

    def __len__(self) -> int:
        return len(self.params)

    @property
    def bottleneck_ratios(self) -> Array | None:
        """(n, stages), or None where the block has no bottleneck."""
        return self.settings.get("bottleneck_ratios")

    @property
    def group_widths(self) -> Array | None:
        """(n, stages) int, or None where the block has no groups."""
        return self.settings.get("group_widths")

    @property
    def acceptance_rate(self) -> float:
        """Share of the candidates drawn that lay in the windows."""
        return self.accepted / self.draws if self.draws else float("nan")

    def __getitem__(self, index: int) -> Network:
        space = self.space
        network = Network(
            stem=space.stem,
            stages=tuple(
                Stage(
                    depth=int(self.depths[index, i]),
                    width=int(self.widths[index, i]),
                    stride=stride,
                    block=space.block,
                    **self._settings(index, i),
                )
                for i, stride in enumerate(space.strides)
            ),
            head=space.head,
            input_channels=space.input_channels,
            classes=space.classes,
        )
        return with_effective(network, space)

    def _settings(self, index: int, stage: int) -> dict[str, Any]:
        """The settings of one stage by the names that `Stage` has."""
        settings: dict[str, float] = dict(self.space.constants)
        for name, plural in PLURAL.items():
            if plural in self.settings:
                settings[name] = self.settings[plural][index, stage].item()
        return {
            name: int(value) if name in WHOLE_SETTINGS else float(value)
            for name, value in settings.items()
        }

    def __iter__(self) -> Iterator[Network]:
        return (self[i] for i in range(len(self)))

    def drawn_settings(self, index: int) -> dict[str, Any]:
        """The settings that network `index` was drawn with, as plain numbers and lists."""
        return {
            name: column[index].tolist() if column.ndim > 1 else column[index].item()
            for name, column in self.drawn.items()
        }

    def row(self, index: int) -> dict[str, Any]:
        """One network as plain data: a line of `anynet sample`."""
        row: dict[str, Any] = {"network": self[index], "drawn": self.drawn_settings(index)}
        row |= {"depths": self.depths[index].tolist(), "widths": self.widths[index].tolist()}
        row |= {"bottleneck_ratios": None, "group_widths": None}
        row |= {name: column[index].tolist() for name, column in self.settings.items()}
        for name in ("params", "flops", "activations"):
            row[name] = int(getattr(self, name)[index])
        return row

    def frame(self) -> pd.DataFrame:
        """A DataFrame: resolved settings by stage (`width_1`, ...), costs, `drawn_...`."""
        import pandas as pd

        columns: Columns = {}
        stages = {"depths": self.depths, "widths": self.widths} | self.settings
        for singular, plural in PLURAL.items():
            if plural in stages:
                column = stages[plural]
                columns |= {f"{singular}_{i + 1}": column[:, i] for i in range(column.shape[1])}
        columns |= {name: getattr(self, name) for name in ("params", "flops", "activations")}
        for name, column in self.drawn.items():
            if column.ndim == 1:
                columns[f"drawn_{name}"] = column
            else:
                stem = name.removesuffix("s")
                columns |= {f"drawn_{stem}_{i + 1}": c for i, c in enumerate(column.T)}
        return pd.DataFrame(columns)


def seeded(space: DesignSpace, seed: int) -> np.random.Generator:
    """The generator of a space for a seed: another one for every name.

    So that two spaces of one sweep are drawn independently, and a space's population does not
    depend on which others are drawn beside it.
    """
    return np.random.default_rng([seed, zlib.crc32(space.name.encode())])


def sample(
    space: DesignSpace,
    n: int,
    rng: np.random.Generator,
    *,
    flops: Window | None = None,
    params: Window | None = None,
    activations: Window | None = None,
    resolution: int | None = None,
    unique: bool = True,
) -> Population:
    """Draw `n` networks of `space` whose cost lies in the windows (low, high), ends included.

    They obey the limits of the space too, which are counted at the same `resolution`: without it,
    that of the space or 224.

    With `unique`, no two build the same module: what is compared is the resolved network, not
    the draw, and the first draw is kept. `unique=False` gives independent draws, as estimates
    of shares and densities need them. Raises InputError where a window is upside down, and where
    `PATIENCE` candidates in a row bring nothing new (nothing, or too little, fits).
    """
    if n < 1:
        raise InputError(f"n: {n} must be 1 or more")
    if unique and n > space.size:
        raise InputError(f"n: {n:,}, but {space.name} has {space.size:,} settings in all")
    resolution = resolution_for(space, resolution)
    windows = {"params": params, "flops": flops, "activations": activations}
    for name, window in windows.items():
        if window is not None and not window[0] <= window[1]:
            raise InputError(f"{name}: {window[0]:g}:{window[1]:g} must run from low to high")

    # glibc hands the top of the heap back to the system, page by page to be had again, once it
    # is twice the largest block that was freed: one large block keeps the columns' memory here.
    np.empty(1 << 21)
    kept: list[Columns] = []
    seen: set[bytes] = set()
    found = draws = accepted = barren = 0
    spans: dict[str, Window] = {}
    while found < n:
        columns, fits = fitting(space, windows, resolution, rng)
        draws += CHUNK
        barren += CHUNK
        if len(columns["depths"]):
            _widen(spans, columns, windows)
        accepted += len(fits)
        if unique and len(fits):
            fits = fits[unseen(columns, fits, seen)]
        if len(fits):
            kept.append({name: column[fits] for name, column in columns.items()})
            found += len(fits)
            barren = 0
        elif barren >= PATIENCE:
            raise InputError(_barren(space, windows, spans, draws, found, n))
    return _population(space, resolution, kept, n, draws, accepted)


def fitting(
    space: DesignSpace,
    windows: Mapping[str, Window | None],
    resolution: int,
    rng: np.random.Generator,
) -> tuple[Columns, Array]:
    """The next `CHUNK` candidates, counted, and which of them fit: columns, and row numbers.

    Fewer than `CHUNK` where a line or a block has its own idea of what belongs to the space.
    """
    columns = _candidates(space, CHUNK, rng)
    if not len(columns["depths"]):
        return columns, np.zeros(0, dtype=np.int64)
    columns |= _costs(space, columns, resolution)
    return columns, _inside(columns, windows, space.limits)


def resolution_for(space: DesignSpace, asked: int | None) -> int:
    """The resolution to count at: what is asked for, or the space's. Raises InputError."""
    if asked is None:
        return space.resolution or DEFAULT_RESOLUTION
    try:
        check_resolution(asked)
    except ValueError as error:
        raise InputError(str(error)) from None
    if space.limits and space.resolution not in (None, asked):
        raise InputError(
            f"resolution: {asked}, but the limits of {space.name} are meant for "
            f"{space.resolution} (its `resolution`)"
        )
    return asked


def _candidates(space: DesignSpace, n: int, rng: np.random.Generator) -> Columns:
    """Draw and resolve `n` candidates."""
    return resolve(space, {name: s.draw(n, rng) for name, s in space.sequences.items()})


def resolve(space: DesignSpace, drawn: Columns) -> Columns:
    """What drawn settings (by parameter, (n, stages), or (n, 1) beside a line) are built to.

    By the plural names of `Population`, as floats, beside `drawn.` columns; without those that
    are no network of the space: of another number of stages, or against their block's rule.
    """
    if space.line is not None:
        return _resolve_lines(space, {name: column[:, 0] for name, column in drawn.items()})
    columns = {PLURAL[name]: column for name, column in drawn.items()}
    drawn = {f"drawn.{name}": column for name, column in columns.items()}
    return _belonging(space, _fix(space, columns) | drawn)


def _resolve_lines(space: DesignSpace, drawn: Columns) -> Columns:
    stages = len(space.strides)
    mask, widths, depths = quantize_lines(
        drawn["depth"].astype(np.int64), drawn["w0"], drawn["wa"], drawn["wm"], stages
    )
    drawn = {name: column[mask] for name, column in drawn.items()}
    columns: Columns = {"depths": depths.astype(float), "widths": widths.astype(float)}
    for name in drawn:
        if name in SETTINGS:
            columns[PLURAL[name]] = np.repeat(drawn[name][:, None], stages, axis=1)
    fixed = _fix(space, columns) | {f"drawn.{name}": column for name, column in drawn.items()}
    return _belonging(space, fixed)


def _fix(space: DesignSpace, columns: Columns) -> Columns:
    """The settings that are built: widths that grow added up, widths fitted to the groups."""
    if BLOCKS[space.block].grows:
        return columns | {"widths": _grown_widths(space, columns)}
    if "group_widths" not in columns:
        return dict(columns)
    widths, groups = fix_columns(
        columns["widths"], columns.get("bottleneck_ratios", 1.0), columns["group_widths"]
    )
    return columns | {"widths": widths, "group_widths": groups}


def _grown_widths(space: DesignSpace, columns: Columns) -> Array:
    """Channels that leave each stage of blocks that add some (DenseNet-BC, compression 1/2)."""
    depths = columns["depths"]
    rate = columns.get("growth_rates", space.constants.get("growth_rate", 0.0))
    added = depths * rate
    widths = np.empty_like(depths)
    width: Any = np.full(len(depths), float(space.stem.width or space.input_channels))
    for i, stride in enumerate(space.strides):
        start = np.maximum(width // 2, 1) if i or stride != 1 else width
        width = widths[:, i] = start + added[:, i]
    return widths


def _belonging(space: DesignSpace, columns: Columns) -> Columns:
    """The candidates whose stages the block's own rule allows."""
    valid = BLOCKS[space.block].valid
    if valid is None:
        return columns
    fits = np.ones(len(columns["depths"]), dtype=bool)
    for i in range(len(space.strides)):
        settings = _stage_settings(space, columns, i)
        fits &= valid(columns["widths"][:, i], columns["depths"][:, i], **settings)
    return {name: column[fits] for name, column in columns.items()}


def _costs(space: DesignSpace, columns: Columns, resolution: int) -> Columns:
    cost = population_cost(space, columns, resolution)
    return {
        "params": cost.params.astype(np.int64),
        "flops": cost.flops.astype(np.int64),
        "activations": cost.activations.astype(np.int64),
    }


def population_cost(space: DesignSpace, columns: Columns, resolution: int) -> Cost:
    """The cost of many networks of one space at once, from their resolved columns.

    `columns` as in `Population`, as floats: every count stays below 2⁵³, where they are exact.
    """
    stages = (
        (
            space.block,
            np.ascontiguousarray(columns["widths"][:, i]),
            stride,
            np.ascontiguousarray(columns["depths"][:, i]),
            _stage_settings(space, columns, i),
        )
        for i, stride in enumerate(space.strides)
    )
    description = assemble(
        space, stages, space.stem, space.head, space.input_channels, space.classes
    )
    return total(description, space.input_channels, resolution)


def _stage_settings(space: DesignSpace, columns: Columns, stage: int) -> dict[str, Any]:
    """The settings of a stage by name: a number where it is one for all, else (n,)."""
    settings: dict[str, Any] = dict(space.constants)
    for name, plural in PLURAL.items():
        if name in SETTINGS and plural in columns:
            settings[name] = np.ascontiguousarray(columns[plural][:, stage])
    return settings


def _inside(
    columns: Columns, windows: Mapping[str, Window | None], limits: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    inside = np.ones(len(columns["params"]), dtype=bool)
    for name, window in windows.items():
        if window is not None:
            inside &= (columns[name] >= window[0]) & (columns[name] <= window[1])
    if limits:
        named = columns | {"depth": columns["depths"].sum(axis=1)}
        for limit in limits:
            inside &= holds(limit, named)
    return np.flatnonzero(inside)


def unseen(columns: Columns, rows: Array, seen: set[bytes]) -> Array:
    """Which of the rows build a module that is not in `seen`; adds them to it."""
    names = (name for name in PLURAL.values() if name in columns)
    table = np.concatenate([columns[name][rows] for name in names], axis=1)
    fresh = np.zeros(len(rows), dtype=bool)
    for i, row in enumerate(np.ascontiguousarray(table)):
        key = row.tobytes()
        if key not in seen:
            seen.add(key)
            fresh[i] = True
    return fresh


def _widen(spans: dict[str, Window], columns: Columns, windows: dict[str, Window | None]) -> None:
    """Note the least and the greatest cost seen, for the message of an empty window."""
    for name, window in windows.items():
        if window is not None:
            low, high = float(columns[name].min()), float(columns[name].max())
            if name in spans:
                low, high = min(low, spans[name][0]), max(high, spans[name][1])
            spans[name] = (low, high)


def _barren(
    space: DesignSpace,
    windows: dict[str, Window | None],
    spans: dict[str, Window],
    draws: int,
    found: int,
    n: int,
) -> str:
    limits = [
        f"{name} {window[0]:g}:{window[1]:g}"
        + (f" (draws cost {spans[name][0]:g} to {spans[name][1]:g})" if name in spans else "")
        for name, window in windows.items()
        if window is not None
    ]
    limits += [f"{limit!r}" for limit in space.limits]
    within = f" within {' and '.join(limits)}" if limits else ""
    if not found:
        return f"{space.name}: nothing of {draws:,} draws fits{within}"
    return (
        f"{space.name}: only {found} different networks in {draws:,} draws{within}, "
        f"{n} were asked for; ask for fewer, or widen it"
    )


def _population(
    space: DesignSpace, resolution: int, kept: list[Columns], n: int, draws: int, accepted: int
) -> Population:
    columns = {name: np.concatenate([part[name] for part in kept])[:n] for name in kept[0]}
    drawn = {
        name.removeprefix("drawn."): _whole(column)
        for name, column in columns.items()
        if name.startswith("drawn.")
    }
    return Population(
        space=space,
        resolution=resolution,
        depths=columns["depths"].astype(np.int64),
        widths=columns["widths"].astype(np.int64),
        settings={
            name: columns[name].astype(np.int64) if name in _WHOLE else columns[name]
            for name in PLURAL.values()
            if name in columns and name not in ("depths", "widths")
        },
        params=columns["params"],
        flops=columns["flops"],
        activations=columns["activations"],
        drawn=drawn,
        draws=draws,
        accepted=accepted,
    )


def _whole(column: Array) -> Array:
    """As integers where every value is whole."""
    return column.astype(np.int64) if np.all(column == np.rint(column)) else column
