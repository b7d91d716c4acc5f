"""All results in one table, or in one a task: for people as Markdown, for programs as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diptych.report.averages import mean_of
from diptych.report.cells import MARK, PERCENT, bold, chance, guessing, may_be_guessed, measured, with_interval
from diptych.report.choosing import each_once, models, of_several_data, place_in_means
from diptych.report.collected import PUBLISHED, Entry
from diptych.report.contents import CHANCE, GUESSED, Grid
from diptych.report.metric_words import over_draws
from diptych.report.told import measuring, option, read, read_alike

_NONE = (0.0, math.nan, math.nan)
_LISTED = 8  # rows in a remark
COLUMNS = 8  # more models than these are rows
_NOTE = f"In per cent, with {PERCENT} intervals. In bold the best of a {{}}, and what lies within its interval."
_NOTE_ON_CHANCE = " Chance is what guessing gives."


def results(entries: Sequence[Entry]) -> list[Grid]:
    """One table, a column a model; of many models one a task, a row a model and a column a data set."""
    if len(models(entries)) <= COLUMNS:
        header, rows = comparison(entries)
        told = tuple(tuple(row) for row in rows)
        note = _NOTE.format("row") + _NOTE_ON_CHANCE * (CHANCE in header) + _on_draws(entries)
        return [Grid("All results", tuple(header), told, note, tuple(remarks(entries)), names=3)]
    return [_of_task(task, [entry for entry in entries if entry.task == task]) for task in _tasks(entries)]


def comparison(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a data set, task and metric, a column a model; the best of a row in bold. Before the
    models what guessing gives, where a result knows it.

    Below the rows of a task its mean over the data sets that all models have, each once.
    """
    names = models(entries)
    rows = []
    for task in _tasks(entries):
        found = _cells(entries, task)
        for (data, metric), own in found:
            rows.append([data, task, metric, guessing(_chance(own)), *_marked([own.get(name) for name in names])])
        if once := _averaged(found, names):
            means = [mean_of([(own[name].value, own[name].interval) for own in once]) for name in names]
            known = _mean_chance(once)
            rows.append([_mean_of(once), task, "", guessing(known), *_means_told(means, known)])
    header = ["data", "task", "metric", CHANCE, *names]
    if not any(row[3] for row in rows):
        header, rows = [*header[:3], *header[4:]], [[*row[:3], *row[4:]] for row in rows]
    return header, rows


_Cells = list[tuple[tuple[str, str], dict[str, Entry]]]


def _cells(entries: Sequence[Entry], task: str) -> _Cells:
    """Of a task by data set and metric, in order, the result of each model."""
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in entries:
        if entry.task == task:
            found.setdefault((entry.data, entry.metric), {}).setdefault(entry.model, entry)
    return sorted(found.items(), key=lambda item: item[0])


def _averaged(found: _Cells, names: Sequence[str]) -> list[dict[str, Entry]]:
    """What a mean is over: the data sets that all these models have, each once. None of fewer than two."""
    kept = _once(found, names)
    return [own for key, own in found if key in kept] if len(kept) > 1 else []


def _once(found: _Cells, names: Sequence[str]) -> list[tuple[str, str]]:
    common = {key: own[names[0]] for key, own in found if len(own) == len(names)}
    return each_once(common, [entry for _, own in found for entry in own.values()])


def _chance(own: dict[str, Entry]) -> list[float]:
    """What guessing gives, of the results of a row that know it."""
    return [one for entry in own.values() for one in chance([entry.result], entry.metric)]


def _mean_chance(once: Sequence[dict[str, Entry]]) -> list[float]:
    """Over data sets; nothing where it is not known of one."""
    known = [_chance(own) for own in once]
    return [sum(sum(one) / len(one) for one in known) / len(known)] if all(known) else []


def _mean_of(once: Sequence[object]) -> str:
    return f"mean of {len(once)} data sets"


def _means_told(means: Sequence[tuple[float, float, float]], guessed: Sequence[float]) -> list[str]:
    """In bold the best of several and what lies within its interval; none where an interval is not known, or that may
    be guessed."""
    best = max(means, key=lambda one: one[0])
    least, chance = (best[1] if len(means) > 1 else math.inf), max(guessed, default=-math.inf)
    return [
        bold(with_interval(mean, (low, high), GUESSED * (low <= chance)), mean >= least and not low <= chance)
        for mean, low, high in means
    ]


