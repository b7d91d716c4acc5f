"""Accuracy under shift: what each model loses, and how much less than baselines would (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.errors import DataError, nearest
from diptych.evaluation.datasets import DATASETS
from diptych.evaluation.result import Interval
from diptych.evaluation.robustness import GROUPS, Counts, Group, Line, fit
from diptych.report.averages import mean_of
from diptych.report.choosing import model_named, models, plainness
from diptych.report.collected import Entry
from diptych.report.marks import Point

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
    """A model on a shifted set called ``name`` and on the same classes of its source, by one kind of classifier.

    interval: of the accuracy on the shifted set, where it is known.
    """

    kind: str
    name: str
    counts: Counts
    interval: Interval | None


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
            own = [entry for entry in entries if entry.model == model and entry.result.dataset == name]
            measured = list(_measured(own, shift.group.source))
            found += measured
            if any(pair.kind == ZERO_SHOT for pair in measured):
                continue
            whole = _plain([e for e in entries if e.model == model], shift.group.source)
            if (here := _plain(own, name)) and whole:
                classes = _classes(here), _classes(whole)
                if None in classes or classes[0] == classes[1]:
                    found.append(
                        Pair(ZERO_SHOT, name, _counts(model, (whole.value, _images(whole)), here), here.interval)
                    )
                else:
                    apart[f"{name} has {classes[0]:,} classes and {shift.group.source} {classes[1]:,}"] = None
    why = "; left out where it was not measured by diptych evaluate --shifted-from, on the same classes of both"
    return found, [one + why for one in apart]


def points(entries: Sequence[Entry], shift: Shift) -> list[Point]:
    """Of each model and kind the means over the shifted sets that all of a kind have, of both accuracies."""
    known, _ = pairs(entries, shift)
    found = []
    for kind in LINES:
        own = [pair for pair in known if pair.kind == kind]
        several = list(dict.fromkeys(pair.counts.model for pair in own))
        of_model = {model: {p.name: p for p in own if p.counts.model == model} for model in several}
        common = [name for name in shift.group.shifted if several and all(name in of_model[model] for model in several)]
        for model in several if common else ():
            both = [of_model[model][name] for name in common]
            x = sum(pair.counts.source for pair in both) / len(both)
            y, low, high = mean_of([(pair.counts.shifted, pair.interval) for pair in both])
            found.append(Point(model, x, y, kind, low, high))
    return found


def line(points: Sequence[Point], shift: Shift) -> tuple[float, float] | None:
    """Slope and intercept, of logits, of the line through the baselines' points; None without two that differ."""
    own = {point.name: point for kind in (ZERO_SHOT, SUPERVISED) for point in points if point.group == kind}
    known = [own[name] for name in shift.baselines if name in own]
    counts = [Counts(p.name, round(p.x * _SCALE), _SCALE, round(p.y * _SCALE), _SCALE) for p in known]
    found = fitted(counts)
    return (found.slope, found.intercept) if found else None


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
        if entry := of_shift(own, task, source):
            told, metrics = entry.result.details["shift"], entry.result.metrics
            there = metrics[f"in_distribution_{entry.metric}"], told["images"]
            by_source = f"source_names_{entry.metric}"
            by_source = by_source if by_source in metrics else entry.metric
            limits, name = entry.result.intervals.get(by_source), entry.result.dataset
            yield Pair(task, name, _counts(entry.model, there, entry, metrics[by_source]), limits)
            if told.get("own_prompts"):
                yield Pair(OWN_NAMES, name, _counts(entry.model, there, entry), entry.interval)


def of_shift(own: Sequence[Entry], task: str, source: str) -> Entry | None:
    """The result of a task that was measured as shifted from a source; of several that with the fewest options."""
    found = [entry for entry in own if entry.task == task and _source(entry.result.details) == source]
    return min(found, key=lambda entry: len(entry.result.options), default=None)


def _source(details: dict[str, Any]) -> str | None:
    return details["shift"]["source"] if "shift" in details else None


def _plain(own: Sequence[Entry], name: str) -> Entry | None:
    """The zero-shot result on a data set as such: on its test split, where there are several."""
    found = [e for e in own if e.task == ZERO_SHOT and e.result.dataset == name and not e.variant]
    return min(found, key=plainness, default=None)


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


def fitted(baselines: Sequence[Counts]) -> Line | None:
    """Through two baselines or more that are not all as accurate."""
    return fit(baselines) if len({counts.source for counts in baselines}) > 1 else None
