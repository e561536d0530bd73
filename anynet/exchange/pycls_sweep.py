"""Design spaces from the sweep configs of pycls (`docs/SWEEP_INFO.md` there).

What says which networks are drawn is read: `NAME`, `SETUP.SAMPLERS`, `SETUP.CONSTRAINTS` and, of
`SETUP.BASE_CFG`, the network and the size of its images. How many of them there are, how they are
trained, launched and analyzed is not looked at.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from anynet.errors import InputError
from anynet.exchange.pycls import (
    GROUPED,
    AnyNetSection,
    Config,
    RegNetSection,
    block_of,
    ratio_of,
    stem_of,
)
from anynet.files import decode
from anynet.network import Head
from anynet.ranges import Domain, Draw, Range, tabulate
from anynet.regnet import QUANTUM, fix_columns
from anynet.sequences import Floats, Order, Sequences
from anynet.space import Constraint, DesignSpace, LineRanges

_BASE = "SETUP.BASE_CFG"
_SAMPLERS = "SETUP.SAMPLERS"
_CONSTRAINTS = "SETUP.CONSTRAINTS"
OF_LINE = {
    "DEPTH": "depth",
    "W0": "w0",
    "WA": "wa",
    "WM": "wm",
    "GROUP_W": "group_width",
    "BOT_MUL": "bottleneck_ratio",
    "SE_R": "se_ratio",
}
"""What a sampler may draw for a RegNet, by its field in `REGNET`; ours."""
OF_STAGES = {
    "DEPTHS": "depth",
    "WIDTHS": "width",
    "GROUP_WS": "group_width",
    "BOT_MULS": "bottleneck_ratio",
}
"""The same of an AnyNet, by its field in `ANYNET`: a list of numbers, one a stage."""
_INVERTED = ("BOT_MUL", "BOT_MULS")
COSTS = {"FLOPS": "flops", "PARAMS": "params", "ACTS": "activations"}


class _Costs(msgspec.Struct, forbid_unknown_fields=True):
    """Windows of cost; an end at 0 is open."""

    FLOPS: tuple[float, float] = (0, 0)
    PARAMS: tuple[float, float] = (0, 0)
    ACTS: tuple[float, float] = (0, 0)


class _OfRegNets(msgspec.Struct, forbid_unknown_fields=True):
    NUM_STAGES: tuple[int, int] = (4, 4)


class _Constraints(msgspec.Struct, forbid_unknown_fields=True):
    CX: _Costs = msgspec.field(default_factory=_Costs)
    REGNET: _OfRegNets = msgspec.field(default_factory=_OfRegNets)


class _Setup(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    BASE_CFG: dict[str, Any]
    SAMPLERS: dict[str, Any] = msgspec.field(default_factory=dict)
    CONSTRAINTS: _Constraints = msgspec.field(default_factory=_Constraints)
    NUM_CONFIGS: int = 0
    NUM_SAMPLES: int = 1_000_000
    CHUNK_SIZE: int = 5000
    RNG_SEED: int = 0


class _Sweep(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    NAME: str
    SETUP: _Setup
    DESC: Any = None
    ROOT_DIR: Any = None
    NUM_PROC: Any = None
    SWEEP_CFG_FILE: Any = None
    LAUNCH: Any = None
    COLLECT: Any = None
    ANALYZE: Any = None


class _Scalar(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    TYPE: str
    RANGE: tuple[float, float]
    QUANTIZE: float | None = None
    RAND_TYPE: Draw | Literal["power2_uniform"] = "uniform"


class _Values(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    TYPE: str
    VALUES: list[Any]


class _List(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    TYPE: str
    LENGTH: int
    ITEM_SAMPLER: dict[str, Any]


class _Line(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """pycls's ranges of a RegNet; their draws and steps are fixed."""

    TYPE: str
    DEPTH: tuple[int, int] = (12, 28)
    W0: tuple[int, int] = (8, 256)
    WA: tuple[float, float] = (8.0, 256.0)
    WM: tuple[float, float] = (2.0, 3.0)
    GROUP_W: tuple[int, int] = (8, 128)
    BOT_MUL: tuple[float, float] = (1.0, 1.0)


