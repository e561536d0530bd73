"""Does a cheap training rank networks as a long one does (assumption 2), and does what one regime
of cost teaches hold in another (assumption 3; d2l, section 8.8.2)?

For fidelity the networks are the same, so their errors are compared, pair by pair. Between regimes
of cost the networks differ, so what is compared is the ranking that their parameters predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau, norm, rankdata

from analysis.edf import Floats
from analysis.factorization import EXPLAINED, Likelihood, main_features
from analysis.importance import known, response
from analysis.ranges import SHARE, best_chances
from anynet.errors import InputError

FEWEST = 5
"""Networks that an agreement of ranks is computed from, at least."""
_CELLS = 1 << 20
_RESAMPLES = 999
Interval = tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """How a cheap ranking of n networks agrees with a long one.

    Each interval is (low, high) at the same confidence.
    """

    n: int
    kendall: float
    """tau-b: the share of pairs in the same order minus that of pairs in the other."""
    kendall_interval: Interval
    spearman: float
    spearman_interval: Interval
    top: float
    """The share of the networks that counts as the top."""
    recall: float
    """Of the true top, the share that is in the top by the cheap error; `top` by chance."""
    recall_interval: Interval
    regret: float
    """Points of error that picking by the cheap error costs: of the best of a quarter of the
    networks, drawn with replacement, in the mean over all draws (as in `ranges`)."""
    regret_interval: Interval
    regret_of_best: float
    """The same for the best of all: what was lost this time."""


@dataclass(frozen=True)
class Transfer:
    """How well what one regime taught ranks the networks of another.

    Both numbers are Spearman's rho between the errors of the second regime and what main effects
    predict for them: of the first regime's networks, or of its own, each held out in turn.
    """

    n: tuple[int, int]
    parameters: tuple[str, ...]
    spearman: float
    spearman_interval: Interval
    own: float
    own_interval: Interval


def paired(cheap: pd.DataFrame, long: pd.DataFrame) -> tuple[Floats, Floats]:
    """The errors of the networks that both frames have (see `results`), in the order of `cheap`.

    Two networks are the same that build the same module. Several trainings of one (seeds) are
    averaged; a network that failed in either is left out. Raises InputError where fewer than
    `FEWEST` are common.
    """
    sides = []
    for frame in (cheap, long):
        names = [network.to_json() for network in frame["network"]]
        sides.append(frame["error"].groupby(names, sort=False).mean().dropna())
    common = [name for name in sides[0].index if name in sides[1].index]
    if len(common) < FEWEST:
        raise InputError(
            f"fidelity: {len(common)} networks with an error in both, {FEWEST} at least"
        )
    return sides[0][common].to_numpy(), sides[1][common].to_numpy()


def agreement_by_rung(
    frame: pd.DataFrame, *, rng: np.random.Generator, top: float = 0.1, confidence: float = 0.95
) -> dict[int, Agreement]:
    """The agreement of each rung of one population with its last one, by rung.

    Of a rung, the networks count that reached the last one: where promotion chose them, they are
    the better ones, which lie closer together, and agreement is lower than over all.
    Raises InputError where there is one rung, or too few networks have both.
    """
    rungs = sorted(frame["rung"].unique().tolist())
    if len(rungs) < 2:
        raise InputError(f"fidelity: {len(rungs)} rung, two at least: give two runs instead")
    last = frame[frame["rung"] == rungs[-1]]
    return {
        int(rung): rank_agreement(
            *paired(frame[frame["rung"] == rung], last), rng=rng, top=top, confidence=confidence
        )
        for rung in rungs[:-1]
    }


def rank_agreement(
    cheap: npt.ArrayLike,
    long: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    top: float = 0.1,
    confidence: float = 0.95,
) -> Agreement:
    """How errors after a cheap training rank n networks, against those after a long one.

    Both of shape (n,), in percent; NaN leaves a network out. Intervals of the correlations are
    jackknife ones on Fisher's scale, which ask for no normal errors and hold near 1 too
    (`benchmarks/assumptions.py`); that of the recall is Wilson's, that of the regret
    the middle of `rng`'s resamples of networks. Raises InputError below `FEWEST` networks
    or where one side is constant, ValueError where shapes differ.
    """
    x, y = np.asarray(cheap, dtype=float), np.asarray(long, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"cheap, long: shapes {x.shape} and {y.shape} must both be (n,)")
    if not 0 < top < 1:
        raise InputError(f"top: {top:g} must lie between 0 and 1")
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    n = len(x)
    if n < FEWEST:
        raise InputError(f"fidelity: {n} networks with an error in both, {FEWEST} at least")
    if x.min() == x.max() or y.min() == y.max():
        raise InputError("fidelity: all networks have the same error, which ranks none")
    tau, tau_interval = kendall(x, y, confidence)
    rho, rho_interval = spearman(x, y, confidence)
    count = max(1, round(top * n))
    recall = float(_membership(x, count) @ _membership(y, count)) / count
    regrets = [_regret(x[some], y[some]) for some in rng.integers(n, size=(_RESAMPLES, n))]
    ends = np.percentile(regrets, [50 - 50 * confidence, 50 + 50 * confidence])
    return Agreement(
        n=n,
        kendall=tau,
        kendall_interval=tau_interval,
        spearman=rho,
        spearman_interval=rho_interval,
        top=top,
        recall=recall,
        recall_interval=_wilson(recall, count, confidence),
        regret=_regret(x, y),
        regret_interval=(float(ends[0]), float(ends[1])),
        regret_of_best=float(y[x == x.min()].mean() - y.min()),
    )


def kendall(x: Floats, y: Floats, confidence: float = 0.95) -> tuple[float, Interval]:
    """Kendall's tau-b and its interval, by the jackknife on Fisher's scale."""
    n = len(x)
    same, pairs_x, pairs_y = np.empty(n), np.empty(n), np.empty(n)
    for rows in _blocks(n):
        order_x = np.sign(x[rows, None] - x)
        order_y = np.sign(y[rows, None] - y)
        same[rows] = (order_x * order_y).sum(axis=1)
        pairs_x[rows], pairs_y[rows] = (order_x**2).sum(axis=1), (order_y**2).sum(axis=1)
    norms = (pairs_x.sum() - 2 * pairs_x) * (pairs_y.sum() - 2 * pairs_y)
    without = (same.sum() - 2 * same) / np.sqrt(np.maximum(norms, 1))
    return _jackknifed(float(kendalltau(x, y).statistic), without, confidence)


def spearman(x: Floats, y: Floats, confidence: float = 0.95) -> tuple[float, Interval]:
    """Spearman's rho and its interval, by the jackknife on Fisher's scale."""
    n = len(x)
    ranks = [rankdata(x), rankdata(y)]
    without = np.empty(n)
    for rows in _blocks(n):
        left = []
        for values, rank in zip((x, y), ranks, strict=True):
            # The ranks of all others without network i: those above it move down by one.
            others = rank - (values > values[rows, None]) - 0.5 * (values == values[rows, None])
            others -= n / 2
            others[np.arange(len(others)), np.arange(rows.start, rows.stop)] = 0
            left.append(others)
        norms = (left[0] ** 2).sum(axis=1) * (left[1] ** 2).sum(axis=1)
        without[rows] = (left[0] * left[1]).sum(axis=1) / np.sqrt(np.maximum(norms, 1e-300))
    value = float(np.corrcoef(*ranks)[0, 1])
    return _jackknifed(value, without, confidence)


def _blocks(n: int) -> list[slice]:
    """Rows of an n by n table, in blocks that bound the memory."""
    size = max(1, _CELLS // n)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _jackknifed(value: float, without: Floats, confidence: float) -> tuple[float, Interval]:
    n = len(without)
    bounded = float(np.clip(value, -1 + 1e-9, 1 - 1e-9))
    spread = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) / (1 - bounded**2)
    reach = float(norm.ppf((1 + confidence) / 2)) * spread
    center = np.arctanh(bounded)
    return value, (float(np.tanh(center - reach)), float(np.tanh(center + reach)))


def _membership(errors: Floats, count: int) -> Floats:
    """1 for each of the `count` best, 0 for others; those tied at the edge share what is left."""
    edge = np.partition(errors, count - 1)[count - 1]
    above, tied = errors < edge, errors == edge
    return np.asarray(above + tied * (count - above.sum()) / tied.sum(), dtype=float)


def _regret(cheap: Floats, long: Floats) -> float:
    """The long error of the best of a quarter by the cheap one, less that of the best of it."""
    draws = max(1, round(SHARE * len(cheap)))
    picked, chances = best_chances(cheap, draws)
    best, chances_of_best = best_chances(long, draws)
    return float(chances @ long[picked] - chances_of_best @ long[best])


def _wilson(share: float, n: int, confidence: float) -> Interval:
    """Wilson's interval of a share of n."""
    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return (float(max(center - reach, 0)), float(min(center + reach, 1)))


