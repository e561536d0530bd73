"""The driver of a sweep: sample, dispatch, record, resume.

It owns the run folder: `sweep.yaml` (as resolved), `plugins/` (copies of the user's files, to
read), `data.yaml` (what the images were), `population.jsonl` (what is to be trained),
`trials.jsonl` (what was), `logs/` (tracebacks of failed trials).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from anynet.counting import cost
from anynet.errors import InputError
from anynet.files import parse_yaml, read_text, to_yaml, write_text
from anynet.network import Network
from anynet.plugins import Plugin, described
from anynet.reference import Reference
from anynet.sampling import seeded
from search.data import DataSet, load
from search.executor import Executor, Outcome, Task
from search.ledger import Ledger
from search.recipe import Recipe
from search.sweep_file import Resources, Sweep, parse_sweep
from search.trial import BASELINE, LEDGER_NAME, Trial, last_attempts, trial_seed

SWEEP_NAME = "sweep.yaml"
POPULATION_NAME = "population.jsonl"
DATA_NAME = "data.yaml"
PLUGINS_NAME = "plugins"
_RETRIES = 2
"""How often a trial whose worker died is given to another one."""


class Planned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network that the sweep is to train: a line of `population.jsonl`."""

    trial: str
    space: str
    drawn: dict[str, Any]
    network: Network | None
    params: int
    flops: int
    activations: int
    seed: int
    replicate: int = 0
    """How often the population has this very network before: independent draws may repeat one."""
    baseline: str | None = None
    reference: Reference | None = None

    @property
    def built(self) -> Network | Reference:
        """What is trained."""
        built = self.network or self.reference
        assert built is not None
        return built


class Sampled(msgspec.Struct, frozen=True):
    """How a population came about: of `draws` candidates, `accepted` lay in the windows."""

    space: str
    draws: int
    accepted: int


class Watcher:
    """Is told what happens in a sweep, and shows it or not. Does nothing by itself."""

    def loading(self, done: int, total: int) -> None:
        """`done` of `total` images are loaded."""

    def sampled(self, sampled: Iterable[Sampled]) -> None:
        """The populations are drawn."""

    def start(self, planned: int, finished: Iterable[Trial], slots: int) -> None:
        """Training begins: `planned` trials in all, of which some were recorded before."""

    def record(self, trial: Trial) -> None:
        """A trial has ended and is on the disk."""

    def stop(self) -> None:
        """Training has ended, or was interrupted."""


ExecutorFactory = Callable[[DataSet, Resources, int], Executor]
"""From the data, the resources of a trial and the number of trials left to an executor."""


def run_sweep(
    sweep: Sweep,
    out: str | os.PathLike[str],
    executor: ExecutorFactory,
    watcher: Watcher | None = None,
    source: str = "sweep",
    enough: Callable[[Sequence[Trial]], bool] | None = None,
) -> list[Trial]:
    """Train what is missing of a sweep's populations, and return the records of all its trials.

    Each trial that ends is on the disk before the next is dispatched in its place; called again
    with the same sweep and folder, it goes on where it was. `enough` is asked of the records so
    far before a trial is dispatched: once it says yes, what runs is finished, and nothing more is
    begun. It must hold however often it is asked, as a sequential comparison does. Raises
    InputError where the folder holds another sweep or another driver is writing to it.
    """
    out = Path(out)
    watcher = watcher or Watcher()
    with Ledger(_run_folder(out)) as ledger:
        if not ledger.trials:  # a start that was given up decides nothing
            (out / POPULATION_NAME).unlink(missing_ok=True)
        elif not (out / SWEEP_NAME).exists():
            raise InputError(f"{out}: has trials but no {SWEEP_NAME}, so whose they are is unknown")
        sweep = _agree(sweep, out, source, begun=bool(ledger.trials))
        data = load(sweep.data, source=source, on_progress=watcher.loading)
        if ledger.trials:
            _require_same_data(data, out)
        planned = _population(sweep, data, out, watcher, source)
        by_name = {plan.trial: plan for plan in planned}
        finished = {trial.trial for trial in ledger.trials}
        if not finished <= by_name.keys():
            stray = min(finished - by_name.keys())
            raise InputError(f"{ledger.path}: trial: {stray!r} is not in this run's population")
        waiting = [plan for plan in planned if plan.trial not in finished]
        if not waiting:
            return last_attempts(ledger.trials)

        pool = executor(data, sweep.resources, len(waiting))
        try:
            recipe = pool.resolve(sweep.recipe)
            _write_sweep(replace(sweep, recipe=recipe), out)
            watcher.start(len(planned), last_attempts(ledger.trials), pool.slots)
            queue = [
                Task(plan.trial, plan.built, plan.seed, sweep.epochs, recipe) for plan in waiting
            ]
            for task, outcome, attempt in _train(pool, _until(enough, queue, ledger)):
                trial = _trial(by_name[task.trial], task, outcome, attempt)
                ledger.append(trial)
                if outcome.traceback:
                    write_text(out / "logs" / f"{task.trial}.log", outcome.traceback)
                watcher.record(trial)
        finally:
            watcher.stop()
            pool.close()
        return last_attempts(ledger.trials)


