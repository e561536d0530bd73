import numpy as np
import pytest

from analysis.sequential import complete_prefix, sequential_compare
from anynet import InputError

NAN = float("nan")


def test_a_clear_difference_is_called_early_and_stays_called(planted):
    rng = np.random.default_rng(0)
    a, b = planted.tied(300, rng), planted.tied(300, rng) + 2
    found = sequential_compare(a, b)
    assert found.verdict == "better"
    assert found.decided_at is not None
    assert found.decided_at < 100
    before = sequential_compare(a[: found.decided_at - 1], b[: found.decided_at - 1])
    assert before.verdict == "undecided"
    assert before.decided_at is None
    then = sequential_compare(a[: found.decided_at], b[: found.decided_at])
    assert (then.verdict, then.decided_at) == ("better", found.decided_at)
    assert sequential_compare(b, a).verdict == "worse"


def test_limits_only_ever_narrow(planted):
    rng = np.random.default_rng(1)
    a, b = planted.diverging(200, rng), planted.diverging(200, rng)
    looks = [sequential_compare(a[:n], b[:n]) for n in range(10, 200, 10)]
    assert (np.diff([one.low for one in looks]) > -1e-3).all()
    assert (np.diff([one.high for one in looks]) < 1e-3).all()


def test_equivalence_is_found_and_said_before_better():
    rng = np.random.default_rng(2)
    a = rng.normal(20, 1, 3000)
    found = sequential_compare(a, rng.normal(20.15, 1, 3000), delta=0.5)
    assert found.verdict == "equivalent"
    assert found.low > 0
    assert found.decided_at < 3000


@pytest.mark.parametrize("scale", [0.01, 1, 10])
def test_units_do_not_matter(scale):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0, 4, 60), rng.uniform(1, 5, 60)
    one, other = sequential_compare(a, b), sequential_compare(a * scale, b * scale)
    assert other.decided_at == one.decided_at
    assert other.low == pytest.approx(one.low * scale, abs=1e-3)


def test_how_many_more_pairs_is_what_it_takes(planted):
    more, late = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b = planted.skewed(1500, rng), planted.skewed(1500, rng) + 0.8
        at_40 = sequential_compare(a[:40], b[:40])
        if at_40.verdict == "undecided":
            more.append(at_40.more_pairs or np.inf)  # no end in sight
            late.append(sequential_compare(a, b).decided_at - 40)
    assert len(more) > 10
    assert 0.5 < np.median(more) / np.median(late) < 2
    assert sequential_compare([5.0] * 20, [5.0] * 20).more_pairs is None


def test_the_limit_spares_the_tails(planted):
    rng = np.random.default_rng(5)
    a, b = planted.diverging(150, rng), planted.diverging(150, rng) + 0.0
    b = np.minimum(b + 1.5, 100)
    assert sequential_compare(a, b).verdict == "undecided"
    assert sequential_compare(a, b, limit=15).verdict == "better"


def test_bounded_limits_hold_the_truth_and_need_no_symmetry():
    # 10% of b diverge: an asymmetric difference, whose mean is 9.5.
    outside = wide = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a = np.full(200, 5.0)
        b = np.where(rng.random(200) < 0.1, 100.0, 5.0)
        found = sequential_compare(a, b, method="bounded")
        outside += not found.low <= 9.5 <= found.high
        wide += found.high - found.low > 60
    assert outside <= 6
    assert wide == 0


def test_the_longer_population_is_cut(planted):
    rng = np.random.default_rng(6)
    a, b = planted.skewed(80, rng), planted.skewed(50, rng)
    assert sequential_compare(a, b) == sequential_compare(a[:50], b)


def test_the_complete_prefix_ends_at_the_first_gap_and_passes_failures():
    planned = ["a-0", "a-1", "a-2", "a-3", "a-4"]
    ended = {"a-4": 1.0, "a-0": 5.0, "a-2": 3.0, "a-1": NAN}
    assert complete_prefix(planned, ended) == [5.0, 3.0]
    assert complete_prefix(planned, {"a-1": 2.0}) == []


def test_the_order_of_ending_would_mislead():
    # Equal populations; half of b's networks are slow, and slow ones are better.
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(40):
        a, b = rng.normal(20, 1, 80), rng.normal(20, 1, 80)
        slow = b < 20
        wrong += sequential_compare(a[: (~slow).sum()], b[~slow]).verdict == "better"
    assert wrong > 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, "confidence: 1.5 must lie"),
        ({"delta": -1}, "delta: -1 must lie"),
        ({"limit": 0}, "limit: 0 must lie"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(InputError, match=message):
        sequential_compare([1, 2], [1, 2], **options)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["tied", "diverging"])
def test_equal_populations_are_called_different_in_at_most_five_percent_of_sweeps(planted, shape):
    rng = np.random.default_rng(8)
    draw = getattr(planted, shape)
    ever = 0
    for _ in range(1000):
        found = sequential_compare(draw(250, rng), draw(250, rng))  # 250 looks in one
        ever += found.decided_at is not None
    assert ever <= 64
    if shape == "tied":
        assert ever > 3  # some: the bound is not so loose that nothing is ever called


@pytest.mark.slow
def test_fifty_looks_one_after_another(planted):
    rng = np.random.default_rng(9)
    ever = fixed = 0
    for _ in range(50):
        a, b = planted.tied(250, rng), planted.tied(250, rng)
        looks = [sequential_compare(a[:n], b[:n]) for n in range(5, 251, 5)]
        different = [one.verdict in ("better", "worse") for one in looks]
        assert any(different) <= (looks[-1].decided_at is not None)
        ever += any(different)
        ends = [(b[:n] - a[:n]) for n in range(5, 251, 5)]
        fixed += any(abs(d.mean()) > 1.96 * d.std(ddof=1) / np.sqrt(len(d)) for d in ends)
    assert ever <= 6
    assert fixed > 10  # what looking 50 times does to an ordinary interval


@pytest.mark.slow
def test_limits_hold_for_populations_of_other_shapes(planted):
    rng = np.random.default_rng(10)
    outside = 0
    for _ in range(1000):
        a = planted.skewed(200, rng)
        b = rng.normal(10, 1, 200)
        found = sequential_compare(a, b)
        outside += not found.low <= 10 - (7 + 1.5 * 1.6) <= found.high
    assert outside <= 64
