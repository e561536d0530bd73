"""Populations whose error distribution is known, to draw samples of."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def planted():
    """Functions (n, rng) -> errors: skewed; tied, in steps of 100/360; diverging, 4% at 100."""

    def skewed(n, rng):
        return np.round((7 + rng.gamma(1.5, 1.6, n)) * 50) / 50

    def tied(n, rng):
        return np.round((7 + rng.gamma(1.5, 1.6, n)) * 3.6) / 3.6

    def diverging(n, rng):
        return np.where(rng.random(n) < 0.04, 100.0, skewed(n, rng))

    return SimpleNamespace(skewed=skewed, tied=tied, diverging=diverging)
