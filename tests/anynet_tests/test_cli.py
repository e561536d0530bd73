"""The commands `spaces`, `sample`, `cost` and `explain`, as they are typed."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from anynet import cli, sampling
from anynet.cli import COMMANDS, run
from anynet.counting import cost
from anynet.memory import memory
from anynet.network import Network
from anynet.regnet import RegNet
from anynet.space import NAMED, DesignSpace
from anynet.textbook import textbook_network

SPACE = """\
name: mine
depth: {low: 1, high: 4}
width: {low: 8, high: 32, step: 8}
bottleneck_ratio: [1, 2]
group_width: [1, 8]
strides: [1, 2]
stem: {kind: cifar, width: 8}
input_channels: 1
classes: 10
"""
NETWORK = "stages: [{depth: 1, width: 8}]\nstem: {kind: cifar, width: 8}\n"
LINE = "depth: 10\nw0: 16\nwa: 20\nwm: 2.2\n"
PYCLS = "MODEL: {TYPE: regnet}\nREGNET: {DEPTH: 10, W0: 16, WA: 20, WM: 2.2, GROUP_W: 8}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a space, a network, a line and a pycls config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sampling, "PATIENCE", 50_000)
    for name, text in (
        ("space.yaml", SPACE),
        ("network.yaml", NETWORK),
        ("line.yaml", LINE),
        ("pycls.yaml", PYCLS),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def answer(capsys):
    """A function that runs a command line that must succeed, and returns its output."""

    def call(*arguments: str) -> str:
        assert run(arguments) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def refusal(capsys):
    """A function that runs a command line that must be refused, and returns the one line."""

    def call(*arguments: str) -> str:
        code = run(arguments)
        captured = capsys.readouterr()
        assert code == 2
        assert captured.out == ""
        assert captured.err.startswith("anynet: ")
        assert captured.err.endswith("\n")
        assert captured.err.count("\n") == 1
        assert len(captured.err) < 500
        return captured.err.removeprefix("anynet: ").strip()

    return call


def test_help_lists_every_command(answer):
    text = answer("--help")
    for name, command in COMMANDS.items():
        assert name in text
        assert " ".join(command.help.split()[:3]) in " ".join(text.split())
    assert answer() == text


@pytest.mark.parametrize("command", ["spaces", "sample", "cost", "explain"])
def test_every_command_has_help(answer, command):
    text = answer(command, "--help")
    assert f"anynet {command}" in text
    assert "--json" in text


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"demo"}))
def test_the_page_of_every_command_has_an_example(answer, command):
    assert re.search(rf"Examples?:\s+anynet {command}\b", answer(command, "--help"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_where_the_table_says(command):
    module, function = COMMANDS[command].function.split(":")
    assert importlib.util.find_spec(module)
    assert callable(getattr(importlib.import_module(module), function))


def test_spaces_lists_the_named_spaces(answer):
    lines = answer("spaces").splitlines()
    for name, space in NAMED.items():
        (line,) = (line for line in lines if line.split(" ")[0] == name)
        assert f"{space.size:,}" in line
        assert f" {space.free_dimensions} " in line
    rows = json.loads(answer("spaces", "--json"))
    assert [row["name"] for row in rows] == list(NAMED)
    assert [row["size"] for row in rows] == [space.size for space in NAMED.values()]
    assert [row["free_dimensions"] for row in rows] == [16, 13, 10, 10, 10, 6, 6, 5, 7, 10, 10]


def test_spaces_counts_networks(answer, folder):
    rows = {row["name"]: row for row in json.loads(answer("spaces", "--json"))}
    assert rows["anynetx_d"]["networks"] == NAMED["anynetx_d"].networks()._asdict()
    assert rows["regnetx"]["networks"] is None
    space = DesignSpace.from_yaml(SPACE)
    networks = space.networks().most
    assert answer("spaces", "space.yaml", "--networks") == (
        f"mine: {space.size:,} settings, {networks:,} networks\n"
    )
    counted = json.loads(answer("spaces", "space.yaml", "--networks", "--json"))
    assert counted == {
        "name": "mine",
        "size": space.size,
        "networks": {"least": networks, "most": networks, "reason": ""},
    }


def test_sample_takes_limits(answer, folder):
    limits = ("--limit", "params < 3e6", "--limit", "depth >= 30")
    text = answer("sample", "anynetx_c", "-n", "20", *limits, "--json")
    rows = json.loads(text)["rows"]
    assert max(row["params"] for row in rows) < 3e6
    assert min(sum(row["depths"]) for row in rows) >= 30


def test_spaces_prints_a_space_to_start_from(answer, folder):
    for name, space in NAMED.items():
        assert DesignSpace.from_yaml(answer("spaces", name)) == space
        assert DesignSpace.from_yaml(answer("spaces", name, "--json")) == space
    assert DesignSpace.from_yaml(answer("spaces", "space.yaml")) == DesignSpace.from_yaml(SPACE)


def test_sample_writes_a_line_a_network(answer, folder):
    window = ("--flops", "360e6:400e6", "--params", ":8e6")
    text = answer("sample", "anynetx_c", "-n", "50", *window, "--out", "deep/networks.jsonl")
    assert text.startswith("50 networks of anynetx_c -> deep/networks.jsonl; ")
    rows = [
        json.loads(line) for line in (folder / "deep" / "networks.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 50
    networks = [Network.from_json(json.dumps(row["network"])) for row in rows]
    assert len(set(networks)) == 50
    for row, network in zip(rows, networks, strict=True):
        assert cost(network) == (row["params"], row["flops"], row["activations"])
        assert row["widths"] == list(network.widths)
        assert row["depths"] == list(network.depths)
        assert row["group_widths"] == [stage.group_width for stage in network.stages]
        assert row["bottleneck_ratios"] == [stage.bottleneck_ratio for stage in network.stages]
        assert 360e6 <= row["flops"] <= 400e6
        assert row["params"] <= 8e6
        assert set(row["drawn"]) == {"depths", "widths", "bottleneck_ratios", "group_widths"}


def test_sample_without_a_file_prints_the_lines(capsys, folder):
    assert run(["sample", "space.yaml", "-n", "3"]) == 0
    captured = capsys.readouterr()
    assert [Network.from_json(json.dumps(json.loads(line)["network"])) for line in
            captured.out.splitlines()]  # fmt: skip
    assert len(captured.out.splitlines()) == 3
    assert captured.err.startswith("3 networks of mine; ")


def test_sample_is_the_same_for_a_seed(answer, folder):
    first = answer("sample", "space.yaml", "-n", "5", "--seed", "7")
    assert answer("sample", "space.yaml", "--networks", "5", "--seed", "7") == first
    assert answer("sample", "space.yaml", "-n", "9", "--seed", "7").startswith(first)
    assert answer("sample", "space.yaml", "-n", "5", "--seed", "8") != first


def test_sample_takes_other_images(answer, folder):
    options = ("--input-channels", "4", "--classes", "3", "--resolution", "9")
    row = json.loads(answer("sample", "space.yaml", "-n", "1", *options))
    network = Network.from_json(json.dumps(row["network"]))
    assert (network.input_channels, network.classes) == (4, 3)
    assert row["flops"] == cost(network, 9).flops


def test_sample_repeats_where_asked_for(answer, folder):
    (folder / "one.yaml").write_text(
        "{name: one, depth: 1, width: 8, bottleneck_ratio: 1, group_width: 8}"
    )
    assert len(set(answer("sample", "one.yaml", "-n", "20", "--repeats").splitlines())) == 1


def test_sample_json_is_one_document(answer, folder):
    document = json.loads(answer("sample", "space.yaml", "-n", "4", "--json"))
    assert (document["space"], document["networks"], len(document["rows"])) == ("mine", 4, 4)
    assert document["acceptance_rate"] == document["accepted"] / document["draws"]
    document = json.loads(answer("sample", "space.yaml", "-n", "4", "--json", "--out", "x.jsonl"))
    assert document["out"] == "x.jsonl"
    assert "rows" not in document
    assert len((folder / "x.jsonl").read_text().splitlines()) == 4


def test_cost_of_a_network_by_name(answer):
    document = json.loads(answer("cost", "regnetx_400mf", "--json"))
    # pycls, dev/model_complexity.json
    assert document["params"] == 5157512
    assert document["flops"] == 397678568
    assert document["activations"] == 3143272
    assert [line["name"] for line in document["stages"]][::5] == ["stem", "head"]
    assert sum(line["flops"] for line in document["stages"]) == document["flops"]
    held = [line["memory"]["training"] for line in (*document["stages"],)]
    assert sum(held) + document["passing"]["training"] == document["memory"]["training"]
    assert (document["batch_size"], document["precision"]) == (128, "float32")
    assert document["measured"] is None
    network = Network.from_json(json.dumps(document["network"]))
    assert network == textbook_network("regnetx_400mf")
    text = answer("cost", "regnetx_400mf")
    assert "regnetx_400mf at 224x224" in text
    assert "5,157,512" in text
    assert "397,678,568" in text
    assert "3,143,272" in text


def test_cost_of_files(answer, folder):
    for name in ("network.yaml", "pycls.yaml"):
        document = json.loads(answer("cost", name, "--resolution", "33", "--json"))
        network = Network.from_json(json.dumps(document["network"]))
        assert document["resolution"] == 33
        assert document["flops"] == cost(network, 33).flops
        assert f"{name} at 33x33" in answer("cost", name, "--resolution", "33")


def test_explain_shows_the_line_and_the_fix(answer):
    text = answer("explain", "regnetx_400mf")
    assert "depth 22, w0 24, wa 24.48, wm 2.54, group width 16" in text
    rows = [line.split() for line in text.splitlines()]
    # stage 4: depth 12, the line gives 392, 24.5 groups round to 24, and the width is 384
    assert ["4", "12", "392", "392", "16", "24", "384", "384"] in rows
    document = json.loads(answer("explain", "regnetx_400mf", "--json"))
    assert document["settings"]["w0"] == 24
    assert document["linear"][:2] == pytest.approx([24, 48.48])
    assert document["widths"] == [32, 64, 160, 384]
    assert document["depths"] == [1, 2, 7, 12]
    assert document["group_widths"] == [16] * 4
    assert sorted(set(document["quantized"])) == [24, 64, 152, 392]


def test_explain_shows_what_other_libraries_build(answer):
    lines = answer("explain", "regnetx_400mf").splitlines()
    (theirs,) = (line for line in lines if line.startswith("torchvision "))
    assert "32, 64, 160, 400" in theirs
    assert "half up" in theirs
    (same,) = (line for line in lines if line.startswith("timm "))
    assert same.split(maxsplit=1)[1].strip() == "32, 64, 160, 384"
    document = json.loads(answer("explain", "regnetx_400mf", "--json"))
    assert document["libraries"]["torchvision"]["widths"] == [32, 64, 160, 400]
    assert document["libraries"]["timm"]["widths"] == document["widths"]
    assert "timm and torchvision build the same" in answer("explain", "regnety_200mf")


def test_explain_says_what_a_library_cannot_build(answer, folder):
    (folder / "line.yaml").write_text(LINE.replace("w0: 16", "w0: 8") + "bottleneck_ratio: 16\n")
    assert json.loads(answer("explain", "line.yaml", "--json"))["libraries"] == {
        "timm": None,
        "torchvision": None,
    }
    assert "cannot" in answer("explain", "line.yaml")


WINDING = "stages: [{depth: 4, width: 512}, {depth: 4, width: 64}, {depth: 4, width: 256}]\n"
ANYNET = """\
MODEL: {TYPE: anynet}
ANYNET: {DEPTHS: [1, 2], WIDTHS: [16, 40], STRIDES: [2, 2], BOT_MULS: [1, 1], GROUP_WS: [8, 8]}
"""


def test_explain_fits_a_line_to_any_network(answer, folder):
    text = answer("explain", "resnet50")
    document = json.loads(answer("explain", "resnet50", "--json"))
    fit = document["fit"]
    assert f"w0 {fit['w0']}, wa {fit['wa']:.10g}, wm {fit['wm']:.10g}, e_fit" in text
    assert fit["depth"] == len(document["line"]) == 16
    assert document["line"] == RegNet(**fit).line.quantized.tolist()
    assert (document["depths"], document["widths"]) == ([3, 4, 6, 3], [256, 512, 1024, 2048])
    assert document["e_fit"] == pytest.approx(
        sum(gap * depth for gap, depth in zip(document["gaps"], [3, 4, 6, 3], strict=True)) / 16
    )
    assert document["near_a_line"]
    assert not document["on_a_line"]
    assert "near to a RegNet" in text
    assert len(answer("explain", "network.yaml").splitlines()) > 3


def test_explain_says_when_a_network_is_no_regnet(answer, folder):
    (folder / "winding.yaml").write_text(WINDING)
    assert "no RegNet" in answer("explain", "winding.yaml")
    document = json.loads(answer("explain", "winding.yaml", "--json"))
    assert document["e_fit"] > 0.5
    assert not document["near_a_line"]


def test_explain_says_when_a_networks_widths_are_a_line(answer, folder):
    (folder / "anynet.yaml").write_text(ANYNET)
    assert "Its widths are those of a RegNet" in answer("explain", "anynet.yaml")
    document = json.loads(answer("explain", "anynet.yaml", "--json"))
    assert (document["e_fit"], document["line"]) == (0, [16, 40, 40])


def test_explain_refuses_a_network_too_deep(refusal, folder):
    (folder / "deep.yaml").write_text("stages: [{depth: 1001, width: 8}]")
    assert refusal("explain", "deep.yaml") == (
        "deep.yaml: depths[0]: 1,001 blocks, a line is fitted to 1,000 at most"
    )


def test_explain_reads_lines_from_files(answer, folder):
    ours = json.loads(answer("explain", "line.yaml", "--json"))
    theirs = json.loads(answer("explain", "pycls.yaml", "--json"))
    assert ours["linear"] == theirs["linear"]
    assert (ours["settings"]["group_width"], theirs["settings"]["group_width"]) == (16, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sampel", "'sampel' is not a command; did you mean 'sample'?"),
        ("frobnicate", "'frobnicate' is not a command: demo, spaces, "),
        ("--nope", 'Unknown command "--nope"'),
        ("sample", 'Command "sample" parameter SPACE requires an argument.'),
        ("sample space.yaml", 'Command "sample" parameter -n requires an argument.'),
        ("sample space.yaml -n 0", "n: 0 must be 1 or more"),
        ("sample space.yaml -n -3", "n: -3 must be 1 or more"),
        ("sample space.yaml -n x", "Invalid value for -n"),
        ("sample space.yaml -n 1.5", "Invalid value for -n"),
        ("sample space.yaml -n 1 --seed -1", "--seed: -1 must be 0 or more"),
        ("sample space.yaml -n 1 --seed x", "Invalid value for --seed"),
        ("sample space.yaml -n 1 --resolution 0", "resolution: 0 must be "),
        ("sample space.yaml -n 1 --resolution -4", "resolution: -4 must be "),
        ("sample space.yaml -n 1 --resolution 1000000000", "resolution: "),
        (f"sample space.yaml -n 1 --resolution 1{'0' * 400}", "resolution: "),
        ("sample space.yaml -n 1 --flops 5", "--flops: '5' must be LOW:HIGH, as in 360e6:400e6"),
        ("sample space.yaml -n 1 --flops a:b", "--flops: 'a:b' must be LOW:HIGH"),
        ("sample space.yaml -n 1 --flops 1:2:3", "--flops: '1:2:3' must be LOW:HIGH"),
        ("sample space.yaml -n 1 --flops 5:1", "--flops: '5:1' must run from low to high"),
        ("sample space.yaml -n 1 --flops nan:", "--flops: 'nan:' must run from low to high"),
        ("sample space.yaml -n 1 --params :nan", "--params: ':nan' must run from low to high"),
        ("sample space.yaml -n 1 --activations x", "--activations: 'x' must be LOW:HIGH"),
        ("sample space.yaml -n 1 --flops inf:", "mine: nothing of 65,536 draws fits within flops"),
        ("sample space.yaml -n 1 --flops 1:2", "mine: nothing of 65,536 draws fits within flops"),
        ("sample space.yaml -n 1 --limit params<flos", "--limit: 'params<flos': character 8: 'fl"),
        ("sample space.yaml -n 1 --classes 0", "--classes: "),
        ("sample space.yaml -n 1 --input-channels -1", "--input-channels: "),
        ("sample space.yaml -n 1 --out .", ".: cannot be written: "),
        ("sample space.yaml -n 1 --out space.yaml/x", "space.yaml/x: cannot be written: "),
        ("sample space.yaml -n 1 extra", "Unused Tokens: ['extra']."),
        ("sample space.yaml -n 1 --foo", "Unknown option: --foo."),
        ("sample anynetx_z -n 1", "space: 'anynetx_z' is not known; did you mean 'anynetx_"),
        ("sample nowhere.yaml -n 1", "nowhere.yaml: no such file"),
        ("sample network.yaml -n 1", "network.yaml: stages: no such field"),
        ("cost", 'Command "cost" parameter NETWORK requires an argument.'),
        ("cost regnetx_401mf", "network: 'regnetx_401mf' is not known; did you mean 'regnetx_400m"),
        ("cost nowhere.yaml", "nowhere.yaml: no such file"),
        ("cost zzz", "network: 'zzz' is not "),
        ("cost .", ".: a folder, where a file is expected"),
        ("cost regnetx_400mf --resolution 0", "--resolution: 0 must be above 0"),
        ("cost regnetx_400mf --resolution -1", "--resolution: -1 must be above 0"),
        ("cost regnetx_400mf --resolution 1.5", "Invalid value for --resolution"),
        ("cost space.yaml", "space.yaml: name: no such field"),
        ("explain regnetx_401mf", "network: 'regnetx_401mf' is not known; did you mean"),
        ("explain nowhere.yaml", "nowhere.yaml: no such file"),
        ("spaces zzz", "space: 'zzz' is not one of anynetx_a, anynetx_b, "),
        ("spaces space.yaml x", "Unused Tokens: ['x']."),
    ],
    ids=lambda value: value[:60],
)
def test_wrong_input_is_refused_in_one_line(refusal, folder, arguments, message):
    assert refusal(*arguments.split(" ")).startswith(message)


WRONG_NETWORKS = {
    "": "empty",
    "[1, 2]": "expected object, got array",
    "hello": "'hello': expected object, got str",
    "stages: null": "stages: None: expected array, got null",
    "stages: []": "stages: [] must hold at least one stage",
    "stages: [null]": "stages[0]: None: expected object, got null",
    "stages: [{depth: true, width: 8}]": "stages[0].depth: True: expected int, got bool",
    "stages: [{depth: -1, width: 8}]": "stages[0].depth: -1 must be above 0",
    "stages: [{depth: 1, width: .nan}]": "stages[0].width: nan: expected int, got float",
    "stages: [{depth: 1, width: 8, bottleneck_ratio: .nan}]": "stages[0].bottleneck_ratio: nan",
    "stages: [{depth: 1, width: 8, bottleneck_ratio: .inf}]": "stages[0].bottleneck_ratio: inf",
    "stages: [{depth: 1, width: 8, bottleneck_ratio: 1.0e-320}]": "stages[0].bottleneck_ratio: ",
    "stages: [{depth: 1, width: 8, block: y, se_ratio: .inf}]": "stages[0].se_ratio: inf",
    "stages: [{depth: 1, width: 8, block: y, se_ratio: 1e308}]": "stages[0].se_ratio: ",
    f"stages: [{{depth: 1, width: 1{'0' * 400}}}]": "stages[0].width: ",
    f"stages: [{{depth: 1{'0' * 400}, width: 8}}]": "stages[0].depth: ",
    f"stages: [{{depth: 1, width: 1{'0' * 5000}}}]": "not valid YAML: ",
    "stages: [{depth: 1, width: 8}]\nclasses: 3\nclasses: 4": "line 3: not valid YAML: ",
    "stages: 2001-13-45": "not valid YAML: ",
    "stages: [": "line 1: not valid YAML: ",
    "1: 2": "expected str",
}


@pytest.mark.parametrize("text", WRONG_NETWORKS, ids=lambda text: text[:60])
def test_a_wrong_network_file_is_refused_in_one_line(refusal, folder, text):
    (folder / "n.yaml").write_text(text)
    assert refusal("cost", "n.yaml").startswith(f"n.yaml: {WRONG_NETWORKS[text]}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth: {low: 1, high: 4}", "depth: []", "depth: "),
        ("depth: {low: 1, high: 4}", "depth: {low: 1, high: .inf}", "depth.high: inf"),
        ("depth: {low: 1, high: 4}", "depth: {low: .nan, high: 4}", "depth.low: nan"),
        ("depth: {low: 1, high: 4}", "depth: {low: 1, high: 1e12}", "depth"),
        ("depth: {low: 1, high: 4}", "depth: 1e18", "depth: "),
        ("width: {low: 8, high: 32, step: 8}", "width: 1e300", "width: "),
        ("bottleneck_ratio: [1, 2]", "bottleneck_ratio: [1, .inf]", "bottleneck_ratio: inf"),
        ("bottleneck_ratio: [1, 2]", "bottleneck_ratio: [1, 1.2]", "bottleneck_ratio: 1.2"),
        ("bottleneck_ratio: [1, 2]", "bottleneck_ratio: [1, 0.3]", "bottleneck_ratio: "),
        ("group_width: [1, 8]", "group_width: [1, .nan]", "group_width: nan"),
        ("classes: 10", "classes: 0", "classes: 0 must be above 0"),
        ("input_channels: 1", "input_channels: 0", "input_channels: 0 must be above 0"),
        ("classes: 10", "block: y\nse_ratio: .inf", "se_ratio: inf"),
    ],
)
def test_a_wrong_space_file_is_refused_in_one_line(refusal, folder, old, new, message):
    assert old in SPACE
    (folder / "s.yaml").write_text(SPACE.replace(old, new))
    assert refusal("sample", "s.yaml", "-n", "2").startswith(f"s.yaml: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (LINE.replace("w0: 16", "w0: 17"), "w0: 17 must be a multiple of 8 above 0"),
        (LINE.replace("wa: 20", "wa: .nan"), "wa: nan"),
        (LINE.replace("wm: 2.2", "wm: .inf"), "wm: inf"),
        (LINE.replace("depth: 10", "depth: 10000000000"), "depth: 10000000000"),
        (LINE.replace("w0: 16", f"w0: 8{'0' * 400}"), "w0: 8000"),
        (LINE + "bottleneck_ratio: 0.3\n", "bottleneck_ratio: 0.3"),
        (LINE + "bottleneck_ratio: .nan\n", "bottleneck_ratio: nan"),
        (LINE + "W0: 3\n", "W0: no such field"),
        (PYCLS.replace("WM: 2.2", "BOT_MUL: 1.5"), "bottleneck_ratio: "),
    ],
)
def test_a_wrong_line_file_is_refused_in_one_line(refusal, folder, text, message):
    (folder / "l.yaml").write_text(text)
    assert refusal("explain", "l.yaml").startswith(f"l.yaml: {message}")


def test_work_that_failed_ends_in_exit_code_one(capsys, monkeypatch):
    def fail() -> None:
        raise cli.WorkFailed("three networks of four failed")

    monkeypatch.setattr("anynet.commands.spaces", fail)
    assert run(["spaces"]) == 1
    assert capsys.readouterr().err == "anynet: three networks of four failed\n"


def test_cost_says_what_memory_is_for(answer, folder):
    title, header, *_, total = answer(
        "cost", "network.yaml", "--resolution", "8", "--batch", "4", "--precision", "bfloat16"
    ).splitlines()
    assert title == "network.yaml at 8x8, memory for 4 images in bfloat16"
    assert header.split()[-4:] == ["training", "KiB", "inference", "KiB"]
    network = Network.from_yaml(NETWORK)
    needed = memory(network, 8, batch_size=4, precision="bfloat16")
    assert total.split()[-2:] == [f"{round(value / 1024):,}" for value in needed]


def test_cost_measures_where_asked_to(answer, folder):
    small = ("cost", "network.yaml", "--resolution", "8", "--batch", "4", "--measure")
    measured = json.loads(answer(*small, "--json"))["measured"]
    assert measured["device"] == "cpu"
    assert measured["threads"] >= 1
    assert measured["memory"]["training"] > measured["memory"]["inference"] > 0
    assert min(measured["seconds"].values()) > 0
    shown = answer(*small)
    assert "measured here (cpu, " in shown
    assert [line.split("  ")[0] for line in shown.splitlines()[-2:]] == [
        "training step", "inference",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", "0"), "anynet: --batch: 0 must be above 0"),
        (("--device", "cpu"), "anynet: --device: cpu says where to measure; add --measure"),
        (("--precision", "half"), 'anynet: Invalid value "half" for --precision.'),
        (("--measure", "--batch", "999999"), "anynet: --batch: 999999 images need about "),
    ],
)
def test_cost_refuses_what_cannot_be_measured(capsys, options, message):
    assert run(["cost", "regnetx_400mf", *options]) == 2
    assert capsys.readouterr().err.startswith(message)
