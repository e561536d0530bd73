"""The driver, with an executor that computes an error from the network instead of training it."""

import dataclasses
import json

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import InputError
from anynet.counting import cost
from anynet.files import to_yaml
from anynet.reference import Reference
from search.executor import Outcome
from search.recipe import Recipe
from search.sweep import Watcher, run_sweep
from search.sweep_file import parse_sweep
from search.trial import read_trials, trial_seed

SWEEP = """\
space:
- {base: anynetx_a, stem: {kind: cifar, width: 16}, strides: [1, 2, 2]}
- {base: regnetx, stem: {kind: cifar, width: 16}, strides: [1, 2, 2]}
networks: 5
window: {flops: [0.5e6, 1e6]}
data: {name: digits}
epochs: 2
"""


class Formula:
    """Runs two tasks side by side; ends the younger first; its error is a formula."""

    slots = 2

    def __init__(self, fail=(), stop_after=None):
        self.fail = fail
        self.stop_after = stop_after
        self.running = []
        self.ended = []
        self.most = 0
        self.closed = False

    def __call__(self, data, resources, tasks):
        self.data, self.tasks = data, tasks
        return self

    def resolve(self, recipe):
        return replace(recipe, precision="float32", channels_last=True, flip=False, crop_padding=1)

    def submit(self, task):
        self.running.append(task)
        self.most = max(self.most, len(self.running))

    def next(self):
        if self.stop_after is not None and len(self.ended) == self.stop_after:
            raise KeyboardInterrupt
        task = self.running.pop()
        self.ended.append(task)
        outcome = Outcome(
            state="complete",
            error=float(task.seed % 1000) / 10,
            curve=(50.0, float(task.seed % 1000) / 10),
            started="2026-01-01T00:00:00+00:00",
            seconds=0.1,
            worker="w",
        )
        if task.trial in self.fail:
            outcome = replace(
                outcome, state="failed", reason="RuntimeError: oops", error=None, curve=(),
                traceback="Traceback\nRuntimeError: oops",
            )  # fmt: skip
        return task, outcome

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def sweep():
    return parse_sweep(SWEEP, "s.yaml")


def by_trial(trials):
    return {trial.trial: trial for trial in trials}


def test_every_network_of_every_space_ends_in_the_ledger(tmp_path, sweep):
    executor = Formula()
    trials = run_sweep(sweep, tmp_path / "run", executor)
    assert trials == read_trials(tmp_path / "run")
    assert sorted(by_trial(trials)) == [
        f"{space}-{i:03d}" for space in ("anynetx_a", "regnetx") for i in range(5)
    ]
    assert executor.most == 2
    assert executor.closed
    for trial in trials:
        assert 0.5e6 <= trial.flops <= 1e6
        assert trial.network.input_channels == 1
        assert trial.network.classes == 10
        assert trial.curve == (50.0, trial.error)


def test_baselines_are_trained_first_and_belong_to_no_space(tmp_path):
    text = SWEEP + "baselines: [resnet18, nin]\n"
    sweep = parse_sweep(text, "s.yaml")
    executor = Formula()
    executor.slots = 1
    trials = run_sweep(sweep, tmp_path / "run", executor)
    assert [t.trial for t in trials[:3]] == ["baseline-resnet18", "baseline-nin", "anynetx_a-000"]
    assert trials == read_trials(tmp_path / "run")
    resnet, nin = trials[:2]
    assert (resnet.space, resnet.baseline, resnet.drawn) == ("baseline", "resnet18", {})
    assert (resnet.network.input_channels, resnet.network.classes) == (1, 10)
    assert resnet.reference is None
    assert (nin.network, nin.reference) == (None, Reference("nin", 1, 10))
    for trial, task in zip(trials, executor.ended, strict=True):
        built = trial.network or trial.reference
        assert built == task.network
        assert trial.seed == trial_seed(0, built)
        assert (trial.params, trial.flops, trial.activations) == cost(built, 8)
    # The populations are those of the sweep without baselines.
    alone = run_sweep(parse_sweep(SWEEP, "s.yaml"), tmp_path / "alone", Formula())
    seeds = {trial.trial: trial.seed for trial in alone}
    assert {trial.trial: trial.seed for trial in trials[2:]} == seeds
    assert run_sweep(sweep, tmp_path / "run", Formula()) == trials


