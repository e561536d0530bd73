"""What trains trials: the data resident in one warm process.

A worker never raises for a network: what goes wrong with a trial is its outcome.
"""

from __future__ import annotations

import os
import socket
import time
import traceback

import torch

from anynet.model import build
from search.data import DataSet
from search.executor import Outcome, Task, first_line, now
from search.recipe import Recipe
from search.training import Resident, pin_threads, resolve, train
from search.trial import DIVERGED_ERROR


class Worker:
    """Trains one task after another on data that it holds on its device."""

    def __init__(self, data: DataSet, threads: int, device: str) -> None:
        pin_threads(threads)
        self.device = device
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.resident = Resident(data, device)

    def resolve(self, recipe: Recipe) -> Recipe:
        """The recipe with every choice made that depends on the data or on this machine."""
        return resolve(recipe, self.resident)

    def run(self, task: Task) -> Outcome:
        """Train a task's network and say how it ended."""
        started = now()
        clock = time.perf_counter()
        try:
            generator = torch.Generator().manual_seed(task.seed)
            module = build(task.network, generator=generator, device=self.device)
            result = train(module, self.resident, task.recipe, epochs=task.epochs, seed=task.seed)
        except Exception as error:  # a network that cannot be trained is a record
            return Outcome(
                state="failed",
                reason=first_line(error),
                started=started,
                seconds=time.perf_counter() - clock,
                worker=self.name,
                traceback=traceback.format_exc(),
            )
        seconds = time.perf_counter() - clock
        if result.diverged:
            return Outcome(
                state="diverged",
                reason=f"the loss was not finite in epoch {len(result.curve) + 1}",
                error=DIVERGED_ERROR,
                curve=result.curve,
                started=started,
                seconds=seconds,
                worker=self.name,
            )
        return Outcome(
            state="complete",
            error=result.curve[-1],
            curve=result.curve,
            started=started,
            seconds=seconds,
            worker=self.name,
        )


class InProcess:
    """Trains in this very process, one task after another: for tests and for debugging."""

    slots = 1

    def __init__(self, data: DataSet, threads: int = 1, device: str = "cpu") -> None:
        self._worker = Worker(data, threads, device)
        self._task: Task | None = None

    def resolve(self, recipe: Recipe) -> Recipe:
        """As `Worker.resolve`."""
        return self._worker.resolve(recipe)

    def submit(self, task: Task) -> None:
        """Note the task; it is trained by `next`."""
        self._task = task

    def next(self) -> tuple[Task, Outcome]:
        """Train the task that was submitted."""
        if self._task is None:
            raise RuntimeError("no task was submitted")
        task, self._task = self._task, None
        return task, self._worker.run(task)

    def close(self) -> None:
        """Nothing is held."""
