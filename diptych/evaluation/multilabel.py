"""Images that show several classes: 11-point interpolated average precision, as Pascal VOC 2007 defines it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.result import Columns, Interval, Scores

DRAWS = 1000
_AT_ONCE = 8_000_000  # weights of images in draws: 32 MB


def score(
    scores_NC: np.ndarray,
    labels_NC: np.ndarray,
    *,
    judged_NC: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> Scores:
    """Average precision of images by their scores of classes, of which they show any number.

    labels_NC:   whether an image shows a class. ``judged_NC``: whether it counts for that class; VOC leaves out images
                 in which only objects marked as difficult are of it.
    ``map11``:   mean over the classes that occur of the 11-point average precision; with ``class_names`` also
                 ``ap11 NAME`` of each. ``mean_average_precision``, CLIP_benchmark's, is the mean of precision at every
                 right image. Chance is a model that scores all images alike.

    Intervals are a bootstrap over images, both as it is and moved so that the estimate is its mean: from the lower of
    the low ends to the higher of the high ones. A draw has some right images twice, at one place of the ranking, so its
    precision is higher than that of as many different ones, and what is not moved may leave out its own estimate; but
    where few images are right, precision is skewed the same way, and what is moved misses that. In simulations with
    three to sixty right images a class (tests/evaluation/test_coverage.py) both together covered 95 % to 99 %, each
    alone sometimes 90 % or less, of what data sets of that size show on average. With few right images that is more
    than infinitely many images would show, since a precision is the best at its recall or beyond.

    Images of one score count together, so their order does not matter. A score that is not a number is the lowest.
    Raises DataError where there is no image, or none shows a class.
    """
    labels_NC = np.asarray(labels_NC, bool)
    images, classes = scores_NC.shape
    if labels_NC.shape != (images, classes):
        raise DataError(f"labels of shape {labels_NC.shape} are not of {images} images, {classes} classes")
    judged_NC = np.ones_like(labels_NC) if judged_NC is None else np.asarray(judged_NC, bool)
    rankings: dict[int, _Ranking] = {}
    for c in range(classes):
        if (labels_NC[:, c] & judged_NC[:, c]).any():
            rankings[c] = _ranking(scores_NC[:, c], labels_NC[:, c], judged_NC[:, c])
    if not rankings:
        raise DataError("no image shows a class, so there is no precision")
    once_2K = np.concatenate([_precisions(one, np.ones((images, 1), np.int32)) for one in rankings.values()], axis=1)
    drawn_2DK = _drawn(list(rankings.values()), images, seed)
    shares_K = np.array([one.share for one in rankings.values()])
    some_D = ~np.isnan(drawn_2DK[0]).all(axis=1)  # a draw of few images may have none that shows a class
    showing = int((labels_NC & judged_NC).any(axis=1).sum())
    metrics, limits = {}, {}
    for name, once_K, drawn_DK in zip(("map11", "mean_average_precision"), once_2K, drawn_2DK, strict=True):
        metrics[name] = float(once_K.mean())
        limits[name] = _limits(metrics[name], np.nanmean(drawn_DK[some_D], axis=1), showing)
    chance = dict.fromkeys(metrics, float(shares_K.mean()))
    for place, c in enumerate(rankings if class_names else ()):
        name, drawn_D = f"ap11 {class_names[c]}", drawn_2DK[0, :, place]
        metrics[name], chance[name] = float(once_2K[0, place]), float(shares_K[place])
        limits[name] = _limits(metrics[name], drawn_D[~np.isnan(drawn_D)], len(rankings[c].right_R))
    return Scores(
        metrics=metrics, intervals=limits, chance=chance, predictions=_predictions(scores_NC, labels_NC, judged_NC)
    )


def _drawn(rankings: Sequence[_Ranking], images: int, seed: int) -> np.ndarray:
    """Both precisions (2, D, K) of K classes in D draws of the images."""
    draws = [np.stack([_precisions(one, times_ND) for one in rankings], axis=2) for times_ND in _draws(images, seed)]
    return np.concatenate(draws, axis=1)


def average_precision(scores_N: np.ndarray, labels_N: np.ndarray) -> float:
    """The 11-point interpolated average precision of one class: the mean, over recalls of 0, 0.1 ... 1, of the best
    precision at that recall or a higher one. Raises DataError where no image shows the class."""
    labels_N = np.asarray(labels_N, bool)
    if not labels_N.any():
        raise DataError("no image shows the class, so there is no precision")
    ranking = _ranking(np.asarray(scores_N), labels_N, np.ones_like(labels_N))
    return float(_precisions(ranking, np.ones((len(labels_N), 1), np.int32))[0, 0])


@dataclass(frozen=True)
class _Ranking:
    """The J images judged, best score first, and the R among them that show the class, as places in J.

    Only scores that right images have matter, since precision is best there: G of them. ``first_G``: where in J the
    images begin that count from one of these scores to the next. ``right_G``: where in R the
    right images of each begin. ``share``: right ones of all.
    """

    image_J: np.ndarray
    right_R: np.ndarray
    first_G: np.ndarray
    right_G: np.ndarray
    share: float


def _ranking(scores_N: np.ndarray, labels_N: np.ndarray, judged_N: np.ndarray) -> _Ranking:
    scores_N = np.where(np.isnan(scores_N), -np.inf, scores_N)
    [image_J] = np.nonzero(judged_N)
    image_J = image_J[np.argsort(-scores_N[image_J], kind="stable")]
    ordered_J = scores_N[image_J]
    [right_R] = np.nonzero(labels_N[image_J])
    values_G, right_G = np.unique(-ordered_J[right_R], return_index=True)
    ends_G = np.searchsorted(-ordered_J, values_G, side="right")
    first_G = np.concatenate([[0], ends_G[:-1]])
    return _Ranking(image_J[: ends_G[-1]], right_R, first_G, right_G, len(right_R) / len(image_J))


def _counts(ranking: _Ranking, times_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In D draws, in which an image counts so many times: right images, and all, down to each score (G, D)."""
    times_JD = times_ND[ranking.image_J]
    right_GD = np.add.reduceat(times_JD[ranking.right_R], ranking.right_G, axis=0).cumsum(axis=0)
    return right_GD, np.add.reduceat(times_JD, ranking.first_G, axis=0).cumsum(axis=0)


