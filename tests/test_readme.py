"""What the README shows is what happens: its commands are run, its outputs compared."""

import re
import shlex
from typing import get_args

import pytest

from anynet.cli import COMMANDS, run
from search.sweep_file import parse_sweep


@pytest.fixture(scope="module")
def readme(request):
    return (request.config.rootpath / "README.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_console_blocks_show_what_the_commands_print(
    request, readme, tmp_path, monkeypatch, capsys
):
    (tmp_path / "docs").symlink_to(request.config.rootpath / "docs")
    monkeypatch.chdir(tmp_path)
    shown = blocks(readme, "console")
    assert len(shown) >= 3
    for block in shown:
        command, _, output = block.partition("\n")
        assert command.startswith("$ anynet ")
        assert run(shlex.split(command)[2:]) == 0
        printed = capsys.readouterr().out
        assert [line.rstrip() for line in printed.splitlines()] == [
            line.rstrip() for line in output.splitlines()
        ], command


def test_the_sweep_file_is_one(readme):
    (text,) = blocks(readme, "yaml")
    sweep = parse_sweep(text, "README.md")
    assert [space.name for space in sweep.space] == ["anynetx_a", "regnetx"]


def test_the_page_on_sweep_files_names_every_field_with_its_default(request):
    from search.recipe import Recipe
    from search.sweep_file import DataSpec, Resources, Sweep

    text = (request.config.rootpath / "docs" / "sweep.md").read_text()
    (example,) = blocks(text, "yaml")
    assert parse_sweep(example, "sweep.md").networks == 100
    for struct in (Sweep, DataSpec, Recipe, Resources):
        for field in struct.__struct_fields__:
            assert re.search(rf"`[^`]*\b{field}\b[^`]*`", text), field
    sweep = parse_sweep(example, "sweep.md")
    recipe = sweep.recipe
    shown = (sweep.epochs, sweep.seed, recipe.lr, recipe.batch_size, recipe.warmup_epochs)
    assert shown == (10, 0, 0.1, 128, 0)


def test_the_page_on_spaces_names_every_rule_and_its_example_is_a_space(request):
    import numpy as np

    from anynet import DesignSpace
    from anynet.limits import NAMES
    from anynet.space import Constraint, Rule

    text = (request.config.rootpath / "docs" / "spaces.md").read_text()
    for name in (*get_args(Rule), *Constraint.__struct_fields__[1:], *NAMES):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), name
    (example,) = blocks(text, "yaml")
    space = DesignSpace.from_yaml(example, "spaces.md")
    population = space.sample(100, np.random.default_rng(0))
    drawn = population.drawn
    assert (np.diff(drawn["widths"]) > 0).all()
    assert drawn["widths"][:, 0].max() <= 64
    assert (drawn["depths"][:, 2] >= 5).all()
    assert {tuple(row) for row in drawn["group_widths"]} == {(8, 8, 16, 16)}
    assert (population.params < 3e6 + 5.5e6 * population.flops / 1e9).all()
    assert set(population.depths.sum(axis=1)) <= set(range(12, 29))


@pytest.mark.slow
def test_the_networks_of_regnetx_are_those_of_the_page_on_spaces(request):
    from anynet import DesignSpace

    text = (request.config.rootpath / "docs" / "spaces.md").read_text()
    space = DesignSpace.named("regnetx")
    networks = space.networks()
    assert networks.least == networks.most
    assert f"{space.size:,} lines and {networks.most:,} networks" in text


def test_the_python_runs(readme):
    (code,) = blocks(readme, "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["population"]) == 500


def test_every_command_that_is_named_exists(readme):
    prose = re.sub(r"^```.*?^```$", "", readme, flags=re.M | re.S)
    fenced = "\n".join(blocks(readme, "sh") + blocks(readme, "console"))
    spans = re.findall(r"`(?:\$ )?anynet ([a-z]+)", prose)
    named = {*spans, *re.findall(r"^(?:\$ |.*&& )?anynet ([a-z]+)", fenced, re.M)}
    assert {"demo", "sweep", "edf", "export", "explain"} <= named <= COMMANDS.keys()


@pytest.mark.slow
def test_the_demo_ends_with_the_paths_of_what_it_wrote(tmp_path, capsys):
    from anynet import load_network
    from search.trial import read_trials

    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    paths = [line.strip() for line in printed.split("Written:\n")[1].splitlines()]
    assert [p.removeprefix(f"{out}/") for p in paths] == [
        "sweep.yaml", "run/trials.jsonl", "edf.png", "best_regnet.yaml", "best_regnet_pycls.yaml",
    ]  # fmt: skip
    trials = read_trials(out / "run")
    assert len(trials) == 48
    assert {trial.state for trial in trials} == {"complete"}
    best = min((t for t in trials if t.space == "regnetx"), key=lambda trial: trial.error)
    assert load_network(paths[3]) == best.network
    assert load_network(paths[4]).widths == best.network.widths
    assert run(["demo", "--out", str(out)]) == 0
    assert read_trials(out / "run") == trials
