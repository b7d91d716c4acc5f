"""Numbers as the cells of a table say them: shares in per cent, differences in points, what is chance."""

from __future__ import annotations

import math
from collections.abc import Iterable

from diptych.evaluation.result import Interval, Result
from diptych.report.contents import GUESSED

MARK = "†"  # at a number that has a remark
PERCENT = "95\N{NO-BREAK SPACE}%"
_LEAST = 0.0005  # less than this would be shown as nothing


def shown(value: float) -> str:
    """A fraction in per cent, or a dash."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def with_interval(value: float, interval: Interval | None, mark: str = "") -> str:
    """A fraction in per cent, with its interval where that is known, and with a mark."""
    known = interval is not None and all(map(math.isfinite, interval))
    return shown(value) + mark + (f" ({shown(interval[0])} to {shown(interval[1])})" if interval and known else "")


def signed(difference: float) -> str:
    """A difference of fractions in points, with its sign."""
    return with_minus(f"{100 * difference:+z.1f}")


def with_minus(number: str) -> str:
    """With the sign that is as wide as a plus."""
    return number.replace("-", "\N{MINUS SIGN}")


def gain(difference: float, interval: Interval) -> str:
    """A difference of fractions in points, with its interval, all with signs."""
    return f"{signed(difference)} ({signed(interval[0])} to {signed(interval[1])})"


def measured(result: Result, metric: str) -> str:
    """A metric in per cent, with its interval where that is known, and with marks: of a remark, and where it may be
    guessed. Empty where the result has no such metric."""
    if metric not in result.metrics:
        return ""
    interval = result.intervals.get(metric)
    marks = MARK * bool(result.remarks) + GUESSED * may_be_guessed(result, metric)
    return with_interval(result.metrics[metric], interval, marks)


def may_be_guessed(result: Result, metric: str) -> bool:
    """Whether a metric is not shown to be better than guessing: its interval is not all above chance."""
    return metric in result.intervals and result.intervals[metric][0] <= result.chance.get(metric, -math.inf)


def chance(results: Iterable[Result], metric: str) -> list[float]:
    """What guessing gives of a metric, of the results that know it."""
    return [result.chance[metric] for result in results if metric in result.chance]


def guessing(chances: Iterable[float]) -> str:
    """What guessing gives, from the least to the most where results differ; empty where it is not known."""
    told = ["< 0.1" if 0 < one < _LEAST else shown(one) for one in sorted(chances)]
    return told[0] if len(set(told)) == 1 else f"{told[0]} to {told[-1]}" if told else ""


def bold(text: str, best: bool) -> str:
    """As the best of its row, if it is."""
    return f"**{text}**" if best else text


def count(number: int, thing: str) -> str:
    """Such as ``1 model``, ``1,200 models``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