def rank_transfer(
    parameters: Mapping[str, npt.ArrayLike],
    errors: npt.ArrayLike,
    other_parameters: Mapping[str, npt.ArrayLike],
    other_errors: npt.ArrayLike,
    *,
    relative: bool = False,
    confidence: float = 0.95,
) -> Transfer:
    """How the main effects of one regime of cost rank the networks of another (assumption 3).

    Parameters that vary in both count, by name. With `relative` a value stands for its rank
    within its own regime ("wider than most of this size"), else for itself: w0, which grows with
    flops, may transfer as the first alone. The first regime's effects are fitted by ridge
    regression whose strength is that of the restricted likelihood. Raises InputError where
    nothing varies in both, or where a regime has fewer than `FEWEST` networks with an error.
    """
    regimes = [known(parameters, errors), known(other_parameters, other_errors)]
    names = tuple(name for name in regimes[0][0] if name in regimes[1][0])
    if not names:
        raise InputError("transfer: no parameter varies in both regimes")
    sizes = [len(values) for _, values in regimes]
    if min(sizes) < FEWEST:
        raise InputError(
            f"transfer: {sizes[0]} and {sizes[1]} networks with an error, {FEWEST} at least of each"
        )
    columns = {}
    for name in names:
        sides = [regime[0][name] for regime in regimes]
        if relative:
            sides = [(rankdata(side) - 0.5) / len(side) for side in sides]
        columns[name] = np.concatenate(sides)
    features = np.split(main_features(columns), [sizes[0]])
    scores = [response(values) for _, values in regimes]
    first, second = (_Ridge(f, y) for f, y in zip(features, scores, strict=True))
    rho, interval = _ranked(first.predict(features[1]), scores[1], confidence)
    own, own_interval = _ranked(second.held_out(), scores[1], confidence)
    return Transfer((sizes[0], sizes[1]), names, rho, interval, own, own_interval)


