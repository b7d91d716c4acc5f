"""What is measured of which data, so that figures set like against like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from diptych.report.collected import Entry
from diptych.report.metric_words import ACCURACY, quantity, word

Measure = tuple[str, str]  # data, and the quantity by which they are known


def measure(entry: Entry) -> Measure:
    """What a result is of."""
    return entry.data, quantity(entry.metric)


def by_measure(entries: Iterable[Entry], task: str) -> dict[str, dict[Measure, Entry]]:
    """Of one task the results of each model: ``found[model][data, quantity]``."""
    found: dict[str, dict[Measure, Entry]] = {}
    for entry in entries:
        if entry.task == task:
            found.setdefault(entry.model, {})[measure(entry)] = entry
    return found


def titled(measures: Iterable[Measure]) -> dict[Measure, str]:
    """What each is called: the data, and the quantity where these have another one too."""
    known = list(dict.fromkeys(measures))
    data = [name for name, _ in known]
    return {one: f"{one[0]}, {word(one[1])}" if data.count(one[0]) > 1 else one[0] for one in known}


def axis(measures: Iterable[Measure]) -> str:
    """What an axis is of, on which they all are."""
    found = {metric for _, metric in measures}
    return word(found.pop()) if len(found) == 1 else "each data set's metric"


def told(measures: Iterable[Measure]) -> str:
    """A sentence on which data are measured by what; empty where all are by accuracy."""
    known = list(dict.fromkeys(measures))
    metrics = list(dict.fromkeys(metric for _, metric in known))
    if metrics in ([], [ACCURACY]):
        return ""
    if len(metrics) == 1:
        return f" All are {word(metrics[0])}."
    of: Mapping[str, Sequence[str]] = {metric: [data for data, own in known if own == metric] for metric in metrics}
    return f" Measured are {'; '.join(f'{word(metric)} on ' + ', '.join(data) for metric, data in of.items())}."
