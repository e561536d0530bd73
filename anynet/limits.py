"""Limits of cost that depend on cost: comparisons of sums and products, read but never executed."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

NAMES = ("flops", "params", "activations", "depth")
"""What a limit may speak of: the costs of the resolved network, and its number of blocks."""

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: np.power,
}
_RULE = "a limit compares (<, <=, >, >=) sums and products of numbers"
_WORDS = f"{', '.join(NAMES)} and sqrt(...)"
_MOST = 200


def check_limit(text: str) -> None:
    """Raise ValueError, with the place in `text`, unless it is a limit.

    A limit is a comparison, as in `params < 3e6 + 5.5e6 * flops / 1e9` or
    `12 <= depth <= 28`: of `NAMES`, numbers, + - * / **, brackets and sqrt.
    """
    tree = _parse(text)
    if not isinstance(tree, ast.Compare):
        raise ValueError(f"{text!r}: {_RULE}, {_WORDS}")
    for comparison in tree.ops:
        if type(comparison) not in _COMPARE:
            raise ValueError(f"{text!r}: {_RULE}, {_WORDS}")
    names = [_check(text, part) for part in (tree.left, *tree.comparators)]
    if not any(names):
        raise ValueError(f"{text!r}: must name one of {', '.join(NAMES)}")


def holds(text: str, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Where a limit holds, (n,); `columns` has an array (n,) for each of `NAMES`.

    Where a side has no value (the root of a negative number, 0 / 0), it does not hold.
    """
    tree = _parse(text)
    assert isinstance(tree, ast.Compare)  # checked when the space was made
    with np.errstate(all="ignore"):
        sides = [_value(part, columns) for part in (tree.left, *tree.comparators)]
        fits = np.ones(len(columns["flops"]), dtype=bool)
        for comparison, left, right in zip(tree.ops, sides, sides[1:], strict=False):
            fits &= _COMPARE[type(comparison)](left, right)
    return fits


def bounds(text: str) -> tuple[str, float, float] | None:
    """The name that a limit keeps between two numbers, and the least and greatest it may be.

    What limits speak of is a whole number from 0 on, so `flops < 5` is the same as `flops <= 4`.
    None where a limit compares anything else than one name with numbers.
    """
    tree = _parse(text)
    assert isinstance(tree, ast.Compare)  # checked when the space was made
    names: set[str] = set()
    low, high = 0.0, math.inf
    sides = (tree.left, *tree.comparators)
    for comparison, left, right in zip(tree.ops, sides, sides[1:], strict=False):
        turned = isinstance(right, ast.Name)
        name, number = (right, left) if turned else (left, right)
        if not isinstance(name, ast.Name) or _check(text, number):
            return None
        with np.errstate(all="ignore"):
            value = float(_value(number, {}))
        if not math.isfinite(value):
            return None
        names.add(name.id)
        strict = isinstance(comparison, ast.Lt | ast.Gt)
        if isinstance(comparison, ast.Lt | ast.LtE) != turned:
            high = min(high, math.ceil(value) - 1 if strict else math.floor(value))
        else:
            low = max(low, math.floor(value) + 1 if strict else math.ceil(value))
    return (names.pop(), low, high) if len(names) == 1 else None


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    if len(text) > _MOST:
        raise ValueError(f"{text[:40]!r}...: {len(text)} characters, {_MOST} at most")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = (error.offset or len(text.strip()) + 1) - 1  # 0: at the end
        raise ValueError(_at(text, place, f"{_RULE}, {_WORDS}")) from None
    except ValueError:  # a null byte
        raise ValueError(f"{text!r}: {_RULE}, {_WORDS}") from None


def _at(text: str, offset: int, rule: str) -> str:
    offset += len(text) - len(text.lstrip())
    return f"{text!r}: character {offset + 1}: {rule}"


def _check(text: str, node: ast.expr) -> bool:
    """Whether the expression names a cost; raises ValueError where it is none."""
    match node:
        case ast.Constant(int() | float() as value) if _is_number(value):
            return False
        case ast.Name(name) if name in NAMES:
            return True
        case ast.Name(name):
            raise ValueError(_at(text, node.col_offset, f"{name!r} is not one of {_WORDS}"))
        case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
            return _check(text, operand)
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            return _check(text, left) | _check(text, right)
        case ast.Call(ast.Name("sqrt"), [argument], []):
            return _check(text, argument)
    raise ValueError(_at(text, node.col_offset, f"{_RULE}, {_WORDS}"))


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _value(node: ast.expr, columns: Mapping[str, npt.NDArray[Any]]) -> Any:
    match node:
        case ast.Constant(value):
            return np.float64(value)  # type: ignore[arg-type]
        case ast.Name(name):
            return columns[name].astype(np.float64)
        case ast.UnaryOp(op, operand):
            value = _value(operand, columns)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left, op, right):
            return _ARITHMETIC[type(op)](_value(left, columns), _value(right, columns))
        case ast.Call(_, [argument]):
            return np.sqrt(_value(argument, columns))
    raise AssertionError(node)
