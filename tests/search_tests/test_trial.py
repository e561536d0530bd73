import json

import pytest
from msgspec.structs import replace

from anynet import InputError
from search.trial import decode_trials, encode_trial, last_attempts, read_trials, trial_seed

CONTRACT = [
    *("trial", "space", "drawn", "network", "params", "flops", "activations", "seed"),
    *("replicate", "rung", "epochs", "attempt", "state", "reason", "error", "curve"),
    *("promotion_probability", "adaptive", "started", "seconds", "worker", "test_error"),
    *("baseline", "reference"),
]


def test_a_line_holds_every_field_of_the_contract(make_trial):
    line = json.loads(encode_trial(make_trial()))
    assert list(line) == CONTRACT


def test_lines_decode_to_what_was_encoded(make_trial):
    trials = [make_trial("a"), make_trial("b", state="failed", error=None, reason="é\n")]
    assert decode_trials(b"".join(map(encode_trial, trials)), "x") == trials


def test_a_line_without_its_break_is_left_out(make_trial):
    whole = encode_trial(make_trial("a"))
    for cut in range(len(whole)):
        assert decode_trials(whole + whole[:cut], "x") == [make_trial("a")]


@pytest.mark.parametrize("line", [b"{}\n", b"null\n", b"\xff\n", b'{"trial": "a"}\n'])
def test_an_unreadable_line_is_named(make_trial, line):
    good = encode_trial(make_trial())
    with pytest.raises(InputError, match="ledger: line 2: not a trial record") as info:
        decode_trials(good + line + good, "ledger")
    assert "\n" not in str(info.value)


def test_unknown_fields_are_refused(make_trial):
    line = encode_trial(make_trial()).replace(b'"seed"', b'"sead"')
    with pytest.raises(InputError, match="sead"):
        decode_trials(line, "x")


def test_the_last_attempt_counts_whatever_the_order(make_trial):
    first = make_trial("a", attempt=1, state="failed", error=None)
    second = make_trial("a", attempt=2)
    longer = make_trial("a", rung=1)
    other = make_trial("b")
    assert last_attempts([second, other, first, longer]) == [second, other, longer]


def test_seed_follows_from_sweep_seed_network_and_replicate_alone(make_trial):
    network = make_trial().network
    seed = trial_seed(0, network)
    assert seed == trial_seed(0, replace(network))
    assert 0 <= seed < 2**63
    others = {
        trial_seed(1, network),
        trial_seed(0, network, replicate=1),
        trial_seed(0, replace(network, classes=11)),
    }
    assert len({seed} | others) == 4


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        read_trials(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_trials(tmp_path / "x")


def test_a_file_is_no_run_and_an_error_is_a_percentage(tmp_path, make_trial):
    path = tmp_path / "sweep.yaml"
    path.touch()
    with pytest.raises(InputError, match=r"sweep\.yaml: a file, where the folder of a run is"):
        read_trials(path)
    for error in (-1.0, 300.0):
        with pytest.raises(InputError, match=r"^ledger: line 1: .*\.error"):
            decode_trials(encode_trial(make_trial(error=error)), "ledger")
