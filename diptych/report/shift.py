"""Accuracy under shift: what each model loses, and how much less than baselines would (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diptych.errors import DataError, nearest
from diptych.evaluation.robustness import GROUPS, Counts, Group, Line, effective, fit
from diptych.report.collected import Entry, models
from diptych.report.contents import Grid
from diptych.report.paper_plots import Point
from diptych.report.tables import shown

TASKS = ("zero-shot", "linear probe")


@dataclass(frozen=True)
class Shift:
    """Which data set others are shifted from, and the models whose line the others are measured against."""

    group: Group = GROUPS["natural"]
    baselines: tuple[str, ...] = ()


def asked(entries: Sequence[Entry], source: str | None, shifted: Sequence[str], baselines: Sequence[str]) -> Shift:
    """What a user names. Raises DataError for data or models of which there is no result."""
    data, known = sorted({entry.result.dataset for entry in entries}), models(entries)
    for name, there, what in (
        *((name, data, "data set") for name in (source, *shifted) if name is not None),
        *((name, known, "model") for name in baselines),
    ):
        if name not in there:
            raise DataError(f"there is no result of the {what} {name!r}; {nearest(name, there)}")
    if (source is None) != (not shifted):
        raise DataError("accuracy under shift takes a source and one shifted data set or more (--source, --shifted)")
    if len(baselines) == 1:
        raise DataError("a line takes two baselines or more")
    return Shift(Group(source, tuple(shifted)) if source else GROUPS["natural"], tuple(baselines))


def points(entries: Sequence[Entry], shift: Shift) -> list[Point]:
    """Of each model and task the accuracy on the source, and the mean over the shifted sets that all of a task have."""
    found = []
    for task in TASKS:
        table = _table(entries, task)
        shifted = set(shift.group.shifted)
        both = [model for model, own in table.items() if shift.group.source in own and shifted & set(own)]
        common = [name for name in shift.group.shifted if both and all(name in table[model] for model in both)]
        for model in both if common else ():
            own = table[model]
            mean = sum(own[name].value for name in common) / len(common)
            found.append(Point(model, own[shift.group.source].value, mean, task))
    return found


def grid(entries: Sequence[Entry], shift: Shift) -> Grid | None:
    """A row a model, task and shifted set; with baselines also the accuracy that their line lets expect."""
    rows = []
    for task in TASKS:
        table = _table(entries, task)
        for name in shift.group.shifted:
            pairs = {
                model: _counts(model, own[shift.group.source], own[name])
                for model, own in table.items()
                if shift.group.source in own and name in own
            }
            line = _line(pairs, shift.baselines)
            rows += [_row(task, name, counts, line) for counts in pairs.values()]
    if not rows:
        return None
    note = f"In per cent. Shifted from {shift.group.source}, whose accuracy is over all of its classes. "
    if shift.baselines:
        note += f"Expected by the logit-linear fit over {', '.join(shift.baselines)}, where these have the data."
    else:
        note += "With --baseline, also what ordinarily trained models let expect."
    header = ("shifted to", "task", "model", "source", "shifted", "loss", "expected", "above it", "gap closed")
    return Grid("Under shift", header, tuple(rows), note)


def _table(entries: Sequence[Entry], task: str) -> dict[str, dict[str, Entry]]:
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.task == task and not entry.variant:
            found.setdefault(entry.model, {})[entry.result.dataset] = entry
    return found


def _counts(model: str, source: Entry, shifted: Entry) -> Counts:
    hits = [round(entry.value * entry.result.samples) for entry in (source, shifted)]
    return Counts(model, hits[0], source.result.samples, hits[1], shifted.result.samples)


def _line(pairs: dict[str, Counts], baselines: Sequence[str]) -> Line | None:
    known = [pairs[name] for name in baselines if name in pairs]
    return fit(known) if len(known) > 1 else None


def _row(task: str, name: str, counts: Counts, line: Line | None) -> tuple[str, ...]:
    told = [name, task, counts.model, shown(counts.source), shown(counts.shifted)]
    told.append(f"{100 * (counts.source - counts.shifted):.1f}")
    if line is None:
        return (*told, "", "", "")
    if counts.model in line.baselines:
        return (*told, shown(line(counts.source)), "baseline", "")
    found = effective(counts, line)
    low, high = found.effective_interval
    above = f"{100 * found.effective:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    closed = f"{100 * found.closed:.0f} %" if found.closed is not None else "no gap"
    return (*told, shown(found.expected), above, closed)
