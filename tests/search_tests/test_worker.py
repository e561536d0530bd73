"""What a worker makes of networks that train, diverge, and cannot be trained."""

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import Network, Stage, Stem
from anynet.reference import Reference
from search.data import DataSet, Split
from search.executor import Task
from search.recipe import Recipe
from search.worker import InProcess


@pytest.fixture(scope="module")
def data():
    """Two classes of 8x8 images that differ in brightness."""
    rng = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n) % 2
        images = rng.integers(0, 60, (n, 1, 8, 8)) + 150 * labels[:, None, None, None]
        return Split(images.astype(np.uint8), labels.astype(np.int64))

    return DataSet(
        name="bright",
        classes=("dark", "bright"),
        train=split(128),
        validation=split(32),
        test=None,
        mean=(0.4,),
        std=(0.3,),
        flip=False,
        crop_padding=0,
    )


@pytest.fixture
def task():
    network = Network(
        stages=(Stage(depth=1, width=8),), stem=Stem("cifar", 8), input_channels=1, classes=2
    )
    recipe = Recipe(batch_size=16, precision="float32", channels_last=True, flip=False,
                    crop_padding=0)  # fmt: skip
    return Task("a-000", network, seed=1, epochs=3, recipe=recipe)


def run(data, task):
    executor = InProcess(data)
    executor.submit(task)
    ended, outcome = executor.next()
    assert ended == task
    return outcome


def test_a_reference_network_is_trained_as_any_other(data, task):
    outcome = run(data, replace(task, network=Reference("nin", 1, 2)))
    assert outcome.state in ("complete", "diverged")
    assert run(data, replace(task, network=Reference("nin", 1, 2))).curve == outcome.curve


def test_a_network_that_learns_is_complete(data, task):
    outcome = run(data, task)
    assert outcome.state == "complete"
    assert outcome.reason is None
    assert len(outcome.curve) == 3
    assert outcome.error == outcome.curve[-1] < 10
    assert outcome.seconds > 0


def test_the_same_task_gives_the_same_bits_whatever_ran_before(data, task):
    first = run(data, task)
    other = run(data, replace(task, seed=2))
    again = run(data, task)
    assert again.curve == first.curve
    assert (other.curve, other.state) != (first.curve, "failed")


def test_a_loss_that_is_not_finite_is_diverged_with_error_100(data, task):
    outcome = run(data, replace(task, recipe=replace(task.recipe, lr=1e30)))
    assert (outcome.state, outcome.error) == ("diverged", 100.0)
    assert outcome.reason == "the loss was not finite in epoch 1"
    assert outcome.curve == ()


def test_a_network_that_cannot_be_trained_is_failed_with_its_reason(data, task):
    outcome = run(data, replace(task, network=replace(task.network, input_channels=3)))
    assert (outcome.state, outcome.error) == ("failed", None)
    assert outcome.reason.startswith("RuntimeError: ")
    assert "\n" not in outcome.reason
    assert "Traceback" in outcome.traceback
    assert run(data, task).state == "complete"


def test_the_recipe_is_resolved_from_data_and_machine(data):
    recipe = InProcess(data).resolve(Recipe())
    assert (recipe.flip, recipe.crop_padding, recipe.channels_last) == (False, 0, True)
    assert recipe.precision in ("float32", "bfloat16")
    assert InProcess(data).resolve(recipe) == recipe