def test_a_baseline_that_does_not_take_the_images_is_refused_before_anything_is_written(tmp_path):
    sweep = parse_sweep(SWEEP + "baselines: [resnet18, lenet5]\n", "s.yaml")
    with pytest.raises(InputError) as caught:
        run_sweep(sweep, tmp_path / "run", Formula(), source="s.yaml")
    assert str(caught.value) == (
        "s.yaml: baselines[1]: data.resolution: 8, but lenet5 takes images of 12 pixels a side or "
        "more"
    )
    assert not (tmp_path / "run" / "population.jsonl").exists()


def test_a_network_that_is_drawn_again_is_trained_again_from_another_seed(tmp_path):
    text = """\
space: {name: tiny, depth: 1, width: [8, 16], strides: [1], block: vr, stem: {kind: cifar}}
networks: 12
data: {name: digits}
"""
    trials = run_sweep(parse_sweep(text, "s.yaml"), tmp_path / "run", Formula())
    assert len({trial.network for trial in trials}) == 2
    assert len({trial.seed for trial in trials}) == 12
    times = {network: [] for network in {trial.network for trial in trials}}
    for trial in sorted(trials, key=lambda trial: trial.trial):
        times[trial.network].append(trial.replicate)
        assert trial.seed == trial_seed(0, trial.network, trial.replicate)
    assert all(found == list(range(len(found))) for found in times.values())
    assert run_sweep(parse_sweep(text, "s.yaml"), tmp_path / "run", Formula()) == trials


def test_a_sweep_stops_itself_once_a_sequential_comparison_has_decided(tmp_path):
    from analysis.sequential import complete_prefix, sequential_compare

    class Better(Formula):
        """RegNets make 10 points less error."""

        def next(self):
            task, outcome = super().next()
            worse = 10.0 * task.trial.startswith("anynetx_a")
            error = 20 + worse + task.seed % 1000 / 1000
            return task, replace(outcome, error=error, curve=(error,))

    sweep = parse_sweep(SWEEP.replace("networks: 5", "networks: 60"), "s.yaml")
    asked = []

    def decided(trials):
        errors = {trial.trial: trial.error for trial in trials}
        asked.append(len(errors))
        a, b = (
            complete_prefix([f"{space}-{i:03d}" for i in range(60)], errors)
            for space in ("anynetx_a", "regnetx")
        )
        return min(len(a), len(b)) >= 2 and sequential_compare(a, b).verdict != "undecided"

    executor = Better()
    executor.slots = 1
    trials = run_sweep(sweep, tmp_path / "run", executor, enough=decided)
    assert 2 * 5 < len(trials) < 2 * 30
    assert asked == list(range(len(trials) + 1))
    assert executor.closed
    assert trials == read_trials(tmp_path / "run")
    # Asked again it has still decided, and without the question it goes on.
    assert run_sweep(sweep, tmp_path / "run", Better(), enough=decided) == trials
    assert len(run_sweep(sweep, tmp_path / "run", Better())) == 120


def test_spaces_take_turns(tmp_path, sweep):
    executor = Formula()
    executor.slots = 1
    trials = run_sweep(sweep, tmp_path / "run", executor)
    assert [trial.space for trial in trials] == ["anynetx_a", "regnetx"] * 5


def test_the_resolved_sweep_stands_in_the_folder(tmp_path, sweep):
    run_sweep(sweep, tmp_path / "run", Formula())
    text = (tmp_path / "run" / "sweep.yaml").read_text()
    resolved = parse_sweep(text, "x")
    assert resolved.recipe == Recipe(
        precision="float32", channels_last=True, flip=False, crop_padding=1
    )
    assert replace(resolved, recipe=sweep.recipe) == sweep


@pytest.mark.parametrize("stop_after", [0, 1, 4, 9])
def test_interrupted_and_started_again_equals_undisturbed(tmp_path, sweep, stop_after):
    whole = run_sweep(sweep, tmp_path / "whole", Formula())
    first = Formula(stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "run", first)
    assert first.closed
    second = Formula()
    trials = run_sweep(sweep, tmp_path / "run", second)
    assert second.tasks == 10 - stop_after
    assert not {t.trial for t in first.ended} & {t.trial for t in second.ended}
    assert by_trial(trials) == by_trial(whole)
    assert len(read_trials(tmp_path / "run")) == 10


