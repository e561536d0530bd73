"""What data say of an assumption: in words, each with its number; and the page that says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "holds in part", "does not hold", "undecided", "no data"]

ALPHA = 0.05
"""The chance that any interval of an assumption misses: each holds at 1 - ALPHA over their number
(Bonferroni), for several populations that are looked at find something by chance."""


@dataclass(frozen=True)
class Measurement:
    """A number, from `low` to `high` at `confidence`; `n` is of what it was computed."""

    of: str
    what: str
    value: float
    low: float
    high: float
    n: str
    verdict: Verdict
    unit: Literal["points", "", "%"] = ""
    confidence: float = 0.95


@dataclass(frozen=True)
class Finding:
    """What the data say of one assumption.

    `words` are sentences, the first the main one; `settle` what would decide it, empty where it
    is decided; `notes` what a reader must know of the numbers.
    """

    number: int
    title: str
    claim: str
    verdict: Verdict
    words: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    settle: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def together(rows: Sequence[Measurement]) -> Verdict:
    """One verdict of several populations: theirs if it is one, else what none of them denies."""
    verdicts = {row.verdict for row in rows}
    if not verdicts:
        return "no data"
    if len(verdicts) == 1:
        return verdicts.pop()
    decided = verdicts - {"undecided"}
    return decided.pop() if len(decided) == 1 else "holds in part"


# The page -------------------------------------------------------------------------------------


def page(findings: Sequence[Finding], populations: Sequence[tuple[str, str]]) -> str:
    """The findings as Markdown; `populations` are names, and what each is, for the first list."""
    lines = ["# How well the four assumptions hold", ""]
    lines += [
        "d2l (section 8.8.2) rests the design of design spaces on four assumptions. What these "
        "data say of each:",
        "",
    ]
    lines += [f"- {code(name)}: {what}" for name, what in populations]
    lines += ["", "| | assumption | on these data |", "|---|---|---|"]
    lines += [f"| {one.number} | {one.title} | **{one.verdict}** |" for one in findings]
    for one in findings:
        lines += ["", f"## {one.number}. {one.title}: {one.verdict}", ""]
        lines += [f"The assumption: {one.claim}.", ""]
        lines += [f"- {escape(words)}" for words in one.words]
        if one.measurements:
            lines += [
                "",
                "| of | what | value | interval | networks | |",
                "|---|---|--:|---|---|---|",
            ]
            lines += [_row(measurement) for measurement in one.measurements]
        if one.settle:
            lines += ["", "What would settle it:", ""]
            lines += [f"- {escape(text)}" for text in one.settle]
        if one.notes:
            lines += ["", *(f"*{escape(text)}*  " for text in one.notes)]
    return "\n".join(lines) + "\n"


def _row(one: Measurement) -> str:
    digits = {"points": 2, "": 2, "%": 0}[one.unit]
    unit = {"points": " points", "": "", "%": "%"}[one.unit]
    numbers = (round(number, digits) + 0.0 for number in (one.value, one.low, one.high))  # no -0
    value, low, high = (f"{number:.{digits}f}" for number in numbers)
    level = f"{100 * one.confidence:.4g}%"
    return (
        f"| {code(one.of)} | {escape(one.what)} | {value}{unit} | {low} to {high} ({level}) | "
        f"{one.n} | {one.verdict} |"
    )


def code(text: str) -> str:
    """Text as it is, in Markdown, also within a table."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def escape(text: str) -> str:
    """Text in which nothing is markup; an underscore within a word is none."""
    text = re.sub(r"([\\`*\[\]<>|#])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def html(markdown: str, title: str) -> str:
    """A page of Markdown as one HTML file that needs nothing else; raw HTML in it is text."""
    from html import escape as escaped

    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}"
        "</body>\n</html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.25em .6em;"
    "vertical-align:top}"
)
