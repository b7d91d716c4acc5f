"""What models reach by the operations that an image takes, as numbers ready to be drawn (paper, figures 9 and 10)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from diptych.report.averages import in_common, mean_of
from diptych.report.collected import Entry
from diptych.report.marks import Line, Point
from diptych.report.pairing import ZERO_SHOT
from diptych.report.quantities import Measure, by_measure, titled


def accuracy_over_compute(entries: Sequence[Entry], task: str) -> tuple[list[Point], list[Measure]]:
    """A point a model: the mean of its metrics over the data sets that all models of the task have, with its interval
    as if these were independent, over the operations of an image; the groups are families, by how names begin.

    And which these are, by what they are measured. Neither where there is no model to compare with.
    """
    found = _with_operations(entries, task)
    common = in_common(found)
    if not common or len(found) < 2:
        return [], []
    points = []
    for model, own in found.items():
        mean, low, high = mean_of([(own[data].value, own[data].interval) for data in common])
        points.append(Point(model, _operations(own), mean, _family(model), low, high))
    return points, common


def error_over_compute(
    entries: Sequence[Entry],
) -> tuple[list[Line], list[Point], tuple[float, float, float], list[Measure]] | None:
    """Zero-shot errors over the operations of an image: of each data set that all models have, and their mean; and the
    line through the logarithms: power, logarithm of the factor, and r squared; and what is measured of these data.

    None of fewer than three numbers of operations, or where a model makes no error.
    """
    found = _with_operations(entries, ZERO_SHOT)
    common = in_common(found)
    ordered = sorted(found, key=lambda model: _operations(found[model]))
    x = [_operations(found[model]) for model in ordered]
    errors_MT = np.array([[1 - found[model][data].value for data in common] for model in ordered])
    if len(set(x)) < 3 or not common or (errors_MT.mean(axis=1) <= 0).any():
        return None
    means_M = errors_MT.mean(axis=1)
    power, factor = np.polyfit(np.log(x), np.log(means_M), 1)
    r = np.corrcoef(np.log(x), np.log(means_M))[0, 1] if means_M.std() > 0 else 0.0
    names = titled(common)
    lines = [
        Line(names[data], tuple(x), tuple(errors_MT[:, number].tolist()))
        for number, data in enumerate(common)
        if (errors_MT[:, number] > 0).all()
    ]
    points = [Point(model, at, mean) for model, at, mean in zip(ordered, x, means_M.tolist(), strict=True)]
    return lines, points, (float(power), float(factor), float(r**2)), common


def _with_operations(entries: Sequence[Entry], task: str) -> dict[str, dict[Measure, Entry]]:
    return {model: own for model, own in by_measure(entries, task).items() if math.isfinite(_operations(own))}


def _operations(own: dict[Measure, Entry]) -> float:
    """Gigaflops of an image; NaN where they are not known."""
    return next((cost["gflops"] for entry in own.values() if "gflops" in (cost := entry.result.cost)), math.nan)


def _family(model: str) -> str:
    """ViT of ViT-B/32, RN of RN50x4."""
    letters = re.match(r"[^\W\d_]+", model)
    return letters[0] if letters else model
