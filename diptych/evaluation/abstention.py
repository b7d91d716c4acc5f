"""A classifier that may say "none of these": what a threshold on its confidence answers, and how often rightly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.calibration import answers
from diptych.evaluation.result import Interval


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What is answered from a threshold on.

    coverage:      share of samples that are answered, with its Clopper-Pearson interval.
    accuracy:      share of the answers that are right; None, and an interval of everything, where there is none.
    false_answers: answers that are wrong, those to samples of no class among them.
    missed:        samples that are not answered though the answer would have been right.
    refused:       share of the samples of no class that are not answered; None where there are no such.
    """

    threshold: float
    samples: int
    answered: int
    coverage: float
    coverage_interval: Interval
    accuracy: float | None
    accuracy_interval: Interval
    false_answers: int
    missed: int
    refused: float | None
    refused_interval: Interval


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """The risk-coverage curve: what each threshold that makes a difference answers, the highest one first.

    thresholds: T confidences that occur; all samples at or above one are answered.
    coverage:   share of samples answered; risk: share of wrong ones among these.
    area:       mean risk over all coverages, samples of one confidence in any order; ``interval`` is a bootstrap, or,
                where all are right or all wrong and nothing varies, the exact one of the share of wrong answers.
    best:       the area if all right answers were the more confident ones; random: if confidence said nothing.
    """

    thresholds: tuple[float, ...]
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    interval: Interval
    best: float
    random: float


def at_threshold(
    confidence_N: np.ndarray, correct_N: np.ndarray, threshold: float, known_N: np.ndarray | None = None
) -> Answered:
    """What is answered where the best class has a confidence of ``threshold`` or more.

    known_N: whether a sample belongs to one of the classes; without it, all do. Others cannot be answered rightly.
    """
    confidence_N, correct_N = answers(confidence_N, correct_N)
    known_N = _known(correct_N, known_N)
    answered_N = confidence_N >= threshold
    samples, answered, unknown = len(correct_N), int(answered_N.sum()), int((~known_N).sum())
    right, refused = int((answered_N & correct_N).sum()), int((~known_N & ~answered_N).sum())
    return Answered(
        threshold=float(threshold),
        samples=samples,
        answered=answered,
        coverage=answered / samples,
        coverage_interval=intervals.exact(answered, samples),
        accuracy=right / answered if answered else None,
        accuracy_interval=intervals.exact(right, answered) if answered else (0.0, 1.0),
        false_answers=answered - right,
        missed=int((~answered_N & correct_N).sum()),
        refused=refused / unknown if unknown else None,
        refused_interval=intervals.exact(refused, unknown) if unknown else (0.0, 1.0),
    )


def risk_coverage(confidence_N: np.ndarray, correct_N: np.ndarray, *, seed: int = 0, draws: int = 1000) -> RiskCoverage:
    """The whole curve and the area under it. Samples of no class, where there are some, are wrong."""
    confidence_N, correct_N = answers(confidence_N, correct_N)
    samples = len(correct_N)
    order_N = np.argsort(-confidence_N, kind="stable")
    wrong_N = (~correct_N[order_N]).astype(np.float64)
    # The last place of each confidence that occurs: one threshold answers all of the same confidence.
    last_T = np.flatnonzero(np.append(np.diff(confidence_N[order_N]) != 0, True))
    group_N = np.repeat(np.arange(len(last_T)), np.diff(last_T, prepend=-1))
    areas = [
        _area(wrong_N[chosen_N], group_N[chosen_N])
        for chosen_DN in intervals.resamples(samples, seed, draws)
        for chosen_N in np.sort(chosen_DN, axis=1)
    ]
    everyone_N, area, wrong = np.arange(samples), _area(wrong_N, group_N), int(wrong_N.sum())
    limits = intervals.percentiles(np.array(areas), samples, area)
    return RiskCoverage(
        thresholds=tuple(confidence_N[order_N][last_T].tolist()),
        coverage=tuple(((last_T + 1) / samples).tolist()),
        risk=tuple((np.cumsum(wrong_N)[last_T] / (last_T + 1)).tolist()),
        area=area,
        interval=intervals.exact(wrong, samples) if wrong in (0, samples) else limits,
        best=_area(np.sort(wrong_N), everyone_N),
        random=float(wrong_N.mean()),
    )


def threshold_for(confidence_N: np.ndarray, correct_N: np.ndarray, accuracy: float) -> float:
    """The threshold that answers most samples with at least this accuracy among the answered.

    It is chosen on these samples, so on others it is a little too good to be true; ``at_threshold`` of samples that
    had no part in the choice tells how much. Raises DataError where no threshold reaches the accuracy.
    """
    confidence_N, correct_N = answers(confidence_N, correct_N)
    order_N = np.argsort(-confidence_N, kind="stable")
    last_T = np.flatnonzero(np.append(np.diff(confidence_N[order_N]) != 0, True))
    accuracy_T = np.cumsum(correct_N[order_N])[last_T] / (last_T + 1)
    reached_T = np.flatnonzero(accuracy_T >= accuracy)
    if not len(reached_T):
        best = int(accuracy_T.argmax())
        raise DataError(
            f"no threshold answers with an accuracy of {accuracy:.4g}; the best, {accuracy_T[best]:.4g}, is that of "
            f"{confidence_N[order_N][last_T[best]]:.4g}, which answers {last_T[best] + 1} of {len(correct_N)} samples"
        )
    return float(confidence_N[order_N][last_T[reached_T[-1]]])


def _known(correct_N: np.ndarray, known_N: np.ndarray | None) -> np.ndarray:
    if known_N is None:
        return np.ones(len(correct_N), bool)
    known_N = np.asarray(known_N, bool)
    if known_N.shape != correct_N.shape:
        raise DataError(f"{len(correct_N)} samples, and of {len(known_N)} it is told whether they belong to a class")
    if wrong := int((correct_N & ~known_N).sum()):
        raise DataError(f"{wrong} samples that belong to no class count as right; no class is right for them")
    return known_N


def _area(wrong_N: np.ndarray, group_N: np.ndarray) -> float:
    """Mean risk over 1 to N answered, errors spread evenly over the samples of one group, which stand together."""
    _, place_N, count_T = np.unique(group_N, return_inverse=True, return_counts=True)
    even_N = (np.bincount(place_N, weights=wrong_N) / count_T)[place_N]
    return float((np.cumsum(even_N) / np.arange(1, len(even_N) + 1)).mean())
