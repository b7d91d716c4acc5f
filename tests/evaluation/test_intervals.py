"""Intervals against their definitions, computed anew: known distributions, plain loops, and what a seed decides."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from diptych.evaluation import intervals, multilabel, retrieval, zero_shot
from diptych.evaluation.abstention import risk_coverage
from diptych.evaluation.calibration import calibration, calibration_of_answers
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.robustness import Counts, average, effective, fit, relative
from diptych.evaluation.temperature import scaled


def test_a_share_is_worth_its_design_effect() -> None:
    """Korn and Graubard: Clopper-Pearson of an effective number of trials, from the sample variance of residuals."""
    generator = np.random.default_rng(0)
    sizes_K = generator.integers(1, 6, 12)
    clusters_Q = np.repeat(np.arange(12), sizes_K)
    hits_Q = generator.random(len(clusters_Q)) < np.repeat(generator.beta(0.5, 0.5, 12), sizes_K)
    share = hits_Q.mean()
    residuals_K = [(hits_Q[clusters_Q == k] - share).sum() for k in range(12)]
    variance = 12 * np.var(residuals_K, ddof=1) / len(hits_Q) ** 2
    few = stats.norm.ppf(0.975) / stats.t.ppf(0.975, 11)
    worth = share * (1 - share) / variance * few**2
    assert worth < 0.8 * len(hits_Q)
    low = stats.beta.ppf(0.025, worth * share, worth * (1 - share) + 1)
    high = stats.beta.ppf(0.975, worth * share + 1, worth * (1 - share))
    assert intervals.proportion(hits_Q, clusters_Q) == pytest.approx((low, high))


@pytest.mark.parametrize("members", [3, 5, 30])
def test_percentiles_of_a_normal_mean_are_students_interval(members: int) -> None:
    """Resampled means of n values with standard deviation 1 have sqrt((n - 1) / n / n), not sqrt(1 / n)."""
    from_normal = stats.norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)
    statistics = 3 + from_normal * ((members - 1) / members / members) ** 0.5
    low, high = intervals.percentiles(statistics, members, 3.0, level=0.8)
    reach = stats.t.ppf(0.9, members - 1) / members**0.5
    assert (low, high) == pytest.approx((3 - reach, 3 + reach), rel=1e-3)


def test_an_estimate_that_what_is_drawn_misses_is_in_its_interval() -> None:
    drawn = np.linspace(0.4, 0.6, 101)
    assert intervals.percentiles(drawn, 50, 0.1)[0] == 0.1
    assert intervals.percentiles(drawn, 50, 0.9)[1] == 0.9


@pytest.mark.parametrize("seed", range(4))
def test_medians_are_those_of_the_clusters_drawn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    clusters_Q, values_Q = generator.integers(7, size=20), generator.permutation(20).astype(float)
    _, clusters_Q = np.unique(clusters_Q, return_inverse=True)
    count = int(clusters_Q.max()) + 1
    medians = [
        np.median(np.concatenate([values_Q[clusters_Q == k] for k in chosen_K]))
        for chosen_DK in intervals.resamples(count, seed, 50)
        for chosen_K in chosen_DK
    ]
    expected = intervals.percentiles(np.array(medians), count, float(np.median(values_Q)))
    assert intervals.median(values_Q, clusters_Q, seed, draws=50) == expected


def test_medians_of_few_large_clusters_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "DRAWN_AT_ONCE", 50_000)
    values_Q, clusters_Q = np.arange(5_000.0), np.arange(5_000) % 2
    tracemalloc.start()
    try:
        intervals.median(values_Q, clusters_Q, 0, draws=400)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000  # all 400 draws of 5,000 members at once would take 16 MB


def test_draws_in_parts_are_as_many_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(intervals.resamples(6, 1, 25)))
    monkeypatch.setattr(intervals, "DRAWN_AT_ONCE", 60)
    parts = list(intervals.resamples(6, 1, 25))
    assert [len(part) for part in parts] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_means_of_proportions_are_no_more_than_all_and_no_less_than_none() -> None:
    trials_C = np.array([3, 1, 2])
    low, high = intervals.mean_of_proportions(trials_C, trials_C, 0)
    assert 0 < low < high == 1
    low, high = intervals.mean_of_proportions(0 * trials_C, trials_C, 0)
    assert 0 == low < high < 1


GENERATOR = np.random.default_rng(3)
ROWS = np.arange(60)
HITS, OTHER_HITS, VALUES = GENERATOR.random(60) < 0.8, GENERATOR.random(60) < 0.6, GENERATOR.normal(size=60)
CONFIDENCE, LABELS = GENERATOR.random(60), GENERATOR.integers(3, size=60)
SCORES = 4 * GENERATOR.normal(size=(60, 3)) + 2 * np.eye(3)[LABELS]
SOFTMAX = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
LINE = fit([Counts("a", 50, 100, 30, 100), Counts("b", 70, 100, 50, 100), Counts("c", 90, 100, 75, 100)])
PAIRS = np.stack([ROWS, ROWS], axis=1)
ONE, OTHER = Measured("one", ROWS.tolist(), HITS), Measured("other", ROWS.tolist(), OTHER_HITS)
DRAWN: dict[str, Callable[[int], object]] = {
    "mean of hits": lambda seed: intervals.bootstrap(HITS, ROWS, seed),
    "mean of values": lambda seed: intervals.bootstrap(VALUES, ROWS, seed),
    "median": lambda seed: intervals.median(VALUES, ROWS, seed),
    "proportions": lambda seed: intervals.mean_of_proportions(np.array([31, 82, 55]), np.array([90, 97, 99]), seed),
    "difference": lambda seed: compare(ONE, OTHER, seed=seed).interval,
    "relative robustness": lambda seed: relative(ONE, OTHER, seed=seed).interval,
    "average": lambda seed: average(np.array([31, 82, 55]), np.array([90, 97, 99]), seed=seed)[1],
    "effective robustness": lambda seed: effective(Counts("m", 60, 100, 50, 100), LINE, seed=seed).effective_interval,
    "area under risk": lambda seed: risk_coverage(CONFIDENCE, HITS, seed=seed).interval,
    "calibration error": lambda seed: calibration_of_answers(CONFIDENCE, HITS, seed=seed).intervals["ece"],
    "brier score": lambda seed: calibration(SOFTMAX, LABELS, seed=seed).intervals["brier"],
    "average precision": lambda seed: multilabel.score(SCORES, np.eye(3)[LABELS] > 0, seed=seed).intervals["map11"],
    "recall of classes": lambda seed: zero_shot.score_classes(SCORES, LABELS, seed=seed).intervals[
        "mean_per_class_recall"
    ],
    "median rank": lambda seed: retrieval.score(SCORES, 4 * SCORES + SCORES[::-1], PAIRS, seed=seed).intervals[
        "text_retrieval_median_rank"
    ],
    "temperature": lambda seed: scaled(SCORES, LABELS, seed=seed).temperature,
    "what is left of a temperature": lambda seed: scaled(SCORES, LABELS, seed=seed).after.intervals["ece"],
}


@pytest.mark.parametrize("case", DRAWN.values(), ids=DRAWN)
def test_what_is_drawn_is_decided_by_its_seed_alone(case: Callable[[int], object]) -> None:
    found = [case(seed) for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len(set(found)) > 1
