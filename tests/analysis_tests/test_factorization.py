import numpy as np
import pytest

from analysis.factorization import Likelihood, factorization
from anynet import InputError


def surface(n, seed, main, pairs, parameters=10):
    """Errors with given shares of main effects and of pairs; the rest is noise."""
    rng = np.random.default_rng(seed)
    x = {f"x{i}": rng.uniform(-1, 1, n) for i in range(parameters)}
    u = list(x.values())
    added = (u[0] + np.abs(u[1]) - 0.5 + u[2] ** 3) / np.sqrt(1 / 3 + 1 / 12 + 1 / 7)
    multiplied = (u[0] * u[1] + u[3] * u[4]) * 3 / np.sqrt(2)
    rest = 1 - main - pairs
    noise = rng.normal(size=n)
    return x, np.sqrt(main) * added + np.sqrt(pairs) * multiplied + np.sqrt(rest) * noise


def test_shares_of_planted_surfaces_are_recovered():
    for main, pairs in ((0.7, 0.0), (0.4, 0.35)):
        found = [
            factorization(*surface(150, seed, main, pairs), scale="error") for seed in range(12)
        ]
        assert np.mean([one.main for one in found]) == pytest.approx(main, abs=0.07)
        assert np.mean([one.pairs for one in found]) == pytest.approx(pairs, abs=0.09)
        for field, true in (("main", main), ("pairs", pairs), ("additive", main / (main + pairs))):
            intervals = [getattr(one, f"{field}_interval") for one in found]
            covered = [low <= true <= high for low, high in intervals]
            assert np.mean(covered) >= 0.75, field


def test_the_test_keeps_its_level_and_has_power():
    p = np.array([factorization(*surface(80, s, 0.6, 0.0), scale="error").p for s in range(60)])
    assert np.mean(p < 0.05) <= 0.12
    power = [factorization(*surface(200, s, 0.4, 0.3), scale="error").p for s in range(5)]
    assert max(power) < 0.01


def test_statements():
    adds = factorization(*surface(300, 0, 0.8, 0.0))
    assert adds.statement().startswith("effects add up: main effects 7")
    assert (
        factorization(*surface(300, 0, 0.3, 0.5))
        .statement()
        .startswith("effects do not simply add up")
    )
    few = factorization(*surface(25, 0, 0.4, 0.2))
    assert "25 networks do not exclude one" in few.statement()


def test_pairs_help_to_predict_what_was_held_out_where_there_are_pairs():
    with_pairs = factorization(*surface(300, 1, 0.4, 0.4), scale="error")
    assert 0.3 < with_pairs.held_out_main < 0.45
    assert with_pairs.held_out_pairs > with_pairs.held_out_main + 0.2
    without = factorization(*surface(300, 1, 0.7, 0.0), scale="error")
    assert without.held_out_pairs == pytest.approx(without.held_out_main, abs=0.02)


def by_hand(main, pairs, y, mix, h):
    """Restricted log-likelihood and leave-one-out R² by n x n matrices."""
    n = len(y)
    v = h * (mix * main @ main.T + (1 - mix) * pairs @ pairs.T) + (1 - h) * np.eye(n)
    contrasts = np.linalg.qr(np.c_[np.ones(n), np.eye(n)[:, 1:]])[0][:, 1:]
    v_c, y_c = contrasts.T @ v @ contrasts, contrasts.T @ y
    fit = y_c @ np.linalg.solve(v_c, y_c)
    likelihood = -0.5 * ((n - 1) * np.log(fit) + np.linalg.slogdet(v_c)[1])
    errors = []
    for i in range(n):
        o = np.arange(n) != i
        inverse = np.linalg.inv(v[np.ix_(o, o)])
        mean = inverse.sum(axis=0) @ y[o] / inverse.sum()
        errors.append(y[i] - mean - v[i, o] @ inverse @ (y[o] - mean))
    spread = ((y * n / (n - 1)) ** 2).sum()
    return likelihood, 1 - np.square(errors).sum() / spread


@pytest.mark.parametrize("columns", [4, 40])
def test_the_spectral_likelihood_is_that_of_whole_matrices(columns):
    rng = np.random.default_rng(columns)
    blocks = [rng.normal(size=(30, columns)) / np.sqrt(columns) for _ in range(2)]
    main, pairs = (block - block.mean(axis=0) for block in blocks)
    y = rng.normal(size=30)
    y -= y.mean()
    ours = Likelihood(y, main, pairs)
    from analysis.factorization import EXPLAINED

    places = (50, 350)
    expected = [by_hand(main, pairs, y, 0.3, EXPLAINED[place]) for place in places]
    profile = ours.profile(0.3)
    difference = profile[places[1]] - profile[places[0]]
    assert difference == pytest.approx(expected[1][0] - expected[0][0], abs=1e-6)
    for place, (_, held_out) in zip(places, expected, strict=True):
        assert ours.held_out(0.3, EXPLAINED[place]) == pytest.approx(held_out, abs=1e-6)


def test_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="only a varies, two parameters needed"):
        factorization({"a": rng.random(30), "b": np.ones(30)}, rng.random(30))
    with pytest.raises(InputError, match="19 networks with an error, 20 at least"):
        factorization({"a": rng.random(19), "b": rng.random(19)}, rng.random(19))
