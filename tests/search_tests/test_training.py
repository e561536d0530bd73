"""The training loop: what it learns, draws, records, and that it does so bit for bit again."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from anynet import Head, Network, Stage, Stem, build
from anynet.layers import NORMS
from anynet.model import AnyNet
from search.data import DataSet, Split
from search.recipe import Precision, Recipe
from search.training import (
    _STEPS_BETWEEN_LOSS_CHECKS,
    Resident,
    Training,
    augment,
    evaluate,
    pin_threads,
    resolve,
    train,
)

ROOT = Path(__file__).parents[2]
PLAIN = Recipe(
    lr=0.1, batch_size=64, precision="float32", channels_last=True, flip=False, crop_padding=0
)


def network(seed: int = 0) -> AnyNet:
    """A small AnyNet for gray images, with group convolutions of every kind of treatment."""
    described = Network(
        stem=Stem(kind="cifar", width=16),
        stages=(
            Stage(depth=1, width=32, stride=1, group_width=2),
            Stage(depth=2, width=48, stride=2, group_width=1),
        ),
        input_channels=1,
        classes=10,
    )
    return build(described, generator=torch.Generator().manual_seed(seed))


def split(count: int, seed: int = 0, *, channels: int = 1, side: int = 8) -> Split:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return Split(images, rng.integers(0, 10, count))


def data_set(train_split: Split, validation: Split) -> DataSet:
    channels = train_split.images.shape[1]
    return DataSet(
        name="stand-in",
        classes=tuple("0123456789"),
        train=train_split,
        validation=validation,
        test=None,
        mean=(0.25,) * channels,
        std=(0.5,) * channels,
        flip=True,
        crop_padding=1,
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    pin_threads(1)


@pytest.fixture(scope="module")
def digits() -> Resident:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order].astype(np.int64)
    return Resident(
        data_set(Split(images[:1400], labels[:1400]), Split(images[1400:], labels[1400:]))
    )


@pytest.fixture(scope="module")
def noise() -> Resident:
    return Resident(data_set(split(200), split(50, 1)))


def run(
    resident: Resident,
    recipe: Recipe,
    *,
    epochs: int = 2,
    seed: int = 0,
    keep_weights: bool = False,
) -> Training:
    return train(
        network(seed), resident, recipe, epochs=epochs, seed=seed, keep_weights=keep_weights
    )


# Learning


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_learns_digits_in_a_few_epochs(digits: Resident, precision: Precision) -> None:
    recipe = Recipe(
        lr=0.1, batch_size=32, precision=precision, channels_last=True, flip=False, crop_padding=1
    )
    heard: list[tuple[int, float]] = []
    module = network()
    result = train(
        module, digits, recipe, epochs=4, seed=0, on_epoch=lambda *said: heard.append(said)
    )
    assert not result.diverged
    assert result.error < 12
    assert result.error == result.curve[-1]
    assert heard == list(enumerate(result.curve, 1))
    assert evaluate(module, digits, recipe) == result.error
    assert result.images_per_second > 0


def test_random_labels_leave_the_error_near_chance(noise: Resident) -> None:
    assert run(noise, PLAIN).error > 70


def test_divergence_is_recorded_and_stops_the_training(digits: Resident) -> None:
    recipe = Recipe(
        lr=1e6, batch_size=8, precision="float32", channels_last=True, flip=False, crop_padding=0
    )
    result = run(digits, recipe, epochs=3)
    assert result.diverged
    assert result.error == 100.0
    assert len(result.curve) < 3


class Exploding(nn.Module):
    """Scores that are infinite from the given call on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.calls, self.after = 0, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return self.linear(x.flatten(1)) * (math.inf if self.calls > self.after else 1.0)


def test_a_loss_that_is_not_finite_is_seen_at_the_next_check() -> None:
    resident = Resident(data_set(split(300), split(20, 1)))
    recipe = Recipe(
        batch_size=1, precision="float32", channels_last=False, flip=False, crop_padding=0
    )
    module = Exploding(after=300 + 3)
    result = train(module, resident, recipe, epochs=3, seed=0)
    assert result.diverged
    assert len(result.curve) == 1
    assert module.calls == 300 + _STEPS_BETWEEN_LOSS_CHECKS


def test_scores_that_are_not_finite_are_wrong_and_the_error_is_100(noise: Resident) -> None:
    module = Exploding(after=-1)
    assert evaluate(module, noise, PLAIN) == 100.0


