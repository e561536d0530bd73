"""A network is frozen, hashable, validated, and survives YAML and JSON."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec.structs import replace

from anynet.blocks import BLOCKS
from anynet.errors import InputError
from anynet.network import Head, Network, Stage, Stem

TWO_STAGES = Network(
    stages=(
        Stage(depth=1, width=32, stride=2, group_width=16),
        Stage(depth=2, width=64, stride=2, bottleneck_ratio=2, group_width=8),
    ),
    classes=10,
)
YAML = """\
stages:
- {depth: 1, width: 32, stride: 2, group_width: 16}
- {depth: 2, width: 64, stride: 2, bottleneck_ratio: 2, group_width: 8}
classes: 10
"""


def test_networks_survive_yaml_and_json(random_networks):
    for network in random_networks(11, 300):
        text = network.to_yaml("a comment\non two lines")
        assert text.startswith("# a comment\n# on two lines\n")
        assert Network.from_yaml(text) == network
        line = network.to_json()
        assert "\n" not in line
        assert Network.from_json(line) == network
        assert hash(Network.from_json(line)) == hash(network)
        assert msgspec.convert(json.loads(line), Network) == network


def test_networks_are_told_apart(random_networks):
    networks = random_networks(12, 300)
    assert len(set(networks)) == len({network.to_json() for network in networks}) > 290


def test_yaml_as_a_person_writes_it():
    assert Network.from_yaml(YAML) == TWO_STAGES
    assert TWO_STAGES.depths == (1, 2)
    assert TWO_STAGES.widths == (32, 64)


@pytest.mark.parametrize("field", Network.__struct_fields__)
def test_a_network_is_frozen(field):
    with pytest.raises(AttributeError):
        setattr(TWO_STAGES, field, getattr(TWO_STAGES, field))


def test_parts_are_frozen():
    for part, field in ((Stage(1, 8), "depth"), (Stem(), "width"), (Head(), "kind")):
        with pytest.raises(AttributeError):
            setattr(part, field, 3)


def test_replace_gives_another_network():
    other = replace(TWO_STAGES, stem=Stem("cifar", 16))
    assert other != TWO_STAGES
    assert other.stages is TWO_STAGES.stages


@pytest.mark.parametrize(
    ("left_out", "stated"),
    [
        (Stage(1, 32), Stage(1, 32, 1, "x", bottleneck_ratio=1, group_width=32)),
        (Stage(1, 32, bottleneck_ratio=4), Stage(1, 32, bottleneck_ratio=4.0, group_width=8)),
        (Stage(1, 32, bottleneck_ratio=0.5), Stage(1, 32, bottleneck_ratio=0.5, group_width=64)),
        (Stage(1, 2, bottleneck_ratio=8), Stage(1, 2, bottleneck_ratio=8, group_width=1)),
        (Stage(1, 32, block="y"), Stage(1, 32, block="y", group_width=32, se_ratio=0.25)),
        (
            Stage(1, 8, block="res_bottleneck_linear"),
            Stage(1, 8, block="res_bottleneck_linear", bottleneck_ratio=1, group_width=8),
        ),
    ],
)
def test_what_a_stage_leaves_out_is_filled_in(left_out, stated):
    assert left_out == stated
    assert hash(left_out) == hash(stated)
    assert Network((left_out,)) == Network((stated,))


@pytest.mark.parametrize("block", BLOCKS)
def test_settings_are_those_of_the_block(block):
    stage = Stage(1, 48, block=block)
    filled = BLOCKS[block].defaults | {"group_width": 48}
    assert stage.settings == {
        name: filled[name] for name in BLOCKS[block].defaults if filled[name] is not None
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth: 0 must be above 0"),
        ({"depth": -2}, "depth: -2 must be above 0"),
        ({"width": 0}, "width: 0 must be above 0"),
        ({"stride": 0}, "stride: 0 must be above 0"),
        (
            {"bottleneck_ratio": 2, "group_width": 24},
            "group_width: 24 does not divide the inner width 32 (width 64, bottleneck_ratio 2)",
        ),
        ({"group_width": 128}, "group_width: 128 does not divide the inner width 64"),
        ({"group_width": 0}, "group_width: 0 must be above 0"),
        ({"group_width": -8}, "group_width: -8 must be above 0"),
        ({"bottleneck_ratio": 0}, "bottleneck_ratio: 0 must be above 0"),
        ({"bottleneck_ratio": float("nan")}, "bottleneck_ratio: nan must be above 0"),
        ({"se_ratio": 0.25}, "se_ratio: 0.25, but the x block has none"),
        ({"block": "y", "se_ratio": 0}, "se_ratio: 0 must be above 0"),
        ({"block": "vanilla", "group_width": 8}, "group_width: 8, but the vanilla block has none"),
        (
            {"block": "res_basic", "bottleneck_ratio": 2},
            "bottleneck_ratio: 2, but the res_basic block has none",
        ),
        ({"block": "res_basik"}, "block: 'res_basik' is not known; did you mean 'res_basic'?"),
        ({"block": "q"}, "block: 'q' is not one of x, y, res_basic"),
    ],
)
def test_an_invalid_stage_cannot_be_made(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Stage(**({"depth": 1, "width": 64} | arguments))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bottleneck_ratio", float("inf")),
        ("bottleneck_ratio", 1e-320),
        ("se_ratio", float("inf")),
        ("se_ratio", 1e308),
        ("width", 10**400),
        ("depth", 10**400),
    ],
)
def test_a_setting_that_overflows_is_refused(field, value):
    with pytest.raises(ValueError, match=field) as caught:
        Stage(**({"depth": 1, "width": 64, "block": "y"} | {field: value}))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network(()), r"stages: \[\] must hold at least one stage"),
        (lambda: Network((Stage(1, 8),), classes=0), "classes: 0 must be above 0"),
        (lambda: Network((Stage(1, 8),), input_channels=-1), "input_channels: -1 must be above"),
        (lambda: Stem("simpel"), "kind: 'simpel' is not known; did you mean 'simple'"),
        (lambda: Stem(width=0), "width: 0 must be above 0"),
        (lambda: Head("conv"), "kind: 'conv' is not one of linear"),
    ],
)
def test_an_invalid_network_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "group_width: 8",
            "group_width: 24",
            "net.yaml: stages[1].group_width: 24 does not divide the inner width 32 "
            "(width 64, bottleneck_ratio 2)",
        ),
        (
            "width: 64, stride: 2, bottleneck_ratio: 2, group_width: 8",
            "width: 128, bottleneck_ratio: 2, group_width: 24",
            "net.yaml: stages[1].group_width: 24 does not divide the inner width 64 "
            "(width 128, bottleneck_ratio 2)",
        ),
        ("depth: 1,", "dept: 1,", "net.yaml: stages[0].dept: no such field; did you mean `depth`?"),
        ("classes:", "clases:", "net.yaml: clases: no such field; did you mean `classes`?"),
        ("classes:", "zzz:", "net.yaml: zzz: no such field"),
        ("depth: 2", "depth: 0", "net.yaml: stages[1].depth: 0 must be above 0"),
        ("depth: 2", "depth: true", "net.yaml: stages[1].depth: True: expected int, got bool"),
        ("depth: 2", "depth: 2.5", "net.yaml: stages[1].depth: 2.5: expected int, got float"),
        ("depth: 2", "depth: '2'", "net.yaml: stages[1].depth: '2': expected int, got str"),
        ("depth: 2", "depth: null", "net.yaml: stages[1].depth: None: expected int, got null"),
        ("depth: 2", "depth: .inf", "net.yaml: stages[1].depth: inf: expected int, got float"),
        ("depth: 2, ", "", "net.yaml: stages[1]: object missing required field depth"),
        ("ratio: 2", "ratio: .nan", "net.yaml: stages[1].bottleneck_ratio: nan must be above 0"),
        ("classes: 10", "classes: -1", "net.yaml: classes: -1 must be above 0"),
        ("classes: 10", "stem: {kind: cifra}", "net.yaml: stem.kind: 'cifra' is not known; did"),
        ("classes: 10", "stem: simple", "net.yaml: stem: 'simple': expected object, got str"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(old, new, message):
    assert old in YAML
    with pytest.raises(InputError) as caught:
        Network.from_yaml(YAML.replace(old, new), "net.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_numbers_with_exponents_are_numbers():
    text = "stages: [{depth: 1, width: 8, bottleneck_ratio: 1e0, group_width: 8}]"
    assert Network.from_yaml(text) == Network((Stage(1, 8),))
