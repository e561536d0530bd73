import json

import numpy as np
import pytest
from msgspec.structs import replace

from anynet import DesignSpace
from anynet.cli import run
from search.trial import read_trials


@pytest.fixture
def regnets(make_trial, write_run):
    """A run of RegNets whose best depth is 20, in a window of flops."""

    def make(name, n, flops=(360e6, 400e6), **fields):
        space = DesignSpace.named("regnetx")
        networks = space.sample(n, np.random.default_rng(0), flops=flops)
        noise = np.random.default_rng(1).normal(size=n) / 4
        trials = []
        for i, network in enumerate(networks):
            drawn = networks.drawn_settings(i)
            error = float(np.clip(20 + 0.02 * (drawn["depth"] - 20) ** 2 + noise[i], 0, 100))
            costs = {key: int(getattr(networks, key)[i]) for key in ("params", "flops")}
            costs["activations"] = int(networks.activations[i])
            common = {"space": "regnetx", "drawn": drawn, "network": network, "error": error}
            trials.append(make_trial(f"r-{i:03d}", **(common | costs | fields)))
        return write_run(name, trials)

    return make


def test_ranges_prints_a_table_and_draws(regnets, tmp_path, capsys):
    folder = regnets("run", 60)
    out, shares = tmp_path / "r.svg", tmp_path / "i.svg"
    assert run(["ranges", str(folder), "--out", str(out), "--importance", str(shares)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("regnetx: 60 networks, the best of 15 drawn")
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert "0.001" in lines["depth"]
    assert "held out, main effects predict R²" in printed
    assert printed.splitlines()[-2:] == [str(out), str(shares)]
    assert "validation error" in out.read_text()
    assert "share of the variance" in shares.read_text()


def test_json_has_what_the_table_has_and_more(regnets, tmp_path, capsys):
    folder = regnets("run", 60)
    arguments = ["ranges", f"{folder}:regnetx", "--out", str(tmp_path / "r.svg"), "--json"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    population = json.loads(text)["populations"][0]
    depth = population["ranges"]["depth"]
    assert depth["low"] <= 20 <= depth["high"]
    assert depth["chance"] < 0.01
    assert population["ranges"]["w0"]["n"] == 60
    effects = {effect["name"]: effect for effect in population["effects"]}
    assert effects["depth"]["unique"]["value"] > 0.2
    assert population["factorization"]["statement"]
    assert run(arguments) == 0
    assert capsys.readouterr().out == text


def test_trends_over_runs_and_over_regimes_of_one(regnets, tmp_path, capsys):
    small, large = regnets("small", 50), regnets("large", 50, (1.5e9, 1.7e9))
    arguments = ["--out", str(tmp_path / "r.svg"), "--trends", str(tmp_path / "t.svg"), "--json"]
    arguments += ["--parameters", "depth,w0"]
    assert run(["ranges", str(large), str(small), *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [str(folder) for folder in (small, large)]
    assert [regime["name"] for regime in document["trends"]["regimes"]] == names
    low, high = document["trends"]["power_laws"]["depth"]["interval"]
    assert low < 0 < high
    assert document["trends"]["transfers"][0]["spearman"] > 0.5
    assert len(document["figures"]) == 3
    assert len(list(tmp_path.glob("r-*.svg"))) == 2
    assert run(["ranges", str(small), "--regimes", "2", *arguments]) == 0
    regimes = json.loads(capsys.readouterr().out)["trends"]["regimes"]
    assert [regime["n"] for regime in regimes] == [25, 25]


def test_promoted_networks_weigh_by_their_probabilities(regnets, write_run, tmp_path, capsys):
    cheap = read_trials(regnets("cheap", 40))
    # All deep networks are promoted; of the others one, which stands for twenty.
    deep = [trial for trial in cheap if trial.drawn["depth"] > 30]
    other = next(trial for trial in cheap if trial.drawn["depth"] <= 30)
    long = [replace(trial, rung=1, epochs=4) for trial in deep]
    long.append(replace(other, rung=1, epochs=4, promotion_probability=0.05))
    folder = write_run("run", cheap + long)
    arguments = ["ranges", str(folder), "--out", str(tmp_path / "r.svg"), "--json"]
    assert run([*arguments, "--parameters", "depth"]) == 0
    captured = capsys.readouterr()
    assert f"{len(long)} of 40 networks came to an end" in captured.err
    depth = json.loads(captured.out)["populations"][0]["ranges"]["depth"]
    assert depth["n"] == len(long)
    assert depth["draws"] == round(len(long) / 4)
    inside = [
        1 / trial.promotion_probability
        for trial in long
        if depth["low"] <= trial.drawn["depth"] <= depth["high"]
    ]
    whole = sum(1 / trial.promotion_probability for trial in long)
    assert depth["inside"] == pytest.approx(sum(inside) / whole)
    assert depth["inside"] != pytest.approx(len(inside) / len(long))


def test_chosen_parameters(regnets, tmp_path, capsys):
    folder = regnets("run", 20)
    out = ["--out", str(tmp_path / "r.svg"), "--json"]
    assert run(["ranges", str(folder), "--parameters", "width_growth, flops", *out]) == 0
    found = json.loads(capsys.readouterr().out)["populations"][0]
    assert list(found["ranges"]) == ["width_growth", "flops"]


def test_too_few_networks_for_shares_are_said_and_ranges_still_printed(regnets, tmp_path, capsys):
    assert run(["ranges", str(regnets("run", 8)), "--out", str(tmp_path / "r.svg")]) == 0
    captured = capsys.readouterr()
    assert "regnetx: importance: 8 networks with an error, 14 at least" in captured.err
    assert "regnetx: 8 networks, the best of 2 drawn" in captured.out


def refused(arguments, capsys):
    assert run(["ranges", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_refusals(regnets, tmp_path, capsys):
    folder, out = str(regnets("run", 8)), ["--out", str(tmp_path / "r.svg")]
    assert "give at least one run" in refused(out, capsys)
    assert "'x' is not in" in refused([f"{folder}:x", *out], capsys)
    assert "given twice" in refused([folder, f"{folder}:regnetx", *out], capsys)
    assert "no such folder" in refused([str(tmp_path / "none"), *out], capsys)
    assert "goes with --trends" in refused([folder, "--regimes", "3", *out], capsys)
    assert "share: 2 must be above 0" in refused([folder, "--share", "2", *out], capsys)
    assert "--seed: -1 must be" in refused([folder, "--seed", "-1", *out], capsys)
    assert "must be one of depth" in refused([folder, "--parameters", "colour", *out], capsys)
    assert "has no 'e_fit'" in refused([folder, "--parameters", "e_fit", *out], capsys)
    failed = regnets("failed", 2, state="failed", error=None)
    assert "no trial with an error yet (2 failed)" in refused([str(failed), *out], capsys)


def test_every_figure_path_is_checked_first_and_named_as_given(regnets, tmp_path, capsys):
    folder = str(regnets("run", 6))
    for option in ("--out", "--importance", "--trends"):
        paths = {"--out": str(tmp_path / "r.svg"), option: "figure"}
        given = [text for pair in paths.items() for text in pair]
        assert run(["ranges", folder, *given]) == 2
        message = f"anynet: {option}: figure: must end in one of .png, .svg, .pdf\n"
        assert capsys.readouterr() == ("", message)
    assert not (tmp_path / "r.svg").exists()
