"""The expected error of the best of m networks of a population: what a random search finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]


def best_weights(n: int, m: int) -> Floats:
    """The share of subsets of m out of n in which the i-th smallest is the least, shape (n,).

    C(n - i, m - 1) / C(n, m), by logarithms: the binomials themselves overflow.
    """
    beyond = np.arange(n - 1, -1, -1.0)
    possible = beyond >= m - 1
    k = beyond[possible]
    log_share = gammaln(k + 1) - gammaln(k - m + 2) + np.log(m)
    log_share -= gammaln(n + 1) - gammaln(n - m + 1)
    result = np.zeros(n)
    result[possible] = np.exp(log_share)
    return result


def expected_best(errors: npt.ArrayLike, m: int, weights: npt.ArrayLike | None = None) -> float:
    """Expected least error of m networks of the population that `errors`, shape (n,), sample.

    Without weights the mean over all subsets of m, drawn without replacement: unbiased, and of a
    whole population the exact value. With weights m draws with replacement from the weighted
    distribution, which is a little too high where m is not small against n (bias of order m/n).
    Raises ValueError where m is not in 1 ... n.
    """
    values = np.asarray(errors, dtype=float)
    if not 1 <= m <= len(values):
        raise ValueError(f"best of {m} out of {len(values)}")
    order = np.argsort(values, kind="stable")
    if weights is None:
        return float(values[order] @ best_weights(len(values), m))
    survival = _survival(np.asarray(weights, dtype=float)[order])
    return float(values[order] @ -np.diff(survival**m))


def best_variance(errors: Floats, m: int, weights: Floats | None = None) -> float:
    """Estimated variance of `expected_best`.

    Without weights by the delete-one jackknife, in closed form (m at most n - 1). With weights
    by the influence function m * integral of S(y)^(m-1) (1{x > y} - S(y)) dy, S the share above y.
    """
    n = len(errors)
    order = np.argsort(errors, kind="stable")
    values = errors[order]
    if weights is None:
        shares = best_weights(n - 1, m)
        below = np.concatenate([[0.0], np.cumsum(values[:-1] * shares)])
        above = np.concatenate([np.cumsum((values[1:] * shares)[::-1])[::-1], [0.0]])
        without = below + above
        return float((n - 1) / n * ((without - without.mean()) ** 2).sum())
    sorted_weights = weights[order]
    survival = _survival(sorted_weights)[1:-1]
    steps = np.diff(values) * survival ** (m - 1)
    influence = m * (np.concatenate([[0.0], np.cumsum(steps)]) - (steps * survival).sum())
    return float((sorted_weights**2 * influence**2).sum() / sorted_weights.sum() ** 2 * n / (n - 1))


def _survival(sorted_weights: Floats) -> Floats:
    """Share of weight at or above each of the sorted networks, and 0 behind the last; (n + 1,)."""
    above = np.cumsum(sorted_weights[::-1])[::-1]
    return np.concatenate([above / above[0], [0.0]])
