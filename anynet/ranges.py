"""What a setting may be, and how probable: ranges, lists and single values."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from anynet.checks import MOST, require_positive
from anynet.sequences import Floats, Table

Draw = Literal["uniform", "log_uniform", "normal", "log_normal", "power2_or_log_uniform"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The multiples of `step` from `low` to `high`, both included, and how they are drawn.

    The draws are pycls's (`pycls/sweep/random.py`). `log_uniform` gives v the probability
    ln v - ln(v - step), and the lowest ln low - ln(low - min(step, low/2)), over their sum: a
    log-uniform real number, rounded up. `normal`: a normal one of mean (low + high)/2 and deviation
    (high - low)/6, drawn anew outside of [low, high], rounded to the nearest multiple.
    `log_normal`: the same of its logarithm. `power2_or_log_uniform`: below `step` the powers of 2
    instead, each as probable as all numbers from one power of 2 to the next, and those
    log-uniform; low, high and step are powers of 2. Raises ValueError where low or high is no
    multiple of `step`, or no such power.
    """

    low: float
    high: float
    step: float = 1
    draw: Draw = "uniform"

    def __post_init__(self) -> None:
        require_positive("step", self.step)
        for field in ("low", "high"):
            if not abs(getattr(self, field)) <= MOST:
                raise ValueError(f"{field}: {getattr(self, field)!r} must be at most {MOST:,}")
        if self.high < self.low:
            raise ValueError(f"high: {self.high:g} must be at least low {self.low:g}")
        if self.draw not in ("uniform", "normal") and self.low <= 0:
            kind = self.draw.replace("_", "-")
            raise ValueError(f"low: {self.low:g} must be above 0 for a {kind} draw")
        if self.draw == "power2_or_log_uniform":
            for field in ("low", "high", "step"):
                if not math.log2(getattr(self, field)).is_integer():
                    raise ValueError(f"{field}: {getattr(self, field):g} must be a power of 2")
        else:
            self._check_multiples()
        count = round((self.high - self.low) / self.step) + 1
        if count > MOST:
            raise ValueError(f"step: {self.step:g} gives {count:,} values, {MOST:,} at most")

    def _check_multiples(self) -> None:
        for field in ("low", "high"):
            steps = getattr(self, field) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(
                    f"{field}: {getattr(self, field):g} must be a multiple of step {self.step:g}"
                )

    @property
    def _powers(self) -> int:
        """How many powers of 2 come before the multiples of `step`."""
        if self.draw != "power2_or_log_uniform":
            return 0
        return max(0, round(math.log2(min(self.step, 2 * self.high) / self.low)))

    def values(self) -> Floats:
        """All values, ascending."""
        low = max(self.low, self.step) if self._powers else self.low
        first, last = round(low / self.step), round(self.high / self.step)
        if self.high < low:  # nothing but powers of 2
            last = first - 1
        multiples = np.round(np.arange(first, last + 1, dtype=np.float64) * self.step, 10)
        return np.concatenate([self.low * 2.0 ** np.arange(self._powers), multiples])

    def probabilities(self) -> Floats:
        """The probability of each value; sums to 1."""
        values = self.values()
        match self.draw:
            case "uniform":
                return np.full(len(values), 1 / len(values))
            case "log_uniform":
                weights = self._log_uniform(values)
            case "power2_or_log_uniform":
                powers, rest = values[: self._powers], values[self._powers :]
                weights = np.concatenate(
                    [np.full(len(powers), math.log(2)), self._log_uniform(rest)]
                )
            case _:
                weights = self._normal(values)
        return weights / weights.sum()

    def _log_uniform(self, values: Floats) -> Floats:
        """The length of the logarithms that are rounded up to each value."""
        below = values - self.step
        below[:1] = values[:1] - np.minimum(self.step, values[:1] / 2)
        return np.log(values) - np.log(below)

    def _normal(self, values: Floats) -> Floats:
        """The normal distribution, cut at the ends, of what is rounded to each value."""
        if len(values) == 1:
            return np.ones(1)
        between = (values[1:] + values[:-1]) / 2
        edges = np.concatenate([[self.low], between, [self.high]])
        low, high = self.low, self.high
        if self.draw == "log_normal":
            edges, low, high = np.log(edges), math.log(low), math.log(high)
        deviations = (edges - (low + high) / 2) / ((high - low) / 6)
        below = np.array([math.erf(x / math.sqrt(2)) for x in deviations.tolist()])
        return np.diff(below)


Domain = Range | tuple[float, ...] | float
"""A range, a list of values drawn uniformly, or one fixed value."""


def tabulate(domain: Domain) -> Table:
    """The values of a domain, ascending, with their probabilities."""
    if isinstance(domain, Range):
        return Table(domain.values(), domain.probabilities())
    values = np.asarray(sorted(domain) if isinstance(domain, tuple) else [domain], dtype=float)
    return Table(values, np.full(len(values), 1 / len(values)))
