"""The record of one finished piece of work: the line of `trials.jsonl` that `analysis` reads.

A line is a (trial, rung, attempt); the last attempt of a (trial, rung) counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from anynet.errors import InputError
from anynet.network import Network
from anynet.reference import Reference

State = Literal["complete", "diverged", "stopped", "failed"]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
LEDGER_NAME = "trials.jsonl"
DIVERGED_ERROR = 100.0
"""The error of a network whose loss was not finite: it is a network, and it counts."""


BASELINE = "baseline"
"""The `space` of networks that belong to none."""


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training of one network, finished one way or another."""

    trial: str
    """Identifies the network within its run: space and number."""
    space: str
    drawn: dict[str, Any]
    """The settings as sampled, before quantization and the group fix."""
    network: Network | None
    """The resolved network; none where the vocabulary does not describe it (`reference`)."""
    params: int
    flops: int
    """Multiply-adds at the resolution of the data."""
    activations: int
    seed: int
    """Seed of the weights and of the order and augmentation of the images."""
    replicate: int = 0
    rung: int = 0
    epochs: int
    attempt: int = 1
    state: State
    reason: str | None = None
    """Why it diverged, stopped or failed."""
    error: Percent | None = None
    """Percent of the validation images that are classified wrongly after the last epoch; 100
    where it diverged; None where it failed."""
    curve: tuple[float, ...] = ()
    """That error after each epoch."""
    promotion_probability: float = 1.0
    """That with which the network was promoted to this rung, given that it was at the one below
    and what its fellows' errors were there; 1 at the lowest. To have been promoted all the way has
    the product of those of its rungs: 1 over it is the network's weight in a population."""
    adaptive: bool = False
    """True where an optimizer chose the network: such trials are not a population."""
    started: str
    """UTC, ISO 8601."""
    seconds: float
    worker: str
    """Host and process that trained it."""
    test_error: float | None = None
    baseline: str | None = None
    """Its name, where it belongs to no space but stands beside them for comparison."""
    reference: Reference | None = None
    """What was trained, where `network` cannot say it: torchvision's VGG-16, for one."""


class _Result(Trial, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A record whose network is not looked at. Nothing in it can form a cycle, so that the garbage
    collector, which would walk all of them again and again, need not know them."""

    network: msgspec.Raw  # type: ignore[assignment]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Trial)
_RESULT_DECODER = msgspec.json.Decoder(_Result)


def encode_trial(trial: Trial) -> bytes:
    """One line of a ledger, with its line break."""
    return _ENCODER.encode(trial) + b"\n"


def decode_trials(data: bytes, source: str, *, networks: bool = True) -> list[Trial]:
    """The records of a ledger's bytes. A last line without its line break is one that is being
    written, or was cut off: it is left out. Without `networks`, `network` is left as JSON text.

    Raises InputError that names `source` and the number of the first line that is not a record.
    """
    decode = _DECODER.decode if networks else _RESULT_DECODER.decode
    trials: list[Trial] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        if not line.strip():
            continue
        try:
            trials.append(decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(f"{source}: line {number}: not a trial record: {error}") from None
    return trials


def read_trials(run: str | os.PathLike[str], *, networks: bool = True) -> list[Trial]:
    """All records of a run's ledger, in the order they were written; as `decode_trials`."""
    path = os.path.join(run, LEDGER_NAME)
    try:
        with open(path, "rb") as file:
            return decode_trials(file.read(), path, networks=networks)
    except FileNotFoundError:
        rule = "not a run (no trials.jsonl in it)" if os.path.isdir(run) else "no such folder"
        raise InputError(f"{run}: {rule}") from None
    except NotADirectoryError:
        raise InputError(f"{run}: a file, where the folder of a run is expected") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def last_attempts(trials: Iterable[Trial]) -> list[Trial]:
    """The records that count: of each (trial, rung) the last attempt."""
    last: dict[tuple[str, int], Trial] = {}
    for trial in trials:
        key = (trial.trial, trial.rung)
        if key not in last or trial.attempt >= last[key].attempt:
            last[key] = trial
    return list(last.values())


def trial_seed(sweep_seed: int, network: Network | Reference, replicate: int = 0) -> int:
    """A 63-bit seed from the sweep's seed and the network alone.

    So a result depends neither on the order of the trials, nor on the worker, nor on a resume.
    """
    text = f"{sweep_seed}/{replicate}/{network.to_json()}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
