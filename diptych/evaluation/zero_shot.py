"""Classification by a weight vector a class, or by scores: top-1, top-5 and mean per class (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.ranks import SCORES_AT_ONCE, ranks, ranks_of_scores
from diptych.evaluation.result import Columns, Scores


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

    Of each image the predictions have the ``label``, the class ``predicted``, the ``rank`` of the label from 1, and the
    ``confidence``: the probability of the class that is answered, by the softmax its share among all classes; by the
    sigmoid how probable it is that the class is shown, whatever is said of the others. Those do not sum to one, so they
    have no more; by the softmax there are also ``nll``, minus the natural logarithm of the label's probability, and
    ``brier``, the sum over all classes of the squared difference between probability and truth, from 0 to 2.
    """
    rows = max(1, SCORES_AT_ONCE // len(weights_CE))

    def logits() -> Iterator[np.ndarray]:
        scaled_EC = (scale * weights_CE).T
        for i in range(0, len(images_NE), rows):
            yield images_NE[i : i + rows] @ scaled_EC

    def ranked(pairs_P2: np.ndarray) -> np.ndarray:
        return ranks(images_NE, weights_CE, pairs_P2)

    return _judged(ranked, logits(), labels_N, len(weights_CE), bias, first_C, seed)


def score_classes(
    scores_NC: np.ndarray,
    labels_N: np.ndarray,
    *,
    scale: float = 1.0,
    bias: float | None = None,
    first_C: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """The same of scores of classes that a classifier gave. Minus infinity is below all others, such as the score of a
    class that no example showed."""
    rows, classes = max(1, SCORES_AT_ONCE // scores_NC.shape[1]), scores_NC.shape[1]
    logits = (scale * scores_NC[i : i + rows] for i in range(0, len(scores_NC), rows))
    return _judged(lambda pairs: ranks_of_scores(scores_NC, pairs), logits, labels_N, classes, bias, first_C, seed)


def _judged(
    ranked: Callable[[np.ndarray], np.ndarray],
    logits: Iterator[np.ndarray],
    labels_N: np.ndarray,
    classes: int,
    bias: float | None,
    first_C: np.ndarray | None,
    seed: int,
) -> Scores:
    """``ranked``: ranks by pairs of image and right class; ``logits``: what comes before softmax or sigmoid, some
    images (n, C) at a time."""
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
    ranks_N = ranked(np.array([(i, c) for i, same in enumerate(same_N) for c in same]))
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
    best_N, told = _answers(logits, labels_N, bias)
    predictions = {
        "label": tuple(labels_N.tolist()),
        "predicted": tuple(first_C[best_N].tolist()),
        "rank": tuple((ranks_N + 1).tolist()),
        **told,
    }
    return Scores(metrics=metrics, intervals=limits, chance=chance, predictions=predictions)


def _answers(logits: Iterator[np.ndarray], labels_N: np.ndarray, bias: float | None) -> tuple[np.ndarray, Columns]:
    """The class that scores highest (N), and columns of what is said of probabilities."""
    best: list[np.ndarray] = []
    columns: dict[str, list[float]] = {name: [] for name in ("confidence", "nll", "brier")[: 3 if bias is None else 1]}
    start = 0
    for logits_nC in logits:
        labels_n1 = labels_N[start : start + len(logits_nC), None]
        start += len(logits_nC)
        best.append(logits_nC.argmax(axis=1))
        highest_n1 = logits_nC.max(axis=1, keepdims=True)
        if bias is not None:
            columns["confidence"] += expit(highest_n1[:, 0].astype(np.float64) + bias).tolist()
            continue
        below_nC = (logits_nC - highest_n1).astype(np.float64)
        probabilities_nC = np.exp(below_nC)
        sum_n1 = probabilities_nC.sum(axis=1, keepdims=True)
        probabilities_nC /= sum_n1
        own_n = np.take_along_axis(probabilities_nC, labels_n1, axis=1)[:, 0]
        columns["confidence"] += (1 / sum_n1[:, 0]).tolist()
        columns["nll"] += (np.log(sum_n1) - np.take_along_axis(below_nC, labels_n1, axis=1))[:, 0].tolist()
        columns["brier"] += ((probabilities_nC**2).sum(axis=1) - 2 * own_n + 1).tolist()
    return np.concatenate(best), {name: tuple(values) for name, values in columns.items()}
