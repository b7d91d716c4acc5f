"""Classes by name over data sets that share some of them, and accuracy under shift on the same classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych.errors import DataError, nearest
from diptych.evaluation import zero_shot
from diptych.evaluation.comparison import Comparison, Measured, compare
from diptych.evaluation.result import Scores

_LISTED = 4  # names in a message


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Features of N images, labels as indices into ``class_names``."""

    name: str
    features_NE: np.ndarray
    labels_N: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UnderShift:
    """One classifier on a shifted set and on the same classes of the set it is shifted from.

    source:     scores on the source's images of these classes, among these classes alone.
    shifted:    scores on the shifted set, by the source's class names.
    adapted:    scores on the shifted set by its own class names, where such weights were given.
    adaptation: the gain of that, image by image.
    classes:    how many classes the two share.
    """

    source: Scores
    shifted: Scores
    adapted: Scores | None
    adaptation: Comparison | None
    classes: int


def rows_of(class_names: Sequence[str], among: Sequence[str], name: str) -> np.ndarray:
    """Where each class of a data set, called ``name`` in errors, stands ``among`` the classes of a classifier.

    Raises DataError for classes that are not there, and for a name that several classes have: which is meant cannot be
    told. Equal lists stand as they are.
    """
    if tuple(class_names) == tuple(among):
        return np.arange(len(among))
    places = {other: place for place, other in enumerate(among)}
    if missing := [own for own in class_names if own not in places]:
        listed = ", ".join(map(repr, missing[:_LISTED])) + (" ..." if len(missing) > _LISTED else "")
        raise DataError(
            f"{len(missing)} of the {len(class_names)} classes of {name} are none of the {len(among)} of the "
            f"classifier: {listed}; of the first, {nearest(missing[0], among)}"
        )
    counts, own_counts = Counter(among), Counter(class_names)
    if several := [own for own in own_counts if counts[own] > 1 or own_counts[own] > 1]:
        raise DataError(
            f"{len(several)} names of {name} are those of several classes, so which is meant is not known: "
            f"{', '.join(map(repr, several[:_LISTED]))}; give classes of one name names of their own"
        )
    return np.array([places[own] for own in class_names], np.int64)


def restricted(data: LabelledFeatures, class_names: Sequence[str]) -> LabelledFeatures:
    """The images of some of the classes, labelled by their place among these.

    Raises DataError for classes that the data set has not, or where none of them has an image.
    """
    rows_C = rows_of(class_names, data.class_names, "the subset")
    place_of = np.full(len(data.class_names), -1)
    place_of[rows_C] = np.arange(len(rows_C))
    labels_N = np.asarray(data.labels_N, np.int64)
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < len(place_of):
        raise DataError(
            f"labels of {data.name} go from {labels_N.min()} to {labels_N.max()}, but there are {len(place_of)} classes"
        )
    places_N = place_of[labels_N]
    if not (places_N >= 0).any():
        raise DataError(f"no image of {data.name} is of one of the {len(rows_C)} classes")
    kept_N = places_N >= 0
    return replace(
        data, features_NE=data.features_NE[kept_N], labels_N=places_N[kept_N], class_names=tuple(class_names)
    )


def score(
    data: LabelledFeatures,
    weights_CE: np.ndarray,
    class_names: Sequence[str],
    *,
    bias_C: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Score given weights, one row for each of ``class_names``, on a data set that has these classes or some of them.

    Each image is classified among the classes of its data set alone. The weights may be zero-shot, or those of a
    linear classifier fitted on the source set (supervised adaptation; paper, section 3.3), whose bias is ``bias_C``.
    """
    _check_width(data, weights_CE, class_names)
    rows_C = rows_of(data.class_names, class_names, data.name)
    features_NE, weights_CE = data.features_NE, weights_CE[rows_C]
    if bias_C is not None:
        features_NE = np.concatenate([features_NE, np.ones_like(features_NE[:, :1])], axis=1)
        weights_CE = np.concatenate([weights_CE, np.asarray(bias_C)[rows_C, None]], axis=1)
    return zero_shot.score(features_NE, data.labels_N, weights_CE, seed=seed)


def under_shift(
    source: LabelledFeatures,
    shifted: LabelledFeatures,
    weights_CE: np.ndarray,
    *,
    bias_C: np.ndarray | None = None,
    adapted_CE: np.ndarray | None = None,
    seed: int = 0,
) -> UnderShift:
    """Accuracy of a classifier of the source's classes under a shift that has all of them or some.

    weights_CE: one row for each class of the source. Accuracy in distribution is on the source's images of the shifted
                set's classes, and the other classes cannot be answered in either.
    adapted_CE: weights of the shifted set's own class names, in its order, such as of those that YouTube-BB has for
                several classes of ImageNet; the gain over the source's names is then told.

    Raises DataError where the shifted set has a class that the source has not.
    """
    classes = shifted.class_names
    own = score(shifted, weights_CE, source.class_names, bias_C=bias_C, seed=seed)
    here = score(restricted(source, classes), weights_CE, source.class_names, bias_C=bias_C, seed=seed)
    adapted = gain = None
    if adapted_CE is not None:
        adapted = score(shifted, adapted_CE, classes, seed=seed)
        keys = range(len(shifted.labels_N))
        hits = (np.array(scores.predictions["rank"]) == 1 for scores in (adapted, own))
        names = (f"{shifted.name} by its own class names", f"by those of {source.name}")
        gain = compare(*(Measured(name, keys, hits_N) for name, hits_N in zip(names, hits, strict=True)), seed=seed)
    return UnderShift(source=here, shifted=own, adapted=adapted, adaptation=gain, classes=len(classes))


def _check_width(data: LabelledFeatures, weights_CE: np.ndarray, class_names: Sequence[str]) -> None:
    if weights_CE.shape != (len(class_names), data.features_NE.shape[1]):
        raise DataError(
            f"weights of shape {weights_CE.shape} do not fit {len(class_names)} classes and the "
            f"{data.features_NE.shape[1]} features of {data.name}"
        )
