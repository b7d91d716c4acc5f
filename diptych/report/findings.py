"""What a set of results says together: the paper's comparisons, as numbers ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diptych.evaluation.comparison import Comparison, Measured, compare
from diptych.report.collected import Entry, by_data, models
from diptych.report.paper_plots import Bar, Line, Point

ZERO_SHOT, PROBE, FEW_SHOT = "zero-shot", "linear probe", "few-shot"


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


def zero_shot_against_probe(entries: Sequence[Entry]) -> tuple[list[Point], float]:
    """A point a model and data set: the accuracy of its probe across, of its zero-shot classifier upwards.

    And Pearson's r of all, NaN of fewer than three.
    """
    zero_shot, probes = by_data(entries, ZERO_SHOT), by_data(entries, PROBE)
    points = [
        Point(data, probes[model][data].value, entry.value, model)
        for model, own in zero_shot.items()
        for data, entry in own.items()
        if data in probes.get(model, {})
    ]
    x, y = np.array([point.x for point in points]), np.array([point.y for point in points])
    known = len(points) > 2 and x.std() > 0 and y.std() > 0
    return points, float(np.corrcoef(x, y)[0, 1]) if known else math.nan


def few_shot_lines(entries: Sequence[Entry]) -> list[Line]:
    """Of each model the accuracy of its probe over shots, the mean over data sets, with the band between the lowest and
    the highest draw of that mean; the level is that of its zero-shot classifier on the same data. What was told
    otherwise (a variant) is a line of its own."""
    lines = []
    several: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.task == FEW_SHOT:
            several.setdefault(f"{entry.model}, {entry.variant}" if entry.variant else entry.model, []).append(entry)
    for model, own in several.items():
        details = [entry.result.details for entry in own]
        shots = [shot for shot in details[0]["shots"] if all(shot in one["shots"] for one in details)]
        draws = min(len(accuracies) for one in details for accuracies in one["accuracies"])
        table_TSD = np.array(
            [[one["accuracies"][one["shots"].index(shot)][:draws] for shot in shots] for one in details]
        )
        means_SD = table_TSD.mean(axis=0)
        levels = [float(one["zero_shot"]) for one in details if one.get("zero_shot") is not None]
        level = sum(levels) / len(levels) if len(levels) == len(details) else math.nan
        lines.append(
            Line(
                model,
                tuple(map(float, shots)),
                tuple(means_SD.mean(axis=1).tolist()),
                tuple(means_SD.min(axis=1).tolist()),
                tuple(means_SD.max(axis=1).tolist()),
                level,
            )
        )
    return lines


def examples_to_match(entries: Sequence[Entry]) -> dict[str, list[Bar]]:
    """Of each model, for each data set, the examples a class with which a probe is as good as zero-shot."""
    found: dict[str, list[Bar]] = {}
    for entry in entries:
        told = entry.result.details.get("shots_to_match") if entry.task == FEW_SHOT else None
        if told is not None:
            shots = told["shots"]
            found.setdefault(entry.model, []).append(Bar(entry.data, math.inf if shots is None else float(shots)))
    return found


def accuracy_over_compute(entries: Sequence[Entry]) -> list[Point]:
    """A point a model and task: the mean of its metrics over the data sets that all models of the task have, over the
    operations of an image. None for one that no other is compared with."""
    points = []
    for task in dict.fromkeys(entry.task for entry in entries):
        found = by_data(entries, task)
        common = set.intersection(*(set(own) for own in found.values()))
        for model, own in found.items():
            gflops = next((entry.result.cost["gflops"] for entry in own.values() if entry.result.cost), None)
            if common and gflops and len(found) > 1:
                mean = sum(own[data].value for data in common) / len(common)
                points.append(
                    Point(model, gflops, mean, f"{task}, {len(common)} data set{'' if len(common) == 1 else 's'}")
                )
    return points


def answers(entries: Sequence[Entry]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each model the confidence of all its zero-shot answers, and which were right."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for entry in entries:
        kept = entry.result.predictions
        if entry.task == ZERO_SHOT and "ece" in entry.result.metrics and "confidence" in kept and not entry.variant:
            own = np.array(kept["confidence"], float), np.array(kept["rank"]) == 1
            found.setdefault(entry.model, []).append(own)
    return {
        model: (np.concatenate([c for c, _ in own]), np.concatenate([r for _, r in own]))
        for model, own in found.items()
    }


def paired(entries: Sequence[Entry]) -> list[tuple[Entry, Comparison]]:
    """The first model against each other one, task by task and data set by data set, where both saw the same images."""
    found = []
    for task in (ZERO_SHOT, PROBE):
        table = by_data((entry for entry in entries if "rank" in entry.result.predictions), task)
        ordered = [table[model] for model in models(entries) if model in table]
        for other in ordered[1:]:
            for name, entry in ordered[0].items():
                if name in other and _same_images(entry, other[name]):
                    found.append((entry, compare(_hits(entry), _hits(other[name]))))
    return found


def _same_images(a: Entry, b: Entry) -> bool:
    return a.result.fingerprints.get("data") == b.result.fingerprints.get("data")


def _hits(entry: Entry) -> Measured:
    kept = entry.result.predictions
    return Measured(entry.model, kept["key"], np.array(kept["rank"]) == 1)


def _difference(data: str, a: Entry, b: Entry) -> Bar:
    difference = a.value - b.value
    if a.interval is None or b.interval is None:
        return Bar(data, difference)
    # Half-widths of independent quantities add as squares; each side by itself, as intervals of shares are not even.
    below = math.hypot(a.value - a.interval[0], b.interval[1] - b.value)
    above = math.hypot(a.interval[1] - a.value, b.value - b.interval[0])
    return Bar(data, difference, difference - below, difference + above)
