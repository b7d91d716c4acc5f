"""Probes of few examples a class, and how many of them match a zero-shot classifier (paper, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from diptych.errors import ConfigError, DataError
from diptych.evaluation.linear import Linear
from diptych.evaluation.logistic import solve
from diptych.evaluation.logistic_problem import prepare
from diptych.evaluation.probes import Metric, accuracy, select
from diptych.evaluation.split import Labelled

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 5


@dataclass(frozen=True)
class Shots:
    """Probes of so many examples a class: the metric of each draw, and the strength that each was fitted with.

    examples: how many a class there were on average; fewer than ``shots`` where ``short`` classes had not enough and
    gave all they have. unconverged: fits of those shown here that did not reach the tolerance.
    """

    shots: int
    metrics: tuple[float, ...]
    strengths: tuple[float, ...]
    examples: float
    short: int
    unconverged: int

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.metrics))

    @property
    def spread(self) -> float:
        """The standard deviation between draws; NaN of a single one."""
        return float(np.std(self.metrics, ddof=1)) if len(self.metrics) > 1 else math.nan


@dataclass(frozen=True)
class Match:
    """Examples a class at which a probe reaches a target.

    kind: ``between`` two points, ``extrapolated`` below the first, or ``never``, with ``shots`` infinite.
    """

    shots: float
    kind: str


def draw(labels_N: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of ``shots`` samples of each class, or of all it has where these are fewer; ascending.

    Draws of one seed are nested: those of 2 hold that of 1. So from point to point of a curve only the added examples
    change, and a crossing on it depends less on luck; draws of different seeds are independent. What a class gives
    depends on the seed and its own samples only.
    """
    if shots < 1:
        raise ConfigError(f"a class gives one example or more, not {shots}")
    rows = [
        np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels_N == label))[:shots]
        for label in np.unique(labels_N)
    ]
    return np.sort(np.concatenate(rows))


def few_shot(
    train: Labelled,
    test: Labelled,
    tune: Labelled | float,
    metric: Metric = accuracy,
    *,
    classes: int | None = None,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    start: Linear | None = None,
) -> tuple[Shots, ...]:
    """Probes of ``shots`` examples a class, ``draws`` times, measured on ``test``.

    tune: the split on which the strength is searched for each draw, as for the full probe, or one strength for all.
    Few examples cannot be split further to choose by (one a class not at all), so a validation split lends labels that
    a real user of few has not, and the curve is what the shots give when the penalty is chosen well. To count only
    the labels of the shots, give a strength. Unlike the full probe, none is refitted on the validation split: it would
    no longer be of few examples. Raises DataError where truth is not one class a sample.
    """
    if train.truth.ndim != 1:
        raise DataError("examples a class are drawn where each sample has one class; these have several")
    classes = int(max(split.truth.max() for split in (train, test))) + 1 if classes is None else classes
    sizes_C = np.bincount(train.truth, minlength=classes)
    points = []
    for count in shots:
        metrics, strengths, unconverged = [], [], 0
        for number in range(draws):
            drawn = train.take(draw(train.truth, count, seed + number))
            if isinstance(tune, Labelled):
                probe = select(drawn, tune, metric, classes=classes, start=start).probe
            else:
                probe = solve(prepare(drawn.features_ND, drawn.truth, classes), tune, start=start)
            metrics.append(float(metric(probe.scores(test.features_ND), test.truth)))
            strengths.append(probe.strength)
            unconverged += not probe.converged
        examples = float(np.minimum(sizes_C, count).sum() / (sizes_C > 0).sum())
        short = int((sizes_C < count).sum())
        points.append(Shots(count, tuple(metrics), tuple(strengths), examples, short, unconverged))
    return tuple(points)


def shots_to_match(curve: Sequence[tuple[float, float]], target: float) -> Match:
    """Examples a class at which a curve of (examples, metric) first reaches a target, log-linear between its points.

    The last point may be the full-data probe, with the mean examples a class of its data. A target below the first
    point is extrapolated along the line from there to the next point that is higher; without one it is 0.
    """
    points = sorted(curve)
    if not points or points[0][0] <= 0 or len({count for count, _ in points}) < len(points):
        raise DataError(f"a curve has points of different numbers of examples above 0, not {points}")
    if any(math.isnan(value) for point in points for value in point) or math.isnan(target):
        raise DataError("a curve and its target are numbers, and one of them is not")
    first, value = points[0]
    if target == value:
        return Match(float(first), "between")
    if target < value:
        higher = next((point for point in points[1:] if point[1] > value), None)
        return Match(_at((first, value), higher, target) if higher else 0.0, "extrapolated")
    for before, after in pairwise(points):
        if before[1] < target <= after[1]:
            return Match(_at(before, after, target), "between")
    return Match(math.inf, "never")


def _at(one: tuple[float, float], two: tuple[float, float], target: float) -> float:
    share = (target - one[1]) / (two[1] - one[1])
    return one[0] * (two[0] / one[0]) ** share
