"""A block from a user's file goes the whole way: the page that tells of it, word for word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from anynet import plugins
from anynet.blocks import BLOCKS
from anynet.cli import run
from search.trial import read_trials

PAGE = Path(__file__).parents[2] / "docs" / "own_block.md"


def example(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


@pytest.fixture(autouse=True)
def vocabulary() -> Iterator[None]:
    """A process of its own, as each command has."""
    forget()
    yield
    forget()


def forget() -> None:
    plugins._LOADED.clear()
    for name in [name for name in BLOCKS if name not in OURS]:
        del BLOCKS[name]


OURS = frozenset(BLOCKS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_blocks.py").write_text(example("python"))
    (tmp_path / "sweep.yaml").write_text(example("yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_works_in_ray_workers_and_is_resumed_and_exported(folder, capsys):
    commands = example("console").replace("$ anynet ", "").splitlines()
    sweep, edf = (line.split() for line in commands)
    assert run(sweep) == 0
    trials = read_trials("run")
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert {stage.block for trial in trials for stage in trial.network.stages} == {"wide_basic"}

    forget()
    assert run(edf) == 0
    assert "wide_basic" not in BLOCKS
    assert run(["export", "run", "--out", "best.yaml"]) == 2
    assert "'wide_basic' is not known" in capsys.readouterr().err
    assert (folder / "edf.png").stat().st_size > 10_000
    assert run(["export", "run", "--to", "onnx", "--out", "a.onnx", "--plugin=my_blocks.py"]) == 0

    forget()
    ledger = (folder / "run" / "trials.jsonl").read_bytes()
    whole = ledger.splitlines(keepends=True)
    (folder / "run" / "trials.jsonl").write_bytes(b"".join(whole[:3]))
    (folder / "elsewhere").mkdir()
    # The run's own sweep file holds the plugin's text.
    own = folder / "elsewhere" / "sweep.yaml"
    own.write_text((folder / "run" / "sweep.yaml").read_text())
    (folder / "my_blocks.py").rename(folder / "gone.py")
    assert run(["sweep", str(own), "--out", "run"]) == 0
    again = read_trials("run")
    assert [(t.trial, t.error, t.curve) for t in again[:3]] == [
        (t.trial, t.error, t.curve) for t in trials[:3]
    ]
    assert {(t.trial, t.error) for t in again} == {(t.trial, t.error) for t in trials}


def test_another_text_is_another_sweep_and_a_run_folder_is_never_run(folder, capsys):
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 0
    forget()
    mark = folder / "was_run"
    changed = example("python") + f"\nopen({str(mark)!r}, 'w').close()\n"
    held = folder / "run" / "sweep.yaml"
    assert "def wide_basic" in held.read_text()
    document = yaml.safe_load(held.read_text())
    document["plugins"][0]["source"] = changed
    held.write_text(yaml.safe_dump(document))
    capsys.readouterr()
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
    assert "plugins[0].source is" in capsys.readouterr().err
    assert not mark.exists()


def test_a_plugin_serves_the_commands_that_describe(folder, capsys):
    (folder / "net.yaml").write_text("stages: [{depth: 2, width: 16, block: wide_basic}]")
    assert run(["cost", "net.yaml"]) == 2
    assert "a block of your own: --plugin FILE.py" in capsys.readouterr().err
    assert run(["--plugin", "my_blocks.py", "cost", "net.yaml", "--json"]) == 0
    # Stem 3·9·32 + 64; 32 to 16 with inner 32, shortcut; 16 to 16 with inner 32; head.
    first = 32 * 32 * 9 + 64 + 32 * 16 * 9 + 32 + 32 * 16 + 32
    second = 16 * 32 * 9 + 64 + 32 * 16 * 9 + 32
    params = 3 * 9 * 32 + 64 + first + second + 16 * 1000 + 1000
    assert json.loads(capsys.readouterr().out)["params"] == params


def block(layers: str, se_ratio: bool = False) -> str:
    return f"""\
from anynet import register_block
from anynet.blocks import conv_norm_act
from anynet.layers import Conv, When

@register_block("mine"{", se_ratio=None" if se_ratio else ""})
def mine(width_in, width, stride{", se_ratio=0" if se_ratio else ""}):
    return {layers}
"""


def test_a_block_that_breaks_later_is_one_line_with_its_place(tmp_path, capsys):
    code = block("conv_norm_act(width, 3, stride=stride)")
    (tmp_path / "mine.py").write_text(
        code.replace("    return", "    assert stride < 3\n    return")
    )
    (tmp_path / "net.yaml").write_text("stages: [{depth: 1, width: 8, stride: 3, block: mine}]")
    command = ["cost", str(tmp_path / "net.yaml"), "--plugin", str(tmp_path / "mine.py")]
    assert run(command) == 2
    assert capsys.readouterr().err == "anynet: mine.py: line 7: AssertionError: \n"


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_plugins_are_tried_with_every_block_of_ours_passes(name):
    plugins._try(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = (", "mine.py: line 1: '(' was never closed"),
        ("import no_such_thing", "mine.py: line 1: ModuleNotFoundError: No module named"),
        ("x = 1", "mine.py: it registers no block"),
        (
            "from anynet import register_block\n@register_block('x')\ndef x(a, b, c): return ()",
            "mine.py: line 2: block: 'x' is taken",
        ),
        (
            "from anynet import register_block\nfrom anynet.layers import Conv\n"
            "@register_block('mine')\ndef mine(width_in, width, stride):\n"
            "    return (Conv(width if width > 64 else 64, stride=stride),)",
            "mine.py: line 5: an `if`, `min` or `max` on a width",
        ),
        ("import sys\nsys.exit(0)", "mine.py: line 2: SystemExit: 0"),
        (
            block("conv_norm_act(width)"),
            "mine.py: block 'mine': leaves 8 pixels a side of 8 with stride 2, 4 are due",
        ),
        (
            block("conv_norm_act(2 * width, stride=stride)"),
            "mine.py: block 'mine': leaves 256 channels, where its width is 128",
        ),
        (
            block("(Conv(width / 2), *conv_norm_act(width, stride=stride))"),
            "mine.py: block 'mine': a width in it is not a whole number: use `rint` or",
        ),
        (
            block("conv_norm_act(width, stride=stride if stride > 1 or width > 64 else 1)"),
            "mine.py: line 7: an `if`, `min` or `max` on a width",
        ),
        (
            block("conv_norm_act(width, stride=stride if se_ratio else stride)", True),
            "mine.py: line 7: an `if`, `min` or `max` on a width",
        ),
        (
            block(
                "(When(isinstance(width, int), (Conv(width),)), *conv_norm_act(width, 1, "
                "stride=stride))"
            ),
            "mine.py: block 'mine': counts 8,448 as arrays and 24,832 as numbers (params)",
        ),
    ],
)
def test_a_plugin_that_cannot_serve_is_refused_with_its_line(tmp_path, capsys, code, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    assert run(["--plugin", str(path), "spaces"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert set(BLOCKS) == OURS


def test_a_missing_plugin_is_named(tmp_path, capsys):
    assert run(["--plugin", str(tmp_path / "none.py"), "spaces"]) == 2
    assert run(["spaces", "--plugin"]) == 2
    assert run(["--plugin", "blocks.txt", "spaces"]) == 2
    error = capsys.readouterr().err
    assert "none.py: " in error
    assert "--plugin: names no file" in error
    assert "plugin: 'blocks.txt' must be a Python file (.py)" in error
