"""What models gain under shift by adapting: class names of the shifted set's own, a classifier of its source (paper,
section 3.3 and figure 14)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diptych.errors import DataError
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.result import Columns, Interval
from diptych.report.answers import Answers, answers_of
from diptych.report.averages import mean_of
from diptych.report.cells import gain
from diptych.report.choosing import models
from diptych.report.collected import Entry
from diptych.report.contents import Grid
from diptych.report.shift import SUPERVISED, ZERO_SHOT, Shift, of_shift
from diptych.report.shifted_data import data_of, several, titles, variant_of

Difference = tuple[float, Interval]  # of accuracies, with the interval of its 95 %


@dataclass(frozen=True)
class Gain:
    """Over a zero-shot classifier of the source's class names, by one way to adapt: on the source's images, and under
    shift. None where it is not known. ``counts``: in a mean, as no other data have this name."""

    name: str
    model: str
    way: str
    source: Difference | None
    shifted: Difference | None
    counts: bool = True


def grid(entries: Sequence[Entry], shift: Shift) -> Grid | None:
    """A row a shifted set, model and way to adapt, and the means of those that several sets have."""
    source = shift.group.source
    found = list(gains(entries, shift))
    if not found:
        return None
    rows = [(one.name, one.model, one.way, _told(one.source), _told(one.shifted)) for one in found]
    note = (
        f"Points of accuracy over a zero-shot classifier of the class names of {source}, image by image, with 95 % "
        f"intervals; those on {source} are among the classes of the shifted set."
    )
    header = ("shifted to", "model", "adapted by", f"gain on {source}", "gain under shift")
    return Grid("Adapting to the shift", header, (*rows, *_means(found)), note, names=3)


def gains(entries: Sequence[Entry], shift: Shift) -> Iterator[Gain]:
    """All that results of ``diptych evaluate --shifted-from`` tell, paired image by image, of equal data."""
    source = shift.group.source
    shifted = [entry for entry in entries if entry.result.dataset in shift.group.shifted]
    all_of = [e for task in (ZERO_SHOT, SUPERVISED) for e in of_shift(shifted, task, source)]
    datas, left = titles(data_of(entry) for entry in all_of), several(data_of(entry) for entry in all_of)
    for name in shift.group.shifted:
        for data, model in itertools.product((one for one in datas if one.dataset == name), models(entries)):
            own = [entry for entry in shifted if entry.model == model]
            tasks = [of_shift(own, task, source) for task in (ZERO_SHOT, SUPERVISED)]
            named, learned = (next((e for e in there if data_of(e) == data), None) for there in tasks)
            known = [variant_of(entry) for entry in (named, learned) if entry]
            told = ", ".join(dict.fromkeys(filter(None, (datas[data], *known))))
            counts = name not in left
            if named and named.result.details["shift"].get("own_prompts"):
                known = named.result.details["shift"]["gain"]
                gain = known["difference"], tuple(known["interval"])
                yield Gain(told, model, "class names of its own", None, gain, counts)
            if named and learned:
                there = _gain(learned.source_predictions, named.source_predictions, "rank")
                here = _gain(learned.predictions, named.predictions, "source_names_rank")
                yield Gain(told, model, f"a linear classifier of {source}", there, here, counts)


def _gain(adapted: Columns, before: Columns, rank: str) -> Difference | None:
    """None where predictions were not kept, are damaged, or are not of the same images."""
    one, two = _hits(adapted, "rank"), _hits(before, rank)
    if one is None or two is None or set(one.keys) != set(two.keys):
        return None
    found = compare(Measured("adapted", one.keys, one.right_N), Measured("before", two.keys, two.right_N))
    return found.difference, found.interval


def _hits(columns: Columns, rank: str) -> Answers | None:
    keys = columns.get("key")
    if not keys or rank not in columns:
        return None
    try:
        return answers_of({"key": keys, "rank": columns[rank]}, len(keys))
    except DataError:
        return None


def _means(found: Sequence[Gain]) -> Iterator[tuple[str, ...]]:
    for model, way in dict.fromkeys((one.model, one.way) for one in found):
        own = [one for one in found if (one.model, one.way) == (model, way) and one.counts]
        if len(own) > 1:
            means = (_mean([one.source for one in own]), _mean([one.shifted for one in own]))
            yield (f"mean of {len(own)}", model, way, *means)


def _mean(differences: Sequence[Difference | None]) -> str:
    known = [difference for difference in differences if difference]
    if not known or len(known) < len(differences):
        return ""
    mean, low, high = mean_of(known)
    return gain(mean, (low, high))


def _told(difference: Difference | None) -> str:
    return gain(*difference) if difference else ""
