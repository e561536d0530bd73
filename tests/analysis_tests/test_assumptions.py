"""The four assumptions on planted populations: what is so is said, and what is not, is not."""

import json
from dataclasses import replace as changed

import numpy as np
import pytest
from msgspec.structs import replace

from analysis.assumptions import curve_at, factorize, few_epochs, transfer
from analysis.evidence import read_evidence
from analysis.findings import Finding, Measurement, code, escape, html, page, together
from analysis.pooling import contains
from analysis.principles import principles
from analysis.selection import select
from anynet import DesignSpace, InputError
from anynet.cli import run
from anynet.files import to_json, to_yaml
from anynet.space import Constraint

LARGE = DesignSpace(
    name="large",
    depth=(1.0, 2.0, 3.0, 4.0),
    width=(8.0, 16.0, 24.0, 32.0, 40.0, 48.0),
    bottleneck_ratio=1.0,
    group_width=8.0,
    strides=(1, 2),
)
SMALL = replace(LARGE, name="small", constraints=(Constraint("depth", "non_decreasing"),))


def additive(drawn):
    """A planted error: depth and width of both stages, each by itself."""
    (d1, d2), (w1, w2) = drawn["depths"], drawn["widths"]
    return 20 - d1 + 1.3 * d2 - w1 / 16 + w2 / 20


def tangled(drawn):
    """A planted error that is nothing but interactions."""
    (d1, d2), (w1, w2) = drawn["depths"], drawn["widths"]
    return 20 + 1.5 * (d1 - 2.5) * (d2 - 2.5) + (w1 - 28) * (w2 - 28) / 80


@pytest.fixture
def sweep(make_trial, write_run):
    """A function that writes a run of spaces with planted errors, and its sweep.yaml."""

    def write(name, spaces, error, n=100, noise=0.5, flops=(0.0, 1e12), seed=0, more=None, **data):
        rng = np.random.default_rng(seed)
        trials = []
        for space in spaces:
            networks = space.sample(n, rng, resolution=8, flops=flops)
            for i, network in enumerate(networks):
                drawn = networks.drawn_settings(i)
                value = float(np.clip(error(drawn) + noise * rng.normal(), 0, 99))
                costs = {key: int(getattr(networks, key)[i]) for key in COSTS}
                fields = {"space": space.name, "drawn": drawn, "network": network, "error": value}
                trial = make_trial(f"{space.name}-{i:03d}", **(fields | costs))
                trials += [trial] if more is None else more(trial, rng)
        folder = write_run(name, trials)
        document = {"space": list(spaces), "window": {"flops": list(flops)}, "epochs": 1}
        (folder / "sweep.yaml").write_text(to_yaml(document))
        images = {"resolution": 8, "channels": 3, "classes": ["a"], "digest": "x"} | data
        (folder / "data.yaml").write_text(to_yaml(images))
        return folder

    return write


COSTS = ("params", "flops", "activations")


def populations(*arguments):
    return select([str(argument) for argument in arguments]).populations


# Assumption 1


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "does not hold")])
def test_a_constrained_space_is_compared_with_the_one_it_came_from(sweep, sign, verdict):
    def error(drawn):
        return 20 + sign * (drawn["depths"][0] - drawn["depths"][1])

    found = principles(populations(sweep("run", [SMALL, LARGE], error)), [])
    assert found.verdict == verdict
    mean, median = found.measurements
    assert mean.of == median.of == "small in large"
    assert mean.n == "100 and 100"
    assert mean.low < mean.value < mean.high
    assert (mean.value > 0) == (sign > 0)
    assert not found.settle
    assert ("better" if sign > 0 else "worse") in found.words[0]


def test_what_the_data_cannot_say_is_said_with_what_would_settle_it(sweep):
    folder = sweep("run", [SMALL, LARGE], lambda _: 20.0, n=40, noise=3)
    found = principles(populations(folder), [])
    assert found.verdict == "undecided"
    (text,) = found.settle
    assert text.startswith("small in large: ")
    assert "networks" in text
    alone = principles(populations(f"{folder}:small"), [])
    assert (alone.verdict, alone.measurements) == ("no data", ())
    assert "--evidence" in alone.settle[0]


