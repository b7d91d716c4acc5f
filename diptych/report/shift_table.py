"""What each model loses under shift, and what the baselines let expect, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.evaluation.robustness import Counts, Line, effective
from diptych.report.cells import gain, shown, signed, with_minus
from diptych.report.collected import Entry
from diptych.report.contents import Grid
from diptych.report.shift import LINES, Pair, Shift, fitted, pairs


def grid(entries: Sequence[Entry], shift: Shift) -> Grid | None:
    """A row a model, kind and shifted set; with baselines also the accuracy that their line lets expect."""
    known, remarks = pairs(entries, shift)
    rows = []
    for kind, lines in LINES.items():
        for name in shift.group.shifted:
            here = [pair for pair in known if pair.name == name]
            of = {(pair.kind, pair.counts.model): pair.counts for pair in here}
            first = [next((of[k, model] for k in lines if (k, model) in of), None) for model in shift.baselines]
            baselines = [counts for counts in first if counts]
            line = fitted(baselines)
            rows += [_row(pair, line, baselines) for pair in here if pair.kind == kind]
    if not rows and not remarks:
        return None
    note = f"In per cent. Shifted from {shift.group.source}, whose accuracy is on the same classes. "
    if shift.baselines:
        note += f"Expected by the logit-linear fit over {', '.join(shift.baselines)}, where these have the data."
    else:
        note += "With --baseline, also what ordinarily trained models let expect."
    header = ("shifted to", "task", "model", "source", "shifted", "loss", "expected", "above it", "gap closed")
    columns = len(header) if shift.baselines else header.index("expected")
    return Grid("Under shift", header[:columns], tuple(row[:columns] for row in rows), note, tuple(remarks))


def _row(pair: Pair, line: Line | None, baselines: Sequence[Counts]) -> tuple[str, ...]:
    counts = pair.counts
    told = [pair.name, pair.kind, counts.model, shown(counts.source), shown(counts.shifted)]
    told.append(signed(counts.source - counts.shifted).removeprefix("+"))
    if line is None:
        return (*told, "", "", "")
    if any(counts is one for one in baselines):
        return (*told, shown(line(counts.source)), "baseline", "")
    found = effective(counts, line)
    above = gain(found.effective, found.effective_interval)
    closed = with_minus(f"{100 * found.closed:z.0f} %") if found.closed is not None else "no gap"
    return (*told, shown(found.expected), above, closed)
