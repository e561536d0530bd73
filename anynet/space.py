"""Design spaces: ranges and constraints as data, the named spaces, and their exact size.

A space says how the *drawn* settings of a network are distributed: independent draws from each
range, conditioned on the constraints. What is built from them after the quantized line and the
group fix is the *resolved* network.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import force_setattr, replace

from anynet.blocks import BLOCKS, SETTINGS, WHOLE_SETTINGS, require_block
from anynet.checks import MOST, require_known, require_positive
from anynet.choices import Choices, check_choices
from anynet.counting import DEFAULT_RESOLUTION
from anynet.errors import InputError
from anynet.files import decode, parse_yaml, read_text, to_yaml
from anynet.limits import check_limit
from anynet.network import Head, Stem, always, check_setting
from anynet.regnet import QUANTUM, check_ratios

if TYPE_CHECKING:
    from anynet.sampling import Population

Floats = npt.NDArray[np.float64]
Window = tuple[float, float]
Parameter = Literal[
    "depth",
    "width",
    "bottleneck_ratio",
    "group_width",
    "se_ratio",
    "kernel",
    "expansion",
    "growth_rate",
    "share_1x1",
    "share_3x3",
    "share_5x5",
    "reduce_3x3",
    "reduce_5x5",
    "w0",
    "wa",
    "wm",
]
Rule = Literal["shared", "constant", "non_decreasing", "non_increasing", "ranged", "fixed"]
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The multiples of `step` from `low` to `high`, both included, and how they are drawn.

    `log_uniform` gives v the probability ln v - ln(v - step), and the lowest ln low -
    ln(low - min(step, low/2)), over their sum: pycls `log_uniform`, which draws a log-uniform
    real number and rounds it up. Raises ValueError where low or high is not such a multiple.
    """

    low: float
    high: float
    step: float = 1
    draw: Literal["uniform", "log_uniform"] = "uniform"

    def __post_init__(self) -> None:
        require_positive("step", self.step)
        for field in ("low", "high"):
            if not abs(getattr(self, field)) <= MOST:
                raise ValueError(f"{field}: {getattr(self, field)!r} must be at most {MOST:,}")
        if self.high < self.low:
            raise ValueError(f"high: {self.high:g} must be at least low {self.low:g}")
        if self.draw == "log_uniform" and self.low <= 0:
            raise ValueError(f"low: {self.low:g} must be above 0 for a log-uniform draw")
        for field in ("low", "high"):
            steps = getattr(self, field) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(
                    f"{field}: {getattr(self, field):g} must be a multiple of step {self.step:g}"
                )

        count = round((self.high - self.low) / self.step) + 1
        if count > MOST:
            raise ValueError(f"step: {self.step:g} gives {count:,} values, {MOST:,} at most")

    def values(self) -> Floats:
        """All values, ascending."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        return np.round(np.arange(first, last + 1, dtype=np.float64) * self.step, 10)

    def probabilities(self) -> Floats:
        """The probability of each value; sums to 1."""
        values = self.values()
        if self.draw == "uniform":
            return np.full(len(values), 1 / len(values))
        below = values - self.step
        below[0] = values[0] - min(self.step, values[0] / 2)
        weights = np.log(values) - np.log(below)
        return weights / weights.sum()


_SUBSETS = {"ranged", "fixed"}
"""Rules on the values of single stages."""
_NEEDED = ("bottleneck_ratio", "group_width")
"""Settings that a space of a block with them states, and that count as drawn even if fixed."""

Domain = Range | tuple[float, ...] | float
"""A range, a list of values drawn uniformly, or one fixed value."""


class Table(msgspec.Struct, frozen=True, dict=True):
    """A domain as its values and their probabilities."""

    values: Floats
    probabilities: Floats

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """`n` independent indices into `values`, by inversion of the distribution.

        The same as a binary search for each uniform number, several times as fast: a guide table
        (Chen and Asau 1974) knows for each of 2^k equal parts of [0, 1) the first index that it
        reaches, and at most `steps` later ones are looked at.
        """
        uniform = rng.random(n)
        if self._uniform:
            return (uniform * len(self.values)).astype(np.int64)
        cumulative, guide, steps = self._inverse
        index = guide[(uniform * len(guide)).astype(np.int64)]
        for _ in range(steps):
            index += cumulative[index] <= uniform
        return index

    @cached_property
    def _uniform(self) -> bool:
        return bool(np.all(self.probabilities == self.probabilities[0]))

    @cached_property
    def _inverse(self) -> tuple[Floats, npt.NDArray[np.int64], int]:
        cumulative = np.cumsum(self.probabilities)
        cumulative[-1] = np.inf  # so that rounding leads no draw beyond the last value
        parts = 2 ** min(16, 2 + math.ceil(-math.log2(self.probabilities.min())))
        ends = np.searchsorted(cumulative, np.arange(parts + 1) / parts, side="right")
        return cumulative, ends[:-1], int(np.diff(ends).max())


def tabulate(domain: Domain) -> Table:
    """The values of a domain, ascending, with their probabilities."""
    if isinstance(domain, Range):
        return Table(domain.values(), domain.probabilities())
    values = np.asarray(sorted(domain) if isinstance(domain, tuple) else [domain], dtype=float)
    return Table(values, np.full(len(values), 1 / len(values)))


class Constraint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule that the drawn settings of the stages obey, for one parameter.

    `shared` (or `constant`, which is read as it): equal in all stages. `non_decreasing`: never
    smaller than in the stage before. `non_increasing`: never larger. `ranged`: from `low` to
    `high`, both included, either left out. `fixed`: one of `values`. The last two hold for all
    stages, or for those of the numbers `stages`, from 1.
    """

    parameter: Parameter
    rule: Rule
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] | None = None
    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.rule == "constant":
            force_setattr(self, "rule", "shared")
        takes = {"ranged": ("low", "high", "stages"), "fixed": ("values", "stages")}
        for field in ("low", "high", "values", "stages"):
            if getattr(self, field) is not None and field not in takes.get(self.rule, ()):
                raise ValueError(f"{field}: the rule {self.rule} has none")
        if self.rule == "ranged" and self.low is None and self.high is None:
            raise ValueError("low: the rule ranged needs `low` or `high`")
        if self.rule == "fixed" and not self.values:
            raise ValueError("values: the rule fixed needs at least one")
        if self.stages is not None and (not self.stages or min(self.stages) < 1):
            raise ValueError(f"stages: {list(self.stages)} must be numbers of stages, from 1")

    def allows(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Which of the values a `ranged` or `fixed` rule lets through."""
        if self.rule == "fixed":
            return np.isclose(values[:, None], np.array(self.values)).any(axis=1)
        low = -np.inf if self.low is None else self.low - 1e-9
        high = np.inf if self.high is None else self.high + 1e-9
        return (low <= values) & (values <= high)


class LineRanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ranges of the quantized line (DNDS, section 3.3) that sets the widths of a RegNet."""

    w0: Domain
    wa: Domain
    wm: Domain


class DesignSpace(Choices, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """A population of networks: `len(strides)` stages of one block.

    Without `line`, every stage draws its own `depth`, `width` and settings of the block, under
    the `constraints` (an AnyNet space). With `line`, `depth` is the number of blocks in all, the
    widths follow the quantized line, networks whose number of stages is not `len(strides)` do not
    belong, and the settings are the same in all stages (a RegNet space).

    A block needs `bottleneck_ratio` and `group_width` where it has them; its other settings are
    its own where they are left out, and a setting with one value is not drawn. A `dense` space
    has no `width`: a stage adds depth x growth_rate to what comes in, halved by a transition
    between stages and where the stride is not 1.
    """

    name: str
    depth: Domain
    width: Domain | None = None
    line: LineRanges | None = None
    bottleneck_ratio: Domain | None = None
    group_width: Domain | None = None
    constraints: tuple[Constraint, ...] = always(())
    block: str = always("x")
    se_ratio: Domain | None = None
    kernel: Domain | None = None
    expansion: Domain | None = None
    growth_rate: Domain | None = None
    share_1x1: Domain | None = None
    share_3x3: Domain | None = None
    share_5x5: Domain | None = None
    reduce_3x3: Domain | None = None
    reduce_5x5: Domain | None = None
    limits: tuple[str, ...] = ()
    """Comparisons of costs that networks keep to: `params <= 3e6 + 5.5e6 * flops / 1e9`."""
    strides: tuple[int, ...] = always((2, 2, 2, 2))
    stem: Stem = always(Stem())
    head: Head = always(Head())
    input_channels: int = always(3)
    classes: int = always(1000)

    def __post_init__(self) -> None:
        require_block(self.block)
        if not 1 <= len(self.strides) <= 6:
            raise ValueError(f"strides: {list(self.strides)} must hold 1 to 6 numbers")
        for i, stride in enumerate(self.strides):
            require_positive(f"strides[{i}]", stride)
        if BLOCKS[self.block].grows:
            for field in ("width", "line"):
                if getattr(self, field) is not None:
                    raise ValueError(
                        f"{field}: the {self.block} block has none; depth and growth_rate make it"
                    )
        elif (self.width is None) == (self.line is None):
            raise ValueError("width: give either `width` or `line`, one of the two")
        require_positive("input_channels", self.input_channels)
        require_positive("classes", self.classes)
        self._check_settings()
        self._check_domains()
        check_choices(self, (self.block,))
        for i, limit in enumerate(self.limits):
            try:
                check_limit(limit)
            except (ValueError, ArithmeticError, RecursionError) as error:
                raise ValueError(f"limits[{i}]: {error}") from None
        for i, constraint in enumerate(self.constraints):
            self._check_constraint(f"constraints[{i}]", constraint)
        for name in self.tables:
            if not self._count(name):
                raise ValueError(f"constraints: no {name} obeys all rules on it")

    def _check_constraint(self, at: str, constraint: Constraint) -> None:
        if constraint.parameter not in self._domains():
            raise ValueError(
                f"{at}.parameter: {constraint.parameter!r}, but the space draws none "
                f"({', '.join(self._domains())})"
            )
        if self.line is not None and (
            constraint.rule not in ("ranged", "fixed") or constraint.stages is not None
        ):
            raise ValueError(
                f"{at}.rule: a space with a `line` takes `ranged` and `fixed` without `stages`; "
                "its stages follow the line"
            )
        value = self.constants.get(constraint.parameter)
        if (
            value is not None
            and constraint.rule in _SUBSETS
            and not constraint.allows(np.array([value])).all()
        ):
            raise ValueError(f"{at}: {constraint.parameter} is {value:g} in all stages")
        if constraint.stages is not None and max(constraint.stages) > len(self.strides):
            raise ValueError(
                f"{at}.stages: {list(constraint.stages)}, but there are {len(self.strides)} stages"
            )

    def _check_settings(self) -> None:
        defaults = BLOCKS[self.block].defaults
        for field in SETTINGS:
            given = getattr(self, field) is not None
            if given and field not in defaults:
                raise ValueError(f"{field}: the {self.block} block has none")
            if not given and field in _NEEDED and field in defaults:
                raise ValueError(f"{field}: the {self.block} block needs it")
            if not given and field in defaults:
                force_setattr(self, field, defaults[field])

    def _check_domains(self) -> None:
        whole = {"depth": 1, "width": 1, "w0": QUANTUM} | dict.fromkeys(WHOLE_SETTINGS, 1)
        for field, domain in self._domains().items():
            path = f"line.{field}" if field in ("w0", "wa", "wm") else field
            listed = domain if isinstance(domain, tuple) else ()
            for value in (domain,) if isinstance(domain, int | float) else listed:
                if not abs(value) <= MOST:
                    raise ValueError(f"{path}: {value!r} must be at most {MOST:,}")
            if domain == ():
                raise ValueError(f"{path}: [] must hold at least one value")
            table = tabulate(domain)
            lowest = table.values[0]
            if len(np.unique(table.values)) < len(table.values):
                raise ValueError(f"{path}: holds a value twice")
            if field == "wm" and lowest <= 1:
                raise ValueError(f"{path}: {lowest:g} must be above 1")
            if field == "wa" and lowest < 0:
                raise ValueError(f"{path}: {lowest:g} must be 0 or more")
            if field != "wa" and lowest <= 0:
                raise ValueError(f"{path}: {lowest:g} must be above 0")
            odd = table.values[np.rint(table.values) % whole[field] != 0] if field in whole else []
            broken = table.values[np.rint(table.values) != table.values] if field in whole else []
            for value in (*odd, *broken):
                rule = f"a multiple of {whole[field]}" if whole[field] > 1 else "a whole number"
                raise ValueError(f"{path}: {value:g} must be {rule}")
            if field == "bottleneck_ratio":
                check_ratios(table.values)
            elif field in SETTINGS:
                for value in table.values.tolist():
                    check_setting(field, value)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Values and probabilities of every parameter that is drawn, by name."""
        tables = {name: tabulate(domain) for name, domain in self._domains().items()}
        tables = {name: table for name, table in tables.items() if name not in self.constants}
        if self.line is None:
            return tables
        for constraint in self.constraints:  # of a line there is one, so its values are fewer
            if (name := constraint.parameter) in tables:
                kept = constraint.allows(tables[name].values)
                p = tables[name].probabilities[kept]
                tables[name] = Table(tables[name].values[kept], p / p.sum())
        return tables

    def allowed(self, parameter: str) -> npt.NDArray[np.bool_] | None:
        """Which values each stage may have by `ranged` and `fixed` rules: (stages, values).

        None where there is no such rule, and in a space with a line, whose tables hold no others.
        """
        rules = [c for c in self.constraints if c.parameter == parameter and c.rule in _SUBSETS]
        if not rules or self.line is not None:
            return None
        values = self.tables[parameter].values
        allowed = np.ones((len(self.strides), len(values)), dtype=bool)
        for rule in rules:
            for stage in rule.stages or range(1, len(self.strides) + 1):
                allowed[stage - 1] &= rule.allows(values)
        return allowed

    @cached_property
    def constants(self) -> dict[str, float]:
        """The settings with one value, which are not drawn: neither ratio nor group width."""
        found: dict[str, float] = {}
        for name in SETTINGS:
            domain = getattr(self, name)
            if name not in _NEEDED and domain is not None:
                values = tabulate(domain).values
                if len(values) == 1:
                    found[name] = values[0].item()
        return found

    def _domains(self) -> dict[str, Domain]:
        domains: dict[str, Domain | None] = {"depth": self.depth}
        if self.line is None:
            domains["width"] = self.width
        else:
            domains |= {"w0": self.line.w0, "wa": self.line.wa, "wm": self.line.wm}
        domains |= {name: getattr(self, name) for name in SETTINGS}
        return {name: domain for name, domain in domains.items() if domain is not None}

    def rules(self, parameter: str) -> frozenset[Rule]:
        """How stages of a parameter depend on each other; two orders together are `shared`."""
        found = {c.rule for c in self.constraints if c.parameter == parameter} - _SUBSETS
        if {"non_decreasing", "non_increasing"} <= found:
            found.add("shared")
        return frozenset({"shared"}) if "shared" in found else frozenset(found)

    @property
    def free_dimensions(self) -> int:
        """How many settings are drawn: one a stage and parameter, one where it is shared.

        A setting with a single possible value is not free (DNDS, section 3.2, counts so).
        """
        if self.line is not None:
            return sum(len(table.values) > 1 for table in self.tables.values())
        free = 0
        for name, table in self.tables.items():
            allowed = self.allowed(name)
            if allowed is None:
                allowed = np.ones((len(self.strides), len(table.values)), dtype=bool)
            if "shared" in self.rules(name):
                allowed = np.all(allowed, axis=0)[None]
            free += int((allowed.sum(axis=1) > 1).sum())
        return free

    @property
    def size(self) -> int:
        """The exact number of distinct drawn settings that obey the constraints.

        For a space with a line it counts all lines, those with another number of stages too.
        Limits are on what is built, and leave it alone.
        """
        return math.prod(self._count(name) for name in self.tables)

    def _count(self, name: str) -> int:
        """How many sequences of settings, one a stage, obey the rules on a parameter."""
        n, rules, allowed = len(self.tables[name].values), self.rules(name), self.allowed(name)
        if self.line is not None:
            return n
        stages = len(self.strides)
        if allowed is None:
            allowed = np.ones((stages, n), dtype=bool)
        if "shared" in rules:
            return int(allowed.all(axis=0).sum())
        if not rules:
            return math.prod(int(count) for count in allowed.sum(axis=1))
        if "non_increasing" in rules:
            allowed = allowed[::-1]
        ending = [1] * n  # sequences so far, were the next stage at most this value
        for stage in allowed:
            ways = [count if ok else 0 for count, ok in zip(ending, stage, strict=True)]
            ending = list(itertools.accumulate(ways))
        return ending[-1]

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        flops: Window | None = None,
        params: Window | None = None,
        activations: Window | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        unique: bool = True,
    ) -> Population:
        """Draw `n` networks whose cost lies in the windows (low, high), both ends included.

        See `anynet.sampling.sample`.
        """
        from anynet.sampling import sample

        return sample(
            self,
            n,
            rng,
            flops=flops,
            params=params,
            activations=activations,
            resolution=resolution,
            unique=unique,
        )

    def to_yaml(self, comment: str = "") -> str:
        """YAML text that `load_space` reads."""
        return to_yaml(self, comment)

    @staticmethod
    def from_yaml(text: str, source: str = "space") -> DesignSpace:
        """Read YAML text; `source` names it in errors. Raises InputError."""
        return decode(parse_yaml(text, source), DesignSpace, source)

    @staticmethod
    def named(name: str) -> DesignSpace:
        """One of the named spaces, as `anynet spaces` lists them. Raises ValueError."""
        require_known("space", name, NAMED)
        return NAMED[name]


_ANYNETX_A = DesignSpace(
    name="anynetx_a",
    depth=Range(1, 16, draw="log_uniform"),
    width=Range(8, 1024, step=8, draw="log_uniform"),
    bottleneck_ratio=(1, 2, 4),
    group_width=(1, 2, 4, 8, 16, 32),
)
_STEPS: tuple[tuple[str, Constraint], ...] = (
    ("anynetx_b", Constraint("bottleneck_ratio", "shared")),
    ("anynetx_c", Constraint("group_width", "shared")),
    ("anynetx_d", Constraint("width", "non_decreasing")),
    ("anynetx_e", Constraint("depth", "non_decreasing")),
)
_REGNETX = DesignSpace(
    name="regnetx",
    depth=Range(1, 63),
    line=LineRanges(
        w0=Range(8, 256, step=8, draw="log_uniform"),
        wa=Range(8, 256, step=0.1, draw="log_uniform"),
        wm=Range(1.5, 3, step=0.001, draw="log_uniform"),
    ),
    bottleneck_ratio=(1, 2, 4),
    group_width=(1, 2, 4, 8, 16, 32),
)


def _named_spaces() -> dict[str, DesignSpace]:
    spaces = [_ANYNETX_A]
    for name, constraint in _STEPS:
        spaces.append(
            replace(spaces[-1], name=name, constraints=(*spaces[-1].constraints, constraint))
        )
    spaces += [_REGNETX, replace(_REGNETX, name="regnety", block="y", se_ratio=0.25)]
    return {space.name: space for space in spaces}


NAMED: dict[str, DesignSpace] = _named_spaces()
"""AnyNetX A to E, each the one before with one more constraint, RegNetX and RegNetY (DNDS)."""


def load_space(name_or_path: str) -> DesignSpace:
    """A named space, or one read from a YAML file. Raises InputError."""
    if name_or_path in NAMED:
        return NAMED[name_or_path]
    if name_or_path.endswith((".yaml", ".yml", ".json")) or "/" in name_or_path:
        return DesignSpace.from_yaml(read_text(name_or_path), name_or_path)
    try:
        return DesignSpace.named(name_or_path)
    except ValueError as error:
        raise InputError(f"{error}; a file ends in .yaml") from None