def test_noise_decides_nothing_more_often_than_it_may(sweep):
    middle = replace(SMALL, name="middle")
    small = replace(middle, name="small", width=(8.0, 16.0, 24.0))
    spaces, decided = [LARGE, middle, small], 0
    for seed in range(20):
        folder = sweep(f"run{seed}", spaces, lambda _: 20.0, n=25, noise=2, seed=seed)
        found = principles(populations(folder), [])
        assert len(found.measurements) == 6  # large and middle, middle and small, and the ends
        assert found.measurements[0].confidence == pytest.approx(1 - 0.05 / 3)
        decided += any(row.verdict != "undecided" for row in found.measurements[::2])
    # Of 20 at 5%, 1 is to be expected; 5 or more come about with a chance of 0.3%.
    assert decided < 5


def test_which_space_contains_which():
    anynet, regnet = DesignSpace.named("anynetx_a"), DesignSpace.named("regnetx")
    assert contains(anynet, regnet)
    assert not contains(regnet, anynet)
    assert not contains(DesignSpace.named("anynetx_a"), DesignSpace.named("regnety"))
    assert contains(anynet, DesignSpace.named("anynetx_d"))
    assert not contains(anynet, anynet)
    assert not contains(replace(anynet, limits=("depth <= 9",)), regnet)
    assert contains(LARGE, replace(LARGE, limits=("params < 1e6",)))
    assert not contains(replace(LARGE, limits=("params < 1e6",)), SMALL)


def test_runs_that_were_trained_on_other_images_are_not_compared(sweep):
    large = sweep("large", [LARGE], additive)
    small = sweep("small", [SMALL], additive, digest="y")
    found = principles(populations(large, small), [])
    assert found.verdict == "no data"
    assert "small and large are not compared: " in found.words[0]
    assert "other images" in found.words[0]


def ladder(*outcomes, high=1.2):
    comparison = {"difference": 0.7, "low": 0.2, "high": high, "n_a": 80, "n_b": 90, "p_value": 0}
    comparison |= {"value_a": 10.0, "value_b": 10.7}
    return {
        "version": 1,
        "start": {"space": "anynetx_a", "size": 1.8e18},
        "end": {"space": "anynetx_d", "size": 3.1e13, "networks": 90},
        "rules": {"delta": 0.5, "confidence": 0.99, "alpha": 0.05},
        "steps": [
            {
                "base": "anynetx_a",
                "space": f"a{i}",
                "words": "widths do not <b>decrease</b> | at all",
                "screening": {"effect": -1.0, "low": None, "high": -0.1},
                "comparison": comparison,
                "outcome": outcome,
            }
            for i, outcome in enumerate(outcomes)
        ],
        "waiting": [],
    }


def test_the_gains_of_a_ladder_are_read_from_its_evidence(tmp_path):
    path = tmp_path / "e.json"
    path.write_text(to_json(ladder("improvement", "refused", "simplification")))
    found = principles([], [read_evidence(path)])
    assert found.verdict == "holds"
    assert "Of 3 constraints tried on anynetx_a, 1 made its networks better and 1" in found.words[0]
    assert "1 setting in 5.81e+04" in found.words[0]
    first, second, third = found.measurements
    assert (first.value, first.low, first.high, first.confidence) == (0.7, 0.2, 1.2, 0.99)
    assert (first.n, first.of) == ("80 and 90", "a0 in anynetx_a")
    assert (first.verdict, second.verdict, third.verdict) == ("holds", "undecided", "holds")
    path.write_text(to_json(ladder("refused", high=-0.1)))
    assert principles([], [read_evidence(path)]).verdict == "does not hold"
    path.write_text(to_json(ladder("refused")))
    none = principles([], [read_evidence(path)])
    assert none.verdict == "undecided"
    assert none.words[0] == "Of 1 constraint tried on anynetx_a none is accepted."
    assert none.settle


# Assumption 2


def with_curve(noise):
    """A training of eight epochs whose curve ranks as the end does, up to noise."""

    def more(trial, rng):
        curve = tuple(
            float(np.clip(trial.error + 30 - 3 * epoch + noise * rng.normal(), 0, 100))
            for epoch in range(1, 8)
        )
        return [replace(trial, epochs=8, curve=(*curve, trial.error))]

    return more


