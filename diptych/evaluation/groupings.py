"""Which classes of the set that another is shifted from are one class there, and what a classifier of these scores it.

ImageNet-R and ImageNet-A have 200 of ImageNet's classes, told by their WordNet numbers; a class of ObjectNet,
ImageNet-Vid or YouTube-BB is one of ImageNet's or a group of them, told by the files of these data sets. A group has
the highest of the scores of its members (paper, section 3.3, after Taori et al., NeurIPS 2020), or their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from diptych.data.published.superclasses import CLASSES
from diptych.data.sources import Source
from diptych.errors import DataError

Members = tuple[tuple[int, ...], ...]  # of each class of a shifted set, numbers of its source's classes


def members(shifted: Source, source: Source) -> Members | None:
    """For each class of a shifted set the classes of its source, by their numbers, that it stands for: one, several, or
    none. None where neither the files of the data nor WordNet numbers tell; then names must.

    Raises DataError where the source has not ImageNet's 1,000 classes, of which the files tell, or lacks one of the
    WordNet numbers.
    """
    known: Members | None = getattr(shifted, "members", None)
    if known is not None:
        if len(source.class_names or ()) != CLASSES:
            raise DataError(
                f"the classes of {shifted.name} are groups of ImageNet's {CLASSES:,}, but {source.name} has "
                f"{len(source.class_names or ()):,}"
            )
        return known
    own, theirs = (getattr(one, "class_ids", None) for one in (shifted, source))
    if own is None or theirs is None:
        return None
    places = {number: row for row, number in enumerate(theirs)}
    if missing := [number for number in own if number not in places]:
        raise DataError(
            f"{len(missing)} of the {len(own)} classes of {shifted.name} are none of the {len(theirs)} of "
            f"{source.name}: {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}"
        )
    return tuple((places[number],) for number in own)


def pooled(scores_NC: np.ndarray, groups: Sequence[Sequence[int]], pool: Literal["max", "mean"] = "max") -> np.ndarray:
    """Scores (N, K) of groups of the C classes that a classifier scores: the highest or the mean of their members'. A
    group without members has -inf, so it is never answered; other classes cannot be."""
    scores_NK = np.full((len(scores_NC), len(groups)), -np.inf, scores_NC.dtype)
    for k, rows in enumerate(groups):
        if len(rows):
            own_NM = scores_NC[:, list(rows)]
            scores_NK[:, k] = own_NM.max(axis=1) if pool == "max" else own_NM.mean(axis=1)
    return scores_NK


def regrouped(labels_N: np.ndarray, groups: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """The group (N) of each label, a number of the ``classes`` that groups are of; -1 for what is in none.

    Raises DataError for a class in two groups, and for a label or a member that is none of the classes.
    """
    group_C = np.full(classes, -1)
    for k, rows in enumerate(groups):
        for row in rows:
            if not 0 <= row < classes:
                raise DataError(f"group {k} has class {row} of {classes}")
            if group_C[row] >= 0:
                raise DataError(f"class {row} is in group {group_C[row]} and in group {k}")
            group_C[row] = k
    labels_N = np.asarray(labels_N, np.int64)
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < classes:
        raise DataError(f"labels go from {labels_N.min()} to {labels_N.max()}, but there are {classes} classes")
    return group_C[labels_N]
