"""A block from a user's file goes the whole way: the page that tells of it, word for word."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from anynet import plugins
from anynet.blocks import BLOCKS
from anynet.cli import run
from search.sweep import run_sweep
from search.sweep_file import load_sweep, parse_sweep
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
    run_sweep(load_sweep("sweep.yaml"), "run", in_process)
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
    last = capsys.readouterr().err.splitlines()[-1]
    number = example("python").count("\n") + 2
    assert f'plugins[0]: my_blocks.py differs from line {number} on: "open(' in last
    assert last.endswith(
        "there and no such line in sweep.yaml; this folder is another sweep's: give --out "
        "another one"
    )
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (
            "Conv(width, 3)",
            "Conv(width, 5)",
            ("...', stride=stride), Conv(width, 3), Norm(f", 9),
        ),
        ("return (", "return  (", ("'    return (Residual(body", 10)),
        ("stride):", "stride): ", ("...'asic(width_in, width, stride):' there", 7)),
    ],
)
def test_the_line_that_differs_is_shown(folder, capsys, old, new, shown):
    ran = run_sweep(load_sweep("sweep.yaml"), "run", in_process)
    assert len(ran) == 4
    forget()
    text = (folder / "my_blocks.py").read_text()
    (folder / "my_blocks.py").write_text(text.replace(old, new))
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"plugins[0]: my_blocks.py differs from line {shown[1]} on: " in error
    there, here = error.partition(" on: ")[2].split(" there and ")
    assert shown[0] in f"{there} there"
    assert there not in here


def in_process(data, resources, tasks):
    from search.worker import InProcess

    return InProcess(data)


def test_a_run_keeps_a_copy_to_read_and_to_name(folder, capsys):
    run_sweep(load_sweep("sweep.yaml"), "run", in_process)
    copy = folder / "run" / "plugins" / "my_blocks.py"
    assert copy.read_text() == example("python")
    forget()
    assert run(["export", "run", "--out", "best.yaml", "--plugin", str(copy)]) == 0
    assert run(["cost", "best.yaml", "--plugin", str(copy)]) == 0

    # What lies there has no say: neither in a run that is resumed, nor in one that is repeated.
    forget()
    mark = folder / "was_run"
    copy.write_text(f"open({str(mark)!r}, 'w').close()")
    ledger = folder / "run" / "trials.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:3]))
    assert len(run_sweep(load_sweep("sweep.yaml"), "run", in_process)) == 4
    assert copy.read_text() == example("python")
    copy.unlink()
    copy.parent.rmdir()
    forget()
    assert len(run_sweep(load_sweep("run/sweep.yaml"), "again", in_process)) == 4
    assert not mark.exists()


def test_a_copy_is_written_nowhere_else(folder, capsys):
    sweep = yaml.safe_load(example("yaml"))
    for name in ("../up.py", "/abs.py", "other.txt"):
        sweep["plugins"] = [{"name": name, "source": "x = 1"}]
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
        assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
        message = f"plugins[0].name: {name!r} must be the plain name of a Python file (.py)"
        assert message in capsys.readouterr().err
    (folder / "sub").mkdir()
    (folder / "sub" / "my_blocks.py").write_text(example("python").replace("wide_", "narrow_"))
    sweep["plugins"] = ["my_blocks.py", "sub/my_blocks.py"]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
    assert "plugins[1]: 'my_blocks.py' occurs twice" in capsys.readouterr().err


@pytest.fixture
def package(folder, monkeypatch) -> Iterator[Path]:
    """The page's block in an installed package, `own_blocks.wide`, and a sweep that names it."""
    site = folder / "site"
    (site / "own_blocks").mkdir(parents=True)
    (site / "own_blocks" / "__init__.py").write_text("__version__ = '1.5'\n")
    (site / "own_blocks" / "wide.py").write_text(example("python"))
    sweep = example("yaml").replace("my_blocks.py", "own_blocks.wide")
    (folder / "sweep.yaml").write_text(sweep)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    forget_package()
    yield site / "own_blocks"
    forget_package()


def forget_package() -> None:
    forget()
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.split(".")[0] == "own_blocks"]:
        del sys.modules[name]