_KINDS: dict[str, type[_Scalar | _Values | _List | _Line]] = {
    "int_sampler": _Scalar,
    "float_sampler": _Scalar,
    "value_sampler": _Values,
    "list_sampler": _List,
    "regnet_sampler": _Line,
}
_LINE_DRAWS: dict[str, tuple[float, Draw | Literal["power2_uniform"]]] = {
    "DEPTH": (1, "uniform"),
    "W0": (8, "log_uniform"),
    "WA": (0.1, "log_uniform"),
    "WM": (0.001, "log_uniform"),
    "GROUP_W": (8, "power2_or_log_uniform"),
    "BOT_MUL": (1 / 128, "power2_uniform"),
}
"""Step and draw of each range of a regnet_sampler."""


class _Drawn(msgspec.Struct):
    """What a sampler draws: a number, or a list of them of which an order may hold."""

    at: str
    domain: Domain
    length: int | None = None
    order: Order = "free"
    fixed: tuple[float, ...] | None = None


def from_pycls_sweep(data: Any, source: str) -> DesignSpace:
    """The space of a pycls sweep config (plain data of its YAML), of type regnet or anynet.

    Raises InputError, by the name of the field, for what has no counterpart here: samplers of
    training, several numbers of stages, widths that pycls's sweeps round and a space does not.
    """
    sweep = decode(data, _Sweep, source)
    config = decode(sweep.SETUP.BASE_CFG, Config, source, _BASE)
    build = {"regnet": _line_space, "anynet": _stage_space}.get(config.MODEL.TYPE)
    if build is None:
        raise InputError(
            f"{source}: {_BASE}.MODEL.TYPE: {config.MODEL.TYPE!r}, but a space is read from "
            "sweeps of anynet and regnet"
        )
    drawn = _all_drawn(sweep.SETUP.SAMPLERS, config.MODEL.TYPE, source)
    try:
        if config.MODEL.SCALING_FACTOR != 1:
            raise ValueError(
                f"{_BASE}.MODEL.SCALING_FACTOR: {config.MODEL.SCALING_FACTOR:g}, but the networks "
                "of a space are not scaled"
            )
        space = build(sweep, config, drawn)
        check_fit(space)
        return space
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def _all_drawn(samplers: dict[str, Any], model_type: str, source: str) -> dict[str, _Drawn]:
    """What is drawn, by its field in the section of the type. Raises InputError."""
    section = model_type.upper()
    fields = [*OF_LINE] if section == "REGNET" else [*OF_STAGES, "SE_R"]
    found: dict[str, _Drawn] = {}
    for key, data in samplers.items():
        at = f"{_SAMPLERS}.{key}"
        sampler = _sampler(data, source, at)
        prefix, _, field = key.partition(".")
        try:
            if isinstance(sampler, _Line):
                if key != "REGNET" or section != "REGNET":
                    raise ValueError(f"{at}.TYPE: a regnet_sampler draws REGNET of a regnet only")
                ranges = {name: (f"{at}.{name}", getattr(sampler, name)) for name in _LINE_DRAWS}
                new = {
                    name: _Drawn(place, _domain(place, ends, *_LINE_DRAWS[name]))
                    for name, (place, ends) in ranges.items()
                }
            elif prefix != section or field not in fields:
                listed = ", ".join(f"{section}.{name}" for name in fields)
                raise ValueError(
                    f"{at}: no part of a space, which draws networks: of type {model_type} {listed}"
                )
            else:
                new = {field: _drawn(sampler, source, at)}
            for name, drawn in new.items():
                if name in found:
                    raise ValueError(f"{drawn.at}: is drawn by {found[name].at} too")
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{source}: {error}") from None
        found |= new
    return found


def _sampler(data: Any, source: str, at: str) -> _Scalar | _Values | _List | _Line:
    kind = data.get("TYPE") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{source}: {at}.TYPE: {kind!r} is not one of {', '.join(_KINDS)}")
    return decode(data, _KINDS[kind], source, at)


