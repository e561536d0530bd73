"""Design spaces: ranges and constraints as data, the named spaces, and their exact size.

A space says how the *drawn* settings of a network are distributed: independent draws from each
range, conditioned on the constraints. What is built from them after the quantized line and the
group fix is the *resolved* network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace

from anynet.blocks import BLOCKS, SETTINGS, STEMS, WHOLE_SETTINGS, require_block
from anynet.checks import MOST, require_known, require_name, require_positive
from anynet.choices import Choices, check_choices, example_layers
from anynet.counting import check_resolution
from anynet.errors import InputError
from anynet.files import decode, parse_yaml, read_text, to_yaml
from anynet.limits import check_limit
from anynet.network import Head, Stem, always, check_setting
from anynet.ranges import Domain, Range, tabulate
from anynet.regnet import QUANTUM, check_ratios
from anynet.sequences import Order, Sequences, Table

if TYPE_CHECKING:
    from anynet.distinct import Networks
    from anynet.sampling import Population

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
Rule = Literal[
    "shared",
    "constant",
    "non_decreasing",
    "increasing",
    "non_increasing",
    "decreasing",
    "fixed",
    "ranged",
]
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)


_NEEDED = ("bottleneck_ratio", "group_width")
"""Settings that a space of a block with them states, and that count as drawn even if fixed."""


class Constraint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule that one parameter's settings obey; those on one parameter hold together.

    An order of the stages: `shared` or, in the papers' word, `constant` (equal in all stages;
    read as `shared`), `non_decreasing`, `increasing`, `non_increasing`, `decreasing`. `draw` says
    how settings that do not increase or decrease are distributed, see `Sequences`. What the
    values are: `fixed` to `values`, one for all or one a stage, or `ranged` from `low` to `high`,
    both included; of all `stages` or of some, by their numbers from 1.
    """

    parameter: Parameter
    rule: Rule
    values: tuple[float, ...] | float | None = None
    low: float | None = None
    high: float | None = None
    stages: tuple[int, ...] | None = None
    draw: Literal["conditional", "sorted"] = "conditional"

    def __post_init__(self) -> None:
        if self.rule == "constant":
            force_setattr(self, "rule", "shared")
        needs = {"fixed": ("values", "stages"), "ranged": ("low", "high", "stages")}
        for field in ("values", "low", "high", "stages"):
            given = getattr(self, field) is not None
            if given and field not in needs.get(self.rule, ()):
                raise ValueError(f"{field}: the rule {self.rule} has none")
        if self.draw == "sorted" and self.rule not in ("non_decreasing", "non_increasing"):
            raise ValueError(
                f"draw: 'sorted', but the rule is {self.rule}; only settings that are "
                "non_decreasing or non_increasing are drawn so"
            )
        if self.rule == "fixed" and self.values is None:
            raise ValueError("values: the rule fixed needs them")
        if self.rule == "ranged":
            self._check_range()
        for i, stage in enumerate(self.stages or ()):
            if stage < 1 or stage in (self.stages or ())[:i]:
                rule = "stages are numbered from 1" if stage < 1 else "occurs twice"
                raise ValueError(f"stages[{i}]: {stage}: {rule}")
        if self.stages == ():
            raise ValueError("stages: [] must name at least one stage")

    def _check_range(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("low: the rule ranged needs `low`, `high`, or both")
        for field in ("low", "high"):
            value = getattr(self, field)
            if value is not None and not abs(value) <= MOST:
                raise ValueError(f"{field}: {value!r} must be at most {MOST:,}")
        if self.low is not None and self.high is not None and self.high < self.low:
            raise ValueError(f"high: {self.high:g} must be at least low {self.low:g}")


_OF_VALUES = ("fixed", "ranged")
"""The rules about values; all others order the stages."""


def _sequences(table: Table, stages: int, constraints: Sequence[Constraint]) -> Sequences:
    """The sequences that constraints on one parameter allow together."""
    allowed = np.ones((stages, len(table.values)), dtype=bool)
    for constraint in constraints:
        numbers = constraint.stages or range(1, stages + 1)
        values = constraint.values
        for k, stage in enumerate(numbers):
            if constraint.rule == "fixed":
                value = values[k] if isinstance(values, tuple) else values
                allowed[stage - 1] &= table.values == value
            elif constraint.rule == "ranged":
                low, high = constraint.low, constraint.high
                allowed[stage - 1] &= table.values >= (-np.inf if low is None else low)
                allowed[stage - 1] &= table.values <= (np.inf if high is None else high)
    rules = {constraint.rule for constraint in constraints} - set(_OF_VALUES)
    up, down = rules & {"non_decreasing", "increasing"}, rules & {"non_increasing", "decreasing"}
    strict = rules & {"increasing", "decreasing"}
    order: Order = "free"
    if "shared" in rules or (up and down):
        order = "shared"
        if strict and stages > 1:  # equal, and not
            allowed[:] = False
    elif up:
        order = "increasing" if strict else "non_decreasing"
    elif down:
        order = "decreasing" if strict else "non_increasing"
    is_sorted = any(constraint.draw == "sorted" for constraint in constraints)
    return Sequences(table, allowed, order, "sorted" if is_sorted else "conditional")


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
    belong, and the settings are the same in all stages (a RegNet space); its constraints are
    `fixed` and `ranged`.

    Constraints speak of drawn settings. `limits` speak of the resolved network, at the
    resolution that it is sampled for, and condition a sample as windows of cost do: comparisons
    such as `params < 3e6 + 5.5e6 * flops / 1e9` (`anynet.limits`). `resolution` is the side of the
    images that they are meant for: what it is sampled for where nothing else is said, and limits
    are not counted at another.

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
    limits: tuple[str, ...] = ()
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
    strides: tuple[int, ...] = always((2, 2, 2, 2))
    stem: Stem = always(Stem())
    head: Head = always(Head())
    input_channels: int = always(3)
    classes: int = always(1000)
    resolution: int | None = None

    def __post_init__(self) -> None:
        require_name("name", self.name)
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
        if self.resolution is not None:
            check_resolution(self.resolution)
        self._check_settings()
        self._check_domains()
        check_choices(
            self,
            (self.block,),
            lambda: example_layers(self.block, self.strides),
            lambda: (STEMS[self.stem.kind](self.stem.width), self.head.describe(self.classes)),
        )
        for i in range(len(self.constraints)):
            self._check_constraint(i)
        for i, limit in enumerate(self.limits):
            try:
                check_limit(limit)
            except ValueError as error:
                raise ValueError(f"limits[{i}]: {error}") from None

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

    def _check_constraint(self, i: int) -> None:
        """Raise ValueError where constraint `i` is none here, or contradicts those before it."""
        constraint, at = self.constraints[i], f"constraints[{i}]"
        parameter, rule = constraint.parameter, constraint.rule
        domain = self._domains().get(parameter)
        if domain is None:
            of_line = parameter in ("w0", "wa", "wm") or (parameter == "width" and self.line)
            owner = f"a space with{'' if self.line else 'out'} a `line`" if of_line else None
            raise ValueError(
                f"{at}.parameter: {parameter!r}, but {owner or f'the {self.block} block'} has none"
            )
        if self.line is not None and (rule not in _OF_VALUES or constraint.stages is not None):
            field = "stages" if rule in _OF_VALUES else "rule"
            value = list(constraint.stages or ()) if rule in _OF_VALUES else repr(rule)
            raise ValueError(
                f"{at}.{field}: {value}, but the stages of a space with a `line` follow it; "
                "a setting can be fixed or ranged"
            )
        stages = self._drawn_stages
        for k, stage in enumerate(constraint.stages or ()):
            if stage > stages:
                raise ValueError(f"{at}.stages[{k}]: {stage}, but the space has {stages}")
        table = tabulate(domain)
        if rule == "fixed":
            self._check_values(at, constraint, table)
        earlier = [c for c in self.constraints[: i + 1] if c.parameter == parameter]
        sequences = _sequences(table, stages, earlier)
        if sequences.size == 0:
            others = ", ".join(dict.fromkeys(c.rule for c in earlier[:-1]))
            beside = f" beside {others}" if others else ""
            raise ValueError(
                f"{at}.rule: {rule!r} leaves no {parameter} for {stages} stages{beside}"
                if self.line is None
                else f"{at}.rule: {rule!r} leaves no {parameter}{beside}"
            )
        if sequences.distribution == "sorted" and not (
            sequences.order in ("non_decreasing", "non_increasing")
            and np.all(sequences.allowed == sequences.allowed[0])
        ):
            raise ValueError(
                f"{at}.rule: {rule!r} on a {parameter} that is drawn sorted, beside which the "
                "rules must hold for all stages alike"
            )

    def _check_values(self, at: str, constraint: Constraint, table: Table) -> None:
        values = constraint.values
        listed = values if isinstance(values, tuple) else ()
        wanted = len(constraint.stages or ()) or self._drawn_stages
        if isinstance(values, tuple) and len(values) != wanted:
            raise ValueError(f"{at}.values: {len(values)}, but there are {wanted} stages to fix")
        for k, value in enumerate(listed or (values,)):
            if value not in table.values:
                place = f"[{k}]" if listed else ""
                raise ValueError(
                    f"{at}.values{place}: {value:g} is no {constraint.parameter} of the space"
                )

    @property
    def _drawn_stages(self) -> int:
        """How many numbers a parameter has: one a stage, or one where the line makes them."""
        return len(self.strides) if self.line is None else 1

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Values and probabilities of every parameter that is drawn, by name."""
        tables = {name: tabulate(domain) for name, domain in self._domains().items()}
        return {name: table for name, table in tables.items() if name not in self.constants}

    @cached_property
    def sequences(self) -> dict[str, Sequences]:
        """Every parameter that is drawn, by name: what its stages may be under the constraints.

        In a space with a line, sequences of one.
        """
        return {
            name: _sequences(
                table,
                self._drawn_stages,
                [c for c in self.constraints if c.parameter == name],
            )
            for name, table in self.tables.items()
        }

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

    @property
    def free_dimensions(self) -> int:
        """How many settings are drawn: one a stage and parameter, one where it is shared.

        A setting with a single possible value is not free (DNDS, section 3.2, counts so).
        """
        return sum(sequences.free for sequences in self.sequences.values())

    @property
    def size(self) -> int:
        """The exact number of distinct drawn settings that obey the constraints.

        For a space with a line it counts all lines, those with another number of stages too.
        Limits of cost are not looked at.
        """
        return math.prod(sequences.size for sequences in self.sequences.values())

    def networks(self) -> Networks:
        """How many different networks it can build, exactly or within bounds.

        Several settings may be resolved to one network. Limits of cost are not looked at. A
        fraction of a second for AnyNetX_A to E, ten for RegNetX; see `anynet.distinct`.
        """
        from anynet.distinct import count_networks

        return count_networks(self)

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        flops: Window | None = None,
        params: Window | None = None,
        activations: Window | None = None,
        resolution: int | None = None,
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
    spaces.append(
        replace(
            _REGNETX,
            name="regnetx_constrained",
            constraints=(
                Constraint("bottleneck_ratio", "fixed", 1),
                Constraint("depth", "ranged", high=40),
                Constraint("wm", "ranged", low=2),
            ),
            limits=(
                "params < 3e6 + 5.5e6 * (flops / 1e9)",
                "activations < 6.5e6 * sqrt(flops / 1e9)",
            ),
        )
    )
    c, d = spaces[2], spaces[3]
    for before, name, constraint in (
        (c, "control_constant_widths", Constraint("width", "constant")),
        (c, "control_decreasing_widths", Constraint("width", "non_increasing")),
        (d, "control_decreasing_depths", Constraint("depth", "non_increasing")),
    ):
        spaces.append(replace(before, name=name, constraints=(*before.constraints, constraint)))
    return {space.name: space for space in spaces}


NAMED: dict[str, DesignSpace] = _named_spaces()
"""The spaces of DNDS by name.

AnyNetX A to E, each the one before with one more constraint (section 3.2); RegNetX and RegNetY;
`regnetx_constrained` (section 4, with pycls's bounds on params and activations, its F in 10⁹
flops); and the controls to AnyNetX D and E, with the principle turned round or left out.
"""


def load_space(name_or_path: str) -> DesignSpace:
    """A named space, or one read from a file: of ours, or a pycls sweep. Raises InputError."""
    if name_or_path in NAMED:
        return NAMED[name_or_path]
    if name_or_path.endswith((".yaml", ".yml", ".json")) or "/" in name_or_path:
        data = parse_yaml(read_text(name_or_path), name_or_path)
        if isinstance(data, dict) and "SETUP" in data:
            from anynet.exchange.pycls_sweep import from_pycls_sweep

            return from_pycls_sweep(data, name_or_path)
        return decode(data, DesignSpace, name_or_path)
    try:
        return DesignSpace.named(name_or_path)
    except ValueError as error:
        raise InputError(f"{error}; a file ends in .yaml") from None
