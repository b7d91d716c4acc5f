"""Accuracy under shift: what each model loses, and how much less than baselines would (paper, section 3.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.errors import DataError, nearest
from diptych.evaluation.datasets import DATASETS
from diptych.evaluation.result import Interval
from diptych.evaluation.robustness import GROUPS, Counts, Group, Line, fit
from diptych.report.averages import mean_of
from diptych.report.choosing import model_named, models, plainness, split_order
from diptych.report.collected import Entry
from diptych.report.marks import Point
from diptych.report.shifted_data import Data, data_of, plainest, several, variant_of

ZERO_SHOT, OWN_NAMES, SUPERVISED = "zero-shot", "zero-shot, own names", "supervised adaptation"
# Whose accuracies the line of the baselines goes through, for each kind: the first that a baseline has.
LINES = {
    ZERO_SHOT: (ZERO_SHOT, SUPERVISED),
    OWN_NAMES: (ZERO_SHOT, SUPERVISED),
    SUPERVISED: (SUPERVISED, ZERO_SHOT),
}
_SCALE = 1_000_000  # images that a mean of accuracies is drawn as, so that its own error plays no part


@dataclass(frozen=True)
class Shift:
    """Which data set others are shifted from, and the models whose line the others are measured against."""

    group: Group = GROUPS["natural"]
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A model on shifted data and on the same classes of its source, by one kind of classifier.

    variant:   what it was told that others were not.
    interval:  of the accuracy on the shifted set, where it is known; ``in_distribution``: of that on the source.
    """

    kind: str
    data: Data
    counts: Counts
    interval: Interval | None
    in_distribution: Interval | None = None
    variant: str = ""


@dataclass(frozen=True)
class Means:
    """Of each model and kind the means over the shifted sets that all have, as points, of both accuracies.

    sets: of each kind these; ``left``: names of several data, which are in no mean.
    """

    points: tuple[Point, ...]
    sets: dict[str, tuple[Data, ...]]
    left: tuple[str, ...]


def asked(entries: Sequence[Entry], source: str | None, shifted: Sequence[str], baselines: Sequence[str]) -> Shift:
    """What a user names; where that is nothing, what the results say they are shifted from, else the paper's grouping.

    Raises DataError for data or models of which there is no result.
    """
    told = _told(entries)
    data = sorted({entry.result.dataset for entry in entries} | set(told))
    for name in (source, *shifted):
        if name is not None and name not in data:
            raise DataError(f"there is no result of the data set {name!r}; {nearest(name, data)}")
    baselines = tuple(dict.fromkeys(model_named(entries, name) for name in baselines))
    if source is None and not shifted and len(told) == 1:
        source = next(iter(told))
    shifted = tuple(shifted) or told.get(source or "", ())
    if (source is None) != (not shifted):
        raise DataError("accuracy under shift takes a source and one shifted data set or more (--source, --shifted)")
    if len(baselines) == 1:
        raise DataError("a line takes two baselines or more")
    return Shift(Group(source, shifted) if source else GROUPS["natural"], baselines)


def pairs(entries: Sequence[Entry], shift: Shift) -> tuple[list[Pair], list[str]]:
    """Everything that is known under shift, and why other results are not among it.

    In distribution counts what is measured on the classes of the shifted set alone: by ``diptych evaluate
    --shifted-from``, or where both sets have as many classes.
    """
    found: list[Pair] = []
    apart: dict[str, None] = {}
    for name in shift.group.shifted:
        for model in models(entries):
            own = [entry for entry in entries if entry.model == model]
            measured = list(_measured([entry for entry in own if entry.result.dataset == name], shift.group.source))
            found += measured
            if any(pair.kind == ZERO_SHOT for pair in measured):
                continue
            for here, whole in itertools.product(_plain(own, name), _plain(own, shift.group.source)):
                classes = _classes(here), _classes(whole)
                if None in classes or classes[0] == classes[1]:
                    data = data_of(here, whole.result.fingerprints.get("data", ""))
                    counts = _counts(model, (whole.value, _images(whole)), here)
                    found.append(Pair(ZERO_SHOT, data, counts, here.interval, whole.interval))
                else:
                    apart[f"{name} has {classes[0]:,} classes and {shift.group.source} {classes[1]:,}"] = None
    why = "; left out where it was not measured by diptych evaluate --shifted-from, on the same classes of both"
    return found, [one + why for one in apart]


