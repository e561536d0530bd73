import os
import subprocess
import sys

import pytest

from anynet import InputError
from search.ledger import Ledger
from search.trial import read_trials


def test_appended_trials_are_read_back(tmp_path, make_trial):
    with Ledger(tmp_path / "run") as ledger:
        ledger.append(make_trial("a"))
        ledger.append(make_trial("b"))
        assert [t.trial for t in read_trials(tmp_path / "run")] == ["a", "b"]
    with Ledger(tmp_path / "run") as ledger:
        assert [t.trial for t in ledger.trials] == ["a", "b"]


def test_a_torn_last_line_is_taken_off_and_kept_beside(tmp_path, make_trial):
    with Ledger(tmp_path) as ledger:
        ledger.append(make_trial("a"))
    path = tmp_path / "trials.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"trial": "b", "sp')
    with Ledger(tmp_path) as ledger:
        assert [t.trial for t in ledger.trials] == ["a"]
        ledger.append(make_trial("c"))
    assert [t.trial for t in read_trials(tmp_path)] == ["a", "c"]
    assert (tmp_path / "trials.torn").read_bytes() == b'{"trial": "b", "sp\n'


def test_an_unreadable_line_changes_nothing_and_frees_the_lock(tmp_path, make_trial):
    with Ledger(tmp_path) as ledger:
        ledger.append(make_trial("a"))
    path = tmp_path / "trials.jsonl"
    content = b"garbage\n" + path.read_bytes() + b"torn"
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(InputError, match="line 1: not a trial record"):
            Ledger(tmp_path)
    assert path.read_bytes() == content


def test_a_second_writer_is_refused_even_from_another_process(tmp_path):
    code = "import sys; from pathlib import Path; from search.ledger import Ledger\n"
    code += "try: Ledger(Path(sys.argv[1]))\nexcept Exception as e: print(e)"
    with Ledger(tmp_path):
        with pytest.raises(InputError, match="another sweep is writing"):
            Ledger(tmp_path)
        seen = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert "another sweep is writing to this run" in seen.stdout
    Ledger(tmp_path).close()


def test_a_record_that_does_not_fit_the_disk_leaves_no_half_line(tmp_path, make_trial, monkeypatch):
    with Ledger(tmp_path) as ledger:
        ledger.append(make_trial("a"))

        class Full:
            def __init__(self, file):
                self.file = file

            def write(self, line):
                return self.file.write(line[:20])

            def __getattr__(self, name):
                return getattr(self.file, name)

        monkeypatch.setattr(ledger, "_file", Full(ledger._file))
        with pytest.raises(OSError, match="No space"):
            ledger.append(make_trial("b"))
        assert [t.trial for t in read_trials(tmp_path)] == ["a"]


def test_a_folder_in_which_nothing_was_recorded_is_not_left_behind(tmp_path):
    Ledger(tmp_path / "run").close()
    assert not (tmp_path / "run").exists()