def test_an_installed_module_by_name(package, capsys):
    run_sweep(load_sweep("sweep.yaml"), "run", in_process)
    assert [trial.state for trial in read_trials("run")] == ["complete"] * 4
    (held,) = yaml.safe_load(Path("run/sweep.yaml").read_text())["plugins"]
    digest = hashlib.sha256(example("python").encode()).hexdigest()
    assert held == {"name": "own_blocks.wide", "version": "1.5", "digest": digest}
    assert not Path("run/plugins").exists()

    # The same source goes on, whatever its version; another one does not.
    forget_package()
    (package / "__init__.py").write_text("__version__ = '1.5.1'\n")
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 0
    forget_package()
    (package / "__init__.py").write_text("__version__ = '1.6'\n")
    (package / "wide.py").write_text(example("python").replace("2 * width", "3 * width"))
    capsys.readouterr()
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        f"plugins[0]: own_blocks.wide was version 1.5 (source {digest[:12]}) and is version 1.6 "
        "(source "
    ) in error
    # To repeat the run the sweep's own file asks for the module that it had.
    forget_package()
    assert run(["sweep", "run/sweep.yaml", "--out", "again"]) == 2
    error = capsys.readouterr().err
    assert "own_blocks.wide: is version 1.6 (source " in error
    assert f"here, but the sweep's is version 1.5 (source {digest[:12]})" in error
    assert "own_blocks.wide" not in sys.modules


def test_a_package_is_known_by_all_of_its_files(package, capsys):
    (package / "__init__.py").write_text("from own_blocks import wide\n")
    before = plugins.read_plugin("own_blocks")
    (package / "wide.py").write_text(example("python").replace("2 * width", "width * 1.5"))
    assert plugins.read_plugin("own_blocks").digest != before.digest
    assert run(["--plugin", "own_blocks", "spaces"]) == 2
    assert "own_blocks: block 'wide_basic': a width in it is not" in capsys.readouterr().err
    assert "own_blocks.wide" not in sys.modules
    assert set(BLOCKS) == OURS
    (package / "wide.py").write_text(example("python").replace("2 * width", "width / (1 - 1)"))
    forget_package()
    assert run(["--plugin", "own_blocks", "spaces"]) == 2
    assert "own_blocks: wide.py line 9: ZeroDivisionError" in capsys.readouterr().err


def test_a_module_that_was_imported_before_is_taken(package):
    importlib.import_module("own_blocks.wide")
    assert "wide_basic" in BLOCKS
    for _ in range(2):
        assert run(["--plugin", "own_blocks.wide", "spaces"]) == 0
    assert [plugin.name for plugin in plugins.loaded()] == ["own_blocks.wide"]


def test_a_run_folder_names_no_module_to_be_imported(package):
    run_sweep(load_sweep("sweep.yaml"), "run", in_process)
    forget_package()
    mark = package / "was_run"
    other = package.parent / "evil_blocks"
    other.mkdir()
    (other / "__init__.py").write_text(f"open({str(mark)!r}, 'w').close()")
    held = Path("run/sweep.yaml")
    document = yaml.safe_load(held.read_text())
    for entry in ("evil_blocks.x", {"name": "evil_blocks.x", "digest": "0"}):
        document["plugins"] = [entry]
        held.write_text(yaml.safe_dump(document))
        assert run(["sweep", "sweep.yaml", "--out", "run"]) == 2
        assert not mark.exists()


@pytest.mark.slow
def test_a_worker_without_the_module_says_so(package, monkeypatch, capsys):
    paths = [path for path in sys.path if path and path != str(package.parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    assert run(["sweep", "sweep.yaml", "--out", "run"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"anynet: a worker did not start: no plugin on {socket.gethostname()}: own_blocks.wide: "
        "neither a Python file (.py) nor a module installed here"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "module"])
def test_a_block_trains_on_all_nodes_of_a_cluster(package, kind):
    from ray.cluster_utils import Cluster

    from search.pool import RayPool

    text = example("yaml").replace("networks: 4", "networks: 8")
    if kind == "module":
        text = text.replace("my_blocks.py", "own_blocks.wide")
    sweep = parse_sweep(text, "sweep.yaml")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1"}
    )
    try:
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        trials = run_sweep(sweep, "run", lambda *given: RayPool(*given, cluster.address))
    finally:
        cluster.shutdown()
    assert {trial.state for trial in trials} == {"complete"}
    assert {stage.block for trial in trials for stage in trial.network.stages} == {"wide_basic"}
    # A node has room for one worker, so two workers are two nodes.
    assert len({trial.worker for trial in trials}) == 2
    here = run_sweep(sweep, "here", in_process)
    assert {(t.trial, t.error, t.curve) for t in here} == {
        (t.trial, t.error, t.curve) for t in trials
    }


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
    assert "--plugin: names neither a file nor a module" in error
    assert "blocks.txt: neither a Python file (.py) nor a module installed here" in error
    assert run(["--plugin", "./blocks", "spaces"]) == 2
    message = "plugin: './blocks' must be a Python file (.py) or the dotted name of a module"
    assert message in capsys.readouterr().err