def means(known: Sequence[Pair]) -> Means:
    """Over equal data only: those of one name, split and variant that all models of a kind have, and zero-shot and
    supervised ones, whose line is one, the same. Names that stand for several data are left out."""
    left = several(pair.data for pair in known)
    sets: dict[str, dict[str, tuple[Data, str]]] = {}
    for kind in LINES:
        own = [pair for pair in known if pair.kind == kind]
        of_model = {pair.counts.model: {} for pair in own}
        for pair in own:
            of_model[pair.counts.model][pair.data, pair.variant] = pair
        sets[kind] = {}
        for data, variant in sorted(dict.fromkeys((p.data, p.variant) for p in own), key=_plain_first):
            if data.dataset not in left and all((data, variant) in there for there in of_model.values()):
                sets[kind].setdefault(data.dataset, (data, variant))
    both = {data for data, _ in sets[ZERO_SHOT].values()} & {data for data, _ in sets[SUPERVISED].values()}
    for kind in (ZERO_SHOT, SUPERVISED) if both else ():
        sets[kind] = {name: one for name, one in sets[kind].items() if one[0] in both}
    points = []
    for kind, chosen in sets.items():
        own = [pair for pair in known if pair.kind == kind and (pair.data, pair.variant) in chosen.values()]
        for model in dict.fromkeys(pair.counts.model for pair in own):
            of = [pair for pair in own if pair.counts.model == model]
            x = sum(pair.counts.source for pair in of) / len(of)
            y, low, high = mean_of([(pair.counts.shifted, pair.interval) for pair in of])
            points.append(Point(model, x, y, kind, low, high))
    told = {kind: tuple(data for data, _ in chosen.values()) for kind, chosen in sets.items() if chosen}
    return Means(tuple(points), told, tuple(left))


def line(known: Means, shift: Shift) -> tuple[float, float] | None:
    """Slope and intercept, of logits, of the line through the baselines' points; None without two that differ, or
    where these are not of equal data."""
    own = {point.name: point for kind in (ZERO_SHOT, SUPERVISED) for point in known.points if point.group == kind}
    chosen = [own[name] for name in shift.baselines if name in own]
    if len({frozenset(known.sets[point.group]) for point in chosen}) != 1:
        return None
    counts = [Counts(p.name, round(p.x * _SCALE), _SCALE, round(p.y * _SCALE), _SCALE) for p in chosen]
    found = fitted(counts)
    return (found.slope, found.intercept) if found else None


def _plain_first(one: tuple[Data, str]) -> tuple[object, ...]:
    data, variant = one
    return split_order(data.split), bool(variant), variant


def _told(entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """Of each source the sets that were evaluated as shifted from it."""
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        if told := entry.result.details.get("shift"):
            found.setdefault(told["source"], {})[entry.result.dataset] = None
    return {source: tuple(shifted) for source, shifted in found.items()}


def _measured(own: Sequence[Entry], source: str) -> Iterator[Pair]:
    """What the results of a model on a shifted set say themselves."""
    for task in (ZERO_SHOT, SUPERVISED):
        for entry in of_shift(own, task, source):
            told, metrics, limits = entry.result.details["shift"], entry.result.metrics, entry.result.intervals
            in_distribution = f"in_distribution_{entry.metric}"
            there, data, variant = (metrics[in_distribution], told["images"]), data_of(entry), variant_of(entry)
            by_source = f"source_names_{entry.metric}"
            by_source = by_source if by_source in metrics else entry.metric
            counts = _counts(entry.model, there, entry, metrics[by_source])
            around = limits.get(in_distribution)
            yield Pair(task, data, counts, limits.get(by_source), around, variant)
            if told.get("own_prompts"):
                yield Pair(OWN_NAMES, data, _counts(entry.model, there, entry), entry.interval, around, variant)


def of_shift(own: Sequence[Entry], task: str, source: str) -> list[Entry]:
    """The results of a task that were measured as shifted from a source: of all that are told alike, on the same data,
    that with the fewest options; the plainest first."""
    found: dict[Data, list[Entry]] = {}
    for entry in own:
        if entry.task == task and _source(entry.result.details) == source:
            found.setdefault(data_of(entry), []).append(entry)
    return [entry for alike in found.values() for entry in plainest(alike).values()]


def _source(details: dict[str, Any]) -> str | None:
    return details["shift"]["source"] if "shift" in details else None


def _plain(own: Sequence[Entry], name: str) -> list[Entry]:
    """The zero-shot results on a data set as such, one for all data of this name: on its test split, where there are
    several."""
    found = [e for e in own if e.task == ZERO_SHOT and e.result.dataset == name and not e.variant]
    first = min(found, key=plainness, default=None)
    if first is None:
        return []
    there = [e for e in found if (e.result.split, e.result.language) == (first.result.split, first.result.language)]
    return list({data_of(e, ""): e for e in sorted(there, key=plainness, reverse=True)}.values())


def _classes(entry: Entry) -> int | None:
    """How many classes there were to answer; None where neither the result nor the table of data sets knows."""
    if chance := entry.result.chance.get("acc1"):
        return round(1 / chance)
    row = DATASETS.get(entry.result.dataset)
    return row.classes if row else None


def _counts(model: str, source: tuple[float, int], shifted: Entry, value: float | None = None) -> Counts:
    accuracy, images = source
    samples = _images(shifted)
    return Counts(
        model, round(accuracy * images), images, round((shifted.value if value is None else value) * samples), samples
    )


def _images(entry: Entry) -> int:
    """How many there were; of results that do not say, which are drawn and not counted with, as many as for a mean."""
    return entry.result.samples or _SCALE


def uncounted(counts: Counts) -> bool:
    """Whether results did not say of how many images they are."""
    return counts.source_images == _SCALE


def fitted(baselines: Sequence[Counts]) -> Line | None:
    """Through two baselines or more that are not all as accurate."""
    return fit(baselines) if len({counts.source for counts in baselines}) > 1 else None
