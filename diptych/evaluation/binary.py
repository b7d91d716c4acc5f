"""Two classes of which one is looked for: area under the ROC curve, and accuracy beside it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.intervals import LEVEL
from diptych.evaluation.result import Interval, Scores


def score(scores_N2: np.ndarray, labels_N: np.ndarray) -> Scores:
    """ROC AUC of images by their scores of two classes; label 1 is the one looked for.

    ``roc_auc``: by how much more an image scores in class 1 than in class 0. ``acc1``: of the class that scores higher;
    images that score the same in both are wrong. Raises DataError for other than two classes or labels, and where all
    images are of one class.
    """
    labels_N = np.asarray(labels_N, np.int64)
    classes = scores_N2.shape[1]
    if classes != 2 or not np.isin(labels_N, (0, 1)).all():
        raise DataError(f"two classes are asked for, 0 and 1, not {classes} with labels {np.unique(labels_N)[:9]}")
    more_N = scores_N2[:, 1] - scores_N2[:, 0]
    area, limits = roc_auc(more_N, labels_N == 1)
    hits = int(np.where(labels_N == 1, more_N > 0, more_N < 0).sum())
    return Scores(
        metrics={"roc_auc": area, "acc1": hits / len(labels_N)},
        intervals={"roc_auc": limits, "acc1": intervals.exact(hits, len(labels_N))},
        chance={"roc_auc": 0.5, "acc1": 0.5},
        predictions={
            "label": tuple(labels_N.tolist()),
            "predicted": tuple((more_N > 0).astype(int).tolist()),
            "score": tuple(more_N.tolist()),
        },
    )


def roc_auc(scores_N: np.ndarray, labels_N: np.ndarray, level: float = LEVEL) -> tuple[float, Interval]:
    """How probable it is that an image of the class scores higher than another one, ties half; and its interval.

    The variance is DeLong's (DeLong et al., 1988), the interval normal on the scale of log odds, so that it stays
    between 0 and 1; in simulations it covered 94 % to 96 % from twenty images of the class on, 92 % with five. Where
    all are told apart, or none, that variance is zero; the exact interval for as many pairs as the smaller class has
    images stands in. A score that is not a number counts as wrong against every other.
    Raises DataError where all images are of one class.
    """
    labels_N = np.asarray(labels_N, bool)
    positives, negatives = int(labels_N.sum()), int((~labels_N).sum())
    if not positives or not negatives:
        raise DataError(f"{positives} images are of the class and {negatives} are not; an ROC curve needs both")
    wrong_N = np.where(labels_N, -np.inf, np.inf)
    scores_N = np.where(np.isnan(scores_N), wrong_N, np.asarray(scores_N, np.float64))
    above_P = _share_below(scores_N[~labels_N], scores_N[labels_N])
    below_Q = 1 - _share_below(scores_N[labels_N], scores_N[~labels_N])
    area = float(above_P.mean())
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above_P, below_Q) if len(part) > 1)
    if min(positives, negatives) < 2 or not variance or not 0 < area < 1:
        pairs = min(positives, negatives)
        low = intervals.exact(int(np.floor(area * pairs)), pairs, level)[0]
        return area, (low, intervals.exact(int(np.ceil(area * pairs)), pairs, level)[1])
    reach = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(variance) / (area * (1 - area))
    odds = np.log(area / (1 - area))
    low, high = 1 / (1 + np.exp(-(odds + np.array([-reach, reach]))))
    return area, (float(low), float(high))


def _share_below(others_M: np.ndarray, scores_K: np.ndarray) -> np.ndarray:
    """The share of other scores that each score is above (K), those equal to it half."""
    ordered_M = np.sort(others_M)
    sides = [np.searchsorted(ordered_M, scores_K, side=side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(ordered_M))
