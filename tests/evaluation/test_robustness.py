"""The logit-linear fit and what lies above it, by hand, against SciPy, and by simulation."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from diptych.errors import DataError
from diptych.evaluation.comparison import Measured
from diptych.evaluation.robustness import GROUPS, Counts, Line, average, effective, fit, group, relative


def drawn(source: float, shifted: float, images: int, generator: np.random.Generator, name: str = "model") -> Counts:
    return Counts(
        name, int(generator.binomial(images, source)), images, int(generator.binomial(images, shifted)), images
    )


def exactly(source: float, shifted: float, name: str = "model", images: int = 1_000_000) -> Counts:
    return Counts(name, round(images * source), images, round(images * shifted), images)


def test_a_line_by_hand() -> None:
    line = fit(exactly(x, float(expit(0.8 * logit(x) - 1)), f"model-{x}") for x in (0.5, 0.7, 0.8))
    assert (line.intercept, line.slope) == (pytest.approx(-1, abs=1e-4), pytest.approx(0.8, abs=1e-4))
    assert (line.freedom, line.baselines) == (1, ("model-0.5", "model-0.7", "model-0.8"))
    assert line(0.7) == pytest.approx(expit(0.8 * logit(0.7) - 1), abs=1e-5)
    assert (line(0), line(1)) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    found = effective(exactly(0.7, 0.6), line)
    assert found.expected == pytest.approx(line(0.7), abs=1e-5)
    assert found.effective == pytest.approx(0.6 - line(0.7), abs=1e-5)
    assert found.closed == pytest.approx(1 - (0.7 - 0.6) / (0.7 - line(0.7)), abs=1e-4)
    assert found.effective_interval[0] < found.effective < found.effective_interval[1]
    assert found.closed_interval[0] < found.closed < found.closed_interval[1]


def test_the_line_is_scipys_where_models_scatter() -> None:
    generator = np.random.default_rng(0)
    x_B = generator.uniform(-1, 2, 12)
    y_B = 0.9 * x_B - 0.5 + generator.normal(0, 0.2, 12)
    line = fit(exactly(float(expit(x)), float(expit(y))) for x, y in zip(x_B, y_B, strict=True))
    expected = stats.linregress(x_B, y_B)
    assert (line.slope, line.intercept) == (
        pytest.approx(expected.slope, abs=1e-4), pytest.approx(expected.intercept, abs=1e-4),
    )  # fmt: skip
    assert line.covariance[1][1] ** 0.5 == pytest.approx(expected.stderr, rel=1e-3)
    assert line.covariance[0][0] ** 0.5 == pytest.approx(expected.intercept_stderr, rel=1e-3)


def test_two_baselines_are_as_uncertain_as_their_counts() -> None:
    few = fit([exactly(0.5, 0.3, images=200), exactly(0.8, 0.6, images=200)])
    many = fit([exactly(0.5, 0.3), exactly(0.8, 0.6)])
    assert few.freedom == 0
    assert few.slope == pytest.approx(many.slope, rel=0.02)
    assert few.covariance[1][1] > 1000 * many.covariance[1][1]
    wide, narrow = (effective(exactly(0.7, 0.6), line).effective_interval for line in (few, many))
    assert np.ptp(wide) > 20 * np.ptp(narrow)


@pytest.mark.parametrize("shifted", [(30, 62, 80), (30, 90, 60)])
def test_scatter_is_that_of_the_baselines_or_of_their_counts_whichever_is_more(shifted: tuple[int, ...]) -> None:
    baselines = [
        Counts(f"model-{i}", hits, 100, own, 100)
        for i, (hits, own) in enumerate(zip((50, 75, 90), shifted, strict=True))
    ]
    line = fit(baselines)
    x_B, y_B = (np.log((np.array(hits) + 0.5) / (100.5 - np.array(hits))) for hits in ((50, 75, 90), shifted))
    expected = stats.linregress(x_B, y_B)
    residual = ((y_B - expected.intercept - expected.slope * x_B) ** 2).sum()  # over one degree of freedom
    x_variance, y_variance = (
        np.mean([1 / (h + 0.5) + 1 / (100.5 - h) for h in hits]) for hits in ((50, 75, 90), shifted)
    )
    counted = y_variance + expected.slope**2 * x_variance
    assert (counted > residual) == (shifted[1] < shifted[2])
    assert line.deviation == pytest.approx(max(counted, residual) ** 0.5)
    spread = ((x_B - x_B.mean()) ** 2).sum()
    assert line.covariance[1][1] == pytest.approx(max(counted, residual) / spread)
    assert line.covariance[0][1] == pytest.approx(-x_B.mean() * max(counted, residual) / spread)


@pytest.mark.parametrize("freedom", [0, 3, 30])
def test_what_a_line_expects_is_as_unsure_as_its_few_baselines(freedom: int) -> None:
    """At even odds only the intercept counts: its error, 0.1, times Student's quantile; the normal one of two alone."""
    covariance = ((0.01, 0.0), (0.0, 0.0))
    names = tuple("abc"[: freedom + 2])
    line = Line(intercept=0.5, slope=1, covariance=covariance, deviation=1, freedom=freedom, baselines=names)
    reach = 0.1 * (stats.t.ppf(0.975, freedom) if freedom else stats.norm.ppf(0.975))
    found = effective(exactly(0.5, 0.6, images=10**9), line)
    # The tail of 10,000 draws has 250 of them, so that its end is off by a few hundredths.
    assert logit(found.expected_interval) == pytest.approx((0.5 - reach, 0.5 + reach), abs=0.05 * reach)


