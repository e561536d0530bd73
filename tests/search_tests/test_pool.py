"""Sweeps on a real Ray, on the loopback interface."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from anynet.cli import run
from search.pool import RayPool, _trials_on
from search.sweep import run_sweep
from search.sweep_file import Resources, load_sweep, parse_sweep
from search.trial import read_trials

SWEEP = """\
space: [{{base: anynetx_a, stem: {{kind: cifar, width: 8}}, strides: [1, 2, 2]}}]
networks: {networks}
window: {{flops: [0.1e6, 0.3e6]}}
data: {{name: digits, train_images: 600}}
recipe: {{batch_size: 32}}
epochs: {epochs}
seed: 3
resources: {{cpus: 1}}
"""


def pool(data, resources, tasks):
    return RayPool(data, resources, tasks)


def results(trials):
    """What must not depend on order, worker, or resume."""
    return {
        trial.trial: (trial.state, trial.error, trial.curve, trial.seed, trial.network)
        for trial in trials
    }


def test_ray_trains_what_one_process_trains_bit_for_bit(tmp_path):
    from search.worker import InProcess

    sweep = parse_sweep(SWEEP.format(networks=3, epochs=2), "s.yaml")
    here = run_sweep(sweep, tmp_path / "here", lambda data, resources, tasks: InProcess(data))
    there = run_sweep(sweep, tmp_path / "there", pool)
    assert results(there) == results(here)
    assert {trial.state for trial in there} == {"complete"}
    assert not ray.is_initialized()


def test_more_than_any_node_has_is_one_line(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.format(networks=1, epochs=1).replace("cpus: 1", "cpus: 4096"))
    assert run(["sweep", str(path), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "resources: a trial asks for 4096 CPUs and 0 GPUs, and no node has that" in error
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("gpus", "share", "trials"), [(1, 0.25, 4), (2, 0.3, 6), (4, 1, 4), (4, 2, 2), (1, 2, 0)]
)
def test_a_fraction_of_a_gpu_never_spans_two(gpus, share, trials):
    assert _trials_on(gpus, share) == trials


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_trial_and_the_sweep_goes_on(tmp_path):
    sweep = parse_sweep(SWEEP.format(networks=6, epochs=2), "s.yaml")
    killed = []

    class Killer(RayPool):
        def submit(self, task):
            super().submit(task)
            if task.trial == "anynetx_a-002":
                actor = next(a for a, t in self._running.values() if t.trial == task.trial)
                ray.kill(actor)
                killed.append(task.trial)

    trials = run_sweep(sweep, tmp_path / "run", lambda d, r, n: Killer(d, r, n))
    by_trial = {trial.trial: trial for trial in trials}
    assert killed == ["anynetx_a-002"] * 3
    failed = by_trial.pop("anynetx_a-002")
    assert (failed.state, failed.attempt) == ("failed", 3)
    assert "the worker died" in failed.reason
    assert (tmp_path / "run" / "logs" / "anynetx_a-002.log").exists()
    assert {trial.state for trial in by_trial.values()} == {"complete"}
    assert len(trials) == 6


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_one_line(tmp_path, capsys, monkeypatch):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.format(networks=1, epochs=1))
    monkeypatch.setattr("search.pool._Actor", Broken)
    assert run(["sweep", str(path), "--out", str(tmp_path / "run")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "anynet: a worker did not start: ImportError: No module named 'torch'"
    assert not ray.is_initialized()


class Broken:
    def __init__(self, *_):
        raise ImportError("No module named 'torch'")

    def resolve(self, recipe):
        return recipe


def start(path: Path, out: Path) -> subprocess.Popen:
    # Where the tests themselves run in the background, SIGINT would be ignored from birth.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from anynet.cli import run; sys.exit(run(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "sweep", str(path), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_started_again_equals_an_undisturbed_one(tmp_path, sent):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.format(networks=14, epochs=4))
    whole = run_sweep(load_sweep(path), tmp_path / "whole", pool)
    out = tmp_path / "run"
    ledger = out / "trials.jsonl"
    for wanted in (2, 6, 9):
        driver = start(path, out)
        while driver.poll() is None and not (ledger.exists() and lines(ledger) >= wanted):
            time.sleep(0.02)
        assert driver.poll() is None, driver.stderr.read()
        driver.send_signal(sent)
        _, errors = driver.communicate(timeout=60)
        if sent == signal.SIGINT:
            assert driver.returncode == 1
            assert errors.splitlines()[-1].endswith("recorded, the same command goes on")
    assert wanted <= lines(ledger) < 14
    driver = start(path, out)
    driver.communicate(timeout=300)
    assert driver.returncode == 0
    trials = read_trials(out)
    assert len(trials) == len({trial.trial for trial in trials}) == 14
    assert results(trials) == results(whole)


@pytest.mark.slow
def test_folders_named_as_our_packages_where_the_user_stands_shadow_nothing(tmp_path, monkeypatch):
    for name in ("anynet", "search", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    sweep = parse_sweep(SWEEP.format(networks=2, epochs=1), "s.yaml")
    trials = run_sweep(sweep, "run", pool)
    assert {trial.state for trial in trials} == {"complete"}
    assert (tmp_path / "run" / "trials.jsonl").exists()


def lines(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n")


@pytest.mark.slow
def test_a_running_cluster_by_its_address(tmp_path):
    from ray.cluster_utils import Cluster

    sweep = parse_sweep(SWEEP.format(networks=4, epochs=1), "s.yaml")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1"}
    )
    try:
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        slots = []

        def executor(data, resources, tasks):
            pool = RayPool(data, resources, tasks, cluster.address)
            slots.append(pool.slots)
            return pool

        there = run_sweep(sweep, tmp_path / "there", executor)
        assert slots == [2]
    finally:
        cluster.shutdown()
    assert results(there) == results(run_sweep(sweep, tmp_path / "here", pool))


def test_an_address_where_nothing_answers_is_one_line(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.format(networks=1, epochs=1))
    arguments = ["sweep", str(path), "--out", str(tmp_path / "run")]
    assert run([*arguments, "--address", "127.0.0.1:1"]) == 2
    assert "--address: '127.0.0.1:1': " in capsys.readouterr().err.splitlines()[-1]


def test_workers_are_capped(monkeypatch):
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": False}]
    )
    from search.pool import _room

    assert _room(Resources(cpus=2)) == 4
    assert _room(Resources(cpus=2, workers=3)) == 3
