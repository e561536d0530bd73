"""Weights and graphs as files: what was saved is what is loaded, and what is refused."""

from __future__ import annotations

import builtins
import pickle
import struct
import zipfile

import pytest
import torch
from torch import nn

from anynet.blocks import register_block
from anynet.cli import run
from anynet.counting import cost
from anynet.errors import InputError
from anynet.exchange.folding import fold_batch_norms
from anynet.exchange.safetensors import load_safetensors, save_safetensors
from anynet.export import export_weights, load_network, load_weights
from anynet.layers import Conv, Norm
from anynet.model import build
from anynet.network import Head, Network, Stage, Stem
from anynet.textbook import textbook_network

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Network(
    (
        Stage(2, 16, 2, "y", bottleneck_ratio=2, group_width=2),
        Stage(1, 24, 1, "res_basic"),
        Stage(2, 24, 2, "vanilla"),
        Stage(2, 24, 1, "res_bottleneck_linear", group_width=1),
        Stage(1, 32, 2, "x", group_width=8),
    ),
    Stem("imagenet", 8),
    input_channels=1,
    classes=5,
)
"""Every block, the stem with pooling, narrow groups."""


def scores(module, images):
    with torch.no_grad():
        return module(images)


def of_file(path, to):
    """A function from images to scores that runs the file with its own library."""
    if to == "onnx":
        import onnx
        import onnxruntime

        onnx.checker.check_model(onnx.load(path))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda x: torch.from_numpy(session.run(["scores"], {"images": x.numpy()})[0])
    if to == "torch_export":
        return torch.export.load(str(path)).module()
    return load_safetensors(path)


FORMATS = {
    "onnx": (".onnx", 1e-4),
    "torch_export": (".pt2", 1e-5),
    "safetensors": (".safetensors", 1e-5),
}


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("to", FORMATS)
def test_a_file_has_the_outputs_and_the_network(trained, tmp_path, to, fold):
    if fold and to == "safetensors":
        return
    suffix, tolerance = FORMATS[to]
    module = trained(SMALL)
    path = tmp_path / f"small{suffix}"
    saved = fold_batch_norms(module) if fold else module
    assert export_weights(saved.train(), to, path, resolution=32, note="two\nlines") == path
    assert saved.training
    module.eval()
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    runs = of_file(path, to)
    for batch in (images, images[:1]):
        assert (scores(runs, batch) - scores(module, batch)).abs().max() < tolerance
    rebuilt = build(load_network(str(path)), device="meta")
    assert sum(p.numel() for p in rebuilt.parameters()) == cost(SMALL, 32).params
    assert rebuilt.network == SMALL
    if not fold:
        assert (scores(load_weights(path), images) - scores(module, images)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regnetx_200mf", "regnety_400mf", "efficientnet_b0"])
def test_onnx_has_the_outputs_of_published_networks(trained, tmp_path, name):
    module = trained(textbook_network(name))
    path = export_weights(module, "onnx", tmp_path / "n.onnx", resolution=64)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (scores(of_file(path, "onnx"), images) - scores(module, images)).abs().max() < 1e-4


TINY = Network((Stage(1, 8, 2),), Stem(width=8), classes=3)
GIVEN_BACK = {
    "small": SMALL,
    "silu": Network(
        (Stage(2, 8, 2, "mbconv", se_ratio=0.25), Stage(2, 40, 2, "dense", growth_rate=12)),
        Stem("deep", 8),
        Head("norm_linear", width=24, dropout=0.2),
        activation="silu",
        classes=4,
    ),
    "no norm": Network((Stage(1, 8, 2, "inception"),), norm="none", classes=3),
    "group norm": Network((Stage(2, 32, 2),), norm="group", shortcut="avg_pool", classes=3),
    "vgg": Network((Stage(1, 8, 2, "v"),), head=Head("fully_connected", 16, grid=2), classes=3),
}


@pytest.mark.parametrize(
    ("name", "to", "fresh"),
    [
        *((name, "torch_export", False) for name in GIVEN_BACK),
        ("group norm", "onnx", True),
        *(
            pytest.param(name, "onnx", fresh, marks=pytest.mark.slow)
            for name in GIVEN_BACK
            for fresh in (False, True)
        ),
    ],
)
def test_a_graph_gives_its_weights_back(trained, tmp_path, name, to, fresh):
    network = GIVEN_BACK[name]
    # Fresh weights are alike, and zero: what an exporter merges or drops.
    module = build(network).eval() if fresh else trained(network)
    path = export_weights(module, to, tmp_path / f"n{FORMATS[to][0]}", resolution=32)
    again = load_weights(path)
    assert again.network == network
    assert not again.training
    for key, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    images = torch.randn(2, network.input_channels, 32, 32)
    assert (scores(again, images) - scores(module, images)).abs().max() < 1e-5
    if to == "onnx":  # of zero biases, say, nothing is left
        assert (scores(of_file(path, to), images) - scores(module, images)).abs().max() < 1e-4
        import onnx

        nodes = onnx.load(path).graph.node
        assert "Expand" not in {node.op_type for node in nodes}
        convs = sum(isinstance(m, nn.Conv2d) for m in module.modules())
        assert [node.op_type for node in nodes].count("Conv") == convs


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_the_command_turns_a_graph_into_safetensors(trained, tmp_path, capsys, suffix):
    module, to = trained(TINY), {".onnx": "onnx", ".pt2": "torch_export"}[suffix]
    path = export_weights(module, to, tmp_path / f"n{suffix}", resolution=32)
    out = str(tmp_path / "w.safetensors")
    assert run(["export", str(path), "--to", "safetensors", "--out", out]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (scores(load_safetensors(out), images) - scores(module, images)).abs().max() < 1e-5

    folded = export_weights(fold_batch_norms(module), to, path, resolution=32)
    assert load_network(str(folded)) == TINY
    assert run(["export", str(path), "--to", "safetensors", "--out", out]) == 2
    assert capsys.readouterr().err == (
        f"anynet: {path}: its batch norms are folded into its convolutions, so it has no weights "
        "to give back; a graph that is exported without --fold has\n"
    )


def test_a_graph_without_one_of_its_weights_is_refused(trained, tmp_path):
    import onnx

    path = export_weights(trained(TINY), "onnx", tmp_path / "n.onnx", resolution=32)
    model = onnx.load(path)
    model.graph.initializer[0].name = "other"
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"n.onnx: stem.0.weight is not in its graph"):
        load_weights(path)
    with pytest.raises(InputError, match=r"n.yaml: must be a file with weights \(.safetensors"):
        load_weights("n.yaml")


def test_a_pickle_in_a_graph_is_not_run(trained, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "was_run"), "w")

    path = export_weights(trained(SMALL), "torch_export", tmp_path / "n.pt2", resolution=32)
    other = tmp_path / "other.pt2"

    def rewritten(replaced, content):
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as copy:
            for name in archive.namelist():
                data = content if name.endswith(replaced) else archive.read(name)
                copy.writestr(name, data)

    rewritten("sample_inputs/model.pt", pickle.dumps(Evil()))
    assert load_weights(other).network == SMALL
    for replaced in ("weights/weight_3", "weights/model_weights_config.json"):
        rewritten(replaced, pickle.dumps(Evil()))
        with pytest.raises(InputError, match=r"other.pt2: its weights are not stored as torch"):
            load_weights(other)
    assert not (tmp_path / "was_run").exists()


