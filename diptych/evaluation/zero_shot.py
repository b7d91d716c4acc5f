"""Classification by a weight vector a class: top-1, top-5 and mean per class (paper, section 3.1)."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.ranks import SCORES_AT_ONCE, ranks
from diptych.evaluation.result import Scores


def score(
    images_NE: np.ndarray,
    labels_N: np.ndarray,
    weights_CE: np.ndarray,
    *,
    scale: float = 1.0,
    bias: float | None = None,
    first_C: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Accuracy of image embeddings against one weight vector a class; labels are indices into them.

    ``acc1`` and ``acc5`` (from five classes on) have Clopper-Pearson intervals, ``mean_per_class_recall``, over the
    classes that occur, a bootstrap within classes. Ties count against the model.

    first_C: of each class the first one of the same name, which may be itself; without it, all have names of their own.
    scale:   of similarities, before the softmax or sigmoid that tells how confident an answer is.
    bias:    of a model each of whose scores answers for itself, as SigLIP's do: what is added to scaled similarities
             before the sigmoid. None: classes compete.

    ``confidence`` is the probability of the class that is answered: by the softmax its share among all classes; by the
    sigmoid how probable it is that the class is shown, whatever is said of the others. Those do not sum to one.
    """
    classes = len(weights_CE)
    first_C = np.arange(classes) if first_C is None else first_C
    labels_N = np.asarray(labels_N, np.int64)
    if not len(labels_N):
        raise DataError("there is no labelled image to classify")
    if labels_N.min() < 0 or labels_N.max() >= classes:
        raise DataError(f"labels go from {labels_N.min()} to {labels_N.max()}, but there are {classes} class names")
    # Classes of one name get one score from any model, so ties among them say nothing about it. The earlier is ranked
    # first, as argmax does it, and so the numbers that others publish on such lists; a perfect model then names one of
    # two rightly, and chance stays what it is. Half a hit for each would be the same on average, and no count.
    named: dict[int, list[int]] = {}
    for number, first in enumerate(first_C.tolist()):
        named.setdefault(first, []).append(number)
    same_N = [named[first] for first in first_C[labels_N].tolist()]
    ranks_N = ranks(images_NE, weights_CE, np.array([(i, c) for i, same in enumerate(same_N) for c in same]))
    ranks_N += [same.index(label) for same, label in zip(same_N, labels_N.tolist(), strict=True)]
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
    best_N, confidence_N = _answers(images_NE, scale * weights_CE, bias)
    predictions = {
        "label": tuple(labels_N.tolist()),
        "predicted": tuple(first_C[best_N].tolist()),
        "rank": tuple((ranks_N + 1).tolist()),
        "confidence": tuple(confidence_N.tolist()),
    }
    return Scores(metrics=metrics, intervals=limits, chance=chance, predictions=predictions)


def _answers(images_NE: np.ndarray, weights_CE: np.ndarray, bias: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The class that scores highest, and its probability by the softmax, or with a bias by the sigmoid."""
    best, confidence = [], []
    at_once = max(1, SCORES_AT_ONCE // len(weights_CE))
    for i in range(0, len(images_NE), at_once):
        logits_nC = images_NE[i : i + at_once] @ weights_CE.T
        best.append(logits_nC.argmax(axis=1))
        highest_n1 = logits_nC.max(axis=1, keepdims=True)
        if bias is None:
            confidence.append(1 / np.exp((logits_nC - highest_n1).astype(np.float64)).sum(axis=1))
        else:
            confidence.append(expit(highest_n1[:, 0].astype(np.float64) + bias))
    return np.concatenate(best), np.concatenate(confidence)