@pytest.mark.parametrize(("noise", "verdict"), [(0.2, "holds"), (30.0, "does not hold")])
def test_a_curve_ranks_or_does_not(sweep, noise, verdict):
    folder = sweep("run", [LARGE], additive, more=with_curve(noise))
    found = few_epochs(populations(folder), np.random.default_rng(0))
    assert found.verdict == verdict
    assert [row.what for row in found.measurements[::2]] == [
        "rho of epoch 2 of 8 (curve)",
        "rho of epoch 4 of 8 (curve)",
    ]
    assert any("not a short training" in note for note in found.notes)
    assert found.measurements[1].unit == "points"


def test_rungs_rank_by_the_briefest(sweep):
    def more(trial, rng):
        brief = float(np.clip(trial.error + 20 + 0.1 * rng.normal(), 0, 100))
        promoted = replace(trial, rung=1, epochs=9, promotion_probability=0.5)
        return [replace(trial, error=brief)] + [promoted] * bool(rng.random() < 0.5)

    found = few_epochs(populations(sweep("run", [LARGE], additive, more=more)), _rng())
    assert found.verdict == "holds"
    assert found.measurements[0].what == "rho of 1 of 9 epochs (rung)"
    assert 30 < int(found.measurements[0].n) < 70
    assert any("Of a rung" in note for note in found.notes)


def test_one_epoch_has_nothing_shorter(sweep):
    found = few_epochs(populations(sweep("run", [LARGE], additive, n=10)), _rng())
    assert (found.verdict, found.measurements) == ("no data", ())
    assert "two numbers of epochs" in found.settle[0]


def _rng():
    return np.random.default_rng(0)


def test_a_curve_that_ended_in_divergence_has_error_100(make_trial, write_run):
    folder = write_run(
        "run",
        [
            make_trial("a-000", epochs=3, curve=(50.0, 40.0, 30.0), error=30.0),
            make_trial("a-001", epochs=3, curve=(60.0,), state="diverged", error=100.0, reason="x"),
            make_trial("a-002", epochs=3, curve=(), state="failed", error=None, reason="x"),
        ],
    )
    (one,) = populations(folder)
    np.testing.assert_array_equal(curve_at(one.rows, 1), [50.0, 60.0, np.nan])
    np.testing.assert_array_equal(curve_at(one.rows, 2), [40.0, 100.0, np.nan])


# Assumption 3


def test_effects_of_small_networks_rank_large_ones_or_do_not(sweep):
    bounds = (0.0, 160e3), (280e3, 1e12)
    small, large = (
        sweep(name, [LARGE], additive, n=60, flops=window)
        for name, window in zip(("one", "two"), bounds, strict=True)
    )
    found = transfer(populations(large, small))
    assert found.verdict == "holds"
    rho, own = found.measurements
    assert rho.of == f"{small} to {large}"
    assert rho.n == "60 and 60"
    assert rho.low > 0.5 < own.low
    turned = sweep("turned", [LARGE], lambda d: 50 - additive(d), n=60, flops=bounds[1])
    assert transfer(populations(small, turned)).verdict == "does not hold"


def test_halves_of_a_wide_population_and_none_of_a_narrow_one(sweep):
    wide = sweep("wide", [LARGE], additive, n=120)
    found = transfer(populations(wide))
    assert found.measurements[0].of.startswith("large, ")
    assert found.measurements[0].n == "60 and 60"
    narrow = sweep("narrow", [LARGE], additive, n=30, flops=(240e3, 300e3))
    found = transfer(populations(narrow))
    assert (found.verdict, found.measurements) == ("no data", ())
    assert "of one size" in found.words[0]
    assert "two windows" in found.settle[0]


# Assumption 4


@pytest.mark.parametrize(("error", "verdict"), [(additive, "holds"), (tangled, "does not hold")])
def test_effects_that_add_up_and_such_that_do_not(sweep, error, verdict):
    found = factorize(populations(sweep("run", [LARGE], error, n=200, noise=0.3)))
    assert found.verdict == verdict
    shares = {row.what: row.value for row in found.measurements}
    assert (shares["main effects"] > 80) == (error is additive)
    assert not found.settle


def test_too_few_networks_are_no_data(sweep):
    found = factorize(populations(sweep("run", [LARGE], additive, n=8)))
    assert found.verdict == "no data"
    assert "20 at least" in found.words[0]
    assert "300 networks" in found.settle[0]


# The page and the command


