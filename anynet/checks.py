"""The rules that many fields share; each raises ValueError with field, value and rule."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def require_known(field: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the nearest known name, or all of them, where `name` is not one."""
    known = list(known)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        more = f", ... ({len(known)} in all)" if len(known) > 25 else ""
        rule = f"is not known; did you mean {nearest[0]!r}?" if nearest else ""
        listed = f"is not one of {', '.join(known[:25])}{more}"
        raise ValueError(f"{field}: {name!r} {rule or listed}")


_NAME = re.compile(r"\w[\w .+-]{0,99}")


def require_name(field: str, name: str) -> None:
    """Raise ValueError where `name` cannot be a part of a file's name, or of RUN:SPACE."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{field}: {name[:120]!r} must be letters, digits and _ - + . or spaces, up to 100 of "
            "them, the first a letter or a digit"
        )


MOST = 1_000_000
"""The largest width, depth, ... that is taken for meant; far above any that is built."""


def require_positive(field: str, value: float, most: float = MOST) -> None:
    """Raise ValueError where `value` is not above 0 or above `most` (nan and inf are refused)."""
    if not value > 0:
        raise ValueError(f"{field}: {value!r} must be above 0")
    if not value <= most:
        text = repr(value) if value < 10**30 else f"{str(value)[:12]}..."
        raise ValueError(f"{field}: {text} must be at most {most:,}")


def require_ratio(field: str, value: float) -> None:
    """Raise ValueError where `value` is no ratio of widths: 0.001 to 1000."""
    if not 1e-3 <= value <= 1e3:
        rule = "must be above 0" if not value > 0 else "must lie between 0.001 and 1000"
        raise ValueError(f"{field}: {value!r} {rule}")