def _drawn(sampler: _Scalar | _Values | _List | _Line, source: str, at: str) -> _Drawn:
    match sampler:
        case _Scalar(TYPE=kind, RANGE=(low, high), QUANTIZE=step, RAND_TYPE=draw):
            if step is None:
                step = 1 if kind == "int_sampler" else 1e-5
            if kind == "int_sampler":
                for field, value in (("RANGE[0]", low), ("RANGE[1]", high), ("QUANTIZE", step)):
                    if not float(value).is_integer():
                        raise ValueError(f"{at}.{field}: {value:g} must be a whole number")
            return _Drawn(at, _domain(f"{at}.RANGE", (low, high), step, draw))
        case _Values(VALUES=values):
            of_lists = bool(values) and isinstance(values[0], list)
            kinds: Any = list[list[float]] if of_lists else list[float]
            return _of_values(decode(values, kinds, source, f"{at}.VALUES"), at)
        case _List(LENGTH=length, ITEM_SAMPLER=item):
            inside = _drawn(_sampler(item, source, f"{at}.ITEM_SAMPLER"), source, at)
            if inside.length is not None:
                raise ValueError(f"{at}.ITEM_SAMPLER: must draw numbers, not lists")
            return _Drawn(at, inside.domain, length)
    raise ValueError(f"{at}.TYPE: {sampler.TYPE!r} draws no number")


def _domain(
    at: str, ends: tuple[float, float], step: float, draw: Draw | Literal["power2_uniform"]
) -> Domain:
    """A range as pycls draws it, in the plainest form: as one number or a list where it is one."""
    low, high = ends
    try:
        if draw == "power2_uniform":
            Range(low, high, step)  # refuses what is no multiple
            # With this step it has powers of 2 below `high`, and `high`: all of them.
            powers = Range(low, high, max(high, step), "power2_or_log_uniform").values()
            return tuple(powers.tolist()) if len(powers) > 1 else low
        found = Range(low, high, step, draw)
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
    if low == high:
        return low
    if draw != "power2_or_log_uniform":
        return found
    if low >= step:
        return Range(low, high, step, "log_uniform")
    return tuple(found.values().tolist()) if high < 2 * step else found


def _of_values(values: list[Any], at: str) -> _Drawn:
    """What a value_sampler draws: each of its values, numbers or lists, equally often."""
    if not values:
        raise ValueError(f"{at}.VALUES: [] must hold at least one value")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{at}.VALUES[{i}]: {value} stands twice; a space has equal chances")
    if not isinstance(values[0], list):
        return _Drawn(at, tuple(values) if len(values) > 1 else values[0])
    lengths = {len(value) for value in values}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(f"{at}.VALUES: lists of {sorted(lengths)} numbers must be equally long")
    (length,) = lengths
    numbers = tuple(sorted({number for value in values for number in value}))
    domain: Domain = numbers if len(numbers) > 1 else numbers[0]
    if len(values) == 1:
        return _Drawn(at, domain, length, fixed=tuple(values[0]))
    allowed = np.ones((length, len(numbers)), dtype=bool)
    for order in get_args(Order):
        # All lists keep to the order, and it has no others: equally probable, they are what
        # independent uniform numbers are under it.
        kept = all(_keeps(order, value) for value in values)
        if kept and Sequences(tabulate(domain), allowed, order).size == len(values):
            return _Drawn(at, domain, length, order)
    raise ValueError(
        f"{at}.VALUES: {len(values)} lists, which are neither all of their numbers nor all that "
        f"are {', '.join(get_args(Order)[1:])}"
    )


PAIRS: dict[Order, Callable[[float, float], bool]] = {
    "free": lambda a, b: True,
    "shared": operator.eq,
    "non_decreasing": operator.le,
    "increasing": operator.lt,
    "non_increasing": operator.ge,
    "decreasing": operator.gt,
}
"""What an order asks of the numbers of two stages, one behind the other."""


def _keeps(order: Order, numbers: Sequence[float]) -> bool:
    return all(PAIRS[order](a, b) for a, b in itertools.pairwise(numbers))


