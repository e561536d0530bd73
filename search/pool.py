"""A pool of warm Ray actors, each holding the data and training one trial at a time.

The data is put into the object store once; every node fetches it once and its actors map it.
A Ray that is started here listens on the loopback interface only, without a dashboard.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from anynet.errors import InputError, WorkFailed
from anynet.plugins import Plugin, load_plugin, loaded
from search.data import DataSet
from search.executor import Outcome, Task, first_line, now
from search.recipe import Recipe
from search.sweep_file import Resources

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep reports to nobody
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a notice of 2.50+

import ray
from ray.exceptions import RayActorError, RayError

_ANSWER_TIMEOUT = 10.0
"""Seconds that a cluster has to accept a connection."""
_STORE_MARGIN = 256 * 1024**2
"""Bytes of object store beside the data, for what Ray itself keeps there."""


_NO_PLUGIN = "no plugin"
"""How the error of an actor begins whose node cannot load a plugin."""


class _Actor:
    """A `Worker` in an actor's process; torch is imported there and not in the driver."""

    def __init__(
        self, plugins: tuple[Plugin, ...], data: DataSet, threads: int, device: str
    ) -> None:
        for plugin in plugins:  # before a network of its blocks arrives
            try:
                load_plugin(plugin)
            except InputError as error:
                raise InputError(f"{_NO_PLUGIN} on {socket.gethostname()}: {error}") from None
        from search.worker import Worker

        self._worker = Worker(data, threads, device)

    def resolve(self, recipe: Recipe) -> Recipe:
        return self._worker.resolve(recipe)

    def run(self, task: Task) -> Outcome:
        return self._worker.run(task)


class RayPool:
    """As many actors as the cluster has room for, behind the `Executor` protocol.

    `address` is that of a running cluster (`auto`, host:port, `ray://...`); without one, Ray is
    started on this machine, and stopped by `close`. Raises InputError where the address does not
    answer, or no node has what one trial asks for.
    """

    def __init__(
        self, data: DataSet, resources: Resources, tasks: int, address: str | None = None
    ) -> None:
        self._ours = not ray.is_initialized()
        if self._ours:
            with _interrupts_deferred():
                _connect(address, data)
        try:
            self.slots = min(_room(resources), tasks)
            self._resources = resources
            self._data = ray.put(data)
            self._actor_type = ray.remote(
                num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0
            )(_Actor)
            self._idle = [self._start() for _ in range(self.slots)]
            self._running: dict[Any, tuple[Any, Task]] = {}
        except BaseException:
            self.close()
            raise

    def _start(self) -> Any:
        device = "cuda" if self._resources.gpus > 0 else "cpu"
        return self._actor_type.remote(loaded(), self._data, self._resources.cpus, device)

    def resolve(self, recipe: Recipe) -> Recipe:
        """As `Worker.resolve`, asked of the first actor."""
        try:
            return ray.get(self._idle[0].resolve.remote(recipe))
        except RayError as error:
            raise _not_started(error) from None

    def submit(self, task: Task) -> None:
        """Start a task on an idle actor."""
        actor = self._idle.pop()
        self._running[actor.run.remote(task)] = (actor, task)

    def next(self) -> tuple[Task, Outcome]:
        """Wait for one task to end. An actor that died is replaced; its task is `failed`.

        Raises WorkFailed where its node cannot load a plugin: that is no matter of the task.
        """
        (done,), _ = ray.wait(list(self._running), num_returns=1)
        actor, task = self._running.pop(done)
        try:
            outcome = ray.get(done)
        except RayActorError as error:
            if error.actor_init_failed and _NO_PLUGIN in _cause(error):
                raise _not_started(error) from None
            actor = self._start()
            outcome = Outcome(
                state="failed",
                reason=f"the worker died: {_cause(error)}",
                started=now(),
                seconds=0.0,
                worker="",
                traceback=str(error),
                worker_died=True,
            )
        self._idle.append(actor)
        return task, outcome

    def close(self) -> None:
        """Stop the actors, and Ray where it was started here."""
        if self._ours:
            with _interrupts_deferred():
                ray.shutdown()
            return
        for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
            ray.kill(actor)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the end: Ray may crash where one interrupts its start or stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt


def _not_started(error: RayError) -> WorkFailed:
    return WorkFailed(f"a worker did not start: {_cause(error)}")


def _cause(error: RayError) -> str:
    """What happened, without Ray's account of where: the last line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = re.sub(r"\x1b\[\d+m", "", lines[-1]) if lines else type(error).__name__
    return last.removeprefix("anynet.errors.InputError: ")


def _connect(address: str | None, data: DataSet) -> None:
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "include_dashboard": False,
    }
    # Ray puts the driver's folder into its workers' path, ahead of what is installed; a folder
    # called `search` or `analysis` where the user stands would take our packages' place.
    with warnings.catch_warnings(), contextlib.chdir(os.path.abspath(os.sep)):
        warnings.simplefilter("ignore")
        if address is None:
            ray.init(
                address="local",
                _node_ip_address="127.0.0.1",
                object_store_memory=_bytes(data) + _STORE_MARGIN,
                **quiet,
            )
            return
        del quiet["include_dashboard"]
        _require_answer(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address: {address!r}: {first_line(error)}") from None


def _require_answer(address: str) -> None:
    """Fail at once where nothing listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # `auto`, or a name that Ray knows
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_TIMEOUT).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"--address: {address!r}: no Ray answers there ({error})") from None


def _bytes(data: DataSet) -> int:
    splits = [split for split in (data.train, data.validation, data.test) if split is not None]
    return sum(split.images.nbytes + split.labels.nbytes for split in splits)


def _room(resources: Resources) -> int:
    """How many trials fit side by side on the nodes that are there."""
    room = 0
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        has = node["Resources"]
        fits = int(has.get("CPU", 0) // resources.cpus)
        if resources.gpus:
            fits = min(fits, _trials_on(has.get("GPU", 0), resources.gpus))
        room += fits
    if not room:
        wants = f"{resources.cpus} CPUs and {resources.gpus:g} GPUs"
        has = ray.cluster_resources()
        raise InputError(
            f"resources: a trial asks for {wants}, and no node has that; the cluster has "
            f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs in all"
        )
    return min(room, resources.workers or room)


def _trials_on(gpus: float, share: float) -> int:
    """Trials that a node's GPUs hold: a fraction never spans two of them."""
    return int(gpus) * int(1 / share + 1e-9) if share < 1 else int(gpus // share)
