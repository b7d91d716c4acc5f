"""Classification by scores: top-1, top-5 and mean per class (paper, section 3.1), zero-shot or otherwise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.ranks import SCORES_AT_ONCE
from diptych.evaluation.result import Scores


def score(
    images_NE: np.ndarray,
    labels_N: np.ndarray,
    weights_CE: np.ndarray,
    *,
    scale: float = 1.0,
    first_C: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Accuracy of image embeddings against one weight vector a class; see ``score_blocks``.

    scale: of similarities before the softmax that tells confidence.
    """
    at_once = max(1, SCORES_AT_ONCE // len(weights_CE))
    starts = range(0, len(images_NE), at_once)
    blocks = (scale * (images_NE[i : i + at_once] @ weights_CE.T) for i in starts)
    return score_blocks(blocks, labels_N, len(weights_CE), first_C=first_C, seed=seed)


def score_blocks(
    blocks: Iterable[np.ndarray],
    labels_N: np.ndarray,
    classes: int,
    *,
    first_C: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Accuracy of logits (n, C) of consecutive images, block by block; labels are indices of classes.

    ``acc1`` and ``acc5`` (from five classes on) have Clopper-Pearson intervals, ``mean_per_class_recall``, over the
    classes that occur, a bootstrap within classes. Ties count against the model, as does what is not a number.

    first_C: of each class the first one of the same name, which may be itself; without it, all have names of their own.
    Predictions have the confidence of the softmax in the class that scores highest.
    """
    first_C = np.arange(classes) if first_C is None else first_C
    labels_N = np.asarray(labels_N, np.int64)
    if not len(labels_N):
        raise DataError("there is no labelled image to classify")
    if labels_N.min() < 0 or labels_N.max() >= classes:
        raise DataError(f"labels go from {labels_N.min()} to {labels_N.max()}, but there are {classes} class names")
    ranks, predicted, confidence = [], [], []
    start = 0
    for logits_nC in blocks:
        labels_n = labels_N[start : start + len(logits_nC)]
        start += len(logits_nC)
        ranks.append(ranks_of(logits_nC, labels_n, first_C))
        best_n = logits_nC.argmax(axis=1)
        predicted.append(first_C[best_n])
        highest_n1 = np.take_along_axis(logits_nC, best_n[:, None], axis=1)
        confidence.append(1 / np.exp((logits_nC - highest_n1).astype(np.float64)).sum(axis=1))
    ranks_N = np.concatenate(ranks)
    if len(ranks_N) != len(labels_N):
        raise ValueError(f"there are logits of {len(ranks_N)} images and labels of {len(labels_N)}")
    predictions = {
        "label": tuple(labels_N.tolist()),
        "predicted": tuple(np.concatenate(predicted).tolist()),
        "rank": tuple((ranks_N + 1).tolist()),
        "confidence": tuple(np.concatenate(confidence).tolist()),
    }
    return _measured(ranks_N, labels_N, classes, predictions, seed)


def ranks_of(logits_nC: np.ndarray, labels_n: np.ndarray, first_C: np.ndarray) -> np.ndarray:
    """From 0, among the classes of other names.

    Classes of one name get one score from any model, so ties among them say nothing about it. The earlier is ranked
    first, as argmax does it, and so the numbers that others publish on such lists; a perfect model then names one of
    two rightly, and chance stays what it is. Half a hit for each would be the same on average, and no count.
    """
    own_n1 = np.take_along_axis(logits_nC, labels_n[:, None], axis=1)
    same_nC = first_C[None, :] == first_C[labels_n][:, None]
    before_nC = ~(logits_nC < own_n1) & ~same_nC
    earlier_nC = same_nC & (np.arange(len(first_C)) < labels_n[:, None])
    return before_nC.sum(axis=1) + earlier_nC.sum(axis=1)


def _measured(
    ranks_N: np.ndarray, labels_N: np.ndarray, classes: int, predictions: dict[str, tuple], seed: int
) -> Scores:
    metrics, limits, chance = {}, {}, {}
    for k in (1, 5) if classes >= 5 else (1,):
        hits = int((ranks_N < k).sum())
        metrics[f"acc{k}"] = hits / len(ranks_N)
        limits[f"acc{k}"] = intervals.exact(hits, len(ranks_N))
        chance[f"acc{k}"] = k / classes
    trials_C = np.bincount(labels_N, minlength=classes)
    hits_C = np.bincount(labels_N, weights=ranks_N == 0, minlength=classes)
    hits_C, trials_C = hits_C[trials_C > 0], trials_C[trials_C > 0]
    metrics["mean_per_class_recall"] = float((hits_C / trials_C).mean())
    limits["mean_per_class_recall"] = intervals.mean_of_proportions(hits_C, trials_C, seed)
    chance["mean_per_class_recall"] = 1 / classes
    return Scores(metrics=metrics, intervals=limits, chance=chance, predictions=predictions)
