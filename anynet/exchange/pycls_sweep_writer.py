"""Design spaces as sweep configs of pycls, as YAML text: the way back of `pycls_sweep.py`.

Each setting of a space becomes a sampler of exactly its distribution, or is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from anynet.counting import DEFAULT_RESOLUTION
from anynet.errors import InputError
from anynet.exchange.pycls import BLOCKS, STEMS, check_block, check_common, common_sections
from anynet.exchange.pycls_sweep import COSTS, OF_LINE, OF_STAGES, PAIRS, check_fit, is_uniform
from anynet.files import to_yaml
from anynet.limits import bounds
from anynet.ranges import Domain, Range
from anynet.sequences import Sequences, Table
from anynet.space import DesignSpace

POPULATION = 500
"""Networks of a sweep where nobody says how many: so many DNDS trains of a space (section 3.1)."""
_WHOLE = ("depth", "width", "w0", "group_width")
_MOST_LISTS = 4096
"""Lists that are written one by one into a value_sampler, at most."""


def to_pycls_sweep(space: DesignSpace, networks: int) -> str:
    """A pycls sweep config that draws so many networks of the space, as YAML text.

    Raises InputError, by the name of the field, for what pycls cannot draw: other blocks than
    pycls's, limits that are formulas, stages that depend on each other, ...
    """
    try:
        check_block("block", space.block, space.head)
        check_common(space, space.stem, space.head, space.input_channels)
        check_fit(space)
        resolution = space.resolution or DEFAULT_RESOLUTION
        if resolution % 4:
            raise ValueError(f"resolution: {resolution}, but pycls's sweeps have multiples of 4")
        write = _write_stages if space.line is None else _write_line
        section, body, samplers = write(space)
        constraints: dict[str, Any] = {"CX": _windows(space.limits)}
    except ValueError as error:
        raise InputError(f"{space.name}: {error}") from None
    if space.line is not None:
        constraints["REGNET"] = {"NUM_STAGES": [len(space.strides)] * 2}
    shared: dict[str, Any] = {
        "STEM_TYPE": STEMS[space.stem.kind],
        "STEM_W": space.stem.width,
        "BLOCK_TYPE": BLOCKS[space.block],
    }
    if space.head.width is not None:
        shared["HEAD_W"] = space.head.width
    common = common_sections(space, "anynet" if space.line is None else "regnet", space.classes)
    setup = {
        "NUM_CONFIGS": networks,
        "SAMPLERS": samplers,
        "CONSTRAINTS": {name: value for name, value in constraints.items() if value} or None,
        "BASE_CFG": {
            "MODEL": common.pop("MODEL"),
            section: shared | body,
            **common,
            "TRAIN": {"IM_SIZE": resolution},
        },
    }
    return to_yaml(
        {"NAME": space.name, "SETUP": setup},
        "pycls sweep config. How the networks are trained (OPTIM, TRAIN, TEST, ...) is to be\n"
        "added to BASE_CFG. pycls repeats no drawn settings; two may be resolved to one network.",
    )


def _write_line(space: DesignSpace) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Section, its fixed fields, and the samplers of a space with a line."""
    if len(set(space.strides)) > 1:
        raise ValueError(f"strides: {list(space.strides)}, but pycls's RegNets have one for all")
    body: dict[str, Any] = {"STRIDE": space.strides[0]}
    samplers: dict[str, Any] = {}
    for field, name in OF_LINE.items():
        if name in space.sequences:
            sequences = space.sequences[name]
            table = sequences.table.narrowed(sequences.allowed[0])
            domain = getattr(space.line if name in ("w0", "wa", "wm") else space, name)
            _put(body, samplers, "REGNET", field, _scalar(name, table, domain))
    return "REGNET", body | _squeeze(space), samplers


