"""Every interval holds the estimate that it is of, whatever the data: skewed, few, all alike."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.evaluation import calibration_intervals, intervals, multilabel
from diptych.evaluation.abstention import risk_coverage
from diptych.evaluation.binary import roc_auc
from diptych.evaluation.calibration_intervals import Binned, error_interval, expected
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.result import Interval

EDGES = np.linspace(0, 1, 16)
Found = Callable[[np.random.Generator, int], tuple[float, Interval]]


def few_values(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Mostly alike, some far off, so that what is resampled is skewed."""
    return generator.choice([0.0, 0.0, 1.0, 1.0, 1.0, 40.0], samples) * generator.choice([1.0, 1.0, 0.3], samples)


def of_mean(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    values_Q = few_values(generator, samples)
    return float(values_Q.mean()), intervals.bootstrap(values_Q, generator.integers(3, size=samples), 0, draws=20)


def of_median(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    values_Q = few_values(generator, samples)
    return float(np.median(values_Q)), intervals.median(values_Q, generator.integers(3, size=samples), 0, draws=20)


def of_share(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    hits_Q = generator.random(samples) < generator.choice([0, 0.02, 0.5, 0.98, 1])
    return float(hits_Q.mean()), intervals.proportion(hits_Q, generator.integers(4, size=samples))


def of_recalls(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    trials_C = generator.integers(1, 4, samples)
    hits_C = generator.binomial(trials_C, generator.choice([0, 0.1, 0.9, 1]))
    return float((hits_C / trials_C).mean()), intervals.mean_of_proportions(hits_C, trials_C, 0, draws=20)


def of_difference(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    a_N, b_N = (few_values(generator, samples) for _ in range(2))
    found = compare(Measured("A", range(samples), a_N), Measured("B", range(samples), b_N))
    return found.difference, found.interval


def of_area_under_risk(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    found = risk_coverage(generator.integers(0, 4, samples) / 3, generator.random(samples) < 0.9, draws=20)
    return found.area, found.interval


def of_average_precision(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    labels_NC = generator.random((samples, generator.choice([1, 4, 60]))) < 0.1
    labels_NC[0, 0] = True
    scores_NC = generator.integers(0, generator.choice([3, 1000]), labels_NC.shape)
    scores_NC += generator.choice([0, 1, 1000]) * labels_NC
    found = multilabel.score(scores_NC.astype(float), labels_NC)
    name = generator.choice(list(found.metrics))
    return found.metrics[name], found.intervals[name]


def of_area(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    labels_N = np.arange(samples + 1) % generator.integers(2, 5) == 0
    return roc_auc(generator.integers(0, 3, samples + 1) + generator.choice([-9, 0, 1, 9]) * labels_N, labels_N)


def of_error(generator: np.random.Generator, samples: int) -> tuple[float, Interval]:
    confidence_N = generator.beta(*generator.choice([[5, 0.5], [1, 1], [0.5, 5]]), samples)
    binned = Binned.of(confidence_N, generator.random(samples) < generator.choice([0, 0.1, 0.9, 1]), EDGES)
    return binned.error(expected), error_interval(binned, expected, 0)[0]


@pytest.mark.parametrize(
    "case",
    [
        *(of_mean, of_median, of_share, of_recalls, of_difference),
        *(of_area_under_risk, of_average_precision, of_area, of_error),
    ],
)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_an_interval_holds_its_own_estimate(case: Found, seed: int, samples: int) -> None:
    multilabel.DRAWS, calibration_intervals.DRAWS, before = 20, 20, (multilabel.DRAWS, calibration_intervals.DRAWS)
    try:
        estimate, (low, high) = case(np.random.default_rng(seed), samples)
    finally:
        multilabel.DRAWS, calibration_intervals.DRAWS = before
    assert low <= estimate <= high
