"""What the driver and those that train say to each other: a task, an outcome, an executor.

No torch and no Ray here: the driver imports neither until an executor needs it.
"""

from __future__ import annotations

import datetime
from typing import Protocol

import msgspec

from anynet.network import Network
from anynet.reference import Reference
from search.recipe import Recipe
from search.trial import State


class Task(msgspec.Struct, frozen=True):
    """One network to train."""

    trial: str
    network: Network | Reference
    seed: int
    epochs: int
    recipe: Recipe


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended; the fields that a `Trial` records of it."""

    state: State
    reason: str | None = None
    error: float | None = None
    curve: tuple[float, ...] = ()
    started: str
    seconds: float
    worker: str
    traceback: str | None = None
    worker_died: bool = False
    """It failed because its process ended: another try may succeed."""


class Executor(Protocol):
    """Where tasks run: `slots` at a time, each given back with its outcome when it is done."""

    slots: int

    def resolve(self, recipe: Recipe) -> Recipe:
        """As `Worker.resolve`, on the machine that trains."""

    def submit(self, task: Task) -> None:
        """Start a task; only where fewer than `slots` are running."""

    def next(self) -> tuple[Task, Outcome]:
        """Wait for one of the running tasks to end."""

    def close(self) -> None:
        """Let go of everything."""


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def first_line(error: BaseException) -> str:
    """Type and first line of an error's message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
