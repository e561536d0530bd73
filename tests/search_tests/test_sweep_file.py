import pytest
from msgspec.structs import replace

from anynet import DesignSpace, InputError, Stem
from anynet.files import to_yaml
from anynet.reference import Reference
from anynet.textbook import textbook_network
from search.sweep_file import Baseline, load_sweep, parse_sweep

GOOD = """\
space: [anynetx_a, {base: regnetx, strides: [1, 2, 2], stem: {kind: cifar, width: 16}}]
networks: 24
window: {flops: [1e6, 2e6]}
data: {name: digits}
recipe: {lr: 0.2}
epochs: 3
"""


def test_a_whole_file():
    sweep = parse_sweep(GOOD, "s.yaml")
    assert [space.name for space in sweep.space] == ["anynetx_a", "regnetx"]
    assert sweep.space[1].strides == (1, 2, 2)
    assert sweep.space[1].line == DesignSpace.named("regnetx").line
    assert sweep.window.given() == {"flops": (1e6, 2e6)}
    assert (sweep.recipe.lr, sweep.epochs, sweep.seed) == (0.2, 3, 0)


def test_a_space_and_a_data_set_are_enough():
    sweep = parse_sweep("space: regnety\ndata: {name: digits}", "s.yaml")
    assert sweep.space == (DesignSpace.named("regnety"),)


def test_a_resolved_sweep_is_a_sweep_file():
    sweep = parse_sweep(GOOD, "s.yaml")
    assert parse_sweep(to_yaml(sweep), "again") == sweep


def test_a_space_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(DesignSpace.named("anynetx_d").to_yaml())
    sweep = parse_sweep(f"space: {path}\ndata: {{name: digits}}", "s.yaml")
    assert sweep.space == (DesignSpace.named("anynetx_d"),)


BASELINES = """\
baselines:
- resnet18
- {base: resnet18, name: resnet18_cifar, stem: {kind: cifar, width: 64}}
- vgg11_bn
- {base: lenet5, name: lenet}
"""


def test_baselines_by_name_and_with_changes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(textbook_network("r56").to_yaml())
    text = f"{GOOD}{BASELINES}- {path}\n"
    sweep = parse_sweep(text, "s.yaml")
    resnet = textbook_network("resnet18")
    assert sweep.baselines == (
        Baseline("resnet18", resnet),
        Baseline("resnet18_cifar", replace(resnet, stem=Stem("cifar", 64))),
        Baseline("vgg11_bn", reference="vgg11_bn"),
        Baseline("lenet", reference="lenet5"),
        Baseline("mine", textbook_network("r56")),
    )
    assert parse_sweep(to_yaml(sweep), "again") == sweep
    assert sweep.baselines[0].build_for(1, 10) == replace(resnet, input_channels=1, classes=10)
    assert sweep.baselines[2].build_for(1, 10) == Reference("vgg11_bn", 1, 10)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("resnet19", "baselines[0]: network: 'resnet19' is not known; did you mean 'resnet1"),
        ("[resnet18, resnet18]", "baselines[1].name: 'resnet18' occurs twice; give one another"),
        ("{base: resnet18, stem: {kind: cifar}}", "baselines[0].name: give the changed resnet18"),
        ("{base: vgg16, name: v, classes: 3}", "baselines[0].classes: vgg16 is not described in"),
        ("{base: resnet18, name: x, stem: {kind: cfar}}", "baselines[0].stem.kind: 'cfar' is no"),
        ("{base: resnet18, name: ../x}", "baselines[0].base: name: '../x' must be letters"),
        ("{name: x}", "baselines[0].network: give either `network` or `reference`"),
        ("7", "baselines[0]: 7 must be a name, a file, or a mapping"),
        ("none.yaml", "baselines[0]: none.yaml: no such file"),
    ],
)
def test_a_baseline_that_is_none_is_refused(entry, message):
    with pytest.raises(InputError) as caught:
        parse_sweep(f"{GOOD}baselines: {entry}\n", "s.yaml")
    assert str(caught.value).startswith("s.yaml: ")
    assert message in str(caught.value)


def test_no_space_is_called_as_the_baselines_are():
    text = GOOD.replace("[anynetx_a,", "[{base: anynetx_a, name: baseline},")
    parse_sweep(text, "s.yaml")
    with pytest.raises(InputError, match="name: 'baseline' means baselines"):
        parse_sweep(text + BASELINES, "s.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("networks", "netwroks", "netwroks: no such field; did you mean `networks`?"),
        ("lr:", "lrr:", "recipe.lrr: no such field; did you mean `lr`?"),
        ("0.2", "-0.2", "recipe.lr: -0.2 must be above 0"),
        ("0.2", "fast", "recipe.lr: 'fast': expected float, got str"),
        ("digits", "digts", "data.name: 'digts': must be one of digits, fashion_mnist, mnist, "
         "cifar10, image_folder"),
        ("{name: digits}", "digits", "data: 'digits': expected object, got str"),
        ("digits", "digits, validation: 1", "data.validation: 1.0 must lie between 0 and 1"),
        ("1e6, 2e6", "3e6, 2e6", "window.flops: [3000000.0, 2000000.0] must run from low to high"),
        ("24", "0", "networks: 0 must be above 0"),
        ("epochs: 3", "epochs: 0", "epochs: 0 must be above 0"),
        ("epochs: 3", "seed: -1", "seed: -1 must be 0 or more"),
        ("lr: 0.2", "warmup_epochs: 4", "recipe.warmup_epochs: 4 must be at most epochs 3"),
        ("lr: 0.2", "precision: fp16", "recipe.precision: 'fp16': must be one of auto, float32, "
         "bfloat16"),
        ("base: regnetx", "base: regnettx", "space[1].base: space: 'regnettx' is not known; did "
         "you mean 'regnetx'?; a file ends in .yaml"),
        ("cifar", "cfar", "space[1].stem.kind: 'cfar' is not known; did you mean 'cifar'?"),
        ("strides", "stride", "space[1].stride: no such field; did you mean `strides`?"),
        ("base: regnetx", "base: anynetx_a",
         "space[1].name: 'anynetx_a' occurs twice; give one another name"),
        ("epochs: 3", "resources: {gpus: 1.5}",
         "resources.gpus: 1.5 must be 0, a fraction of 1, or a whole number"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_field_value_and_rule(old, new, message):
    assert old in GOOD
    with pytest.raises(InputError) as info:
        parse_sweep(GOOD.replace(old, new, 1), "s.yaml")
    assert str(info.value) == f"s.yaml: {message}"


@pytest.mark.parametrize("text", ["", "[]", "3", "space: a: b", "\t", "space: []\ndata: x"])
def test_what_is_no_sweep_file_is_one_line(text):
    with pytest.raises(InputError, match=r"^s\.yaml: ") as info:
        parse_sweep(text, "s.yaml")
    assert "\n" not in str(info.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_sweep(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_the_examples_are_sweep_files(name, request):
    sweep = load_sweep(request.config.rootpath / "examples" / f"{name}.yaml")
    assert sweep.data.name == name
    assert sweep.networks * len(sweep.space) >= 32