def test_a_share_of_a_gap_that_there_may_not_be_has_no_interval() -> None:
    lines = (fit([exactly(0.5, 0.45, images=n), exactly(0.8, 0.75, images=n)]) for n in (100, 100_000))
    few, many = (effective(exactly(0.6, 0.57), line) for line in lines)
    assert few.closed == pytest.approx(many.closed, abs=0.05)
    assert few.closed_interval is None
    assert many.closed_interval is not None
    above = effective(exactly(0.6, 0.57), fit([exactly(0.5, 0.55), exactly(0.8, 0.85)]))
    assert (above.closed, above.closed_interval) == (None, None)


def test_lines_that_are_none() -> None:
    with pytest.raises(DataError, match="two baselines or more; 1 given"):
        fit([exactly(0.5, 0.3)])
    with pytest.raises(DataError, match=r"2 baselines are all as accurate in distribution, 0\.5"):
        fit([exactly(0.5, 0.3), exactly(0.5, 0.4)])
    with pytest.raises(DataError, match="model has 5 hits of 4 images"):
        Counts("model", 5, 4, 0, 4)
    with pytest.raises(DataError, match="0 hits of 0 images"):
        Counts("model", 0, 0, 0, 4)


def test_nothing_and_everything_right_have_counts() -> None:
    line = fit([Counts("none", 3, 100, 0, 100), Counts("all", 100, 100, 95, 100), Counts("some", 50, 100, 40, 100)])
    assert np.isfinite([line.intercept, line.slope, line.deviation]).all()
    for hits in (0, 100):
        found = effective(Counts("extreme", hits, 100, hits, 100), line)
        low, high = found.effective_interval
        assert np.isfinite([found.effective, low, high]).all()
        assert high - low > 0.01  # a hundred images do not make it certain
    more = effective(Counts("extreme", 10_000, 10_000, 10_000, 10_000), line)
    assert more.expected > found.expected  # 10,000 of 10,000 are better than 100 of 100


def test_effective_robustness_covers() -> None:
    generator, held = np.random.default_rng(0), 0
    for seed in range(100):
        rates = expit(generator.uniform(-1, 2, 8))
        shifted = expit(0.9 * logit(rates) - 0.8 + generator.normal(0, 0.1, 8))
        line = fit(drawn(x, y, 2000, generator) for x, y in zip(rates, shifted, strict=True))
        low, high = effective(drawn(0.75, 0.7, 1000, generator), line, seed=seed).effective_interval
        held += low <= 0.7 - expit(0.9 * logit(0.75) - 0.8) <= high
    assert held >= stats.binom.ppf(0.001, 100, 0.95)


def test_relative_robustness_and_averages() -> None:
    keys = range(100)
    found = relative(Measured("fine-tuned", keys, np.arange(100) < 60), Measured("before", keys, np.arange(100) < 50))
    assert found.difference == pytest.approx(0.1)
    assert str(found).startswith("fine-tuned is better by 10.0 points")
    mean, (low, high) = average(np.array([50, 900]), np.array([100, 1000]))
    assert mean == 0.7
    assert low == pytest.approx(0.7 - 0.05, abs=0.006)
    assert high == pytest.approx(0.7 + 0.05, abs=0.006)  # half of 1.96 standard deviations of 50 of 100
    with pytest.raises(DataError, match="each of them an image"):
        average(np.array([0, 5]), np.array([0, 9]))


def test_the_papers_group() -> None:
    assert len(GROUPS["natural"].shifted) == 7
    assert group("natural").source == "imagenet1k"
    with pytest.raises(DataError, match="'natural'"):
        group("naturl")