def _line_space(sweep: _Sweep, config: Config, drawn: dict[str, _Drawn]) -> DesignSpace:
    body = config.REGNET
    low, high = sweep.SETUP.CONSTRAINTS.REGNET.NUM_STAGES
    if low != high:
        raise ValueError(
            f"{_CONSTRAINTS}.REGNET.NUM_STAGES: [{low}, {high}], but a space has one number of them"
        )
    domains: dict[str, Any] = {}
    for field, name in OF_LINE.items():
        at = f"{_BASE}.REGNET.{field}"
        found = drawn.get(field, _Drawn(at, getattr(body, field)))
        if found.length is not None:
            raise ValueError(f"{found.at}: draws lists, but REGNET.{field} is a number")
        domains[name] = _inverse(found.at, found.domain) if field in _INVERTED else found.domain
    common = _common(sweep, config, body, "SE_R" in drawn)
    if common["block"] != "y":
        del domains["se_ratio"]
    return DesignSpace(
        line=LineRanges(domains.pop("w0"), domains.pop("wa"), domains.pop("wm")),
        strides=(body.STRIDE,) * low,
        **domains,
        **common,
    )


def _stage_space(sweep: _Sweep, config: Config, drawn: dict[str, _Drawn]) -> DesignSpace:
    body, fields = config.ANYNET, dict(OF_STAGES)
    stages = len(body.STRIDES)
    if not stages:
        raise ValueError(f"{_BASE}.ANYNET.STRIDES: [] must hold one number a stage")
    common = _common(sweep, config, body, "SE_R" in drawn)
    for field in ("GROUP_WS", "BOT_MULS") if common["block"] not in GROUPED else ():
        del fields[field]
        if field in drawn:
            raise ValueError(f"{drawn[field].at}: {body.BLOCK_TYPE} has none")
    domains: dict[str, Any] = {}
    constraints: list[Constraint] = []
    for field, name in fields.items():
        at = f"{_BASE}.ANYNET.{field}"
        listed = getattr(body, field)
        found = drawn.get(field)
        if found is None:
            if len(listed) != stages:
                raise ValueError(f"{at}: {listed} must hold {stages} numbers, as STRIDES does")
            found = _of_values([listed], at)
        if found.length != stages:
            number = "a number" if found.length is None else f"lists of {found.length}"
            raise ValueError(f"{found.at}: draws {number}, but STRIDES has {stages} stages")
        inverted = field in _INVERTED
        domains[name] = _inverse(found.at, found.domain) if inverted else found.domain
        if found.fixed is not None:
            if isinstance(domains[name], tuple):
                ratios = [ratio_of(at, v) if inverted else v for v in found.fixed]
                constraints.append(Constraint(name, "fixed", tuple(ratios)))  # type: ignore[arg-type]
        elif found.order != "free":
            order = _turned(found.order) if inverted else found.order
            constraints.append(Constraint(name, order))  # type: ignore[arg-type]
    if "SE_R" in drawn:
        found = drawn["SE_R"]
        table = tabulate(found.domain)
        if found.length is not None or not is_uniform(table.probabilities):
            raise ValueError(f"{found.at}: one se_ratio for all stages is drawn uniformly here")
        domains["se_ratio"] = found.domain
        constraints.append(Constraint("se_ratio", "shared"))
    elif common["block"] == "y":
        domains["se_ratio"] = body.SE_R
    return DesignSpace(
        strides=tuple(body.STRIDES), constraints=tuple(constraints), **domains, **common
    )


def _turned(order: Order) -> Order:
    """The order of the inverse numbers."""
    turned: dict[Order, Order] = {
        "non_decreasing": "non_increasing",
        "increasing": "decreasing",
        "non_increasing": "non_decreasing",
        "decreasing": "increasing",
    }
    return turned.get(order, order)


def _common(
    sweep: _Sweep, config: Config, body: RegNetSection | AnyNetSection, draws_se: bool
) -> dict[str, Any]:
    """What stands in both sections alike, and the limits, by our names."""
    section = config.MODEL.TYPE.upper()
    block = block_of(f"{_BASE}.{section}", body.BLOCK_TYPE, body.SE_ON)
    if draws_se and block != "y":
        raise ValueError(f"{_SAMPLERS}.{section}.SE_R: drawn, but SE_ON is not true")
    costs = sweep.SETUP.CONSTRAINTS.CX
    limits = []
    for field, name in COSTS.items():
        low, high = getattr(costs, field)
        if not 0 <= low < math.inf or not 0 <= high < math.inf or (high and low > high):
            raise ValueError(
                f"{_CONSTRAINTS}.CX.{field}: [{low:g}, {high:g}] must run from low to high"
            )
        below, above = f"{_number(low)} <= " * bool(low), f" <= {_number(high)}" * bool(high)
        if low or high:
            limits.append(f"{below}{name}{above}")
    return {
        "name": sweep.NAME.replace("/", "_"),
        "block": block,
        "stem": stem_of(f"{_BASE}.{section}", body.STEM_TYPE, body.STEM_W),
        "head": Head(width=body.HEAD_W or None),
        "classes": config.MODEL.NUM_CLASSES,
        "limits": tuple(limits),
        # pycls's sweeps measure at multiples of 4, through its model scaling.
        "resolution": round(config.TRAIN.IM_SIZE / 4) * 4,
        **config.choices(block),
    }