def test_evaluation_counts_every_image_once() -> None:
    """A module that reads the class out of the image itself, over several batches."""

    class Reader(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            label = (x[:, 0, 0, 0] * 0.5 + 0.25) * 255
            return -(label[:, None] - torch.arange(10)).abs()

    validation = split(601, side=2)
    images = validation.images.copy()
    images[:, 0, 0, 0] = validation.labels
    images[:7, 0, 0, 0] = (validation.labels[:7] + 1) % 10
    resident = Resident(data_set(split(10), Split(images, validation.labels)))
    assert evaluate(Reader(), resident, PLAIN) == pytest.approx(100 * 7 / 601)


# The optimizer's step


def test_one_step_is_sgd_with_nesterov_and_decay_on_every_parameter() -> None:
    """One full-batch step against the update written out; label smoothing too."""
    resident = Resident(data_set(split(12), split(5, 1)))
    recipe = Recipe(
        lr=0.2,
        momentum=0.9,
        weight_decay=0.01,
        batch_size=12,
        label_smoothing=0.1,
        precision="float32",
        channels_last=False,
        flip=False,
        crop_padding=0,
    )
    module = network()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    twin = network()
    images, labels = resident.train
    scores = twin(resident.normalize(images, channels_last=False))
    log_p = functional.log_softmax(scores, 1)
    smoothed = torch.full_like(log_p, 0.1 / 10)
    smoothed[torch.arange(12), labels] += 0.9
    loss = -(smoothed * log_p).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    train(module, resident, recipe, epochs=1, seed=0)
    for (name, after), gradient in zip(module.named_parameters(), gradients, strict=True):
        decayed = gradient + 0.01 * before[name]
        wanted = before[name] - 0.2 * 1.9 * decayed  # momentum buffer = d on the first step
        torch.testing.assert_close(after.detach(), wanted, rtol=1e-4, atol=1e-5)


class Recorder(nn.Module):
    """Remembers the batches that it sees in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 10)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return self.linear(x.mean((1, 2, 3), keepdim=False)[:, None])


@pytest.mark.parametrize(
    ("images", "batch_size", "batches"),
    [(200, 64, [64] * 3), (128, 64, [64] * 2), (50, 64, [50]), (1, 64, [2]), (3, 1, [2] * 3)],
)
def test_batches_of_an_epoch(images: int, batch_size: int, batches: list[int]) -> None:
    """The remainder is dropped; too few images are one batch; one image is taken twice."""
    resident = Resident(data_set(split(images), split(10, 1)))
    recipe = Recipe(
        batch_size=batch_size, precision="float32", channels_last=True, flip=False, crop_padding=0
    )
    module = Recorder()
    train(module, resident, recipe, epochs=2, seed=0)
    assert [len(batch) for batch in module.seen] == batches * 2


@pytest.mark.parametrize("images", [1, 2, 40])
def test_batch_norm_survives_the_smallest_data(images: int) -> None:
    resident = Resident(data_set(split(images, side=1), split(10, 1, side=1)))
    recipe = Recipe(
        batch_size=1, precision="float32", channels_last=True, flip=False, crop_padding=0
    )
    result = run(resident, recipe)
    assert len(result.curve) == 2
    assert not result.diverged


def test_each_epoch_shows_every_image_once_in_another_order() -> None:
    train_split = split(40)
    resident = Resident(data_set(train_split, split(10, 1)))
    module = Recorder()
    recipe = Recipe(
        batch_size=8, precision="float32", channels_last=False, flip=False, crop_padding=0
    )
    train(module, resident, recipe, epochs=2, seed=0)
    shown = torch.cat(module.seen)
    wanted = resident.normalize(resident.train[0], channels_last=False).flatten(1)
    orders = [
        [int((wanted == image).all(1).nonzero()) for image in epoch.flatten(1)]
        for epoch in shown.split(40)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert orders[0] != orders[1]


# Augmentation


def numbered(count: int, side: int = 6) -> torch.Tensor:
    """Images (count, 3, side, side) whose pixels are all different and not 0."""
    pixels = torch.arange(count * 3 * side * side).view(count, 3, side, side)
    return (pixels % 255 + 1).to(torch.uint8)


def find_crop(image: torch.Tensor, crop: torch.Tensor, padding: int) -> list[tuple[int, int]]:
    padded = functional.pad(image, (padding,) * 4)
    side = image.shape[-1]
    return [
        (top, left)
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
        if torch.equal(padded[:, top : top + side, left : left + side], crop)
    ]


def test_crops_are_windows_of_the_zero_padded_image_over_the_whole_range() -> None:
    images = numbered(400)
    crops = augment(images, torch.Generator().manual_seed(0), flip=False, crop_padding=2)
    assert crops.dtype is torch.uint8
    assert crops.shape == images.shape
    places = [find_crop(image, crop, 2) for image, crop in zip(images, crops, strict=True)]
    assert all(len(found) == 1 for found in places)
    counts = np.zeros((5, 5), dtype=int)
    for ((top, left),) in places:
        counts[top, left] += 1
    assert counts.min() >= 4  # 16 expected of each of the 25 places
    assert counts.max() <= 32


def test_flips_are_exact_and_about_half() -> None:
    images = numbered(400)
    out = augment(images, torch.Generator().manual_seed(0), flip=True, crop_padding=0)
    mirrored = torch.tensor([torch.equal(a.flip(-1), b) for a, b in zip(images, out, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(images, out, strict=True)])
    assert (mirrored ^ same).all()
    assert 160 < int(mirrored.sum()) < 240


def test_no_augmentation_leaves_images_and_generator_alone() -> None:
    images = numbered(4)
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    assert torch.equal(augment(images, generator, flip=False, crop_padding=0), images)
    assert torch.equal(generator.get_state(), state)


def test_labels_follow_their_images() -> None:
    """Where each image is one flat color, its class, a linear reader learns it through it all."""
    labels = np.arange(400) % 10
    images = np.broadcast_to(labels[:, None, None, None] * 25 + 5, (400, 1, 8, 8))
    resident = Resident(
        data_set(Split(np.ascontiguousarray(images, dtype=np.uint8), labels), split(10, 1))
    )

    class Watcher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            color = (x[:, 0].amax((1, 2)) * 0.5 + 0.25) * 255
            label = ((color - 5) / 25).round().long()
            # Only if these are the labels that the loss is given is the loss this small.
            return functional.one_hot(label.clamp(0, 9), 10) * 50.0 + self.scores

    module = Watcher()
    before = module.scores.detach().clone()
    recipe = Recipe(
        lr=1.0,
        weight_decay=0.0,
        batch_size=40,
        precision="float32",
        channels_last=True,
        flip=True,
        crop_padding=2,
    )
    train(module, resident, recipe, epochs=1, seed=0)
    torch.testing.assert_close(module.scores.detach(), before, rtol=0, atol=1e-6)


def test_normalized_images_have_the_mean_and_deviation_taken_out() -> None:
    resident = Resident(data_set(split(4, channels=3), split(4, 1, channels=3)))
    images = resident.train[0]
    wanted = (images.double() / 255 - 0.25) / 0.5
    for channels_last in (False, True):
        normal = resident.normalize(images, channels_last=channels_last)
        torch.testing.assert_close(normal.double(), wanted, rtol=1e-5, atol=1e-6)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert normal.is_contiguous(memory_format=layout)


# Resident data


def test_the_data_are_shared_not_copied_and_read_only_arrays_do_not_warn() -> None:
    data = data_set(split(4), split(4, 1))
    assert not data.train.images.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resident = Resident(data)
    assert resident.train[0].data_ptr() == data.train.images.ctypes.data
    assert resident.validation[1].data_ptr() == data.validation.labels.ctypes.data


def test_training_writes_nothing_into_the_data(noise: Resident) -> None:
    before = [tensor.clone() for tensor in (*noise.train, *noise.validation)]
    run(noise, Recipe(precision="bfloat16", channels_last=True, flip=True, crop_padding=2))
    for tensor, was in zip((*noise.train, *noise.validation), before, strict=True):
        assert torch.equal(tensor, was)


# Determinism


AUGMENTED = Recipe(
    batch_size=32, precision="bfloat16", channels_last=True, flip=True, crop_padding=2
)


def test_the_same_bits_whatever_ran_before_and_whatever_the_global_generator(
    digits: Resident,
) -> None:
    torch.manual_seed(1)
    first = run(digits, AUGMENTED, keep_weights=True)
    run(digits, AUGMENTED, seed=1)
    torch.manual_seed(2)
    again = run(digits, AUGMENTED, keep_weights=True)
    assert first.curve == again.curve
    assert first.weights is not None
    assert again.weights is not None
    for name, value in first.weights.items():
        assert torch.equal(value, again.weights[name]), name


def test_training_leaves_the_global_generators_alone(noise: Resident) -> None:
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    run(noise, AUGMENTED)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_another_seed_draws_another_training(digits: Resident) -> None:
    results = [
        train(network(0), digits, AUGMENTED, epochs=1, seed=seed, keep_weights=True)
        for seed in (0, 1)
    ]
    first, second = (result.weights or {} for result in results)
    assert not torch.equal(first["head.1.weight"], second["head.1.weight"])


def fingerprint() -> str:
    """The curve and the weights' bits of one short training, as text."""
    pin_threads(1)
    result = run(Resident(data_set(split(200), split(50, 1))), AUGMENTED, keep_weights=True)
    assert result.weights is not None
    bits = [value.flatten()[:4].tolist() for value in result.weights.values()]
    return repr((result.curve, bits))


def test_another_process_trains_the_same_bits() -> None:
    script = (
        "import importlib.util as u;"
        f"s = u.spec_from_file_location('t', {str(Path(__file__))!r});"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.fingerprint())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == fingerprint()


# Choices for a machine


def test_resolve_takes_what_the_recipe_leaves_open(noise: Resident) -> None:
    resolved = resolve(Recipe(), noise)
    assert resolved.flip is True
    assert resolved.crop_padding == 1
    assert resolved.channels_last is True
    assert resolved.precision in ("float32", "bfloat16")
    assert resolve(resolved, noise) == resolved


def test_resolve_keeps_what_the_recipe_says(noise: Resident) -> None:
    said = Recipe(precision="float32", channels_last=False, flip=False, crop_padding=0)
    assert resolve(said, noise) == said


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_precision_follows_the_processor(
    noise: Resident, monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve(Recipe(), noise).precision == precision


def test_what_is_not_resolved_is_refused(noise: Resident) -> None:
    with pytest.raises(ValueError, match="precision: 'auto' must be decided first, by `resolve`"):
        run(noise, Recipe())
    with pytest.raises(ValueError, match="flip: None must be decided first"):
        run(noise, Recipe(precision="float32", channels_last=True))


def test_no_epochs_are_refused(noise: Resident) -> None:
    with pytest.raises(ValueError, match="epochs: 0 must be 1 or more"):
        run(noise, PLAIN, epochs=0)


def test_channels_last_gives_the_module_that_layout(noise: Resident) -> None:
    module = network()
    train(module, noise, PLAIN, epochs=1, seed=0)
    kernels = [parameter for parameter in module.parameters() if parameter.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_weights_are_kept_only_if_asked_and_are_copies(noise: Resident) -> None:
    assert run(noise, PLAIN, epochs=1).weights is None
    module = network()
    result = train(module, noise, PLAIN, epochs=1, seed=0, keep_weights=True)
    assert result.weights is not None
    assert set(result.weights) == set(module.state_dict())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert result.weights["stem.0.weight"].any()


def test_pinned_threads_hold_and_can_be_set_twice() -> None:
    pin_threads(1)
    pin_threads(1)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_a_network_draws_comes_from_the_seed(noise: Resident, precision: Precision) -> None:
    described = Network(
        stem=Stem(kind="none"),
        stages=(Stage(2, 16, 2, "mbconv", expansion=2.0), Stage(1, 24, 2, "res_basic")),
        head=Head("fully_connected", width=12, dropout=0.5, grid=2),
        input_channels=1,
        classes=10,
        norm="group",
        activation="gelu",
        stochastic_depth=0.4,
    )
    recipe = msgspec.structs.replace(PLAIN, precision=precision)
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        module = build(described, generator=torch.Generator().manual_seed(0))
        results.append(train(module, noise, recipe, epochs=1, seed=5, keep_weights=True))
        assert torch.equal(torch.get_rng_state(), before)
    assert results[0].curve == results[1].curve
    one, other = (result.weights for result in results)
    assert one is not None
    assert other is not None
    assert all(torch.equal(one[name], other[name]) for name in one)
    module = build(described, generator=torch.Generator().manual_seed(0))
    another = train(module, noise, recipe, epochs=1, seed=6, keep_weights=True).weights
    assert another is not None
    assert not all(torch.equal(one[name], another[name]) for name in one)


def test_what_a_network_draws_is_neither_its_weights_nor_the_order(noise: Resident) -> None:
    """The weights and the order come from generators of the same seed."""

    class Drawing(Recorder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.drawn = torch.rand(100)
            return super().forward(x)

    recipe = msgspec.structs.replace(PLAIN, batch_size=200)
    module = Drawing()
    train(module, noise, recipe, epochs=1, seed=5)
    assert not torch.isin(module.drawn, torch.rand(10_000, generator=seeded(5))).any()
    again = Drawing()
    train(again, noise, recipe, epochs=1, seed=5)
    assert torch.equal(again.drawn, module.drawn)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Chance is 90. Without a norm so short a training hardly begins: it is to stay finite.
LEARNED = {"batch": 40, "group": 50, "layer": 50, "instance": 75, "none": 95}


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_trains(digits: Resident, norm: str) -> None:
    described = Network(
        stem=Stem("cifar", 16),
        stages=(Stage(1, 32, 2, group_width=8), Stage(1, 32, 1, "res_basic")),
        input_channels=1,
        classes=10,
        norm=norm,
    )
    module = build(described, generator=torch.Generator().manual_seed(0))
    recipe = resolve(Recipe(lr=0.1, batch_size=64), digits)
    result = train(module, digits, recipe, epochs=6, seed=0)
    assert not result.diverged
    assert result.error < LEARNED[norm]