class _Ridge:
    """Main effects of y, (n,) of mean 0, on features, shrunk as the likelihood asks."""

    def __init__(self, features: Floats, y: Floats) -> None:
        self.mean = features.mean(axis=0)
        self.features, self.y = features - self.mean, y
        likelihood = Likelihood(y, self.features, np.empty((len(y), 0)))
        explained = float(EXPLAINED[likelihood.profile(1.0).argmax()])
        gram = explained * self.features.T @ self.features
        gram[np.diag_indices_from(gram)] += 1 - explained
        self.solver = explained * np.linalg.solve(gram, self.features.T)
        self.coefficients = self.solver @ y

    def predict(self, features: Floats) -> Floats:
        return np.asarray((features - self.mean) @ self.coefficients)

    def held_out(self) -> Floats:
        """Each network predicted from the others, about a mean of 0: one that was computed
        without it would be the lower the higher it is."""
        leverage = np.einsum("ij,ji->i", self.features, self.solver)
        residuals = self.y - self.features @ self.coefficients
        return np.asarray(self.y - residuals / (1 - leverage))


def _ranked(predicted: Floats, y: Floats, confidence: float) -> tuple[float, Interval]:
    if np.ptp(predicted) < 1e-9:
        return 0.0, (0.0, 0.0)  # no effect was found, so none ranks
    return spearman(predicted, y, confidence)
