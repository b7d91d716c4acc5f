"""Calibration errors, temperatures and thresholds against hand-computed cases and plain definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diptych.errors import DataError
from diptych.evaluation import intervals, zero_shot
from diptych.evaluation.abstention import at_threshold, risk_coverage, threshold_for
from diptych.evaluation.analyses import with_confidence
from diptych.evaluation.calibration import calibration, calibration_of_answers
from diptych.evaluation.calibration_intervals import Binned, error_interval, expected, largest
from diptych.evaluation.temperature import fit_temperature, scaled, softmax


def drawn(samples: int, classes: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``scale`` times too large, and labels that follow them."""
    generator = np.random.default_rng(seed)
    logits_NC = generator.normal(size=(samples, classes)) * 2
    labels_N = (generator.random(samples)[:, None] > softmax(logits_NC).cumsum(axis=1)).sum(axis=1)
    return logits_NC * scale, labels_N.clip(0, classes - 1)


def test_classes_that_answer_for_themselves_by_hand() -> None:
    # How probable it is that each of three classes is shown, as SigLIP has it: no row sums to one.
    said_NC = np.array([[0.82, 0.1, 0.6], [0.1, 0.22, 0.05], [0.3, 0.5, 0.62], [0.7, 0.6, 0.05]])
    scale, bias = 2.0, -1.0
    similarity_NC = (np.log(said_NC / (1 - said_NC)) - bias) / scale
    plain = zero_shot.score_classes(similarity_NC, [0, 2, 2, 1], scale=scale, bias=bias)
    assert plain.predictions["predicted"] == (0, 1, 2, 0)
    assert plain.predictions["confidence"] == pytest.approx((0.82, 0.22, 0.62, 0.7))
    found = with_confidence(plain, "sigmoid", 0.5)
    # Each answer is in a bin of its own: the first and the third are right, the others wrong.
    assert found.metrics["ece"] == pytest.approx((0.18 + 0.22 + 0.38 + 0.7) / 4)
    assert found.details["calibration"]["metrics"]["mce"] == pytest.approx(0.7)
    assert found.metrics["answered"] == 3 / 4
    assert found.metrics["acc1_answered"] == pytest.approx(2 / 3)
    assert found.details["none_of_these"]["false_answers"] == 1
    # By the softmax the first class has 0.82 / 0.18 of 0.82 / 0.18 + 0.1 / 0.9 + 0.6 / 0.4.
    compete = zero_shot.score_classes(similarity_NC, [0, 2, 2, 1], scale=scale)
    assert not {"brier", "nll"} & set(plain.predictions)
    assert set(found.details["calibration"]["metrics"]) == {
        "ece",
        "ece_equal_mass",
        "mce",
        "answer_brier",
        "answer_nll",
    }
    assert compete.predictions["confidence"][0] == pytest.approx(4.5556 / (4.5556 + 0.1111 + 1.5), abs=1e-4)


def test_a_case_by_hand() -> None:
    confidence, correct = [0.55, 0.6, 0.9, 0.95, 1.0], [1, 0, 1, 1, 0]
    found = calibration_of_answers(np.array(confidence), np.array(correct), bins=2)
    low, high = found.equal_width
    assert (low.count, low.confidence, high.edges) == (0, None, (0.5, 1.0))
    assert low.interval == (0, 1)
    assert (high.count, high.confidence, high.accuracy) == (5, pytest.approx(0.8), 0.6)
    assert high.interval == intervals.exact(3, 5)
    assert found.metrics["ece"] == found.metrics["mce"] == pytest.approx(0.2)
    first, second = found.equal_mass  # the median, 0.9, is in the lower one
    assert (first.count, second.count, first.edges) == (3, 2, (0, 0.9))
    expected = 3 / 5 * abs(2 / 3 - 2.05 / 3) + 2 / 5 * abs(0.5 - 0.975)
    assert found.metrics["ece_equal_mass"] == pytest.approx(expected)
    assert found.metrics["answer_brier"] == pytest.approx((0.45**2 + 0.6**2 + 0.1**2 + 0.05**2 + 1) / 5)
    nll = -(math.log(0.55) + math.log(0.4) + math.log(0.9) + math.log(0.95) + math.log(1e-12)) / 5
    assert found.metrics["answer_nll"] == pytest.approx(nll)
    assert not {"brier", "nll"} & set(found.metrics)  # of classes that are not told apart there are none


