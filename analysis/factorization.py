"""Do the effects of parameters add up? The test of assumption 4 (d2l, section 8.8.2).

The error is taken for a sum of three random parts: main effects (polynomials of degree 3 in each
parameter's mid-rank), pairwise interactions (products of degree 2 in each) and a rest (higher
interactions and the noise of training). How much of the variance each has is estimated by
restricted maximum likelihood over all parameters and pairs at once, as in genetics additive
variance is told apart from epistatic (REML variance components). So 120 pairs of 16 parameters
can be judged together with 100 networks, where none of them could be estimated by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from analysis.edf import Floats
from analysis.importance import Scale, bases, known, products, response
from anynet.errors import InputError

FEWEST = 20
"""Networks that a test of factorization needs, at least."""
_DEGREE, _PAIR_DEGREE = 3, 2
_MIXES = np.round(np.sin(np.linspace(0, np.pi / 2, 25)) ** 2, 6)
"""Shares of the main effects in what is explained: denser where they are all or nothing."""
EXPLAINED = np.linspace(0, 0.998, 500)
"""Shares of the variance that a likelihood is computed at."""
_TINY = 1e-9


@dataclass(frozen=True)
class Factorization:
    """Shares of the variance of the error, and how sure they are.

    Each interval (low, high) is that of the profile likelihood. `main` and `pairs` are shares of
    the whole variance, `additive` is that of main effects in what both explain.
    """

    main: float
    main_interval: tuple[float, float]
    pairs: float
    pairs_interval: tuple[float, float]
    additive: float
    additive_interval: tuple[float, float]
    p: float
    """Of the likelihood-ratio test against a model without interactions."""
    held_out_main: float
    """R² of each network predicted from all others, by main effects alone."""
    held_out_pairs: float
    """The same by main effects and pairs."""
    n: int
    confidence: float = 0.95

    def statement(self) -> str:
        """What this says on assumption 4, as a sentence."""
        low, high = self.additive_interval
        figures = (
            f"main effects {_percent(self.main, self.main_interval)} of the variance, "
            f"pairs {_percent(self.pairs, self.pairs_interval)}; "
            f"{100 * low:.0f} to {100 * high:.0f}% of what both explain is additive, "
            f"p = {self.p:.2g}"
        )
        if self.p < 1 - self.confidence:
            verdict = "effects do not simply add up"
            if self.additive > 0.8:
                verdict = "effects mostly add up, with interactions that are certain but small"
        elif low >= 0.8:
            verdict = "effects add up"
        else:
            verdict = f"no interaction shows, but {self.n} networks do not exclude one"
        return f"{verdict}: {figures}"


def _percent(value: float, interval: tuple[float, float]) -> str:
    return f"{100 * value:.0f}% ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def factorization(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    *,
    scale: Scale = "rank",
    confidence: float = 0.95,
) -> Factorization:
    """Shares of main effects and of pairwise interactions, over all parameters at once.

    Arguments as of `importance.importance`. Raises InputError where fewer than two parameters
    vary, or fewer than `FEWEST` networks have an error.
    """
    columns, values = known(parameters, errors)
    n = len(values)
    if len(columns) < 2:
        raise InputError(f"factorization: only {next(iter(columns))} varies, two parameters needed")
    if n < FEWEST:
        raise InputError(f"factorization: {n} networks with an error, {FEWEST} at least")
    y = response(values, scale)
    likelihood = Likelihood(y, *_features(columns))
    surface = np.stack([likelihood.profile(mix) for mix in _MIXES])
    best = int(surface.argmax())
    mix, explained = _MIXES[best // len(EXPLAINED)], EXPLAINED[best % len(EXPLAINED)]
    alone = surface[-1]
    ratio = 2 * max(float(surface.max() - alone.max()), 0.0)
    # The share of pairs lies at the edge of its range under the hypothesis, so half of the time
    # the ratio is 0 (Self and Liang, 1987).
    p = float(0.5 * chi2.sf(ratio, 1)) if ratio > 1e-9 else 1.0
    likely = surface >= surface.max() - chi2.ppf(confidence, 1) / 2
    main = _MIXES[:, None] * EXPLAINED
    pairs = (1 - _MIXES[:, None]) * EXPLAINED
    return Factorization(
        main=float(mix * explained),
        main_interval=_ends(main, likely),
        pairs=float((1 - mix) * explained),
        pairs_interval=_ends(pairs, likely),
        additive=float(mix),
        additive_interval=_ends(np.broadcast_to(_MIXES[:, None], likely.shape), likely),
        p=p,
        held_out_main=likelihood.held_out(1.0, float(EXPLAINED[alone.argmax()])),
        held_out_pairs=likelihood.held_out(float(mix), float(explained)),
        n=n,
        confidence=confidence,
    )


def _ends(values: Floats, likely: npt.NDArray[np.bool_]) -> tuple[float, float]:
    return float(values[likely].min()), float(values[likely].max())


def _features(columns: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Columns of main effects and of pairs, each of total variance 1, every term alike."""
    low = list(bases(columns, _PAIR_DEGREE).values())
    pairs = [
        products(first, second) / np.sqrt(first.shape[1] * second.shape[1])
        for first, second in combinations(low, 2)
    ]
    return main_features(columns), _scaled(pairs)


