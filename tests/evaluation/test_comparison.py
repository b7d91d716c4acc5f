"""Paired comparisons against hand-computed cases and SciPy's tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diptych.errors import DataError
from diptych.evaluation.comparison import Measured, compare, holm, mcnemar


def two(a: list[float] | np.ndarray, b: list[float] | np.ndarray) -> tuple[Measured, Measured]:
    keys = [f"sample-{i}" for i in range(len(a))]
    return Measured("A", keys, np.array(a)), Measured("B", keys[::-1], np.array(b)[::-1])


def test_samples_are_matched_by_key_and_told_in_a_sentence() -> None:
    a = np.arange(500) < 400
    b = a.copy()
    b[:12], b[400:402] = False, True
    found = compare(*two(a, b))
    assert found.means == (0.8, 0.78)
    assert found.difference == pytest.approx(0.02)
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (12, 2)
    assert found.p == found.mcnemar.p == pytest.approx(stats.binomtest(2, 14).pvalue)
    low, high = found.interval
    # A normal interval of the difference: 0.02 -+ 1.96 * sqrt(14 - 100 / 500) / 500.
    assert (low, high) == (pytest.approx(0.0054, abs=0.003), pytest.approx(0.0346, abs=0.003))
    sentence = f"A is better by 2.0 points ({100 * low:.1f} to {100 * high:.1f}), p = 0.013, 500 samples"
    assert str(found) == sentence
    assert str(compare(*reversed(two(a, b)))).startswith("A is better by 2.0 points (0.")
    assert str(compare(*two(a, b), lower_is_better=True)).startswith("B is better by 2.0 points (0.")


def test_numbers_that_are_no_fractions() -> None:
    generator = np.random.default_rng(0)
    b = generator.exponential(5, 200) + 2
    found = compare(*two(b - 1 + generator.normal(0, 0.1, 200), b), lower_is_better=True)
    assert found.mcnemar is None
    assert found.interval == (pytest.approx(-1.014, abs=0.02), pytest.approx(-0.986, abs=0.02))
    assert found.p == pytest.approx(2 / 2001)  # as small as 2,000 draws tell
    assert str(found).startswith("A is better by 1")
    assert "points" not in str(found)
    assert str(found).endswith("p < 0.001, 200 samples")
    assert compare(*two(b, b[::-1])).p > 0.5
    assert "points" not in str(compare(*two(-b, -b - 1)))
    assert "points" in str(compare(*two(1 / b, 1 / b / 2)))


def test_models_that_agree_everywhere_are_not_surely_equal() -> None:
    same = np.arange(100) % 3 == 0
    found = compare(*two(same, same))
    assert (found.difference, found.p) == (0, 1)
    assert found.interval[0] < -0.01 < 0.01 < found.interval[1]
    assert str(found).startswith("A and B are equal within 0.0 points (-")


def test_a_difference_that_may_be_luck_is_not_called_better() -> None:
    a = np.arange(84) < 50
    b = np.roll(a, 20)
    b[50:52] = False
    found = compare(*two(a, b))
    assert found.interval[0] < 0 < found.difference
    assert found.p > 0.05
    assert str(found).startswith("no difference is shown: A is ahead of B by 2.4 points (-")
    assert str(compare(*reversed(two(a, b)))).startswith("no difference is shown: A is ahead of B by 2.4 points (-")


def test_a_sentence_needs_both_interval_and_p() -> None:
    five_more = compare(*two(np.arange(100) < 55, np.arange(100) < 50))
    assert five_more.interval[0] > 0
    assert five_more.p == pytest.approx(2 / 2**5)
    assert str(five_more).startswith("no difference is shown: A is ahead of B by 5.0 points (0.1 to ")
    six_values = np.array([5.1, 1.2, 3.3, -1.2, 1.2, 6.9])
    few = compare(*two(six_values, 0 * six_values))
    assert few.interval[0] < 0 < few.interval[1]
    assert few.p < 0.05
    assert str(few).startswith("no difference is shown: A is ahead of B by")


def test_clusters_that_agree_are_as_unsure_as_so_many_samples() -> None:
    """Two models that hit the same in twenty clusters of five know no more of a difference than of twenty samples."""
    hits_K = np.arange(20) % 3 == 0
    hits, clusters = np.repeat(hits_K, 5), np.repeat(np.arange(20), 5).tolist()
    whole = compare(Measured("A", range(100), hits, clusters), Measured("B", range(100), hits))
    alone = compare(Measured("A", range(20), hits_K), Measured("B", range(20), hits_K))
    assert whole.interval == pytest.approx(alone.interval)
    assert whole.interval[1] > 0.1
    values_K = np.random.default_rng(0).normal(size=20)
    of_numbers = compare(
        Measured("A", range(100), np.repeat(values_K, 5)), Measured("B", range(100), 0 * hits, clusters)
    )
    assert of_numbers.interval == pytest.approx(compare(*two(values_K, 0 * values_K)).interval)
    assert whole.p == alone.p == 1


def test_as_small_a_p_is_told_as_draws_allow() -> None:
    a, images = np.ones(300), (np.arange(300) // 5).tolist()
    one, two = (Measured(name, range(300), hits, images) for name, hits in (("A", a), ("B", 1 - a)))
    assert compare(one, two).p == pytest.approx(2 / 2001)
    assert compare(one, two, draws=20_000).p == pytest.approx(2 / 20_001)


def test_clusters_are_drawn_whole() -> None:
    generator = np.random.default_rng(0)
    a, b = (np.repeat(generator.random(60) < rate, 5) for rate in (0.7, 0.5))
    keys, images = list(range(300)), (np.arange(300) // 5).tolist()
    alone = compare(Measured("A", keys, a), Measured("B", keys, b))
    whole = compare(Measured("A", keys, a, images), Measured("B", keys, b))
    assert whole.mcnemar is None
    assert whole.p > 5 * alone.p
    assert np.ptp(whole.interval) == pytest.approx(5**0.5 * np.ptp(alone.interval), rel=0.15)
    other = Measured("B", keys[::-1], b[::-1], images[::-1])
    assert compare(Measured("A", keys, a, images), other) == whole
    with pytest.raises(DataError, match="1 samples are in other clusters of A than of B: 299"):
        compare(Measured("A", keys, a, images), Measured("B", keys, b, [*images[:-1], 0]))
    with pytest.raises(DataError, match="B has 3 clusters for 300 samples"):
        compare(Measured("A", keys, a), Measured("B", keys, b, [1, 2, 3]))


def test_other_samples_are_named() -> None:
    a = Measured("A", ["x", "y", "z"], np.ones(3))
    with pytest.raises(DataError, match=r"2 are of both; 1 only of A: z; 6 only of B: p, q, r, s \.\.\."):
        compare(a, Measured("B", ["y", "x", *"pqrstu"], np.ones(8)))
    with pytest.raises(DataError, match="1 keys of B occur more than once: x"):
        compare(a, Measured("B", ["x", "x", "z"], np.ones(3)))
    with pytest.raises(DataError, match="B has 2 keys for 3 values"):
        compare(a, Measured("B", ["x", "y"], np.ones(3)))
    with pytest.raises(DataError, match="no sample"):
        compare(Measured("A", [], np.ones(0)), Measured("B", [], np.ones(0)))
    with pytest.raises(DataError, match="1 of the 3 values of B are not finite"):
        compare(a, Measured("B", ["x", "y", "z"], np.array([1, np.nan, 2])))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    found = mcnemar(only_a, only_b)
    if only_a + only_b:
        assert found.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
        half = stats.binom.pmf(only_a, only_a + only_b, 0.5)
        assert found.mid_p == pytest.approx(1 if only_a == only_b else found.p - half)
    else:
        assert (found.p, found.mid_p) == (1, 1)


def test_mid_p_by_hand() -> None:
    # Of 10 discordant pairs, 2: 2 * (1 + 10 + 45) / 1024, and without half of 2 * 45.
    assert mcnemar(2, 8).p == pytest.approx(112 / 1024)
    assert mcnemar(8, 2).mid_p == pytest.approx(67 / 1024)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []
    with pytest.raises(DataError, match=r"not 1\.5"):
        holm([0.1, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    adjusted, level, rejected = holm(p_values), 0.05, set()
    for step, number in enumerate(np.argsort(p_values, kind="stable").tolist()):
        if p_values[number] * (len(p_values) - step) > level:
            break
        rejected.add(number)
    assert {number for number, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= q for p, q in zip(p_values, adjusted, strict=True))