def test_narrow_bins_show_errors_that_cancel_in_a_wide_one() -> None:
    confidence, correct = np.array([0.91, 0.92, 0.97, 0.98]), np.array([1, 1, 1, 0])
    found = calibration_of_answers(confidence, correct, bins=2)
    assert found.metrics["ece"] == found.metrics["mce"] == pytest.approx(0.945 - 3 / 4)
    assert found.metrics["ece_equal_mass"] == pytest.approx((0.085 + 0.475) / 2)


def test_the_largest_error_is_of_a_bin_with_samples() -> None:
    gap_2B, share_2B = np.array([[0.9, -0.2, 0.1], [0.9, -0.2, 0.3]]), np.array([[0, 0.5, 0.5], [0.2, 0.4, 0.4]])
    assert largest(gap_2B, share_2B).tolist() == [0.2, 0.9]


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_error_of_one_bin_has_the_exact_interval_of_its_accuracy(level: float) -> None:
    binned = Binned(np.array([1000]), np.array([700]), np.array([0.5]))
    (low, high), calibrated = error_interval(binned, expected, 0, level)
    limits = intervals.exact(700, 1000, level)
    # A thousand draws place a limit within a tenth of a deviation, 0.0145 / 10.
    assert (low + 0.5, high + 0.5) == pytest.approx(limits, abs=0.003)
    hits = np.arange(1001)
    mean = (stats.binom.pmf(hits, 1000, 0.5) * np.abs(hits / 1000 - 0.5)).sum()
    assert calibrated == pytest.approx(mean, rel=0.06)  # a standard error of 2.4 %


def test_how_many_answers_a_bin_has_varies_too() -> None:
    """Half of the answers say 0.8 and are never right, half are sure and right: of 200, half may as well be 86."""
    (low, high), _ = error_interval(Binned(np.array([100, 100]), np.array([0, 100]), np.array([0.8, 1.0])), expected, 0)
    reach = 0.8 * 1.96 * (0.25 / 200) ** 0.5
    assert (low, high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=0.01)


def test_scores_of_all_classes_by_hand() -> None:
    found = calibration(np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.4, 0.4, 0.2]]), np.array([0, 1, 0]), bins=1)
    assert found.metrics["brier"] == pytest.approx((0.14 + (0.09 + 0.49 + 0.16) + (0.36 + 0.16 + 0.04)) / 3)
    assert found.metrics["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.4)) / 3)
    assert found.equal_width[0].accuracy == 1 / 3  # the third shares its probability with a wrong class
    assert found.metrics["ece"] == pytest.approx(0.5 - 1 / 3)


def test_the_likelihood_of_a_result_is_that_of_its_labels_among_all_classes() -> None:
    logits_NC, labels_N = drawn(200, 4, 3)
    scores = with_confidence(zero_shot.score_classes(logits_NC, labels_N), "softmax", None)
    told, plain = scores.details["calibration"], calibration(softmax(logits_NC), labels_N)
    for name in ("brier", "nll"):
        assert told["metrics"][name] == pytest.approx(plain.metrics[name])
        assert told["intervals"][name] == pytest.approx(plain.intervals[name])
        assert told["metrics"][name] > 1.2 * told["metrics"][f"answer_{name}"]
    assert told["metrics"]["ece"] == pytest.approx(plain.metrics["ece"])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 20))
