import io

from rich.console import Console

from search.progress import Progress
from search.sweep import Sampled


def shown(terminal, trials, planned=4, before=()):
    stream = io.StringIO()
    progress = Progress(Console(file=stream, force_terminal=terminal, width=120, highlight=False))
    progress.sampled([Sampled("a", 1000, 21)])
    progress.start(planned, before, 2)
    for trial in trials:
        progress.record(trial)
    progress.stop()
    return progress, stream.getvalue()


def test_the_line_says_done_failed_rate_time_left_best_and_median(make_trial):
    trials = [
        make_trial("a-000", error=30.0),
        make_trial("a-001", error=10.0),
        make_trial("a-002", state="failed", error=None, curve=()),
    ]
    progress, _ = shown(False, trials)
    line = progress.line()
    assert line.startswith("done 3/4  failed 1  ")
    assert "/min  left 0:" in line
    assert line.endswith("error best 10.00% median 20.00%")


def test_diverged_trials_are_mentioned(make_trial):
    progress, _ = shown(False, [make_trial(state="diverged", error=100.0)])
    assert "diverged 1  failed 0" in progress.line()


def test_without_a_terminal_there_are_plain_lines_and_the_last_is_whole(make_trial):
    trials = [make_trial(f"a-{i}", error=float(i)) for i in range(4)]
    _, text = shown(False, trials)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "a: 21 of 1,000 draws fit (2.1%)"
    assert lines[1] == "4 trials; 2 at a time"
    assert lines[-1].startswith("done 4/4")


def test_in_a_terminal_one_line_is_redrawn(make_trial):
    _, text = shown(True, [make_trial(f"a-{i}", error=float(i)) for i in range(4)])
    assert text.count("\n") <= 4
    assert "done 4/4" in text


def test_a_resumed_run_counts_what_it_has_but_not_as_rate(make_trial):
    before = [make_trial(f"a-{i}", error=50.0) for i in range(3)]
    progress, text = shown(False, [], before=before)
    assert "3 of them recorded before" in text
    assert progress.line() == "done 3/4  failed 0  error best 50.00% median 50.00%"
