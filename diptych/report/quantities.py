"""What metrics are of, whatever the classifier: accuracy is ``acc1`` of zero-shot, ``lp_acc1`` of a linear probe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from diptych.report.collected import Entry

Measure = tuple[str, str]  # data, and the quantity by which they are known
Key = TypeVar("Key")
ACCURACY = "acc1"
_OF_CLASSIFIER = re.compile(r"(lp|knn|(fs|cache)_?\d+)_")
_OVER_DRAWS = re.compile(r"(fs|cache)_?\d+_")
_WORDS = {
    ACCURACY: "accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_acc1_acc5": "mean of top-1 and top-5 accuracy",
    "roc_auc": "ROC AUC",
    "map11": "11-point mAP",
    "mean_average_precision": "mean average precision",
}


def quantity(metric: str) -> str:
    """A metric without what says of which classifier it is."""
    return _OF_CLASSIFIER.sub("", metric, count=1) if _OF_CLASSIFIER.match(metric) else metric


def over_draws(metric: str) -> bool:
    """Whether it is a mean over draws of examples, whose interval is over these, and not over images."""
    return bool(_OVER_DRAWS.match(metric))


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


def word(metric: str) -> str:
    """As people say it."""
    return _WORDS.get(metric, metric)


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