def test_tables_are_of_all_samples(seed: int, samples: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    confidence_N = generator.choice([0.0, 0.2, 0.5, 0.99, 1.0], samples)
    correct_N = generator.random(samples) < confidence_N
    found = calibration_of_answers(confidence_N, correct_N, bins=bins, seed=seed)
    for name, table in (("ece", found.equal_width), ("ece_equal_mass", found.equal_mass)):
        filled = [row for row in table if row.count]
        assert sum(row.count for row in filled) == samples
        assert sum(row.count * row.accuracy for row in filled) == pytest.approx(correct_N.sum())
        error = sum(row.count * abs(row.accuracy - row.confidence) for row in filled) / samples
        assert found.metrics[name] == pytest.approx(error)
        assert all(row.edges[0] - 1e-9 <= row.confidence <= row.edges[1] + 1e-9 for row in filled)
    for name, (low, high) in found.intervals.items():
        assert low <= found.metrics[name] <= high


def test_a_perfect_model_is_not_blamed_and_a_proud_one_is() -> None:
    logits_NC, labels_N = drawn(1500, 5, 1)
    good = calibration(softmax(logits_NC), labels_N)
    assert good.intervals["ece"][0] == 0
    assert good.metrics["ece"] < 2 * good.calibrated["ece"]
    proud = calibration(softmax(3 * logits_NC), labels_N)
    assert proud.intervals["ece"][0] > 0.1 > 3 * proud.calibrated["ece"]
    assert proud.intervals["nll"][0] > good.intervals["nll"][1]


def test_an_answer_that_is_always_right_and_sure_may_yet_be_wrong() -> None:
    found = calibration_of_answers(np.ones(50), np.ones(50))
    assert found.metrics["ece"] == 0
    assert 0.02 < found.intervals["ece"][1] < 0.15  # three in fifty are what exact intervals allow


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5, 1.2], [1, 0], "1 of 2 confidences"),
        ([0.5, np.nan], [1, 0], "1 of 2 confidences"),
        ([0.5], [1, 0], "one a sample"),
        ([], [], "one a sample"),
        ([0.5, 0.5], [0, 2], "true and false"),
    ],
)
def test_what_is_no_confidence(confidence: list[float], correct: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibration_of_answers(np.array(confidence), np.array(correct))


def test_what_is_no_probability() -> None:
    with pytest.raises(DataError, match=r"1 of 2 rows .* row 1 sums to 1\.4.*calibration_of_answers"):
        calibration(np.array([[0.5, 0.5], [0.7, 0.7]]), np.array([0, 1]))
    for row in ([1.5, -0.5], [0.5, 0.6]):
        with pytest.raises(DataError, match="1 of 2 rows are no probabilities"):
            calibration(np.array([[0.5, 0.5], row]), np.array([0, 1]))
    for label in (2, -1):
        with pytest.raises(DataError, match="labels from 0 to 1"):
            calibration(np.full((2, 2), 0.5), np.array([0, label]))
    rounded = calibration(np.array([[0.7, 0.3015], [0.2, 0.7985]]), np.array([0, 1]))  # as half precision may sum
    assert rounded.metrics["ece"] == pytest.approx((0.3015 / 1.0015 + 0.2 / 0.9985) / 2)
    with pytest.raises(DataError, match="at least one"):
        calibration_of_answers(np.ones(2), np.ones(2), bins=0)


def test_the_temperature_is_found() -> None:
    logits_NC, labels_N = drawn(4000, 4, 5)
    temperature = fit_temperature(logits_NC, labels_N)
    assert temperature == pytest.approx(5, rel=0.08)  # the standard error of it is about 2.5 % here
    losses = [calibrated_loss(logits_NC, labels_N, temperature * factor) for factor in (0.99, 1, 1.01)]
    assert losses[1] == min(losses)
    # Logarithms of probabilities are logits too.
    assert fit_temperature(np.log(softmax(logits_NC / 5)), labels_N) == pytest.approx(temperature / 5, rel=1e-4)


def calibrated_loss(logits_NC: np.ndarray, labels_N: np.ndarray, temperature: float) -> float:
    return float(-np.log(softmax(logits_NC, temperature)[np.arange(len(labels_N)), labels_N]).mean())


def test_scaling_mends_calibration_and_changes_no_answer() -> None:
    logits_NC, labels_N = drawn(2000, 4, 5)
    found = scaled(logits_NC, labels_N, held_out=0.25)
    assert (found.fitted_on, found.before.samples) == (500, 1500)
    assert found.after.metrics["ece"] < 0.3 * found.before.metrics["ece"]
    right = [sum(row.count * row.accuracy for row in c.equal_width if row.count) for c in (found.before, found.after)]
    assert right[0] == pytest.approx(right[1])
    with pytest.raises(DataError, match="leaves none"):
        scaled(logits_NC, labels_N, held_out=1)


def test_a_temperature_is_fitted_on_some_samples_and_measured_on_the_others() -> None:
    logits_NC, labels_N = drawn(300, 4, 5)
    found, order_N = scaled(logits_NC, labels_N, held_out=0.3, seed=2), np.random.default_rng(2).permutation(300)
    fit_N, rest_N = order_N[:90], order_N[90:]
    assert found.temperature == fit_temperature(logits_NC[fit_N], labels_N[fit_N])
    for measured, temperature in ((found.before, 1.0), (found.after, found.temperature)):
        assert measured == calibration(softmax(logits_NC[rest_N], temperature), labels_N[rest_N], seed=2)


def test_logits_of_any_size_have_probabilities() -> None:
    assert softmax(np.array([[1e4, 0.0, 1e4], [-1e4, -1e4, -2e4]])).tolist() == [[0.5, 0, 0.5], [0.5, 0.5, 0]]


def test_temperatures_that_are_none() -> None:
    with pytest.raises(DataError, match="every answer is right"):
        fit_temperature(np.eye(3), np.arange(3))
    with pytest.raises(DataError, match="not the likelier"):
        fit_temperature(np.eye(3), np.array([1, 2, 0]))
    with pytest.raises(DataError, match="no logarithm"), np.errstate(divide="ignore"):
        fit_temperature(np.log(np.eye(3)), np.arange(3))
    with pytest.raises(DataError, match="labels go from 0 to 3"):
        fit_temperature(np.eye(3), np.array([0, 1, 3]))


CONFIDENCE = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.3])
CORRECT = np.array([1, 1, 0, 1, 0, 0])