def test_a_finished_sweep_trains_nothing(tmp_path, sweep):
    before = run_sweep(sweep, tmp_path / "run", Formula())

    def none(data, resources, tasks):
        raise AssertionError("nothing is left to train")

    assert run_sweep(sweep, tmp_path / "run", none) == before


def test_a_failed_trial_is_a_record_with_its_reason_and_the_sweep_goes_on(tmp_path, sweep):
    trials = by_trial(run_sweep(sweep, tmp_path / "run", Formula(fail={"regnetx-001"})))
    failed = trials.pop("regnetx-001")
    assert (failed.state, failed.reason, failed.error) == ("failed", "RuntimeError: oops", None)
    assert {trial.state for trial in trials.values()} == {"complete"}
    log = tmp_path / "run" / "logs" / "regnetx-001.log"
    assert log.read_text().endswith("RuntimeError: oops")


def test_a_populations_networks_do_not_depend_on_its_neighbors(tmp_path, sweep):
    both = by_trial(run_sweep(sweep, tmp_path / "both", Formula()))
    alone = replace(sweep, space=sweep.space[1:])
    for trial in run_sweep(alone, tmp_path / "alone", Formula()):
        assert trial == both[trial.trial]


def test_the_folder_of_another_sweep_is_refused_with_the_field_that_differs(tmp_path, sweep):
    run_sweep(sweep, tmp_path / "run", Formula())
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = replace(sweep, epochs=3)
    with pytest.raises(InputError, match=r"epochs is 2 there and 3 in s\.yaml") as info:
        run_sweep(other, tmp_path / "run", Formula(), source="s.yaml")
    assert str(info.value).endswith("give --out another one")
    for path, content in before.items():
        assert path.read_bytes() == content
    with pytest.raises(InputError, match=r"recipe\.precision is \"float32\" there"):
        run_sweep(replace(sweep, recipe=Recipe(precision="bfloat16")), tmp_path / "run", Formula())
    narrower = parse_sweep(SWEEP.replace("width: 16", "width: 8", 1), "s.yaml")
    with pytest.raises(InputError, match=r"space\[0\]\.stem\.width is 16 there and 8"):
        run_sweep(narrower, tmp_path / "run", Formula())


def test_how_many_trials_run_side_by_side_may_change(tmp_path, sweep):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "run", Formula(stop_after=2))
    wider = replace(sweep, resources=replace(sweep.resources, workers=7))
    assert len(run_sweep(wider, tmp_path / "run", Formula())) == 10


def test_a_folder_of_something_else_is_refused_untouched(tmp_path, sweep):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(InputError, match="is not empty and not a run"):
        run_sweep(sweep, tmp_path, Formula())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"):
        run_sweep(sweep, tmp_path / "thesis.tex", Formula())


def test_a_trial_that_is_not_of_the_population_is_refused(tmp_path, sweep, make_trial):
    from search.trial import encode_trial

    run_sweep(sweep, tmp_path / "run", Formula())
    with open(tmp_path / "run" / "trials.jsonl", "ab") as file:
        file.write(encode_trial(make_trial("stranger")))
    with pytest.raises(InputError, match="'stranger' is not in this run's population"):
        run_sweep(sweep, tmp_path / "run", Formula())


def test_an_unreadable_population_is_one_line(tmp_path, sweep):
    run_sweep(sweep, tmp_path / "run", Formula())
    path = tmp_path / "run" / "population.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:50]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"population\.jsonl: line 4") as info:
        run_sweep(sweep, tmp_path / "run", Formula())
    assert "\n" not in str(info.value)