def _precisions(ranking: _Ranking, times_ND: np.ndarray) -> np.ndarray:
    """11-point average precision, and precision at each right image, averaged (2, D); not a number in a draw without a
    right image."""
    right_GD, all_GD = _counts(ranking, times_ND)
    precision_GD = right_GD / np.maximum(all_GD, 1)
    best_DG = np.maximum.accumulate(precision_GD[::-1], axis=0)[::-1].T
    found_2D = np.full((2, len(best_DG)), np.nan)
    for d, (right_G, best_G) in enumerate(zip(right_GD.T, best_DG, strict=True)):
        if right_G[-1]:
            # In whole numbers, since 3 of 10 is not 0.3 in binary: right / all >= t / 10.
            places = np.searchsorted(10 * right_G, np.arange(11) * right_G[-1], side="left")
            found_2D[0, d] = best_G[places].mean()
    some_D = right_GD[-1] > 0
    whole_D = (np.diff(right_GD, axis=0, prepend=0) * precision_GD).sum(axis=0)
    found_2D[1, some_D] = whole_D[some_D] / right_GD[-1, some_D]
    return found_2D


def _draws(images: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, in several draws at a time (N, D): as many as there are, with replacement."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(DRAWS, _AT_ONCE // images))
    for start in range(0, DRAWS, at_once):
        chosen = generator.integers(images, size=(min(at_once, DRAWS - start), images))
        yield np.stack([np.bincount(row, minlength=images).astype(np.int32) for row in chosen], axis=1)


def _limits(estimate: float, drawn_D: np.ndarray, showing: int) -> Interval:
    """Where all is ranked rightly, nothing varies; the exact interval of as many hits as there are right images stands
    in."""
    if estimate == 1:
        return intervals.exact(showing, showing)
    moved_D = drawn_D - drawn_D.mean() + estimate
    ends = [intervals.percentiles(values_D, showing, estimate) for values_D in (drawn_D, moved_D)]
    return max(0.0, min(low for low, _ in ends)), min(1.0, max(high for _, high in ends))


def _predictions(scores_NC: np.ndarray, labels_NC: np.ndarray, judged_NC: np.ndarray) -> Columns:
    """The classes that each image shows, those it is not judged by, the one that scores highest, and all scores."""
    shown, unjudged = (tuple(tuple(np.flatnonzero(row_C).tolist()) for row_C in own) for own in (labels_NC, ~judged_NC))
    return {
        "labels": shown,
        "unjudged": unjudged,
        "predicted": tuple(scores_NC.argmax(axis=1).tolist()),
        "scores": tuple(map(tuple, scores_NC.tolist())),
    }
