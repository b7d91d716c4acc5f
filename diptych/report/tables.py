"""All results in one table, or in one a task: for people as Markdown, for programs as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from diptych.report.averages import mean_of
from diptych.report.cells import PERCENT, bold, chance, guessing, may_be_guessed, measured, with_interval
from diptych.report.choosing import models
from diptych.report.collected import Entry
from diptych.report.contents import CHANCE, GUESSED, Grid
from diptych.report.metric_words import over_draws
from diptych.report.remarks import remarks
from diptych.report.table_rows import COLUMNS, averaged, cells_of, tasks_of

_NONE = (0.0, math.nan, math.nan)
_NOTE = f"In per cent, with {PERCENT} intervals. In bold the best of a {{}}, and what lies within its interval."
_NOTE_ON_CHANCE = " Chance is what guessing gives."


def results(entries: Sequence[Entry]) -> list[Grid]:
    """One table, a column a model; of many models one a task, a row a model and a column a data set."""
    if len(models(entries)) <= COLUMNS:
        header, rows = comparison(entries)
        told = tuple(tuple(row) for row in rows)
        note = _NOTE.format("row") + _NOTE_ON_CHANCE * (CHANCE in header) + _on_draws(entries)
        return [Grid("All results", tuple(header), told, note, tuple(remarks(entries)), names=3)]
    return [_of_task(task, [entry for entry in entries if entry.task == task]) for task in tasks_of(entries)]


def comparison(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a data set, task and metric, a column a model; the best of a row in bold. Before the
    models what guessing gives, where a result knows it.

    Below the rows of a task its mean over the data sets that all models have, each once.
    """
    names = models(entries)
    rows = []
    for task in tasks_of(entries):
        found = cells_of(entries, task)
        for (data, metric), own in found:
            rows.append([data, task, metric, guessing(_chance(own)), *_marked([own.get(name) for name in names])])
        if once := averaged(found, names):
            means = [mean_of([(own[name].value, own[name].interval) for own in once]) for name in names]
            known = _mean_chance(once)
            rows.append([_mean_of(once), task, "", guessing(known), *_means_told(means, known)])
    header = ["data", "task", "metric", CHANCE, *names]
    if not any(row[3] for row in rows):
        header, rows = [*header[:3], *header[4:]], [[*row[:3], *row[4:]] for row in rows]
    return header, rows


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
    names, found = models(entries), cells_of(entries, task)
    once = averaged(found, names)
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