def test_a_network_without_batch_norms_is_not_folded(tmp_path, capsys):
    (tmp_path / "n.yaml").write_text("norm: group\nstages: [{depth: 1, width: 16}]")
    command = ["export", str(tmp_path / "n.yaml"), "--to", "onnx", "--fold"]
    assert run([*command, "--out", str(tmp_path / "n.onnx")]) == 2
    assert "--fold: the network has no batch norm to fold (norm group)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["regnetx_200mf", "regnety_400mf", "resnext50_32x4d"])
def test_folding_keeps_the_outputs(trained, name):
    module = trained(textbook_network(name)).train()
    folded = fold_batch_norms(module)
    assert module.training
    assert not folded.training
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (scores(folded, images) - scores(module.eval(), images)).abs().max() < 1e-5


def test_a_norm_that_follows_no_convolution_stays(own_blocks, trained):
    register_block("norm_first")(lambda width_in, width, stride: (Norm(), Conv(width, 3, stride)))
    module = trained(Network((Stage(2, 8, 2, "norm_first"),), classes=3))
    folded = fold_batch_norms(module)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 2
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (scores(folded, images) - scores(module, images)).abs().max() < 1e-5


def test_safetensors_keep_every_bit(trained, tmp_path):
    module = trained(SMALL)
    loaded = load_safetensors(save_safetensors(module, tmp_path / "a.safetensors", "note"))
    assert loaded.network == SMALL
    assert not loaded.training
    for (key, value), (other, copy) in zip(
        module.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(value, copy)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2", ".onnx"])
def test_files_that_are_none_of_ours_are_refused(tmp_path, suffix):
    with pytest.raises(InputError) as caught:
        load_network(str(tmp_path / f"none{suffix}"))
    assert one_line(caught).endswith(": no such file")
    for content in (b"", b"\xff" * 40, struct.pack("<Q", 4) + b"[12]"):
        (tmp_path / f"bad{suffix}").write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_network(str(tmp_path / f"bad{suffix}"))
        assert f"bad{suffix}: " in one_line(caught)


def test_safetensors_of_others_are_refused(trained, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"x.safetensors: no file of anynet \(anynet.network is"):
        load_network(str(path))
    save_file({"w": torch.zeros(1)}, path, {"anynet.network": SMALL.to_json()})
    with pytest.raises(InputError, match=r"anynet.version: None, but this anynet reads 1"):
        load_network(str(path))
    texts = {"anynet.version": "1", "anynet.network": SMALL.to_json()}
    save_file({"w": torch.zeros(1)}, path, texts)
    assert load_network(str(path)) == SMALL
    with pytest.raises(InputError) as caught:
        load_safetensors(path)
    assert "not the weights of its network" in one_line(caught)
    save_file({"w": torch.zeros(1)}, path, texts | {"anynet.network": '{"stages": []}'})
    with pytest.raises(InputError, match=r"must hold at least one stage"):
        load_network(str(path))


def test_the_command_exports_fresh_weights_and_says_so(tmp_path, capsys):
    (tmp_path / "n.yaml").write_text(SMALL.to_yaml())
    network, saved = str(tmp_path / "n.yaml"), str(tmp_path / "w.safetensors")
    assert run(["export", network, "--to", "safetensors", "--seed", "3", "--out", saved]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{saved}\n"
    assert captured.err == f"anynet: {saved}: weights are fresh (seed 3), not trained\n"
    weights = load_safetensors(saved)
    for extra in ([saved], [network, "--weights", saved]):
        out = str(tmp_path / "n.pt2")
        command = ["export", *extra, "--to", "torch_export", "--fold", "--resolution", "32"]
        assert run([*command, "--out", out]) == 0
        assert capsys.readouterr() == (f"{out}\n", "")
        images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        runs = torch.export.load(out).module()
        assert (scores(runs, images) - scores(weights, images)).abs().max() < 1e-5
    assert run(["cost", saved]) == 0


@pytest.mark.parametrize("to", ["torchvision", "timm", "d2l"])
def test_the_command_writes_code(tmp_path, to):
    out = tmp_path / "model.py"
    assert run(["export", "regnetx_200mf", "--to", to, "--out", str(out)]) == 0
    text = out.read_text()
    assert text.startswith("# regnetx_200mf\n# at 224x224: 2,684,792 params, ")
    assert "pycls's rule" in text
    assert "def build(" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "timm", "--fold"], "--fold: goes with weights (onnx, safetensors, torch_export"),
        (["--seed", "1"], "--seed: goes with weights"),
        (["--to", "safetensors", "--fold"], "--fold: goes with a graph (onnx, torch_export), not"),
        (["--to", "onnx", "--resolution", "0"], "--resolution: 0 must lie between 1 and 4096"),
        (["--to", "onnx", "--seed", "-1"], "--seed: -1 must lie between 0 and"),
        (
            ["--to", "onnx", "--weights", "n.pt"],
            "--weights: n.pt must be a file of ours (.safetensors, .pt2, .onnx)",
        ),
        (["--to", "onnx", "--weights", "n.safetensors"], "n.safetensors: no such file"),
        (
            ["--to", "onnx", "--weights", "n.safetensors", "--seed", "1"],
            "--seed: 1 goes with fresh weights, and n.safetensors has weights",
        ),
        (["--to", "keras"], "keras"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(["export", "regnetx_200mf", *arguments, "--out", "x"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("to", "name", "ending"),
    [
        ("anynet", "n.onnx", ".yaml"),
        ("onnx", "n.yaml", ".onnx"),
        ("safetensors", "n.pt2", ".safetensors"),
        ("timm", "n.yaml", ".py"),
    ],
)
def test_the_ending_of_another_format_is_refused(tmp_path, capsys, to, name, ending):
    out = tmp_path / name
    assert run(["export", "resnet18", "--to", to, "--out", str(out)]) == 2
    expected = f"anynet: --out: {out}: must end in {ending} for --to {to}\n"
    assert capsys.readouterr() == ("", expected)
    assert not out.exists()


def test_weights_of_another_network_are_refused(trained, tmp_path, capsys):
    path = str(save_safetensors(trained(SMALL), tmp_path / "w.safetensors"))
    out = ["--out", str(tmp_path / "x.onnx")]
    assert run(["export", path, "--to", "onnx", "--classes", "9", *out]) == 2
    assert "holds weights of another network" in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *rest)

    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.setattr(builtins, "__import__", without)
    out = str(tmp_path / "x.onnx")
    assert run(["export", "regnetx_200mf", "--to", "onnx", "--out", out]) == 2
    assert "onnx is not installed: pip install 'anynet-nas[onnx]'" in capsys.readouterr().err
