"""Limits on what a network costs, as one writes them: `params <= 3e6 + 5.5e6 * flops / 1e9`.

A limit is a comparison of numbers, params, flops and activations with + - * / ** and sqrt. It is
read as a formula and walked; nothing of it is run as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from anynet.layers import Number

NAMES = ("params", "flops", "activations")
_SIGNS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
}
_LONGEST = 200


def check_limit(text: str) -> None:
    """Raise ValueError where the text is no limit."""
    with np.errstate(all="ignore"):
        within(text, dict.fromkeys(NAMES, np.array([1e6])))


def within(text: str, costs: Mapping[str, Number]) -> Any:
    """Whether costs keep to a limit: bool, or an array of bool where the costs are arrays.

    Raises ValueError, naming the limit, where it cannot be read.
    """
    try:
        tree = ast.parse(text[:_LONGEST], mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueError(f"{text!r} is not a comparison such as 'params <= 3e6'") from None
    if len(text) > _LONGEST or not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise ValueError(f"{text!r} must be one comparison such as 'params <= 3e6'")
    sign = _SIGNS.get(type(tree.ops[0]))
    if sign is None:
        raise ValueError(f"{text!r} must compare by <=, <, >= or >")
    left, right = (_value(side, text, costs) for side in (tree.left, tree.comparators[0]))
    return sign(left, right)


def _value(node: ast.expr, text: str, costs: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(name) if name in NAMES:
            return costs[name]
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, text, costs)
        case ast.BinOp(left, sign, right) if type(sign) in _SIGNS:
            return _SIGNS[type(sign)](_value(left, text, costs), _value(right, text, costs))
        case ast.Call(ast.Name("sqrt"), [argument], []):
            return np.sqrt(_value(argument, text, costs))
    part = ast.get_source_segment(text, node) or text
    raise ValueError(
        f"{text!r}: {part!r} is none of numbers, {', '.join(NAMES)}, + - * / ** and sqrt(...)"
    )
