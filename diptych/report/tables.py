"""All results in one table, or in one a task: for people as Markdown, for programs as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from diptych.evaluation.result import Interval
from diptych.report.collected import PUBLISHED, Entry, models
from diptych.report.contents import Grid

MARK = "†"  # at a number that has a remark
COLUMNS = 8  # more models than these are rows
PERCENT = "95\N{NO-BREAK SPACE}%"
_NOTE = f"In per cent, with {PERCENT} intervals. In bold the best of a {{}}, and what lies within its interval."


def results(entries: Sequence[Entry]) -> list[Grid]:
    """One table, a column a model; of many models one a task, a row a model and a column a data set."""
    if len(models(entries)) <= COLUMNS:
        header, rows = comparison(entries)
        told = tuple(tuple(row) for row in rows)
        return [Grid("All results", tuple(header), told, _NOTE.format("row"), tuple(remarks(entries)))]
    return [_of_task(task, [entry for entry in entries if entry.task == task]) for task in _tasks(entries)]


def comparison(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a data set, task and metric, a column a model; the best of a row in bold.

    Below the rows of a task its mean over the data sets that all models have.
    """
    names = models(entries)
    cells: dict[tuple[str, str, str], dict[str, Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.data):
        cells.setdefault((entry.data, entry.task, entry.metric), {})[entry.model] = entry
    rows = []
    for task in _tasks(entries):
        own = {key: found for key, found in cells.items() if key[1] == task}
        rows += [[*key, *_marked([found.get(name) for name in names])] for key, found in own.items()]
        common = [found for found in own.values() if len(found) == len(names)]
        if len(common) > 1:
            means = [sum(found[name].value for found in common) / len(common) for name in names]
            told = [_bold(shown(mean), mean == max(means) and len(names) > 1) for mean in means]
            rows.append([f"mean of {len(common)}", task, "", *told])
    return ["data", "task", "metric", *names], rows


def _of_task(task: str, entries: Sequence[Entry]) -> Grid:
    """A row a model, the best mean first, and a column a data set; their mean where all models have several."""
    table: dict[str, dict[tuple[str, str], Entry]] = {}
    for entry in entries:
        table.setdefault(entry.model, {})[entry.data, entry.metric] = entry
    columns = sorted({key for own in table.values() for key in own})
    common = [key for key in columns if all(key in own for own in table.values())]
    means = {model: sum(own[key].value for key in common) / max(1, len(common)) for model, own in table.items()}
    ordered = sorted(table, key=lambda model: -means[model])
    told = [_marked([table[model].get(key) for model in ordered]) for key in columns]
    metrics = list(dict.fromkeys(metric for _, metric in columns))
    header = ["model", *(data if len(metrics) == 1 else f"{data}, {metric}" for data, metric in columns)]
    if len(common) > 1:
        header.append(f"mean of {len(common)}")
        told.append([_bold(shown(means[model]), means[model] == max(means.values())) for model in ordered])
    rows = tuple((model, *cells) for model, *cells in zip(ordered, *told, strict=True))
    note = (f"{metrics[0]}. " if len(metrics) == 1 else "") + _NOTE.format("column")
    return Grid(task[:1].upper() + task[1:], tuple(header), rows, note, tuple(remarks(entries)))


def _tasks(entries: Sequence[Entry]) -> list[str]:
    """Those that there are: the known ones in their order, then others."""
    there = {entry.task for entry in entries}
    return [task for task in PUBLISHED.values() if task in there] + sorted(there - set(PUBLISHED.values()))


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What must be known of numbers with a mark."""
    told = [(entry, remark) for entry in entries for remark in entry.result.remarks]
    return list(dict.fromkeys(f"{MARK} {entry.data}: {remark}" for entry, remark in told))


def shown(value: float) -> str:
    """A fraction in per cent, or a dash."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def gain(difference: float, interval: Interval) -> str:
    """A difference of fractions in points, with signs and its interval."""
    told = f"{100 * difference:+.1f} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    return told.replace("-", "\N{MINUS SIGN}")


def cell(value: float, interval: Interval | None) -> str:
    """A fraction in per cent with its interval, where that is known."""
    return shown(value) + (f" ({shown(interval[0])} to {shown(interval[1])})" if interval else "")


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a metric of a result, with its interval and what guessing would give."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["model", "pretrained", "dataset", "variant", "split", "language", "task", "metric", "value", "low", "high"]
    writer.writerow([*head, "chance", "samples", "precision", "headline", "remarks"])
    for entry in entries:
        result = entry.result
        about = [entry.model, result.pretrained, result.dataset, entry.variant]
        about += [result.split, result.language, result.task]
        for metric, value in result.metrics.items():
            low, high = result.intervals.get(metric, ("", ""))
            numbers = [metric, value, low, high, result.chance.get(metric, "")]
            last = [result.samples, result.precision, int(metric == entry.metric), "; ".join(result.remarks)]
            writer.writerow([*about, *numbers, *last])
    return buffer.getvalue()


def _marked(found: Sequence[Entry | None]) -> list[str]:
    """Cells, in bold the best of several and those within its interval, which may be as good (paper, table 10)."""
    known = [entry for entry in found if entry]
    best = max(known, key=lambda entry: entry.value) if len(known) > 1 else None
    least = math.inf if best is None else min(best.value, best.interval[0] if best.interval else best.value)
    return [_bold(_told(entry), entry.value >= least) if entry else "" for entry in found]


def _told(entry: Entry) -> str:
    number, space, interval = cell(entry.value, entry.interval).partition(" ")
    return number + (MARK if entry.result.remarks else "") + space + interval


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
