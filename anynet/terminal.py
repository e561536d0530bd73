"""What commands print: aligned tables for people, Markdown and LaTeX for what they write, one JSON
document for programs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

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


TableFormat = Literal["markdown", "latex"]
"""How `--table` prints: for a page, or for a paper (with booktabs)."""


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str = "",
    form: TableFormat | None = None,
) -> None:
    """A table on standard output; numbers to the right, with thousands separated.

    Aligned for a terminal, or in the `form` asked for, its text escaped.
    """
    rows = [list(row) for row in rows]
    if form is not None:
        print({"markdown": _markdown, "latex": _latex}[form](columns, rows, title))
        return
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


def print_line(text: object, form: TableFormat | None) -> None:
    """A line beside tables: on standard error where those go into a document (`form`)."""
    print(text, file=sys.stdout if form is None else sys.stderr)


def print_notes(notes: Iterable[str]) -> None:
    """What a reader must know of a result, a line each on standard error; an empty one is none."""
    for note in filter(None, notes):
        print(f"anynet: {note}", file=sys.stderr)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def _numeric(column: Iterable[Any]) -> bool:
    """Whether all are numbers, or texts of one such as "1.23%"."""
    return all(
        value in ("", "-") or re.fullmatch(r"[-+]?[\d,]*\.?\d+%?", _cell(value)) for value in column
    )


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> str:
    """A table of GitHub's Markdown."""

    def line(cells: Iterable[Any]) -> str:
        return f"| {' | '.join(_escaped(_cell(cell), _IN_MARKDOWN) for cell in cells)} |"

    rules = ["---:" if _numeric(column) else "---" for column in _by_column(columns, rows)]
    head = [f"**{_escaped(title, _IN_MARKDOWN)}**", ""] if title else []
    return "\n".join([*head, line(columns), f"|{'|'.join(rules)}|", *map(line, rows), ""])


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> str:
    """A tabular with the rules of booktabs; the title is a comment, for a caption."""

    def line(cells: Iterable[Any]) -> str:
        return " & ".join(_escaped(_cell(cell), _IN_LATEX) for cell in cells) + r" \\"

    kinds = "".join("r" if _numeric(column) else "l" for column in _by_column(columns, rows))
    return "\n".join(
        [
            *([f"% {title}"] if title else []),
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            line(columns),
            r"\midrule",
            *map(line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _by_column(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(len(columns))]


_IN_MARKDOWN = {character: f"\\{character}" for character in "\\|*`<"} | {"\n": " "}
_IN_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "²": r"\textsuperscript{2}",
    "\n": " ",
}


def _escaped(text: str, by: dict[str, str]) -> str:
    return "".join(by.get(character, character) for character in text)


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
                rule = str(error).removeprefix(f"{field}: ")
                raise InputError(f"--{field.replace('_', '-')}: {rule}") from None
    return struct
