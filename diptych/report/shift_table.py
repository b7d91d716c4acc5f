"""What each model loses under shift, and what the baselines let expect, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diptych.evaluation.intervals import exact
from diptych.evaluation.result import Interval
from diptych.evaluation.robustness import Counts, Line, Robustness, effective
from diptych.report.averages import difference_of
from diptych.report.cells import PERCENT, gain, shown, signed, with_interval, with_minus
from diptych.report.collected import Entry
from diptych.report.contents import Grid
from diptych.report.shift import LINES, Pair, Shift, fitted, means, pairs, uncounted
from diptych.report.shifted_data import titles


def grid(entries: Sequence[Entry], shift: Shift) -> Grid | None:
    """A row a model, kind and shifted data; with baselines also the accuracy that their line lets expect."""
    known, remarks = pairs(entries, shift)
    named, rows = titles(pair.data for pair in known), []
    for kind, lines in LINES.items():
        own = [pair for pair in known if pair.kind == kind]
        for data, variant in dict.fromkeys((pair.data, pair.variant) for pair in own):
            there = [pair for pair in known if pair.data == data]
            first = [_baseline(there, model, lines, variant) for model in shift.baselines]
            baselines = [counts for counts in first if counts]
            line = fitted(baselines)
            name = f"{named[data]}, {variant}" if variant else named[data]
            rows += [_row(name, pair, line, baselines) for pair in own if (pair.data, pair.variant) == (data, variant)]
    if not rows and not remarks:
        return None
    note = f"In per cent, with {PERCENT} intervals. Shifted from {shift.group.source}, whose accuracy is on the same "
    note += "classes. "
    if shift.baselines:
        note += f"Expected by the logit-linear fit over {', '.join(shift.baselines)}, where these have the data."
    else:
        note += "With --baseline, also what ordinarily trained models let expect."
    remarks += [f"In no mean: {one}." for one in left_out(means(known).left)]
    header = ("shifted to", "task", "model", "source", "shifted", "loss", "expected", "above it", "gap closed")
    columns = len(header) if shift.baselines else header.index("expected")
    return Grid("Under shift", header[:columns], tuple(row[:columns] for row in rows), note, tuple(remarks), names=3)


def left_out(names: Sequence[str]) -> list[str]:
    """Which are in no mean, and why."""
    return [f"{name}, as there are results on different data of this name, or of its source" for name in names]


def _baseline(there: Sequence[Pair], model: str, lines: Sequence[str], variant: str) -> Counts | None:
    """Of the first kind that a baseline has: told as this one was, else the plainest."""
    for kind in lines:
        own = {pair.variant: pair.counts for pair in there if (pair.kind, pair.counts.model) == (kind, model)}
        if own:
            return own.get(variant) or own[min(own)]
    return None


def _row(name: str, pair: Pair, line: Line | None, baselines: Sequence[Counts]) -> tuple[str, ...]:
    counts, around = pair.counts, pair.in_distribution or _exact(pair.counts)
    loss, low, high = difference_of((counts.source, around), (counts.shifted, pair.interval))
    lost = (gain(loss, (low, high)) if math.isfinite(low) else signed(loss)).replace("+", "")
    told = [
        name,
        pair.kind,
        counts.model,
        with_interval(counts.source, around),
        with_interval(counts.shifted, pair.interval),
        lost,
    ]
    if line is None:
        return (*told, "", "", "")
    if any(counts is one for one in baselines):
        return (*told, shown(line(counts.source)), "baseline", "")
    found = effective(counts, line)
    above = gain(found.effective, found.effective_interval)
    return (*told, with_interval(found.expected, found.expected_interval), above, _closed(found))


def _closed(found: Robustness) -> str:
    """A share of a gap is told only where there surely is one."""
    if found.closed is None or found.closed_interval is None:
        return "no sure gap"
    share, low, high = (with_minus(f"{100 * one:z.0f}") for one in (found.closed, *found.closed_interval))
    return f"{share} % ({low} to {high})"


def _exact(counts: Counts) -> Interval | None:
    """Of so many images, where their number is known."""
    return None if uncounted(counts) else exact(counts.source_hits, counts.source_images)