def _until(
    enough: Callable[[Sequence[Trial]], bool] | None, queue: list[Task], ledger: Ledger
) -> Iterator[Task]:
    """The tasks, until what is recorded is enough."""
    for task in queue:
        if enough is not None and enough(last_attempts(ledger.trials)):
            return
        yield task


def _run_folder(out: Path) -> Path:
    """Refuse a folder of something else before anything is written into it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, where a run's folder is expected")
    if out.is_dir() and any(out.iterdir()):
        ours = {SWEEP_NAME, POPULATION_NAME, DATA_NAME, LEDGER_NAME, ".lock"}
        if not any((out / name).exists() for name in ours):
            raise InputError(f"{out}: is not empty and not a run; give --out another folder")
    return out


def _agree(sweep: Sweep, out: Path, source: str, begun: bool) -> Sweep:
    """The sweep with the choices that its run folder has made already.

    Raises InputError, naming the first field that differs, where the folder is another sweep's.
    A run of ours in which nothing was recorded yet (`begun` is false) is begun anew.
    """
    path = out / SWEEP_NAME
    if not path.exists() or (not begun and (out / DATA_NAME).exists()):
        return sweep
    # What a run folder holds is not run: the sweep in hand has brought the same, or differs.
    before = parse_sweep(read_text(path), str(path), run_plugins=False)
    chosen = {
        field: getattr(before.recipe, field)
        for field in Recipe.__struct_fields__
        if getattr(sweep.recipe, field) in (None, "auto")
    }
    sweep = replace(sweep, recipe=replace(sweep.recipe, **chosen))
    other = "this folder is another sweep's: give --out another one"
    for i, (a, b) in enumerate(zip(before.plugins, sweep.plugins, strict=False)):
        if a.name == b.name and (text := _plugin_difference(a, b, source)):
            raise InputError(f"{path}: plugins[{i}]: {text}; {other}")
    # How many trials run side by side changes no result, so it may differ from run to run; nor
    # does the version of a module whose source is the same.
    then, now = (
        msgspec.to_builtins(
            replace(
                s,
                resources=replace(s.resources, workers=None),
                plugins=tuple(replace(plugin, version=None) for plugin in s.plugins),
            )
        )
        for s in (before, sweep)
    )
    for field, value in _difference(then, now):
        raise InputError(f"{path}: {field} is {value[0]} there and {value[1]} in {source}; {other}")
    return sweep


def _plugin_difference(then: Plugin, now: Plugin, source: str) -> str:
    """In what two plugins of one name differ: the first line, or of modules which they are."""
    if then.source is None or now.source is None:
        if then.digest == now.digest:
            return ""
        return f"{now.name} was {described(then)} and is {described(now)} now"
    if then.source == now.source:
        return ""
    pairs = itertools.zip_longest(*(s.split("\n") for s in (then.source, now.source)))
    number, (a, b) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a or "", b or "", strict=False))
    first = sum(1 for _ in same)
    was, is_now = (_from(line, max(0, first - _BEFORE)) for line in (a, b))
    return f"{now.name} differs from line {number} on: {was} there and {is_now} in {source}"


_BEFORE, _SHOWN = 30, 60
"""Characters of a line that are shown before the first that differs, and in all."""


def _from(line: str | None, start: int) -> str:
    """A part of a line, in quotes; dots where something is left out."""
    if line is None:
        return "no such line"
    end = start + _SHOWN
    return f"{'...' if start else ''}{line[start:end]!r}{'...' if line[end:] else ''}"


def _write_sweep(sweep: Sweep, out: Path) -> None:
    """The sweep as resolved, and the files of its blocks for people to read and to name.

    sweep.yaml holds their text too: it is complete wherever it is taken.
    """
    write_text(out / SWEEP_NAME, to_yaml(sweep))
    for plugin in sweep.plugins:
        if plugin.source is not None:
            write_text(out / PLUGINS_NAME / plugin.name, plugin.source)


def _difference(then: Any, now: Any, at: str = "") -> Iterable[tuple[str, tuple[str, str]]]:
    """The fields in which two plain documents differ, with both values."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            inside = f"{at}.{key}" if at else str(key)
            yield from _difference(then.get(key), now.get(key), inside)
    elif isinstance(then, list | tuple) and isinstance(now, list | tuple) and len(then) == len(now):
        for i, (a, b) in enumerate(zip(then, now, strict=True)):
            yield from _difference(a, b, f"{at}[{i}]")
    elif then != now:
        yield at, (_brief(then), _brief(now))


def _brief(value: Any) -> str:
    if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        return f"a list of {len(value)}"
    return textwrap.shorten(json.dumps(value), 80, placeholder=" ...")


