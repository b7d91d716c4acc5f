"""The rows of the table of all results, and which of them are in a mean."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.report.choosing import each_once
from diptych.report.collected import PUBLISHED, Entry

COLUMNS = 8
"""More models than these are rows."""
Cells = list[tuple[tuple[str, str], dict[str, Entry]]]


def cells_of(entries: Sequence[Entry], task: str) -> Cells:
    """Of a task by data set and metric, in order, the result of each model."""
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in entries:
        if entry.task == task:
            found.setdefault((entry.data, entry.metric), {}).setdefault(entry.model, entry)
    return sorted(found.items(), key=lambda item: item[0])


def averaged(found: Cells, names: Sequence[str]) -> list[dict[str, Entry]]:
    """What a mean is over: the data sets that all these models have, each once. None of fewer than two."""
    kept = counted(found, names)
    return [own for key, own in found if key in kept] if len(kept) > 1 else []


def counted(found: Cells, names: Sequence[str]) -> list[tuple[str, str]]:
    """The rows in a mean over what all these models have, however few they are."""
    common = {key: own[names[0]] for key, own in found if len(own) == len(names)}
    return each_once(common, [entry for _, own in found for entry in own.values()])


def tasks_of(entries: Sequence[Entry]) -> list[str]:
    """Those that there are: the known ones in their order, then others."""
    there = {entry.task for entry in entries}
    return [task for task in PUBLISHED.values() if task in there] + sorted(there - set(PUBLISHED.values()))
