"""How many labelled examples a class a probe takes to be as good as zero-shot (paper, figure 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from diptych.evaluation.matching import shots_to_match
from diptych.report.cells import may_be_guessed
from diptych.report.collected import Entry
from diptych.report.marks import Bar
from diptych.report.metric_words import quantity
from diptych.report.quantities import Measure, measure, titled

FEW_SHOT = "few-shot"


@dataclass(frozen=True)
class Matches:
    """Of each model a bar a data set. ``guessed``: of which data sets it has none, as zero-shot is not shown to be
    better than guessing there."""

    bars: dict[str, dict[Measure, Bar]]
    guessed: dict[str, list[str]]


def examples_to_match(entries: Sequence[Entry]) -> Matches:
    """Infinite where it is never reached; extrapolated where it is less than any number that was tried."""
    bars: dict[str, dict[Measure, Bar]] = {}
    guessed: dict[str, list[str]] = {}
    known = [e for e in entries if e.task == FEW_SHOT and e.result.details.get("shots_to_match") is not None]
    for entry in known:
        if may_be_guessed(entry.result, quantity(entry.metric)):
            guessed.setdefault(entry.model, []).append(entry.data)
        else:
            bars.setdefault(entry.model, {})[measure(entry)] = _bar(entry)
    named = {model: titled(own) for model, own in bars.items()}
    return Matches(
        {model: {one: replace(bar, name=named[model][one]) for one, bar in own.items()} for model, own in bars.items()},
        guessed,
    )


def _bar(entry: Entry) -> Bar:
    """With the least and the most of the draws, where these are known."""
    details = entry.result.details
    told = details["shots_to_match"]
    shots = math.inf if told["shots"] is None else float(told["shots"])
    least, most = _of_draws(details)
    if least <= most:
        least, most = min(least, shots), max(most, shots)
    return Bar(entry.data, shots, least, most, extrapolated=told.get("kind") in ("extrapolated", "fewer"))


def _of_draws(details: dict[str, Any]) -> tuple[float, float]:
    """The fewest and the most examples with which the draws match it, each by its own curve; NaN of fewer than two, or
    where draws ran out of examples, so that more of them are not more."""
    draws = min((len(own) for own in details["accuracies"]), default=0)
    level, full = details.get("zero_shot"), details.get("full")
    if draws < 2 or level is None or any(details.get("classes_short_of_examples", ())):
        return math.nan, math.nan
    last = {float(full["examples"]): float(full["accuracy"])} if full else {}
    found = []
    for number in range(draws):
        curve = dict(zip(map(float, details["shots"]), (own[number] for own in details["accuracies"]), strict=True))
        found.append(shots_to_match(list((curve | last).items()), float(level)).shots)
    return min(found), max(found)