def _write_stages(space: DesignSpace) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Section, its fixed fields, and the samplers of a space without a line."""
    body: dict[str, Any] = {"STRIDES": list(space.strides)}
    samplers: dict[str, Any] = {}
    for field, name in OF_STAGES.items():
        if name in space.sequences:
            lists = _lists(name, space.sequences[name], getattr(space, name))
            _put(body, samplers, "ANYNET", field, lists)
    if "se_ratio" in space.sequences:
        sequences = space.sequences["se_ratio"]
        if sequences.order != "shared" or not is_uniform(sequences.table.probabilities):
            raise ValueError("se_ratio: pycls's AnyNet has one for all stages")
        table = sequences.table.narrowed(np.logical_and.reduce(sequences.allowed))
        _put(body, samplers, "ANYNET", "SE_R", _scalar("se_ratio", table, space.se_ratio))
    return "ANYNET", body | _squeeze(space), samplers


def _put(
    body: dict[str, Any], samplers: dict[str, Any], section: str, field: str, what: Any
) -> None:
    """Into the samplers what is drawn, into the section what is fixed."""
    if isinstance(what, dict):
        samplers[f"{section}.{field}"] = what
    else:
        body[field] = what


def _squeeze(space: DesignSpace) -> dict[str, Any]:
    if space.block != "y":
        return {}
    ratio = space.constants.get("se_ratio")
    return {"SE_ON": True} if ratio is None else {"SE_ON": True, "SE_R": ratio}


def _plain(name: str, values: Iterable[float]) -> list[Any]:
    """Values as pycls has them: inverse ratios, whole numbers where they are such."""
    if name == "bottleneck_ratio":
        return [1 / value for value in values]
    return [int(value) if name in _WHOLE else float(value) for value in values]


def _scalar(name: str, table: Table, domain: Domain | None) -> dict[str, Any] | float:
    """The sampler of one number, or the number where there is one."""
    values = _plain(name, table.values.tolist())
    if len(values) == 1:
        return values[0]
    kind = "int_sampler" if name in _WHOLE else "float_sampler"
    if is_uniform(table.probabilities):
        values.sort()
        step = type(values[0])(round(values[1] - values[0], 10))
        steps = np.diff(values)
        even = np.allclose(steps, step, rtol=0, atol=1e-9)
        if even and Decimal(str(values[0])) % Decimal(str(step)) == 0:
            return _ranged(kind, "uniform", values[0], values[-1], step)
        return {"TYPE": "value_sampler", "VALUES": values}
    if name != "bottleneck_ratio" and isinstance(domain, Range) and _is_drawn_as(table, domain):
        return _ranged(kind, domain.draw, values[0], values[-1], type(values[0])(domain.step))
    raise ValueError(f"{name}: pycls has no sampler that draws what the space does")


def _is_drawn_as(table: Table, domain: Range) -> bool:
    """Whether what is left of a range is drawn as a range of its own ends."""
    try:
        same = Range(table.values[0].item(), table.values[-1].item(), domain.step, domain.draw)
    except ValueError:  # its ends are no powers of 2
        return False
    values, probabilities = same.values(), same.probabilities()
    return np.array_equal(values, table.values) and np.allclose(
        probabilities, table.probabilities, rtol=1e-9, atol=0
    )


def _ranged(kind: str, draw: str, low: float, high: float, step: float) -> dict[str, Any]:
    return {"TYPE": kind, "RAND_TYPE": draw, "RANGE": [low, high], "QUANTIZE": step}


def _lists(name: str, sequences: Sequences, domain: Domain | None) -> dict[str, Any] | list[Any]:
    """The sampler of a list, one number a stage, or the list where there is one."""
    values, allowed = sequences.table.values, sequences.occurring
    if sequences.size == 1:
        return _plain(name, (values[row][0].item() for row in allowed))
    alike = bool((allowed == allowed[0]).all())
    if sequences.order == "free" and alike:
        item = _scalar(name, sequences.table.narrowed(allowed[0]), domain)
        return {"TYPE": "list_sampler", "LENGTH": len(allowed), "ITEM_SAMPLER": item}
    uniform = is_uniform(sequences.table.probabilities)
    if uniform and sequences.distribution == "conditional" and sequences.size <= _MOST_LISTS:
        return {
            "TYPE": "value_sampler",
            "VALUES": [_plain(name, kept) for kept in _kept(sequences)],
        }
    rule = "bounds of single stages" if sequences.order == "free" else f"the rule {sequences.order}"
    raise ValueError(
        f"constraints: {name}: {rule}, but pycls draws stages independently and alike, or one of "
        f"up to {_MOST_LISTS:,} equally probable lists"
    )


def _kept(sequences: Sequences) -> list[list[float]]:
    """All sequences, one by one."""
    found: list[list[float]] = [[]]
    for row in sequences.occurring:
        values = sequences.table.values[row].tolist()
        found = [
            [*before, value]
            for before in found
            for value in values
            if not before or PAIRS[sequences.order](before[-1], value)
        ]
    return found


def _windows(limits: Sequence[str]) -> dict[str, list[int]]:
    """`CONSTRAINTS.CX`: bounds that are numbers. Raises ValueError for other limits."""
    fields = {name: field for field, name in COSTS.items()}
    found: dict[str, tuple[float, float]] = {}
    for i, text in enumerate(limits):
        kept = bounds(text)
        if kept is None or kept[0] not in fields or kept[2] < 1:
            raise ValueError(
                f"limits[{i}]: {text!r}, but pycls keeps flops, params and activations between "
                "two numbers and knows no other limit"
            )
        name, low, high = kept
        least, most = found.get(name, (0.0, math.inf))
        found[name] = (max(least, low), min(most, high))
    return {
        fields[name]: [int(low), 0 if high == math.inf else int(high)]
        for name, (low, high) in found.items()
        if low or high < math.inf
    }