def _number(value: float) -> str:
    """A cost as people write it: in millions where that says it."""
    millions = f"{value / 1e6:g}e6"
    return millions if float(millions) == value else f"{value:.17g}"


def _inverse(at: str, domain: Domain) -> Domain:
    """The bottleneck ratios of multipliers."""
    table = tabulate(domain)
    if not is_uniform(table.probabilities):
        raise ValueError(f"{at}: bottleneck ratios that are not drawn uniformly are none here")
    ratios = tuple(ratio_of(at, value) for value in table.values[::-1].tolist())
    return ratios if len(ratios) > 1 else ratios[0]


def is_uniform(probabilities: Floats) -> bool:
    """Whether all are equal but for rounding."""
    return bool(np.allclose(probabilities, probabilities[0], rtol=1e-9, atol=0))


def check_fit(space: DesignSpace) -> None:
    """Raise ValueError where pycls's sweeps build other stages than the space of the same draw.

    They pass every network through pycls's model scaling, by a factor of 1 (`scaler.scale_model`):
    widths are rounded to multiples of 8, group widths to 1, 2, 4 or a multiple of 8, and then both
    are fitted to each other, of a RegNet for the second time.
    """
    for stage in range(1 if space.line else len(space.strides)):
        occurring = {
            name: sequences.table.values[sequences.occurring[stage]]
            for name, sequences in space.sequences.items()
        }
        ratios = occurring.get("bottleneck_ratio", np.ones(1)).tolist()
        groups = occurring.get("group_width", np.ones(1)).tolist()
        for ratio, group in itertools.product(ratios, groups):
            if space.line is None:
                drawn = occurring["width"]
            else:
                drawn = _line_widths(occurring["w0"][0], ratio, group)
            ours, fitted = drawn, np.full(len(drawn), group)
            if space.block in GROUPED:
                ours, fitted = fix_columns(drawn, ratio, fitted)
            before = (ours, fitted) if space.line else (drawn, np.full(len(drawn), group))
            theirs, scaled = fix_columns(_to_eights(before[0]), ratio, _plain_groups(before[1]))
            other = np.flatnonzero((ours != theirs) | (fitted != scaled))
            if len(other):
                k = other[0]
                of = f"width {drawn[k]:g}"
                if space.block in GROUPED:
                    of += f", bottleneck_ratio {ratio:g} and group_width {group:g}"
                raise ValueError(
                    f"{of}: pycls's sweeps round widths and group widths to multiples of 8 and "
                    f"build {_stage(theirs[k], scaled[k])} of it, a space "
                    f"{_stage(ours[k], fitted[k])}"
                )


def _line_widths(least: float, ratio: float, group: float) -> Floats:
    """Widths that a line may have: enough of them to meet every case of the group fix."""
    period = math.lcm(QUANTUM, math.ceil(ratio) * int(group)) * QUANTUM
    return np.arange(least, min(least + 2 * period, least + 1e6) + 1, QUANTUM)


def _to_eights(widths: Floats) -> Floats:
    return np.maximum(1.0, np.rint(widths / 8)) * 8


def _plain_groups(groups: Floats) -> Floats:
    """Group widths as pycls's model scaling leaves them."""
    eights = np.rint(groups / 8) * 8
    return np.where(groups <= 2, groups, np.where(groups <= 5, 4.0, eights))


def _stage(width: float, group: float) -> str:
    return f"width {width:g} (group width {group:g})"
