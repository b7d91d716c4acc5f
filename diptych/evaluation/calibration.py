"""Whether a classifier is right as often as it says it is: calibration errors with intervals, and a temperature.

Everything is computed from probabilities alone, so from saved predictions as well. CLIP multiplies cosine similarities
by up to 100 before its softmax, which is what is mostly to blame where it is too sure of itself; ``fit_temperature``
finds what the scale should have been for the classes at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.calibration_intervals import Binned, error_interval, expected, largest
from diptych.evaluation.result import Interval

BINS = 15  # as published calibration errors have it (Guo et al., ICML 2017)
LEAST = 1e-12  # a probability below it counts as it in a logarithm


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence, a bar of a reliability diagram. ``interval`` is of the accuracy, Clopper-Pearson.

    Without samples, confidence and accuracy are None, and the interval is everything.
    """

    edges: Interval
    count: int
    confidence: float | None
    accuracy: float | None
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration over N samples.

    metrics:    ``ece``, expected calibration error over bins of equal width: the headline, since published ones are
                this. ``ece_equal_mass``, over bins of equal count: where it is much larger, wide bins hide what
                happens among the very confident, where CLIP has most answers. ``mce``, the largest error of an equal
                width bin. ``brier`` (from 0 to 2) and ``nll`` (natural logarithm), means over the samples, are of the
                probabilities of all classes; ``answer_brier`` (from 0 to 1) and ``answer_nll`` of two outcomes alone,
                that the answer is right or wrong.
    intervals:  of 95 %: of errors over bins those of `calibration_intervals`, of means a bootstrap over samples.
    calibrated: the calibration errors that as many answers, so confident, would show on average if they were
                perfectly calibrated. It is never 0: a bin is a few coins, and errors do not cancel.
    """

    samples: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    calibrated: dict[str, float]
    equal_width: tuple[Bin, ...]
    equal_mass: tuple[Bin, ...]


def calibration(probabilities_NC: np.ndarray, labels_N: np.ndarray, *, bins: int = BINS, seed: int = 0) -> Calibration:
    """Calibration of the most probable class; ``brier`` and ``nll`` are of all probabilities.

    labels_N: the right classes, as columns. A right class that is not alone the most probable one counts as wrong.

    Raises DataError for rows that are no probabilities that sum to 1: where every class answers for itself, as
    SigLIP's do, ``calibration_of_answers`` takes the best of them.
    """
    probabilities_NC, labels_N = _probabilities(probabilities_NC), np.asarray(labels_N, np.int64)
    samples, classes = probabilities_NC.shape
    if len(labels_N) != samples or labels_N.min() < 0 or labels_N.max() >= classes:
        raise DataError(
            f"{samples} rows of {classes} probabilities need as many labels from 0 to {classes - 1}; there are "
            f"{len(labels_N)}, from {labels_N.min(initial=0)} to {labels_N.max(initial=0)}"
        )
    own_N = probabilities_NC[np.arange(samples), labels_N]
    correct_N = (probabilities_NC >= own_N[:, None]).sum(axis=1) == 1
    brier_N = (probabilities_NC**2).sum(axis=1) - 2 * own_N + 1
    nll_N = -np.log(own_N.clip(LEAST))
    return _measured(probabilities_NC.max(axis=1), correct_N, {"brier": brier_N, "nll": nll_N}, bins, seed)


def calibration_of_answers(
    confidence_N: np.ndarray, correct_N: np.ndarray, *, bins: int = BINS, seed: int = 0
) -> Calibration:
    """Calibration from each sample's confidence in its answer and whether it is right.

    Of ``answer_brier`` the squared error is counted once, not for both outcomes. Raises DataError for confidences
    outside 0 to 1.
    """
    confidence_N, correct_N = answers(confidence_N, correct_N)
    said_N = np.where(correct_N, confidence_N, 1 - confidence_N)
    means = {"answer_brier": (1 - said_N) ** 2, "answer_nll": -np.log(said_N.clip(LEAST))}
    return _measured(confidence_N, correct_N, means, bins, seed)


def answers(confidence_N: np.ndarray, correct_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidences (N) as float64 and hits (N) as bool. Raises DataError for what is none."""
    confidence_N, hits_N = np.asarray(confidence_N, np.float64), np.asarray(correct_N)
    if confidence_N.ndim != 1 or confidence_N.shape != hits_N.shape or not len(hits_N):
        raise DataError(
            f"confidences of shape {confidence_N.shape} and hits of shape {hits_N.shape}; both have one a sample"
        )
    if wrong := int((~((confidence_N >= 0) & (confidence_N <= 1))).sum()):
        raise DataError(f"{wrong} of {len(confidence_N)} confidences are not between 0 and 1")
    if not np.isin(hits_N, (0, 1)).all():
        raise DataError("whether an answer is right is told by true and false, or 1 and 0")
    return confidence_N, hits_N.astype(bool)


