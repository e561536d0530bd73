"""Fixtures shared by all tests: trials, sweeps and fast stand-ins for training."""

import os

# Before Ray is imported: the addresses of test clusters stay on the loopback interface.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import pytest

from anynet import Network, Stage
from anynet.counting import cost
from search.trial import Trial


@pytest.fixture
def make_trial():
    """A function from a few fields to a whole `Trial`."""
    network = Network(stages=(Stage(depth=1, width=8),), input_channels=1, classes=10)
    counted = cost(network, 8)

    def make(trial="a-000", **fields):
        defaults = {
            "space": "a",
            "drawn": {"depths": [1]},
            "network": network,
            **counted._asdict(),
            "seed": 1,
            "epochs": 1,
            "state": "complete",
            "error": 12.5,
            "curve": (12.5,),
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 1.0,
            "worker": "here",
        }
        return Trial(trial=trial, **(defaults | fields))

    return make


@pytest.fixture
def write_run(tmp_path):
    """A function that writes trials as the ledger of a run folder."""
    from search.ledger import Ledger

    def write(name, trials):
        with Ledger(tmp_path / name) as ledger:
            for trial in trials:
                ledger.append(trial)
        return tmp_path / name

    return write
