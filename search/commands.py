"""The commands that train: `sweep`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anynet.errors import WorkFailed
from anynet.terminal import print_json
from search.data import DataSet
from search.executor import Executor
from search.progress import Progress
from search.sweep import run_sweep
from search.sweep_file import Resources, load_sweep


def sweep(
    file: Annotated[str, Parameter(name="SWEEP")],
    /,
    *,
    out: Path,
    address: str | None = None,
    json: bool = False,
) -> int:
    """Train the populations of a sweep file on a Ray cluster; the same command resumes.

    Example: anynet sweep examples/fashion_mnist.yaml --out runs/fashion

    Parameters
    ----------
    file
        The sweep file (YAML): a space and a data set at least. docs/sweep.md lists every field.
    out
        Folder of the run: what is sampled, trained and recorded.
    address
        A running Ray cluster (auto, host:port or ray://host:port); without it, Ray is started on
        this machine for the time of the sweep.
    json
        Print one JSON document about the run at the end.
    """
    chosen = load_sweep(file)

    def executor(data: DataSet, resources: Resources, tasks: int) -> Executor:
        from search.pool import RayPool

        return RayPool(data, resources, tasks, address)

    try:
        trials = run_sweep(chosen, out, executor, Progress(), source=file)
    except KeyboardInterrupt:
        raise WorkFailed(
            f"{out}: interrupted; every trial that ended is recorded, the same command goes on"
        ) from None
    except OSError as error:
        raise WorkFailed(
            f"{out}: {error.strerror or error}; what is recorded is whole, the same command goes on"
        ) from None
    states = Counter(trial.state for trial in trials)
    errors = [t.error for t in trials if t.error is not None and t.baseline is None]
    best = min(errors, default=None)
    if json:
        print_json(
            {
                "run": str(out),
                "trials": len(trials),
                "states": dict(states),
                "best_error": best,
            }
        )
    else:
        counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
        found = f"; best error {best:.2f}%" if best is not None else ""
        print(f"{out}: {len(trials)} trials: {counts}{found}")
    if all(trial.error is None for trial in trials):
        reasons = Counter(trial.reason for trial in trials).most_common(1)
        raise WorkFailed(f"{out}: every trial failed, most of them so: {reasons[0][0]}")
    return 0
