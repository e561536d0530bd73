import json
import math

import numpy as np
import pytest

from anynet.cli import run


@pytest.fixture
def two_spaces(make_trial, write_run, planted):
    """A run of 30 networks of each of two spaces, b 3 points worse, one of b failed."""
    rng = np.random.default_rng(0)

    def write(name="run", shift=3.0, keep=lambda name: True, **fields):
        trials = []
        for space, errors in (("a", planted.tied(30, rng)), ("b", planted.tied(30, rng) + shift)):
            for i, error in enumerate(errors):
                one = {"error": float(error)}
                if (space, i) == ("b", 7):
                    one = {"state": "failed", "error": None, "curve": (), "reason": "oops"}
                trials.append(make_trial(f"{space}-{i:03d}", space=space, **(one | fields)))
        folder = write_run(name, [trial for trial in trials if keep(trial.trial)])
        lines = [json.dumps({"trial": t.trial, "space": t.space, "seed": 1}) for t in trials]
        (folder / "population.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return write


def printed(capsys, *arguments):
    assert run(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    assert run(["compare", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_verdict_comes_first_and_in_the_order_given(two_spaces, capsys):
    folder = two_spaces()
    text = printed(capsys, f"{folder}:a", f"{folder}:b", "--delta", 0.5)
    first, second, *_ = text.splitlines()
    assert first.startswith("a is better than b: mean error lower by ")
    assert "points (95% interval " in first
    assert second == ""
    assert "b: n = 29, 1 failed left out" in text
    assert "first-order dominance: a dominates" in text
    back = printed(capsys, f"{folder}:b", f"{folder}:a", "--confidence", 0.9)
    assert back.startswith("b is worse than a: mean error higher by ")
    assert "(90% interval " in back
    assert "nothing is called equivalent without --delta" in back


def test_a_table_for_a_document_is_all_that_is_printed(two_spaces, capsys):
    assert run(["compare", str(two_spaces()), "--table", "markdown"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.split("\n")
    assert lines[0].startswith("| statistic | a | b | lower by |")
    assert lines[2].startswith("| mean |")
    assert all(line.startswith("|") for line in lines if line)
    assert captured.err.startswith("a is better than b")
    words = "--table: latex does not go with --sequential"
    assert words in refused(capsys, two_spaces("other"), "--sequential", "--table", "latex")


def test_baselines_of_a_run_are_no_population(two_spaces, make_trial, capsys):
    from search.ledger import Ledger

    folder = two_spaces()
    before = printed(capsys, folder)
    with Ledger(folder) as ledger:
        ledger.append(make_trial("nin-000", space="baseline", baseline="nin", error=1.0))
    assert printed(capsys, folder) == before


def test_promoted_networks_count_by_how_probable_that_was(write_run, make_trial, planted, capsys):
    # Of each space the better half by the cheap error is promoted for sure, of the others 1 in 4.
    rng = np.random.default_rng(3)
    trials, weighted = [], {}
    for space in "ab":
        sums = np.zeros(2)
        cheap = np.sort(planted.skewed(40, rng))
        for i, error in enumerate(cheap.tolist()):
            one = {"space": space, "error": error, "curve": ()}
            trials.append(make_trial(f"{space}-{i:03d}", **one))
            probability = 1.0 if i < 20 else 0.25
            if i < 20 or i % 4 == 0:
                sums += np.array([error - 1, 1]) / probability
                trials.append(
                    make_trial(
                        f"{space}-{i:03d}",
                        **(one | {"error": error - 1}),
                        rung=1,
                        epochs=2,
                        promotion_probability=probability,
                    )
                )
        weighted[space] = sums[0] / sums[1]
    folder = write_run("rungs", trials)
    document = json.loads(printed(capsys, folder, "--json"))
    verdict = document["verdict"]
    assert verdict["value_a"] == pytest.approx(weighted["a"])
    assert verdict["value_b"] == pytest.approx(weighted["b"])
    assert verdict["n_a"] == 25
    assert "--sequential: a: was trained in rungs" in refused(capsys, folder, "--sequential")


def test_one_run_of_two_spaces_is_two_populations(two_spaces, capsys):
    folder = two_spaces()
    assert printed(capsys, folder) == printed(capsys, f"{folder}:a", f"{folder}:b")
    assert printed(capsys, folder, f"{folder}/../run") == printed(capsys, folder)


def test_equivalent_and_undecided(two_spaces, capsys):
    folder = two_spaces(shift=0.0)
    text = printed(capsys, folder, "--delta", 3, "--statistic", "median")
    assert text.startswith("a and b are equivalent within 3 points: median error of a ")
    text = printed(capsys, folder, "--delta", 0.01)
    assert text.startswith("undecided between a and b: mean error of a ")
    assert " more" in text.splitlines()[1]
    assert "with a chance of 80%, if difference and spread are" in text.splitlines()[1]


def test_a_best_of_too_many_says_so(two_spaces, capsys):
    text = printed(capsys, two_spaces(), "--statistic", "best_of:10")
    assert "(too few networks for an interval)" in text
    assert "how many more networks would decide it cannot be told" in text
    row = next(line for line in text.splitlines() if line.startswith("best_of:10"))
    assert " - " in row


def test_json_holds_what_is_printed(two_spaces, capsys):
    document = json.loads(printed(capsys, two_spaces(), "--delta", 0.5, "--json"))
    assert document["verdict"]["verdict"] == "better"
    assert document["verdict"]["delta"] == 0.5
    assert document["populations"] == [
        {"name": "a", "n": 30, "failed": 0},
        {"name": "b", "n": 29, "failed": 1},
    ]
    names = [row["statistic"] for row in document["statistics"]]
    assert names[:4] == ["mean", "quantile:0.25", "median", "quantile:0.75"]
    assert names[5] == "best_of:7"
    for row in document["statistics"]:
        assert row["p_adjusted"] >= row["p_value"]
    assert document["ks"]["p_value"] < 0.01
    assert document["dominance"]["order"] == "A dominates"


def test_two_runs_of_the_same_space_go_by_their_runs(two_spaces, capsys):
    one, two = two_spaces("one"), two_spaces("two", shift=0)
    text = printed(capsys, f"{one}:b", f"{two}:b")
    assert text.startswith(f"{one} is worse than {two}: ")
    text = printed(capsys, f"{one}:a", f"{two}:b")
    assert "between a and b" in text or text.startswith("a is")


def test_a_path_with_a_colon_is_a_path(two_spaces, capsys):
    folder = two_spaces("two:a")
    assert printed(capsys, folder) == printed(capsys, f"{folder}:a", f"{folder}:b")


def test_sequential_takes_networks_in_the_order_drawn(two_spaces, capsys):
    def ended(name):  # b-020 is slow
        return name not in ("b-020", "a-029")

    folder = two_spaces(keep=ended)
    text = printed(capsys, folder, "--sequential")
    assert text.startswith("a is better than b: mean error lower by ")
    assert "holds however often one looks" in text
    assert "decided after " in text
    assert "19 pairs, in the order in which networks were drawn" in text  # b-007 failed
    assert "b: 9 networks wait for one that was drawn before them" in text
    assert "a: " not in text
    document = json.loads(printed(capsys, folder, "--sequential", "--json"))
    assert document["verdict"]["pairs"] == 19
    assert document["populations"][1] == {"name": "b", "n": 19, "waiting": 9, "failed": 1}
    assert math.isfinite(document["verdict"]["low"])


def test_a_run_that_is_going_is_said_to_be_so(two_spaces, capsys):
    folder = two_spaces(keep=lambda name: name < "b-020")
    assert run(["compare", str(folder)]) == 0
    err = capsys.readouterr().err
    assert f"{folder}: b: 20 of 30 networks have ended, fast ones first; --sequential" in err
    assert ": a: " not in err


def test_sequential_says_how_many_more(two_spaces, capsys):
    text = printed(capsys, two_spaces(shift=0.3), "--sequential")
    assert text.startswith("undecided between a and b")
    assert "more pairs would decide it, if they are like these" in text


def test_what_is_refused(two_spaces, make_trial, write_run, capsys, tmp_path):
    folder = two_spaces()
    assert "0 populations; give two, or one run" in refused(capsys)
    assert "3 populations" in refused(capsys, *(f"{folder}:{s}" for s in "aba"))
    assert "one population; give another" in refused(capsys, f"{folder}:a")
    assert "the same population as" in refused(capsys, f"{folder}:a", f"{folder}:a")
    assert "has no space 'c', but a, b" in refused(capsys, f"{folder}:a", f"{folder}:c")
    assert "none: no such folder" in refused(capsys, tmp_path / "none", folder)
    assert "'mode' must be mean" in refused(capsys, folder, "--statistic", "mode")
    assert "delta: 0 must lie" in refused(capsys, folder, "--delta", 0)
    assert "confidence: 2 must lie" in refused(capsys, folder, "--confidence", 2)
    assert "best_of:100 needs at least" in refused(capsys, folder, "--statistic", "best_of:100")
    single = write_run("single", [make_trial("c-000", space="c"), make_trial("c-001", space="c")])
    assert f"{folder}: has the spaces a, b; name one" in refused(capsys, folder, single)
    assert "single: has trials of one space alone (c); give another" in refused(capsys, single)
    three = [make_trial(f"{s}-{i}", space=s) for s in "abc" for i in range(2)]
    three = write_run("three", three)
    assert "three: has 3 spaces (a, b, c); name two populations" in refused(capsys, three)
    assert "no sequential form" in refused(capsys, folder, "--sequential", "--statistic", "median")
    assert "has no population.jsonl" in refused(capsys, single, f"{folder}:a", "--sequential")


def test_what_is_no_pair_of_populations_is_refused(two_spaces, make_trial, write_run, capsys):
    longer = two_spaces("longer", epochs=2)
    shorter = two_spaces("shorter")
    assert "trained for 2 and 1 epochs" in refused(capsys, f"{longer}:a", f"{shorter}:a")
    mixed = write_run(
        "mixed", [make_trial(f"c-{i}", space="c", epochs=1 + i % 2) for i in range(6)]
    )
    assert "trainings of [1, 2] epochs are not one" in refused(capsys, mixed, f"{shorter}:a")
    adaptive = two_spaces("adaptive", adaptive=True)
    assert "were chosen by an optimizer" in refused(capsys, f"{adaptive}:a", f"{shorter}:a")
    few = write_run("few", [make_trial("c-000", space="c")])
    assert "1 network with an error" in refused(capsys, few, f"{shorter}:a")


def test_other_images_are_said_to_be_so(two_spaces, capsys):
    one, two = two_spaces("one"), two_spaces("two")
    for folder, digest in ((one, "x"), (two, "y")):
        (folder / "data.yaml").write_text(f"digest: {digest}\n")
    assert run(["compare", f"{one}:a", f"{two}:a"]) == 0
    assert "trained on other images" in capsys.readouterr().err
    (two / "data.yaml").write_text("digest: x\n")
    assert run(["compare", f"{one}:a", f"{two}:a"]) == 0
    assert capsys.readouterr().err == ""


def test_errors_that_are_all_equal_differ_by_no_minus_zero(make_trial, write_run, capsys):
    trials = [make_trial(f"{s}-{i}", space=s, error=90.0) for s in "ab" for i in range(8)]
    text = printed(capsys, write_run("equal", trials))
    assert text.startswith("undecided between a and b: mean error of a lower by 0.00 points (95%")
    assert "interval 0.00 to 0.00" in text
    assert "-0 " not in text