def main_features(columns: Mapping[str, npt.ArrayLike]) -> Floats:
    """Columns of the main effects, centered, with squares that sum to 1 a network in the mean."""
    return _scaled([b / np.sqrt(b.shape[1]) for b in bases(columns, _DEGREE).values()])


def _scaled(terms: list[Floats]) -> Floats:
    block = np.concatenate(terms, axis=1)
    return np.asarray(block / np.sqrt((block**2).sum(axis=1).mean()))


class Likelihood:
    """The restricted likelihood of shares of variance, by the spectrum of each mix.

    With h the explained share and m that of main effects in it, the covariance of y is
    proportional to h (m A + (1 - m) B) + (1 - h) I, with A and B of mean diagonal 1. For one m,
    one eigendecomposition gives the likelihood of every h.
    """

    def __init__(self, y: Floats, main: Floats, pairs: Floats) -> None:
        self.y = y
        self.features = np.concatenate([main, pairs], axis=1)
        self.counts = (main.shape[1], pairs.shape[1])
        # The smaller of the two products: networks by networks, or columns by columns.
        self.wide = self.features.shape[1] > len(y)
        if self.wide:
            self.main, self.pairs = main @ main.T, pairs @ pairs.T
        else:
            self.gram = self.features.T @ self.features

    def _spectrum(self, mix: float) -> tuple[Floats, Floats]:
        """Positive eigenvalues (k,) of the mix, and their directions (n, k), of length 1."""
        if self.wide:
            values, vectors = np.linalg.eigh(mix * self.main + (1 - mix) * self.pairs)
            kept = values > _TINY * values[-1]
            return values[kept], vectors[:, kept]
        scales = np.sqrt(np.repeat([mix, 1 - mix], self.counts))
        values, vectors = np.linalg.eigh(self.gram * scales[:, None] * scales)
        kept = values > _TINY * values[-1]
        values = values[kept]
        directions = (self.features * scales) @ vectors[:, kept]
        return values, directions / np.sqrt(values)

    def profile(self, mix: float) -> Floats:
        """The log-likelihood at each of `EXPLAINED`."""
        values, directions = self._spectrum(mix)
        squares = (directions.T @ self.y) ** 2
        free = len(self.y) - 1
        rest = max(float(self.y @ self.y - squares.sum()), 0.0)
        h = EXPLAINED[:, None]
        variances = h * values + 1 - h
        flat = 1 - EXPLAINED
        fit = (squares / variances).sum(axis=1) + rest / flat
        volume = np.log(variances).sum(axis=1) + (free - len(values)) * np.log(flat)
        return np.asarray(-0.5 * (free * np.log(fit) + volume))

    def held_out(self, mix: float, explained: float) -> float:
        """R² of the best linear prediction of each y from all others."""
        values, directions = self._spectrum(mix)
        n, flat = len(self.y), 1 - explained
        weights = 1 / (explained * values + flat) - 1 / flat
        solved = directions @ (weights * (directions.T @ self.y)) + self.y / flat
        diagonal = directions**2 @ weights + (1 - 1 / n) / flat
        missed = float(((solved / diagonal) ** 2).sum())
        spread = float(((self.y * n / (n - 1)) ** 2).sum())
        return 1 - missed / spread