def test_a_start_that_was_given_up_decides_nothing(tmp_path, sweep):
    def refuse(data, resources, tasks):
        raise InputError("no node has that")

    with pytest.raises(InputError, match="no node"):
        run_sweep(sweep, tmp_path / "run", refuse)
    other = replace(sweep, networks=2, epochs=1, seed=9, space=sweep.space[:1])
    trials = run_sweep(other, tmp_path / "run", Formula())
    assert trials == run_sweep(other, tmp_path / "fresh", Formula())
    assert parse_sweep((tmp_path / "run" / "sweep.yaml").read_text(), "x").networks == 2


def test_trials_without_their_sweep_are_refused(tmp_path, sweep):
    run_sweep(sweep, tmp_path / "run", Formula())
    (tmp_path / "run" / "sweep.yaml").unlink()
    with pytest.raises(InputError, match=r"has trials but no sweep\.yaml"):
        run_sweep(replace(sweep, epochs=5), tmp_path / "run", Formula())


def test_other_images_than_the_run_began_with_are_refused(tmp_path, sweep, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "run", Formula(stop_after=3))
    from search import sweep as driver

    def fewer(spec, **options):
        data = load(spec, **options)
        return dataclasses.replace(data, train=data.train.take(np.arange(100)))

    load = driver.load
    monkeypatch.setattr(driver, "load", fewer)
    with pytest.raises(
        InputError, match=r"train_images was \d+ when this run began and is 100 now"
    ):
        run_sweep(sweep, tmp_path / "run", Formula())
    monkeypatch.undo()
    assert len(run_sweep(sweep, tmp_path / "run", Formula())) == 10


@pytest.mark.parametrize(("deaths", "state", "attempt"), [(1, "complete", 2), (9, "failed", 3)])
def test_a_trial_whose_worker_died_is_tried_again_but_not_for_ever(
    tmp_path, sweep, deaths, state, attempt
):
    class Deadly(Formula):
        died = 0

        def next(self):
            task, outcome = super().next()
            if task.trial == "regnetx-002" and self.died < deaths:
                self.died += 1
                outcome = replace(
                    outcome, state="failed", reason="the worker died", error=None, curve=(),
                    worker_died=True,
                )  # fmt: skip
            return task, outcome

    executor = Deadly()
    trials = by_trial(run_sweep(sweep, tmp_path / "run", executor))
    assert len(trials) == len(read_trials(tmp_path / "run")) == 10
    assert (trials["regnetx-002"].state, trials["regnetx-002"].attempt) == (state, attempt)
    assert executor.most == 2


def test_a_window_that_nothing_fits_leaves_no_run_behind(tmp_path, sweep, monkeypatch):
    monkeypatch.setattr("anynet.sampling.PATIENCE", 20_000)
    narrow = parse_sweep(SWEEP.replace("[0.5e6, 1e6]", "[1, 2]"), "s.yaml")
    with pytest.raises(InputError, match=r"nothing of .* draws fits within flops 1:2"):
        run_sweep(narrow, tmp_path / "run", Formula())
    assert len(run_sweep(sweep, tmp_path / "run", Formula())) == 10


def test_the_watcher_hears_of_everything(tmp_path, sweep):
    class Notes(Watcher):
        def __init__(self):
            self.said = []

        def sampled(self, sampled):
            self.said.append([(one.space, one.accepted <= one.draws) for one in sampled])

        def start(self, planned, finished, slots):
            self.said.append((planned, len(list(finished)), slots))

        def record(self, trial):
            self.said.append(trial.trial)

        def stop(self):
            self.said.append("stop")

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "run", Formula(stop_after=3), Notes())
    notes = Notes()
    trials = run_sweep(sweep, tmp_path / "run", Formula(), notes)
    assert notes.said[0] == (10, 3, 2)
    assert notes.said[1:] == [*(trial.trial for trial in trials[3:]), "stop"]


def test_population_lines_are_what_the_trials_record(tmp_path, sweep):
    trials = by_trial(run_sweep(sweep, tmp_path / "run", Formula()))
    for line in (tmp_path / "run" / "population.jsonl").read_text().splitlines():
        plan = json.loads(line)
        trial = trials[plan["trial"]]
        assert plan["seed"] == trial.seed
        assert plan["flops"] == trial.flops
        assert plan["drawn"] == trial.drawn


def test_to_yaml_of_a_sweep_has_no_unset_fields(sweep):
    assert "null" not in to_yaml(sweep)
