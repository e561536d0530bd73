"""The recipe's rules and its schedule, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from anynet.errors import InputError
from anynet.files import decode
from search.recipe import Recipe, learning_rate


def test_half_period_cosine_golden_values() -> None:
    recipe = Recipe(lr=0.8)
    rates = [learning_rate(recipe, step, 8, 4) for step in range(8)]
    wanted = [0.4 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx(wanted)
    assert rates[0] == 0.8
    assert rates[4] == pytest.approx(0.4)
    assert rates[6] == pytest.approx(0.8 * 0.14644660940672624)


def test_warm_up_grows_from_a_tenth_and_multiplies_the_cosine() -> None:
    # 2 epochs of warm-up of 10 steps each, in 100 steps: at step 10 the factor is 0.55.
    recipe = Recipe(lr=1.0, warmup_epochs=2)
    assert learning_rate(recipe, 0, 100, 10) == pytest.approx(0.1)
    assert learning_rate(recipe, 10, 100, 10) == pytest.approx(
        0.55 * 0.5 * (1 + math.cos(math.pi * 0.1))
    )
    assert learning_rate(recipe, 20, 100, 10) == learning_rate(Recipe(lr=1.0), 20, 100, 10)


def test_warm_up_of_a_fraction_of_an_epoch() -> None:
    recipe = Recipe(lr=1.0, warmup_epochs=0.25)
    plain = Recipe(lr=1.0)
    factors = [
        learning_rate(recipe, step, 16, 8) / learning_rate(plain, step, 16, 8) for step in range(4)
    ]
    assert factors == pytest.approx([0.1, 0.55, 1.0, 1.0])


def test_golden_values_of_a_final_training() -> None:
    # 100 epochs with 5 of warm-up (DNDS, final networks), one step an epoch; the values are
    # pycls's formula (`get_lr_fun`, `cos`, WARMUP_FACTOR 0.1) worked out apart.
    recipe = Recipe(lr=0.1, warmup_epochs=5)
    rates = [learning_rate(recipe, epoch, 100, 1) for epoch in (0, 2, 5, 50, 99)]
    assert rates == pytest.approx(
        [0.01, 0.04595461552, 0.09938441703, 0.05, 0.00002467198], rel=1e-6
    )


def test_a_schedule_is_positive_to_its_last_step() -> None:
    for steps in (1, 2, 7):
        assert all(learning_rate(Recipe(), step, steps, 1) > 0 for step in range(steps))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0}, "lr: 0 must be above 0"),
        ({"lr": float("nan")}, "lr: nan must be above 0"),
        ({"momentum": 1.0}, r"momentum: 1.0 must lie in \[0, 1\)"),
        ({"momentum": 0.0}, "nesterov: True needs a momentum above 0"),
        ({"weight_decay": -1e-4}, "weight_decay: -0.0001 must be 0 or more"),
        ({"batch_size": 0}, "batch_size: 0 must be 1 or more"),
        ({"warmup_epochs": -1}, "warmup_epochs: -1 must be 0 or more"),
        ({"label_smoothing": 1.0}, r"label_smoothing: 1.0 must lie in \[0, 1\)"),
        ({"crop_padding": -1}, "crop_padding: -1 must be 0 or more"),
    ],
)
def test_what_breaks_a_rule_cannot_be_made(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)  # type: ignore[arg-type]


def test_a_file_with_an_unknown_precision_or_field_is_refused() -> None:
    with pytest.raises(InputError, match="float16"):
        decode({"precision": "float16"}, Recipe, "sweep.yaml")
    with pytest.raises(InputError, match="learning_rate"):
        decode({"learning_rate": 0.1}, Recipe, "sweep.yaml")
