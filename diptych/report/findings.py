"""What a set of results says together: the paper's comparisons, as numbers ready to be drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.report.choosing import by_data, each_once, models, plainness
from diptych.report.collected import Entry
from diptych.report.pairing import PROBE, ZERO_SHOT, compared
from diptych.report.paper_plots import Bar, Line, Point

FEW_SHOT = "few-shot"


def zero_shot_less_probe(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Bar]]:
    """Of each model's zero-shot classifier and each probe, its own or of a model without one: the difference of their
    accuracies on each data set that both have, with a 95 % interval that takes the two for independent."""
    zero_shot, probes = by_data(entries, ZERO_SHOT), by_data(entries, PROBE)
    found = {}
    for model, own in zero_shot.items():
        for other, probed in probes.items():
            if other != model and other in zero_shot:
                continue
            common = [data for data in own if data in probed]
            bars = [_difference(data, own[data], probed[data]) for data in common]
            if bars:
                found[model, other] = bars
    return found


def zero_shot_against_probe(entries: Sequence[Entry]) -> list[Point]:
    """A point a model and data set: the accuracy of its probe across, of its zero-shot classifier upwards."""
    zero_shot, probes = by_data(entries, ZERO_SHOT), by_data(entries, PROBE)
    return [
        Point(data, probes[model][data].value, entry.value, model)
        for model, own in zero_shot.items()
        for data, entry in own.items()
        if data in probes.get(model, {})
    ]


def correlation(points: Sequence[Point]) -> tuple[float, float, float]:
    """Pearson's r and its 95 % interval (Fisher's); NaN of fewer than three points, or of those that do not vary, and
    for the interval of fewer than four."""
    x, y = np.array([point.x for point in points]), np.array([point.y for point in points])
    if len(points) < 3 or x.std() == 0 or y.std() == 0:
        return math.nan, math.nan, math.nan
    r = float(np.corrcoef(x, y)[0, 1])
    if len(points) < 4 or abs(r) > 1 - 1e-12:
        return r, math.nan, math.nan
    half = 1.959964 / math.sqrt(len(points) - 3)
    return r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def few_shot_lines(entries: Sequence[Entry]) -> tuple[list[Line], list[str]]:
    """Of each model the accuracy of its probe over shots, the mean over data sets, with the band between the lowest and
    the highest draw of that mean; the level is that of its zero-shot classifier on the same data.

    What was told otherwise (a variant) is a line of its own. And which data sets these are, the same for all lines.
    None: there is none that all have, and each line is of its own.
    """
    table: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.task == FEW_SHOT and "accuracies" in entry.result.details:
            line = f"{entry.model}, {entry.variant}" if entry.variant else entry.model
            table.setdefault(line, {})[replace(entry, variant="").data] = entry
    common = _common(table)
    lines = [
        line
        for model, own in table.items()
        if (line := _few_shot_line(model, [own[data].result.details for data in common or each_once(own)]))
    ]
    return lines, common


def _few_shot_line(model: str, details: Sequence[dict[str, Any]]) -> Line | None:
    shots = [shot for shot in details[0]["shots"] if all(shot in one["shots"] for one in details)]
    if not shots:
        return None
    draws = min(len(accuracies) for one in details for accuracies in one["accuracies"])
    table_TSD = np.array([[one["accuracies"][one["shots"].index(shot)][:draws] for shot in shots] for one in details])
    means_SD = table_TSD.mean(axis=0)
    levels = [float(one["zero_shot"]) for one in details if one.get("zero_shot") is not None]
    return Line(
        model,
        tuple(map(float, shots)),
        tuple(means_SD.mean(axis=1).tolist()),
        tuple(means_SD.min(axis=1).tolist()),
        tuple(means_SD.max(axis=1).tolist()),
        sum(levels) / len(levels) if len(levels) == len(details) else math.nan,
    )


def examples_to_match(entries: Sequence[Entry]) -> dict[str, list[Bar]]:
    """Of each model, for each data set, the examples a class with which a probe is as good as zero-shot."""
    found: dict[str, list[Bar]] = {}
    for entry in entries:
        told = entry.result.details.get("shots_to_match") if entry.task == FEW_SHOT else None
        if told is not None:
            shots = told["shots"]
            found.setdefault(entry.model, []).append(Bar(entry.data, math.inf if shots is None else float(shots)))
    return found


def by_model(bars: dict[str, list[Bar]]) -> tuple[str, list[Bar]] | None:
    """Where several models have one and the same data set and no other: its name, and a bar a model."""
    data = {bar.name for own in bars.values() for bar in own}
    if len(bars) < 2 or len(data) > 1:
        return None
    return data.pop(), [replace(own[0], name=model) for model, own in bars.items()]


def accuracy_over_compute(entries: Sequence[Entry], task: str) -> tuple[list[Point], list[str]]:
    """A point a model: the mean of its metrics over the data sets that all models of the task have, with its interval
    as if these were independent, over the operations of an image; the groups are families, by how names begin.

    And which data sets these are. Neither where there is no model to compare with.
    """
    found = _with_operations(entries, task)
    common = _common(found)
    if not common or len(found) < 2:
        return [], []
    points = []
    for model, own in found.items():
        values = [own[data] for data in common]
        mean = sum(entry.value for entry in values) / len(values)
        low, high = math.nan, math.nan
        known = [(entry.value, *entry.interval) for entry in values if entry.interval]
        if len(known) == len(values):
            low = mean - math.hypot(*(value - down for value, down, _ in known)) / len(values)
            high = mean + math.hypot(*(up - value for value, _, up in known)) / len(values)
        points.append(Point(model, _operations(own), mean, _family(model), low, high))
    return points, common


def error_over_compute(entries: Sequence[Entry]) -> tuple[list[Line], list[Point], tuple[float, float, float]] | None:
    """Zero-shot errors over the operations of an image: of each data set that all models have, and their mean; and the
    line through the logarithms: power, logarithm of the factor, and r squared.

    None of fewer than three numbers of operations, or where a model makes no error.
    """
    found = _with_operations(entries, ZERO_SHOT)
    common = _common(found)
    ordered = sorted(found, key=lambda model: _operations(found[model]))
    x = [_operations(found[model]) for model in ordered]
    errors_MT = np.array([[1 - found[model][data].value for data in common] for model in ordered])
    if len(set(x)) < 3 or not common or (errors_MT.mean(axis=1) <= 0).any():
        return None
    means_M = errors_MT.mean(axis=1)
    power, factor = np.polyfit(np.log(x), np.log(means_M), 1)
    r = np.corrcoef(np.log(x), np.log(means_M))[0, 1] if means_M.std() > 0 else 0.0
    lines = [
        Line(data, tuple(x), tuple(errors_MT[:, number].tolist()))
        for number, data in enumerate(common)
        if (errors_MT[:, number] > 0).all()
    ]
    points = [Point(model, at, mean) for model, at, mean in zip(ordered, x, means_M.tolist(), strict=True)]
    return lines, points, (float(power), float(factor), float(r**2))


def _with_operations(entries: Sequence[Entry], task: str) -> dict[str, dict[str, Entry]]:
    return {model: own for model, own in by_data(entries, task).items() if math.isfinite(_operations(own))}


def _operations(own: dict[str, Entry]) -> float:
    """Gigaflops of an image; NaN where they are not known."""
    return next((cost["gflops"] for entry in own.values() if "gflops" in (cost := entry.result.cost)), math.nan)


def _family(model: str) -> str:
    """ViT of ViT-B/32, RN of RN50x4."""
    letters = re.match(r"[^\W\d_]+", model)
    return letters[0] if letters else model


def _common(table: dict[str, dict[str, Entry]]) -> list[str]:
    """The data sets that all models have, in the order of the first, each once: in its plainest form."""
    first = next(iter(table.values()), {})
    return each_once({data: entry for data, entry in first.items() if all(data in own for own in table.values())})


@dataclass(frozen=True, eq=False)
class Said:
    """Of N zero-shot answers of a model how confident each is, and which are right; and the data that these are on."""

    confidence_N: np.ndarray
    right_N: np.ndarray
    data: tuple[str, ...]


def answers(entries: Sequence[Entry]) -> dict[str, Said]:
    """Of each model all its zero-shot answers: on all splits and data sets, once on each image, by the plainest prompts
    where there are several."""
    found: dict[str, dict[str, tuple[str, np.ndarray, np.ndarray]]] = {model: {} for model in models(entries)}
    for entry in sorted(entries, key=plainness):
        if entry.task == ZERO_SHOT and "ece" in entry.result.metrics:
            images = entry.result.fingerprints.get("data") or entry.data
            kept = entry.answers if images not in found[entry.model] else None
            if kept and kept.confidence_N is not None:
                found[entry.model][images] = (entry.data, kept.confidence_N, kept.right_N)
    said = {}
    for model, own in found.items():
        if own:
            data, confidences, rights = zip(*own.values(), strict=True)
            said[model] = Said(np.concatenate(confidences), np.concatenate(rights), data)
    return said


def _difference(data: str, a: Entry, b: Entry) -> Bar:
    """Image by image where both are accuracies of the same images, else as if the two were independent."""
    if a.metric == "acc1" and b.metric == "lp_acc1" and (paired := compared(a, b)):
        return Bar(data, paired.difference, *paired.interval)
    difference = a.value - b.value
    if a.interval is None or b.interval is None:
        return Bar(data, difference)
    # Half-widths of independent quantities add as squares; each side by itself, as intervals of shares are not even.
    below = math.hypot(a.value - a.interval[0], b.interval[1] - b.value)
    above = math.hypot(a.interval[1] - a.value, b.value - b.interval[0])
    return Bar(data, difference, difference - below, difference + above)