def test_a_threshold_by_hand() -> None:
    known = np.array([1, 1, 0, 1, 1, 0])
    found = at_threshold(CONFIDENCE, CORRECT, 0.8, known)
    assert (found.answered, found.coverage, found.accuracy, found.false_answers) == (3, 0.5, 2 / 3, 1)
    assert (found.missed, found.refused) == (1, 0.5)
    assert found.coverage_interval == intervals.exact(3, 6)
    assert found.accuracy_interval == intervals.exact(2, 3)
    most = at_threshold(CONFIDENCE, CORRECT, 0.6, np.array([1, 1, 0, 1, 0, 0]))
    assert (most.refused, most.refused_interval) == (2 / 3, intervals.exact(2, 3))
    nothing = at_threshold(CONFIDENCE, CORRECT, 0.95)
    assert (nothing.answered, nothing.accuracy, nothing.accuracy_interval, nothing.refused) == (0, None, (0, 1), None)
    with pytest.raises(DataError, match="1 samples that belong to no class count as right"):
        at_threshold(CONFIDENCE, CORRECT, 0.8, np.array([0, 1, 1, 1, 1, 1]))
    with pytest.raises(DataError, match="of 2 it is told"):
        at_threshold(CONFIDENCE, CORRECT, 0.8, np.array([0, 1]))


def test_a_curve_by_hand() -> None:
    found = risk_coverage(CONFIDENCE, CORRECT, draws=50)
    assert found.thresholds == (0.9, 0.8, 0.6, 0.5, 0.3)
    assert found.coverage == pytest.approx((1 / 6, 3 / 6, 4 / 6, 5 / 6, 1))
    assert found.risk == pytest.approx((0, 1 / 3, 1 / 4, 2 / 5, 1 / 2))
    assert found.area == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 1 / 4 + 2 / 5 + 3 / 6) / 6)
    assert found.best == pytest.approx((1 / 4 + 2 / 5 + 3 / 6) / 6)
    assert found.random == 0.5
    assert found.interval[0] <= found.area <= found.interval[1]


def test_the_interval_of_a_curve_is_of_samples_in_the_order_of_their_confidence() -> None:
    found = risk_coverage(np.linspace(1, 0, 90), np.arange(90) < 60)
    assert found.area == found.best
    assert 0.02 < found.interval[0] < found.area < found.interval[1] < 0.15 < found.random


def test_a_curve_of_answers_that_are_all_right_is_not_certain() -> None:
    confidence_N = np.linspace(1, 0, 50)
    for correct_N, area, limits in (
        (np.ones(50), 0, intervals.exact(0, 50)),
        (np.zeros(50), 1, intervals.exact(50, 50)),
    ):
        found = risk_coverage(confidence_N, correct_N)
        assert (found.area, found.interval) == (area, limits)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.floats(0, 1))
def test_a_curve_is_all_thresholds(seed: int, samples: int, wanted: float) -> None:
    generator = np.random.default_rng(seed)
    confidence_N = generator.integers(0, 6, samples) / 5
    correct_N = generator.random(samples) < 0.6
    curve = risk_coverage(confidence_N, correct_N, draws=2)
    for threshold, coverage, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        there = at_threshold(confidence_N, correct_N, threshold)
        assert (there.coverage, there.accuracy) == (pytest.approx(coverage), pytest.approx(1 - risk))
    assert curve.best <= curve.area + 1e-12
    # The area does not depend on the order of samples of one confidence.
    order_N = generator.permutation(samples)
    assert risk_coverage(confidence_N[order_N], correct_N[order_N], draws=2).area == pytest.approx(curve.area)
    reaching = [c for c, risk in zip(curve.coverage, curve.risk, strict=True) if 1 - risk >= wanted + 1e-9]
    if reaching:
        found = at_threshold(confidence_N, correct_N, threshold_for(confidence_N, correct_N, wanted))
        assert found.accuracy >= wanted
        assert found.coverage >= max(reaching) - 1e-12


def test_an_accuracy_out_of_reach() -> None:
    assert threshold_for(CONFIDENCE, CORRECT, 0.75) == 0.6
    with pytest.raises(DataError, match=r"accuracy of 0.9; the best, 0.6667, is that of 0.8, which answers 3 of 6"):
        threshold_for(CONFIDENCE, np.array([0, 1, 1, 0, 0, 0]), 0.9)
