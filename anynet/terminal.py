"""What commands print: aligned tables for people, one JSON document for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter, Token
from rich.console import Console
from rich.table import Table

from anynet.errors import InputError
from anynet.files import to_json


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f'"{tokens[0].value}" is not a whole number') from None


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number; cyclopts's own int takes 1.5 for 1."""


T = TypeVar("T")


class _Console(Console):
    """Leaves it to the command line what a reader that went away means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A table on standard output; numbers to the right, with thousands separated."""
    rows = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        numbers = all(isinstance(row[i], int | float) or row[i] in ("", "-") for row in rows)
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # A pipe has no width to fit into.
    width = None if sys.stdout.isatty() else 200
    if title:
        print(title)
    _Console(highlight=False, markup=False, width=width).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(to_json(document))


def parse_window(name: str, text: str | None) -> tuple[float, float] | None:
    """A window of cost from LO:HI; an open end is left out (`:400e6`). Raises InputError."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        window = (float(low) if low else 0.0, float(high) if high else float("inf"))
    except ValueError:
        colon = ""
    if not colon:
        raise InputError(f"--{name}: {text!r} must be LOW:HIGH, as in 360e6:400e6")
    if not window[0] <= window[1]:
        raise InputError(f"--{name}: {text!r} must run from low to high")
    return window


def replace_from_options(struct: T, **options: Any) -> T:
    """`struct` with the fields that options of the same names set (None: not given).

    Raises InputError that names the option.
    """
    for field, value in options.items():
        if value is not None:
            try:
                struct = msgspec.structs.replace(struct, **{field: value})  # type: ignore[type-var]
            except ValueError as error:
                raise InputError(f"--{field.replace('_', '-')}: {error}") from None
    return struct
