"""A sweep's progress: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.sweep import Sampled, Watcher
from search.trial import Trial

_PLAIN_INTERVAL = 15.0
"""Seconds between plain lines."""


class Progress(Watcher):
    """Shows done, failed, rate, time left, best and median error.

    In a terminal it is one line that is redrawn; in a file or a pipe, a line every so often.
    """

    def __init__(self, stream: Console | None = None) -> None:
        self._console = stream or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._planned = 0
        self._slots = 1
        self._states: dict[str, int] = {}
        self._errors: list[float] = []
        self._here = 0
        self._since = 0.0
        self._shown = 0.0

    def loading(self, done: int, total: int) -> None:
        """Count the images while they are decoded."""
        self._show(f"images {done:,}/{total:,}", done == total)

    def sampled(self, sampled: Iterable[Sampled]) -> None:
        """Say how rare the networks are."""
        for one in sampled:
            share = 100 * one.accepted / one.draws
            self._console.print(
                f"{one.space}: {one.accepted:,} of {one.draws:,} draws fit ({share:.3g}%)"
            )

    def start(self, planned: int, finished: Iterable[Trial], slots: int) -> None:
        """Begin to count; what a resumed run has already is counted as done, not as rate."""
        self._planned = planned
        self._slots = slots
        for trial in finished:
            self._count(trial)
        before = sum(self._states.values())
        resumed = f", {before} of them recorded before" if before else ""
        self._console.print(f"{planned} trials{resumed}; {slots} at a time")
        self._since = time.monotonic()

    def record(self, trial: Trial) -> None:
        """Count one trial more."""
        self._count(trial)
        self._here += 1
        self._show(self.line(), sum(self._states.values()) == self._planned)

    def stop(self) -> None:
        """Leave the last line standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _count(self, trial: Trial) -> None:
        self._states[trial.state] = self._states.get(trial.state, 0) + 1
        if trial.error is not None and trial.baseline is None:
            self._errors.append(trial.error)

    def line(self) -> str:
        """The line as it stands."""
        ended = sum(self._states.values())
        parts = [f"done {ended}/{self._planned}"]
        for state in ("diverged", "failed"):
            if state == "failed" or self._states.get(state):
                parts.append(f"{state} {self._states.get(state, 0)}")
        elapsed = time.monotonic() - self._since
        if self._here:
            rate = self._here / elapsed
            left = timedelta(seconds=round((self._planned - ended) / rate))
            parts += [f"{60 * rate:.1f}/min", f"left {left}"]
        if self._errors:
            best, median = min(self._errors), statistics.median(self._errors)
            parts.append(f"error best {best:.2f}% median {median:.2f}%")
        return "  ".join(parts)

    def _show(self, line: str, last: bool) -> None:
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=False)
                self._live.start()
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            if last:
                self.stop()
        elif last or time.monotonic() - self._shown >= _PLAIN_INTERVAL:
            self._shown = time.monotonic()
            print(line, file=self._console.file or sys.stderr, flush=True)
