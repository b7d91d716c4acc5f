"""What stands below the table of all results: what marks mean, what means leave out, which options no row names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from diptych.report.cells import MARK, may_be_guessed
from diptych.report.choosing import models, of_several_data, place_in_means
from diptych.report.collected import Entry
from diptych.report.contents import GUESSED
from diptych.report.table_rows import COLUMNS, Cells, cells_of, counted, tasks_of
from diptych.report.told import measuring, option, read, read_alike

_LISTED = 8  # rows in a remark


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What must be known of numbers with a mark, of means, and of what results were told that no row names."""
    return [*on_marks(entries), *_left_out(entries), *_told(entries)]


def on_marks(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """What the marks of numbers mean that have one: those of these metrics, by default of the one of each result."""
    told = _of_results(entries)
    if any(may_be_guessed(entry.result, metric) for entry in entries for metric in metrics or [entry.metric]):
        told.append(f"{GUESSED} Not shown to be better than guessing: the interval is not all above chance.")
    return tuple(dict.fromkeys(told))


def _of_results(entries: Sequence[Entry]) -> list[str]:
    """The remarks of results, each with its data, and with the task and the model where others there have it not."""
    on_data: dict[str, list[Entry]] = {}
    for entry in entries:
        on_data.setdefault(replace(entry, variant="").data, []).append(entry)
    told: list[str] = []
    for data, there in on_data.items():
        for remark in dict.fromkeys(remark for entry in there for remark in entry.result.remarks):
            own = [entry for entry in there if remark in entry.result.remarks]
            tasks, names = tasks_of(own), models(own)
            place = [data, *([] if len(own) == len(there) else tasks)]
            place += [] if all(entry in own for entry in there if entry.task in tasks) else names
            told.append(f"{MARK} {', '.join(place)}: {remark}")
    return told


def _left_out(entries: Sequence[Entry]) -> list[str]:
    """Which rows are in no mean: because another one of their data set is; or because nothing tells which of several
    data of one name is meant."""
    names, told = models(entries), {}
    for task in tasks_of(entries):
        there = [entry for entry in entries if entry.task == task]
        found = cells_of(there, task)
        kept = counted(found, names if len(names) <= COLUMNS else models(there))
        known, unclear = {own.result.dataset for own in there}, of_several_data(there)
        if len(known) < 2:
            continue
        once = {entry.result.dataset for key, own in found if key in kept for entry in own.values()}
        other = [_row_name(key, found) for key, own in found if key not in kept and _any(own).result.dataset in once]
        doubted = [key[0] for key, own in found if place_in_means(_any(own)) in unclear and key[0] not in other]
        if len(kept) > 1 and other:
            told.setdefault(f"leaves out {_listed(other)}, as another result on the same data set is in it", []).append(
                task
            )
        if doubted:
            why = "as these are other data of one name, and nothing tells which are meant: report them apart"
            told.setdefault(f"leaves out {_listed(doubted)}, {why}", []).append(task)
    return [f"The mean of {', '.join(tasks)} counts each data set once, and {one}." for one, tasks in told.items()]


def _row_name(row: tuple[str, str], found: Cells) -> str:
    """The data of a row, with the metric where they have several."""
    return row[0] if sum(key[0] == row[0] for key, _ in found) == 1 else ", ".join(row)


def _any(own: Mapping[str, Entry]) -> Entry:
    return next(iter(own.values()))


def _listed(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _told(entries: Sequence[Entry]) -> list[str]:
    """Which options changed what is measured, where the rows do not name them: a line for each."""
    alike = read_alike([entry.result for entry in entries])
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        known = measuring(entry.result) | ({} if alike[entry.result.dataset] else read(entry.result))
        for name, value in known.items():
            said = option(name, value)
            if value and said not in f"{entry.images}, {entry.variant}".split(", "):
                found.setdefault(said, []).append(entry)
    lines = []
    for said, own in found.items():
        rows = {(entry.task, entry.data, entry.metric) for entry in own}
        others = [e for e in entries if (e.task, e.data, e.metric) in rows and e not in own]
        of = f" of {_listed([entry.model for entry in own])}" if others else ""
        found_in = {task: cells_of(entries, task) for task in dict.fromkeys(entry.task for entry in own)}
        where = [
            f"{task} on {_listed([_row_name(key, cells) for key, _ in cells if (task, *key) in rows])}"
            for task, cells in found_in.items()
        ]
        lines.append(f"With {said}: {'; '.join(where)}{of}.")
    return lines