def _fingerprint(data: DataSet) -> dict[str, Any]:
    """What tells whether a data set is the one that a run began with."""
    digest = hashlib.blake2b(digest_size=16)
    for split in (data.train, data.validation):
        digest.update(split.images.data)
        digest.update(split.labels.data)
    return {
        "name": data.name,
        "classes": list(data.classes),
        "channels": data.channels,
        "resolution": data.resolution,
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "digest": digest.hexdigest(),
    }


def _require_same_data(data: DataSet, out: Path) -> None:
    """Raise InputError where the images are not those that the run's trials were trained on."""
    path = out / DATA_NAME
    if not path.exists():  # a run of before this was recorded
        return
    then = parse_yaml(read_text(path), str(path))
    for field, (before, now) in _difference(then, _fingerprint(data)):
        raise InputError(
            f"{path}: {field} was {before} when this run began and is {now} now; its trials would "
            "not compare: restore the data, or give --out another folder"
        )


def _population(
    sweep: Sweep, data: DataSet, out: Path, watcher: Watcher, source: str
) -> list[Planned]:
    """What to train: read from the run folder, else sampled into it.

    Spaces take turns, behind the baselines: those are often the largest networks, and better
    begun early than last. A population is independent draws, which statistics rest on: a network
    that is drawn again is trained again, from another seed.
    """
    path = out / POPULATION_NAME
    if path.exists():
        lines = read_text(path).splitlines()
        return [_planned(line, f"{path}: line {i}") for i, line in enumerate(lines, start=1)]
    planned = [_planned_baseline(sweep, i, data, source) for i in range(len(sweep.baselines))]
    populations = []
    for space in sweep.space:
        space = replace(space, input_channels=data.channels, classes=len(data.classes))
        populations.append(
            space.sample(
                sweep.networks,
                seeded(space, sweep.seed),
                flops=sweep.window.flops,
                params=sweep.window.params,
                activations=sweep.window.activations,
                resolution=data.resolution,
                unique=False,
            )
        )
    watcher.sampled(Sampled(p.space.name, p.draws, p.accepted) for p in populations)
    width = max(3, len(str(sweep.networks - 1)))
    before: Counter[tuple[str, Network]] = Counter()
    for i in range(sweep.networks):
        for population in populations:
            name, network = population.space.name, population[i]
            replicate = before[name, network]
            before[name, network] += 1
            planned.append(
                Planned(
                    trial=f"{name}-{i:0{width}d}",
                    space=name,
                    drawn=population.drawn_settings(i),
                    network=network,
                    params=int(population.params[i]),
                    flops=int(population.flops[i]),
                    activations=int(population.activations[i]),
                    seed=trial_seed(sweep.seed, network, replicate),
                    replicate=replicate,
                )
            )
    write_text(out / DATA_NAME, to_yaml(_fingerprint(data)))
    _write_sweep(sweep, out)
    write_text(path, "".join(msgspec.json.encode(plan).decode() + "\n" for plan in planned))
    return planned


def _planned_baseline(sweep: Sweep, i: int, data: DataSet, source: str) -> Planned:
    baseline = sweep.baselines[i]
    network = baseline.build_for(data.channels, len(data.classes))
    try:
        counted = cost(network, data.resolution)
    except ValueError as error:
        raise InputError(f"{source}: baselines[{i}]: data.{error}") from None
    return Planned(
        trial=f"{BASELINE}-{baseline.name}",
        space=BASELINE,
        drawn={},
        network=network if isinstance(network, Network) else None,
        **counted._asdict(),
        seed=trial_seed(sweep.seed, network),
        baseline=baseline.name,
        reference=network if isinstance(network, Reference) else None,
    )


def _planned(line: str, source: str) -> Planned:
    try:
        return msgspec.json.decode(line, type=Planned)
    except msgspec.MsgspecError as error:
        raise InputError(f"{source}: not a planned trial: {error}") from None


def _train(pool: Executor, queue: Iterable[Task]) -> Iterable[tuple[Task, Outcome, int]]:
    """Keep the pool full until the queue is empty and everything has ended.

    Yields each task that ended, with its outcome and the number of its attempts. A task whose
    worker died is given to another one, `_RETRIES` times.
    """
    waiting = iter(queue)
    attempts: Counter[str] = Counter()
    running = 0
    for task in waiting:
        pool.submit(task)
        running += 1
        if running == pool.slots:
            break
    while running:
        task, outcome = pool.next()
        attempts[task.trial] += 1
        if outcome.worker_died and attempts[task.trial] <= _RETRIES:
            pool.submit(task)
            continue
        running -= 1
        yield task, outcome, attempts[task.trial]  # recorded before its place is filled
        following = next(waiting, None)
        if following is not None:
            pool.submit(following)
            running += 1


def _trial(plan: Planned, task: Task, outcome: Outcome, attempt: int) -> Trial:
    ended = asdict(outcome)
    del ended["traceback"], ended["worker_died"]
    return Trial(**asdict(plan), epochs=task.epochs, attempt=attempt, **ended)