def _probabilities(probabilities_NC: np.ndarray) -> np.ndarray:
    probabilities_NC = np.asarray(probabilities_NC, np.float64)
    if probabilities_NC.ndim != 2 or not probabilities_NC.size:
        raise DataError(f"probabilities are rows of samples and columns of classes, not {probabilities_NC.shape}")
    # Float32 softmax over a thousand classes sums to 1 within about 1e-6, float16 within 1e-3.
    sums_N = probabilities_NC.sum(axis=1)
    good_N = (probabilities_NC >= 0).all(axis=1) & (np.abs(sums_N - 1) < 2e-3)
    if not good_N.all():
        row = int(np.flatnonzero(~good_N)[0])
        raise DataError(
            f"{int((~good_N).sum())} of {len(good_N)} rows are no probabilities that sum to 1; row {row} sums to "
            f"{sums_N[row]:.4g}. Where classes answer for themselves, calibration_of_answers takes the best one"
        )
    return probabilities_NC / sums_N[:, None]


def _measured(
    confidence_N: np.ndarray, correct_N: np.ndarray, means: Mapping[str, np.ndarray], bins: int, seed: int
) -> Calibration:
    if bins < 1:
        raise DataError(f"{bins} bins; there is at least one")
    samples = len(confidence_N)
    width_edges = np.linspace(0, 1, bins + 1)
    mass_edges = np.quantile(confidence_N, np.linspace(0, 1, bins + 1))
    mass_edges[0], mass_edges[-1] = 0, 1
    by_width, by_mass = (Binned.of(confidence_N, correct_N, edges) for edges in (width_edges, mass_edges))
    metrics, limits, calibrated = {}, {}, {}
    for name, binned, statistic in (
        ("ece", by_width, expected),
        ("ece_equal_mass", by_mass, expected),
        ("mce", by_width, largest),
    ):
        metrics[name] = binned.error(statistic)
        limits[name], calibrated[name] = error_interval(binned, statistic, seed)
    for name, values_N in means.items():
        metrics[name] = float(values_N.mean())
        limits[name] = intervals.bootstrap(values_N, np.arange(samples), seed)
    tables = (_table(binned, edges) for binned, edges in ((by_width, width_edges), (by_mass, mass_edges)))
    return Calibration(
        samples=samples,
        metrics=metrics,
        intervals=limits,
        calibrated=calibrated,
        equal_width=next(tables),
        equal_mass=next(tables),
    )


def _table(binned: Binned, edges: np.ndarray) -> tuple[Bin, ...]:
    rows = []
    for number, (count, hits, confidence) in enumerate(
        zip(binned.count_B.tolist(), binned.hits_B.tolist(), binned.confidence_B.tolist(), strict=True)
    ):
        between = (float(edges[number]), float(edges[number + 1]))
        if count:
            rows.append(Bin(between, count, confidence, hits / count, intervals.exact(hits, count)))
        else:
            rows.append(Bin(between, 0, None, None, (0.0, 1.0)))
    return tuple(rows)
