"""Sequences of a parameter's values, one a stage, that rules allow: drawn, and counted exactly."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Order = Literal["free", "shared", "non_decreasing", "increasing", "non_increasing", "decreasing"]


class Table(msgspec.Struct, frozen=True, dict=True):
    """A domain as its values and their probabilities."""

    values: Floats
    probabilities: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Indices:
        """`n` independent indices into `values`, by inversion of the distribution.

        The same as a binary search for each uniform number, several times as fast: a guide table
        (Chen and Asau 1974) knows for each of 2^k equal parts of [0, 1) the first index that it
        reaches, and at most `steps` later ones are looked at.
        """
        uniform = rng.random(n)
        if self._uniform:
            return (uniform * len(self.values)).astype(np.int64)
        cumulative, guide, steps = self._inverse
        index = guide.take((uniform * len(guide)).astype(np.int64))
        for _ in range(steps):
            index += cumulative.take(index) <= uniform
        return index

    def narrowed(self, keep: Mask) -> Table:
        """Only the values to keep, their probabilities conditioned on being one of them."""
        if keep.all():
            return self
        weights = self.probabilities[keep]
        return Table(self.values[keep], weights / weights.sum())

    @cached_property
    def _uniform(self) -> bool:
        return bool(np.all(self.probabilities == self.probabilities[0]))

    @cached_property
    def _inverse(self) -> tuple[Floats, Indices, int]:
        cumulative = np.cumsum(self.probabilities)
        cumulative[-1] = np.inf  # so that rounding leads no draw beyond the last value
        parts = 2 ** min(16, 2 + math.ceil(-math.log2(self.probabilities.min())))
        ends = np.searchsorted(cumulative, np.arange(parts + 1) / parts, side="right")
        return cumulative, ends[:-1], int(np.diff(ends).max())


def _log_orders(index: Indices) -> Floats:
    """The logarithm of how many different orders the values of each row have, (n,)."""
    ordered = np.sort(index, axis=1)
    found = np.full(len(index), math.log(math.factorial(index.shape[1])))
    run = np.ones(len(index))
    for i in range(1, index.shape[1]):  # k equal values divide by k!, one factor a value
        run = np.where(ordered[:, i] == ordered[:, i - 1], run + 1, 1)
        found -= np.log(run)
    return found


class Sequences(msgspec.Struct, frozen=True, dict=True):
    """The sequences of a table's values that keep to `allowed`, (stages, values), and to an order.

    `draw` says how they are distributed. `conditional`: as independent draws *conditioned on*
    the rules. `sorted`: as independent draws that are sorted afterwards, which is another
    distribution where ties are common; it needs the same allowed values in all stages.
    """

    table: Table
    allowed: Mask
    order: Order = "free"
    distribution: Literal["conditional", "sorted"] = "conditional"

    @property
    def _strict(self) -> bool:
        return self.order in ("increasing", "decreasing")

    @property
    def _descends(self) -> bool:
        return self.order in ("non_increasing", "decreasing")

    @cached_property
    def _alike(self) -> bool:
        return bool((self.allowed == self.allowed[0]).all())

    @cached_property
    def _common(self) -> Mask:
        """Which values all stages may have, (values,)."""
        common: Mask = np.logical_and.reduce(self.allowed)
        return common

    @cached_property
    def _rows(self) -> Mask:
        """What is allowed, stage by stage, with the values in the direction of the order."""
        return self.allowed[:, ::-1] if self._descends else self.allowed

    @cached_property
    def size(self) -> int:
        """How many there are, exactly."""
        stages = len(self.allowed)
        if self.order == "shared":
            return int(self._common.sum())
        if self.order == "free":
            return math.prod(self.allowed.sum(axis=1).tolist())
        if self._alike:
            n = int(self.allowed[0].sum())  # with ties allowed it is a multiset, else a set
            return math.comb(n, stages) if self._strict else math.comb(n + stages - 1, stages)
        ways = self._rows[-1].astype(object)  # by first value: so many sequences follow from it
        for row in self._rows[-2::-1]:
            ways = row.astype(object) * self._later(ways)
        return int(ways.sum())

    def follow(self, ways: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        """By value of a stage, the sum of the `ways` of the values that the one before may have.

        `ways` has the values in ascending order along `axis`, which has length 1 after free ones.
        """
        if self.order == "shared":
            return ways
        if self.order == "free":
            return ways.sum(axis=axis, keepdims=True)
        along = np.moveaxis(ways, axis, 0)[:: -1 if self._descends else 1]
        sums = np.cumsum(along, axis=0)
        if self._strict:
            sums = np.concatenate([sums[:1] * 0, sums[:-1]])
        return np.moveaxis(sums[:: -1 if self._descends else 1], 0, axis)

    @property
    def all(self) -> Floats:
        """All of them, a row each, (size, stages)."""
        if self.order == "shared":
            return np.repeat(self.table.values[self._common][:, None], len(self.allowed), axis=1)
        rows = np.zeros((1, 0), dtype=np.int64)
        for allowed in self.occurring:
            values = np.flatnonzero(allowed)
            before, after = np.repeat(rows, len(values), axis=0), np.tile(values, len(rows))
            rows = np.column_stack([before, after])
            if rows.shape[1] > 1:
                rows = rows[self._may_follow(rows[:, -1] - rows[:, -2])]
        return self.table.values[rows]

    def _may_follow(self, step: Indices) -> Mask:
        """Whether a step from one value's index to the next stage's keeps to the order."""
        if self.order == "free":
            return np.ones(len(step), dtype=bool)
        ahead = -step if self._descends else step
        return ahead > 0 if self._strict else ahead >= 0

    def _later(self, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """By value, the sum of the weights of those that may follow it."""
        sums = np.cumsum(weights[::-1])[::-1]
        return np.append(sums[1:], weights[:1] * 0) if self._strict else sums

    @cached_property
    def occurring(self) -> Mask:
        """Which values occur in each stage, (stages, values)."""
        if self.order == "shared":
            return np.broadcast_to(self._common, self.allowed.shape)
        if self.order == "free":
            return self.allowed
        rows = self._rows.copy()
        for i in range(len(rows) - 2, -1, -1):
            rows[i] &= self._later(rows[i + 1].astype(np.int64)) > 0
        for i in range(1, len(rows)):
            rows[i] &= self._later(rows[i - 1, ::-1].astype(np.int64))[::-1] > 0
        return rows[:, ::-1] if self._descends else rows

    @property
    def free(self) -> int:
        """How many numbers are drawn: those of stages that may differ, one where all are equal."""
        many = self.occurring.sum(axis=1) > 1
        return int(many[0]) if self.order == "shared" else int(many.sum())

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """`n` sequences, shape (n, stages), one a row.

        Without rejection: backwards, the probability that the rest of a sequence can obey the
        rules from each value on; forwards, each stage by the inverse of its conditional
        distribution.
        """
        stages = len(self.allowed)
        if self.order == "shared":
            table = self._shared
            return np.repeat(table.values[table.draw(n, rng)][:, None], stages, axis=1)
        if self.order == "free" or self.distribution == "sorted":
            values = self._independent(n, rng)
            if self.distribution == "sorted":
                values.sort(axis=1)
                return values[:, ::-1] if self._descends else values
            return values
        values = self.table.values[::-1] if self._descends else self.table.values
        index = np.zeros((n, stages), dtype=np.int64)
        low = np.zeros(n, dtype=np.int64)
        for stage, (sums, last) in enumerate(self._conditional):
            start = sums[low]
            target = start + rng.random(n) * (sums[-1] - start)
            found = np.searchsorted(sums[1:], target, side="right")
            index[:, stage] = np.clip(found, low, last)
            low = index[:, stage] + 1 if self._strict else index[:, stage]
        return values[index]

    def log_probability(self, values: Floats) -> Floats:
        """Natural logarithm of the probability that `draw` gives each row of `values`.

        `values` is (n, stages), the result (n,): -inf for what is never drawn.
        """
        index, known = self._indices(values)
        known &= self.allowed[np.arange(len(self.allowed)), index]
        obeys = known.all(axis=1)
        steps = np.diff(index, axis=1) * (-1 if self._descends else 1)
        if self.order == "shared":
            obeys &= (steps == 0).all(axis=1)
        elif self.order != "free":
            obeys &= ((steps > 0) if self._strict else (steps >= 0)).all(axis=1)
        found = np.log(self.table.probabilities)[index].sum(axis=1) - self._log_mass
        if self.distribution == "sorted":
            found += _log_orders(index)
        return np.where(obeys, found, -np.inf)

    @cached_property
    def _log_mass(self) -> float:
        """The logarithm of the probability that independent draws obey the rules.

        Of sorted draws, which are in order whatever they were: that they are allowed.
        """
        p = self.table.probabilities
        if self.order == "shared":
            return math.log((p ** len(self.allowed) * self._common).sum())
        if self.order == "free" or self.distribution == "sorted":
            return float(np.log(self.allowed @ p).sum())
        return math.log(self._conditional[0][0][-1])

    def _indices(self, values: Floats) -> tuple[Indices, Mask]:
        """Places of values in the table, (n, stages), and which of the values are in it."""
        table = self.table.values
        above = np.clip(np.searchsorted(table, values), 0, len(table) - 1)
        below = np.maximum(above - 1, 0)
        nearer = np.abs(table[below] - values) < np.abs(table[above] - values)
        index = np.where(nearer, below, above)
        return index, np.isclose(table[index], values, rtol=1e-9, atol=0)

    def _independent(self, n: int, rng: np.random.Generator) -> Floats:
        stages = len(self.allowed)
        if self._alike:
            table = self._narrowed[0]
            return table.values.take(table.draw(n * stages, rng)).reshape(n, stages)
        columns = [table.values[table.draw(n, rng)] for table in self._narrowed]
        return np.stack(columns, axis=1)

    @cached_property
    def _narrowed(self) -> list[Table]:
        return [self.table.narrowed(row) for row in self.allowed]

    @cached_property
    def _shared(self) -> Table:
        weights = self.table.probabilities ** len(self.allowed)
        return Table(self.table.values, weights / weights.sum()).narrowed(self._common)

    @cached_property
    def _conditional(self) -> list[tuple[Floats, int]]:
        """For each stage 0 and the cumulative weights of its values, and the last one possible.

        A weight is the probability of the value, times the probability that the later stages
        obey the rules if this stage has it.
        """
        p = self.table.probabilities
        p = p[::-1] if self._descends else p
        ahead = np.ones(len(p))
        found: list[tuple[Floats, int]] = []
        for row in self._rows[::-1]:
            weights = p * row * ahead
            sums = np.concatenate([[0.0], np.cumsum(weights)])
            found.insert(0, (sums, int(np.flatnonzero(weights)[-1])))
            ahead = self._later(weights)
        return found
