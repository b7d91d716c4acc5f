"""What a set of results says together: the paper's comparisons, as numbers ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.report.averages import difference_of, in_common
from diptych.report.choosing import each_once, models, of_several_data, place_in_means, plainness
from diptych.report.collected import Entry
from diptych.report.marks import Bar, Line, Point
from diptych.report.pairing import PROBE, ZERO_SHOT, compared
from diptych.report.quantities import Measure, by_measure, measure, titled

FEW_SHOT = "few-shot"


def zero_shot_less_probe(entries: Sequence[Entry]) -> dict[tuple[str, str], dict[Measure, Bar]]:
    """Of each model's zero-shot classifier and each probe, its own or of a model without one: the difference by one
    metric on each data set that both have, with a 95 % interval that takes the two for independent."""
    zero_shot, probes = by_measure(entries, ZERO_SHOT), by_measure(entries, PROBE)
    found = {}
    for model, own in zero_shot.items():
        for other, probed in probes.items():
            if other != model and other in zero_shot:
                continue
            common = [measured for measured in own if measured in probed]
            names = titled(common)
            if common:
                found[model, other] = {one: _difference(names[one], own[one], probed[one]) for one in common}
    return found


def zero_shot_against_probe(entries: Sequence[Entry]) -> tuple[list[Point], list[Measure]]:
    """A point a model and data set: the metric of its probe across, of its zero-shot classifier upwards. And what is
    measured of which data."""
    zero_shot, probes = by_measure(entries, ZERO_SHOT), by_measure(entries, PROBE)
    both = [(model, one) for model, own in zero_shot.items() for one in own if one in probes.get(model, {})]
    names = titled(one for _, one in both)
    points = [Point(names[one], probes[model][one].value, zero_shot[model][one].value, model) for model, one in both]
    return points, list(names)


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


def few_shot_lines(entries: Sequence[Entry]) -> tuple[list[Line], list[Measure]]:
    """Of each model the metric of its probe over shots, the mean over data sets, with the band between the lowest and
    the highest draw of that mean; the level is that of its zero-shot classifier on the same data.

    What was told otherwise (a variant) is a line of its own. And which data sets these are, the same for all lines.
    None: there is none that all have, and each line is of its own.
    """
    table: dict[str, dict[Measure, Entry]] = {}
    for entry in entries:
        if entry.task == FEW_SHOT and "accuracies" in entry.result.details:
            line = f"{entry.model}, {entry.variant}" if entry.variant else entry.model
            table.setdefault(line, {})[_unvaried(entry)] = replace(entry, variant="")
    common = in_common(table)
    lines = [
        line
        for model, own in table.items()
        if (of := common or each_once(own, own.values()))
        and (line := _few_shot_line(model, [own[one].result.details for one in of]))
    ]
    return lines, common


def without_curve(entries: Sequence[Entry], data: Sequence[Measure]) -> list[str]:
    """The data sets whose curves are in no mean over these."""
    known = [_unvaried(entry) for entry in entries if entry.task == FEW_SHOT and "accuracies" in entry.result.details]
    names = titled(known)
    return [names[one] for one in names if data and one not in data]


def few_shot_chance(entries: Sequence[Entry], data: Sequence[Measure]) -> float:
    """The mean over these data sets of what guessing gives; NaN where it is not known of one."""
    known: dict[Measure, float] = {}
    for entry in entries:
        if entry.task == FEW_SHOT and entry.metric in entry.result.chance:
            known.setdefault(_unvaried(entry), entry.result.chance[entry.metric])
    return sum(known[one] for one in data) / len(data) if data and known.keys() >= set(data) else math.nan


def _unvaried(entry: Entry) -> Measure:
    return measure(replace(entry, variant=""))


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


def by_model(bars: Mapping[str, Mapping[Measure, Bar]]) -> tuple[Measure, list[Bar]] | None:
    """Where several models have one and the same measure and no other: it, and a bar a model."""
    data = {one for own in bars.values() for one in own}
    if len(bars) < 2 or len(data) > 1:
        return None
    (one,) = data
    return one, [replace(own[one], name=model) for model, own in bars.items()]


@dataclass(frozen=True, eq=False)
class Said:
    """Of N zero-shot answers of a model how confident each is, and which are right; and the data that these are on."""

    confidence_N: np.ndarray
    right_N: np.ndarray
    data: tuple[str, ...]


def answers(entries: Sequence[Entry]) -> dict[str, Said]:
    """Of each model all its zero-shot answers: on all splits and data sets, once on each image, by the plainest prompts
    where there are several. Without data of which there are others of one name, as these may be of the same images."""
    unclear = of_several_data(entries)
    found: dict[str, dict[str, tuple[str, np.ndarray, np.ndarray]]] = {model: {} for model in models(entries)}
    for entry in sorted(entries, key=plainness):
        if entry.task == ZERO_SHOT and "ece" in entry.result.metrics and place_in_means(entry) not in unclear:
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
    return Bar(data, *difference_of((a.value, a.interval), (b.value, b.interval)))
