"""Means over the data sets that all models have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from diptych.evaluation.result import Interval
from diptych.report.choosing import each_once
from diptych.report.collected import Entry

Key = TypeVar("Key")


def in_common(table: Mapping[str, Mapping[Key, Entry]]) -> list[Key]:
    """The keys of data sets that all models have, in the order of the first, each once: in its plainest form."""
    first = next(iter(table.values()), {})
    common = {key: entry for key, entry in first.items() if all(key in own for own in table.values())}
    return each_once(common, [entry for own in table.values() for entry in own.values()])


def mean_of(measured: Sequence[tuple[float, Interval | None]]) -> tuple[float, float, float]:
    """Of values with their intervals the mean, and its interval as if they were independent: NaN where one is not
    known. Half-widths of independent quantities add as squares; each side by itself, as intervals of shares are not
    even."""
    mean = sum(value for value, _ in measured) / len(measured)
    known = [(value, *interval) for value, interval in measured if interval]
    if len(known) < len(measured):
        return mean, math.nan, math.nan
    below = math.hypot(*(value - low for value, low, _ in known)) / len(known)
    above = math.hypot(*(high - value for value, _, high in known)) / len(known)
    return mean, mean - below, mean + above


def difference_of(
    one: tuple[float, Interval | None], other: tuple[float, Interval | None]
) -> tuple[float, float, float]:
    """Of two independent values with their intervals the difference, and its interval: NaN where one is not known."""
    difference = one[0] - other[0]
    if one[1] is None or other[1] is None:
        return difference, math.nan, math.nan
    below = math.hypot(one[0] - one[1][0], other[1][1] - other[0])
    above = math.hypot(one[1][1] - one[0], other[0] - other[1][0])
    return difference, difference - below, difference + above