def test_the_page_is_markdown_or_one_html_file(sweep, tmp_path, capsys):
    folder = sweep("run", [SMALL, LARGE], additive, n=40, more=with_curve(1.0))
    evidence = tmp_path / "e.json"
    evidence.write_text(to_json(ladder("improvement")))
    arguments = ["assumptions", str(folder), "--evidence", str(evidence)]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith("# How well the four assumptions hold\n")
    assert text.count("\n## ") == 4
    assert "- `small`: 40 networks with an error after 8 epochs" in text
    assert r"widths do not \<b\>decrease\</b\> \| at all (improvement)" in text
    assert "0.70 points | 0.20 to 1.20 (99%) | 80 and 90 | holds |" in text
    page = tmp_path / "page.md"
    assert run([*arguments, "--out", str(page)]) == 0
    assert page.read_text() == text
    assert "1. General design principles exist: holds" in capsys.readouterr().out
    whole = tmp_path / "page.html"
    assert run([*arguments, "--out", str(whole)]) == 0
    written = whole.read_text()
    assert "<b>" not in written
    assert "&lt;b&gt;decrease&lt;/b&gt; | at all" in written
    assert written.count("<h2>") == 4
    assert "http" not in written
    assert "<script" not in written


def test_json_has_every_number(sweep, tmp_path, capsys):
    folder = sweep("run", [SMALL, LARGE], additive, n=40)
    assert run(["assumptions", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["populations"] == ["large", "small"]
    assert [finding["number"] for finding in document["findings"]] == [1, 2, 3, 4]
    assert document["findings"][0]["measurements"][0]["n"] == "40 and 40"


def test_refusals(sweep, tmp_path, capsys):
    folder = str(sweep("run", [LARGE], additive, n=8))
    bad = tmp_path / "bad.json"
    bad.write_text('{"version": 2}')
    for arguments, rule in (
        ([], "give at least one run"),
        ([folder, "--out", "page.pdf"], "--out: page.pdf: must end in .md or .html"),
        ([folder, "--seed", "-1"], "--seed: -1 must be 0 or more"),
        ([folder, "--evidence", str(bad)], "bad.json: version: 2"),
        ([folder, "--evidence", str(tmp_path / "none.json")], "none.json: no such file"),
    ):
        assert run(["assumptions", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert rule in captured.err


def test_text_of_users_is_no_markup():
    assert code("a`b|c\nd") == "`a'b\\|c d`"
    assert escape("run_a *x* [y](z) <i>") == r"run_a \*x\* \[y\](z) \<i\>"
    assert "<img" not in html(f"- {escape('<img src=x>')}\n- {code('<img src=x>')}\n", "a")
    assert "&lt;t&gt;" in html("", "<t>")


def test_one_verdict_of_several_populations(sweep):
    found = principles(populations(sweep("run", [SMALL, LARGE], additive)), [])

    def rows(*verdicts):
        return [changed(found.measurements[0], verdict=verdict) for verdict in verdicts]

    assert together([]) == "no data"
    assert together(rows("holds", "holds")) == "holds"
    assert together(rows("holds", "undecided")) == "holds"
    assert together(rows("holds", "does not hold")) == "holds in part"


def test_evidence_of_another_version_is_refused(tmp_path):
    path = tmp_path / "e.json"
    path.write_text(to_json(ladder("improvement") | {"version": 7}))
    with pytest.raises(InputError, match="version"):
        read_evidence(path)


def test_the_page_in_the_docs_is_what_is_printed(request, capsys):
    root = request.config.rootpath
    text = (root / "docs" / "assumptions.md").read_text()
    quoted = 0
    for name in ("demo", "fashion_mnist"):
        assert run(["assumptions", str(root / "docs" / "runs" / name)]) == 0
        sections = capsys.readouterr().out.split("\n## ")
        quoted += sum(f"\n### {section.rstrip()}\n" in text for section in sections[1:])
    assert quoted == text.count("\n### ") == 4


def test_a_page_knows_no_minus_zero():
    row = Measurement("a", "b", 0.5, -0.001, 1.0, "8", "undecided", "points")
    found = Finding(1, "title", "claim", "undecided", ("words",), (row,), (), ())
    assert "| 0.50 points | 0.00 to 1.00 (95%) |" in page([found], [("a", "8 networks")])
