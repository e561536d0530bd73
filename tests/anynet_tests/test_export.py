"""Files of networks: written, read back, and what is refused."""

from __future__ import annotations

import pytest

from anynet.errors import InputError
from anynet.export import export_text, load_network, summary
from anynet.network import Network, Stage
from anynet.textbook import textbook_network


@pytest.mark.parametrize("to", ["anynet", "pycls"])
def test_an_exported_file_loads(tmp_path, to):
    network = textbook_network("regnety_800mf")
    path = tmp_path / "network.yaml"
    path.write_text(export_text(network, to, comment="the best\nof the run"))
    assert path.read_text().startswith("# the best\n# of the run\n")
    assert load_network(str(path)) == network


def test_networks_load_from_files_and_by_name(tmp_path):
    network = Network((Stage(1, 16, 2), Stage(3, 32, group_width=8)), classes=37)
    for name, text in (("a.yaml", network.to_yaml()), ("b.json", network.to_json())):
        (tmp_path / name).write_text(text)
        assert load_network(str(tmp_path / name)) == network
    assert load_network("resnet50") == textbook_network("resnet50")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("regnetx_401mf", "network: 'regnetx_401mf' is not known; did you mean 'regnetx_400mf'?"),
        ("regnetx_1.6", "network: 'regnetx_1.6' is not known; did you mean 'regnetx_1.6gf'?"),
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("nowhere/network", "nowhere/network: no such file"),
        (".", ".: a folder, where a file is expected"),
    ],
)
def test_a_network_that_is_not_there(name, message):
    with pytest.raises(InputError) as caught:
        load_network(name)
    assert str(caught.value) == message


def test_a_file_that_shadows_no_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text(textbook_network("resnet50").to_yaml())
    assert load_network("mine") == textbook_network("resnet50")


def test_the_summary_is_one_line():
    assert summary(textbook_network("regnetx_400mf")) == (
        "at 224x224: 5,157,512 params, 397,678,568 flops (multiply-adds), 3,143,272 activations"
    )
