"""How many examples a class a classifier needs to match one without any (paper, section 3.1.5, figure 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from diptych.errors import DataError

LEAST_TO_MATCH = 0.01  # examples a class, below which a line says nothing of how many


@dataclass(frozen=True)
class Match:
    """Examples a class at which a probe reaches a target.

    kind: ``between`` two points, ``extrapolated`` below the first, ``fewer`` than ``LEAST_TO_MATCH``, with ``shots``
          that, or ``never``, with ``shots`` infinite.
    """

    shots: float
    kind: str


def shots_to_match(curve: Sequence[tuple[float, float]], target: float) -> Match:
    """Examples a class at which a curve of (examples, metric) first reaches a target, log-linear between its points.

    The last point may be the full-data probe, with the mean examples a class of its data. A target below the first
    point is extrapolated along the line from there to the next point that is higher, down to ``LEAST_TO_MATCH``;
    without such a point it is fewer than that.
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
        shots = _at((first, value), higher, target) if higher else 0.0
        return Match(LEAST_TO_MATCH, "fewer") if shots < LEAST_TO_MATCH else Match(shots, "extrapolated")
    for before, after in pairwise(points):
        if before[1] < target <= after[1]:
            return Match(_at(before, after, target), "between")
    return Match(math.inf, "never")


def _at(one: tuple[float, float], two: tuple[float, float], target: float) -> float:
    share = (target - one[1]) / (two[1] - one[1])
    return one[0] * (two[0] / one[0]) ** share