def _of_task(task: str, entries: Sequence[Entry]) -> Grid:
    """A row a model, the best mean first, and a column a data set; their mean where all models have several. The first
    row is what guessing gives, where a result knows it."""
    names, found = models(entries), _cells(entries, task)
    once = _averaged(found, names)
    means = {
        name: mean_of([(own[name].value, own[name].interval) for own in once]) if once else _NONE for name in names
    }
    ordered = sorted(names, key=lambda name: -means[name][0])
    told = [_marked([own.get(name) for name in ordered]) for _, own in found]
    metrics = list(dict.fromkeys(metric for (_, metric), _ in found))
    header = ["model", *(data if len(metrics) == 1 else f"{data}, {metric}" for (data, metric), _ in found)]
    if once:
        header.append(_mean_of(once))
        told.append(_means_told([means[name] for name in ordered], _mean_chance(once)))
    rows = tuple((name, *cells) for name, *cells in zip(ordered, *told, strict=True))
    note = (f"{metrics[0]}. " if len(metrics) == 1 else "") + _NOTE.format("column")
    guessed = [guessing(_chance(own)) for _, own in found] + ([guessing(_mean_chance(once))] if once else [])
    if any(guessed):
        rows, note = ((CHANCE, *guessed), *rows), note + _NOTE_ON_CHANCE
    note += _on_draws(entries)
    return Grid(task[:1].upper() + task[1:], tuple(header), rows, note, tuple(remarks(entries)))


def _on_draws(entries: Sequence[Entry]) -> str:
    """What intervals are over, where that is not the same of all."""
    if not any(over_draws(entry.metric) for entry in entries):
        return ""
    return (
        " Intervals of few-shot and few-shot cache are over draws of the examples, on the same images; all others "
        "are over images."
    )


def _tasks(entries: Sequence[Entry]) -> list[str]:
    """Those that there are: the known ones in their order, then others."""
    there = {entry.task for entry in entries}
    return [task for task in PUBLISHED.values() if task in there] + sorted(there - set(PUBLISHED.values()))


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What must be known of numbers with a mark, of means, and of what results were told that no row names."""
    return [*on_marks(entries), *_left_out(entries), *_told(entries)]


def on_marks(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """What the marks of numbers mean that have one: those of these metrics, by default of the one of each result."""
    named = [(replace(entry, variant="").data, entry.result.remarks) for entry in entries]
    told = [f"{MARK} {data}: {remark}" for data, remarks in named for remark in remarks]
    if any(may_be_guessed(entry.result, metric) for entry in entries for metric in metrics or [entry.metric]):
        told.append(f"{GUESSED} Not shown to be better than guessing: the interval is not all above chance.")
    return tuple(dict.fromkeys(told))


def _left_out(entries: Sequence[Entry]) -> list[str]:
    """Which rows are in no mean: because another one of their data set is; or because nothing tells which of several
    data of one name is meant."""
    names, told = models(entries), {}
    for task in _tasks(entries):
        there = [entry for entry in entries if entry.task == task]
        found = _cells(there, task)
        kept = _once(found, names if len(names) <= COLUMNS else models(there))
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


def _row_name(row: tuple[str, str], found: _Cells) -> str:
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
        found_in = {task: _cells(entries, task) for task in dict.fromkeys(entry.task for entry in own)}
        where = [
            f"{task} on {_listed([_row_name(key, cells) for key, _ in cells if (task, *key) in rows])}"
            for task, cells in found_in.items()
        ]
        lines.append(f"With {said}: {'; '.join(where)}{of}.")
    return lines


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a metric of a result, with its interval and what guessing would give. What several results of one place
    measured alike is one row, with the options of the first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["model", "pretrained", "dataset", "variant", "split", "language", "task", "metric", "value", "low", "high"]
    writer.writerow([*head, "chance", "samples", "precision", "headline", "remarks", "options", "interval over"])
    written = set()
    for entry in entries:
        result = entry.result
        about = [entry.model, result.pretrained, result.dataset, entry.variant]
        about += [result.split, result.language, result.task]
        options = ", ".join(f"{name}={value}" for name, value in result.options.items())
        for metric, value in result.metrics.items():
            low, high = result.intervals.get(metric, ("", ""))
            numbers = [metric, value, low, high, result.chance.get(metric, "")]
            last = [result.samples, result.precision, int(metric == entry.metric), "; ".join(result.remarks)]
            row = (*about, *numbers, *last)
            if (entry.data, row) not in written:
                written.add((entry.data, row))
                over = ("draws" if over_draws(metric) else "images") if metric in result.intervals else ""
                writer.writerow([*row, options, over])
    return buffer.getvalue()


def _marked(found: Sequence[Entry | None]) -> list[str]:
    """Cells, in bold the best of several and those within its interval, which may be as good (paper, table 10);
    none that may be guessed."""
    known = [entry for entry in found if entry]
    best = max(known, key=lambda entry: entry.value) if len(known) > 1 else None
    least = math.inf if best is None else min(best.value, best.interval[0] if best.interval else best.value)
    return [
        bold(
            measured(entry.result, entry.metric),
            entry.value >= least and not may_be_guessed(entry.result, entry.metric),
        )
        if entry
        else ""
        for entry in found
    ]
