import numpy as np
import pytest

from analysis.importance import bases, importance, products, response
from anynet import InputError


def planted(n, seed, pair=0.0):
    """Sixteen parameters of which four have an effect: shares 0.3, 0.15, 0.1, 0.05 of 1."""
    rng = np.random.default_rng(seed)
    x = {f"x{i}": rng.random(n) for i in range(8)}
    x |= {f"b{i}": rng.choice([1.0, 2, 4], n) for i in range(4)}
    x |= {f"g{i}": rng.choice([1.0, 2, 4, 8, 16, 32], n) for i in range(4)}
    terms = (
        (0.3, (x["x0"] - 0.5) * np.sqrt(12)),
        (0.15, ((x["x1"] - 0.5) ** 2 - 1 / 12) * np.sqrt(180)),
        (0.1, (np.log2(x["b0"]) - 1) * np.sqrt(1.5)),
        (0.05, (np.log2(x["g0"]) - 2.5) * np.sqrt(12 / 35)),
        (pair, 12 * (x["x0"] - 0.5) * (x["x1"] - 0.5)),
        (0.4 - pair, rng.normal(size=n)),
    )
    return x, sum(np.sqrt(share) * term for share, term in terms)


TRUTH = {"x0": 0.3, "x1": 0.15, "b0": 0.1, "g0": 0.05}


def test_shares_of_a_planted_surface_are_unbiased_and_their_intervals_hold(monkeypatch):
    monkeypatch.setattr("analysis.importance._pairs", lambda *_: ())  # most of the time
    found = [importance(*planted(120, seed), scale="error") for seed in range(40)]
    for kind in ("alone", "unique"):
        for i, effect in enumerate(found[0].effects):
            shares = [getattr(one.effects[i], kind) for one in found]
            true = TRUTH.get(effect.name, 0.0)
            values = np.array([share.value for share in shares])
            error = values.std() / np.sqrt(len(found))
            assert abs(values.mean() - true) < 4 * error, (kind, effect.name)
            covered = np.mean([share.low <= true <= share.high for share in shares])
            assert covered >= 0.82, (kind, effect.name)
        nothing = [
            getattr(effect, kind).p
            for one in found
            for effect in one.effects
            if effect.name not in TRUTH
        ]
        assert abs(np.mean(np.array(nothing) < 0.1) - 0.1) < 0.06


def test_a_planted_pair_is_found_and_none_where_there_is_none():
    pair = importance(*planted(200, 0, pair=0.2), scale="error").pairs[0]
    assert {pair.first, pair.second} == {"x0", "x1"}
    assert pair.share.p < 1e-6
    assert pair.share.low < 0.2 < pair.share.high
    smallest = [
        importance(*planted(200, seed), scale="error").pairs[0].share.p for seed in range(8)
    ]
    assert np.mean(np.array(smallest) < 0.05) <= 0.25


def test_a_strong_interaction_makes_no_others():
    others = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = {name: rng.random(150) for name in "abcde"}
        y = x["a"] + 6 * (x["b"] - 0.5) * (x["c"] - 0.5) + rng.normal(size=150) / 5
        first, *rest = importance(x, y, scale="error").pairs
        assert {first.first, first.second} == {"b", "c"}
        assert len(rest) == 9
        assert [pair.share.p for pair in rest] == sorted(pair.share.p for pair in rest)
        others.append(rest[0].share.p < 0.05)
    assert np.mean(others) <= 0.15


def test_correlated_parameters_share_alone_what_neither_has_uniquely():
    rng = np.random.default_rng(0)
    width = rng.random(400)
    depth = 1 - width + 0.05 * rng.normal(size=400)
    errors = width + 0.2 * rng.normal(size=400)
    by_name = {e.name: e for e in importance({"width": width, "depth": depth}, errors).effects}
    assert by_name["depth"].alone.low > 0.4
    assert by_name["depth"].unique.value < 0.02
    assert by_name["width"].unique.low > 0


def test_nothing_depends_on_units_or_on_a_few_diverged_networks():
    x, errors = planted(150, 3)
    errors = 10 + errors
    one = importance(x, errors)
    other = importance({**x, "x0": np.exp(5 * x["x0"]), "b0": -x["b0"]}, np.exp(errors))
    for a, b in zip(one.effects, other.effects, strict=True):
        assert a.alone.value == pytest.approx(b.alone.value, abs=1e-9)
    diverged = errors.copy()
    diverged[:3] = 100
    for a, b in zip(one.effects, importance(x, diverged).effects, strict=True):
        assert a.unique.value == pytest.approx(b.unique.value, abs=0.06)
    as_they_are = importance(x, diverged, scale="error").effects
    assert max(effect.unique.value for effect in as_they_are if effect.name in TRUTH) < 0.06


def test_few_networks_leave_out_what_they_cannot_tell():
    x, errors = planted(20, 0)
    found = importance(x, errors)
    assert found.pairs == ()
    assert all(effect.unique is None for effect in found.effects)
    assert found.n == 20


def test_columns_are_orthonormal_and_as_many_as_values_allow():
    rng = np.random.default_rng(0)
    made = bases({"a": rng.random(50), "b": rng.choice([1, 2], 50)}, 3)
    assert made["a"].shape == (50, 3)
    assert made["b"].shape == (50, 1)
    np.testing.assert_allclose(made["a"].T @ made["a"] / 50, np.eye(3), atol=1e-12)
    pair = products(made["a"], made["b"])
    assert pair.shape == (50, 3)
    np.testing.assert_allclose(pair.mean(axis=0), 0, atol=1e-12)


def test_what_does_not_vary_or_failed_is_left_out():
    x, errors = planted(60, 0)
    errors[:5] = np.nan
    found = importance({"fixed": np.ones(60), "x0": x["x0"]}, errors)
    assert [effect.name for effect in found.effects] == ["x0"]
    assert found.n == 55


def test_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="13 networks with an error, 14 at least"):
        importance({"a": rng.random(13)}, rng.random(13))
    with pytest.raises(InputError, match="no parameter varies"):
        importance({"a": np.ones(30)}, rng.random(30))
    with pytest.raises(InputError, match="all networks have the same error"):
        importance({"a": rng.random(30)}, np.full(30, 12.0))
    with pytest.raises(ValueError, match="a: shape"):
        importance({"a": rng.random(29)}, rng.random(30))
    assert response([1, 2, 100]).tolist() == response([1, 2, 3]).tolist()
