"""All results in one table: for people as Markdown, for programs as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from diptych.report.collected import Entry, models

MARK = "†"  # at a number that has a remark


def comparison(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a data set, task and metric, a column a model; the best of a row in bold.

    Below the rows of a task its mean over the data sets that all models have.
    """
    names = models(entries)
    cells: dict[tuple[str, str, str], dict[str, Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.task, entry.data)):
        cells.setdefault((entry.data, entry.task, entry.metric), {})[entry.model] = entry
    rows = []
    for task in dict.fromkeys(task for _, task, _ in cells):
        own = {key: found for key, found in cells.items() if key[1] == task}
        rows += [[*key, *_row([found.get(name) for name in names])] for key, found in own.items()]
        common = [found for found in own.values() if len(found) == len(names)]
        if len(own) > 1 and common:
            means = [sum(found[name].value for found in common) / len(common) for name in names]
            best = max(means)
            told = [_bold(shown(mean), mean == best and len(names) > 1) for mean in means]
            rows.append([f"mean of {len(common)}", task, "", *told])
    return ["data", "task", "metric", *names], rows


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What must be known of numbers with a mark."""
    told = [(entry, remark) for entry in entries for remark in entry.result.remarks]
    return list(dict.fromkeys(f"{MARK} {entry.data}: {remark}" for entry, remark in told))


def shown(value: float) -> str:
    """A fraction in per cent, or a dash."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a metric of a result, with its interval and what guessing would give."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["model", "pretrained", "dataset", "split", "language", "task", "metric", "value", "low", "high", "chance"]
    writer.writerow([*head, "samples", "precision", "headline", "remarks"])
    for entry in entries:
        result = entry.result
        about = [entry.model, result.pretrained, result.dataset, result.split, result.language, result.task]
        for metric, value in result.metrics.items():
            low, high = result.intervals.get(metric, ("", ""))
            numbers = [metric, value, low, high, result.chance.get(metric, "")]
            last = [result.samples, result.precision, int(metric == entry.metric), "; ".join(result.remarks)]
            writer.writerow([*about, *numbers, *last])
    return buffer.getvalue()


def _row(found: Sequence[Entry | None]) -> list[str]:
    known = [entry.value for entry in found if entry]
    best = max(known) if len(known) > 1 else math.nan
    return [_bold(_cell(entry), entry.value == best) if entry else "" for entry in found]


def _cell(entry: Entry) -> str:
    told = shown(entry.value) + (MARK if entry.result.remarks else "")
    return told + (f" ({shown(entry.interval[0])} to {shown(entry.interval[1])})" if entry.interval else "")


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
