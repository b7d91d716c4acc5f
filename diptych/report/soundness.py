"""What a report can rely on in a result: numbers are finite, shares are shares, curves have a value at each point.

Files are damaged, come from other versions, or were made by other tools. What is unsound in one is taken out and named,
so that it costs its own figure and no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from diptych.config import from_dict
from diptych.errors import ConfigError, DataError
from diptych.evaluation.result import Result
from diptych.printable import printable

HEADLINES = {"zeroshot_retrieval": "text_retrieval_recall@1", "linear_probe": "lp_acc1"}
"""What results are known by that do not say it, if not by ``acc1``."""


def sound(result: Result) -> tuple[Result, list[str]]:
    """The result without what cannot be relied on, and what that was; texts are such as can be shown. Raises DataError
    where the metric that it is known by is none, or no metric is left."""
    problems = []
    texts: dict[str, Any] = {"remarks": tuple(printable(remark, lines=False) for remark in result.remarks)}
    for own in fields(result):
        if isinstance(text := getattr(result, own.name), str):
            texts[own.name] = printable(text, lines=False)
    own = result.metric or HEADLINES.get(result.task, "acc1")
    if not math.isfinite(result.metrics.get(own, 0.0)) or (result.metric and own not in result.metrics):
        raise DataError(
            f"{printable(own, lines=False)}, which it is known by, is no finite number, so nothing is told of it"
        )
    metrics = {printable(name, lines=False): value for name, value in result.metrics.items() if math.isfinite(value)}
    if unknown := [name for name, value in result.metrics.items() if not math.isfinite(value)]:
        problems.append(f"without {', '.join(unknown)}, not finite")
    if not metrics:
        raise DataError("none of its metrics is a finite number")
    intervals = {name: limits for name, limits in result.intervals.items() if _is_interval(limits)}
    if unknown := [name for name in result.intervals if name not in intervals]:
        problems.append(f"without the interval of {', '.join(unknown)}, whose ends are no two rising numbers")
    details = dict(result.details)
    for name, check in _CHECKS.items():
        try:
            check(replace(result, metrics=metrics, details=details))
        except (ConfigError, DataError, OverflowError) as problem:
            problems.append(f"without its {name}: {problem}")
            for key in _OF[name]:
                details.pop(key, None)
    cost = {name: value for name, value in result.cost.items() if math.isfinite(value) and value > 0}
    chance = {name: value for name, value in result.chance.items() if math.isfinite(value)}
    return replace(
        result, **texts, metrics=metrics, intervals=intervals, details=details, cost=cost, chance=chance
    ), problems


@dataclass(frozen=True)
class _Match:
    shots: float | None
    kind: str = ""


@dataclass(frozen=True)
class _Full:
    examples: float
    accuracy: float

    def __post_init__(self) -> None:
        if not (0 < self.examples < math.inf and 0 <= self.accuracy <= 1):
            raise DataError(f"{self.examples} examples a class cannot give an accuracy of {self.accuracy}")


@dataclass(frozen=True)
class _Curve:
    shots: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...]
    zero_shot: float | None = None
    shots_to_match: _Match | None = None
    full: _Full | None = None
    classes_short_of_examples: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shots) != len(self.accuracies) or len(set(self.shots)) < len(self.shots):
            raise DataError(f"{len(set(self.shots))} numbers of examples have {len(self.accuracies)} accuracies")
        if not all(shots > 0 for shots in self.shots):
            raise DataError("examples are counted from 1")
        values = [value for draws in self.accuracies for value in draws]
        if not all(self.accuracies) or not all(0 <= value <= 1 for value in [*values, self.zero_shot or 0.0]):
            raise DataError("accuracies are numbers from 0 to 1, one or more for each number of examples")
        reached = self.shots_to_match.shots if self.shots_to_match else None
        if reached is not None and not 0 <= reached < math.inf:
            raise DataError(f"{reached} examples cannot match anything")


@dataclass(frozen=True)
class _Prompt:
    acc1: float
    gain: float
    gain_interval: tuple[float, float]
    interval: tuple[float, float] = (0.0, 1.0)
    p: float = 1.0
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Name(_Prompt):
    gain: float = 0.0
    gain_interval: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class _Study:
    name: _Name
    template: _Prompt
    hint: _Prompt
    ensemble: _Prompt


@dataclass(frozen=True)
class _Gain:
    difference: float
    interval: tuple[float, float]
    p: float = 1.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.difference, *self.interval))):
            raise DataError("a gain is a finite number, and its interval two")


@dataclass(frozen=True)
class _Shift:
    source: str
    images: int
    own_prompts: bool = False
    gain: _Gain | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise DataError(f"in distribution {self.images} images were evaluated")
        if self.own_prompts and self.gain is None:
            raise DataError("what class names of its own gain is not told")


def _curve(result: Result) -> None:
    known = {name: result.details[name] for name in _OF["few-shot curve"] if name in result.details}
    if known:
        from_dict(_Curve, known, where="details")


def _ablation(result: Result) -> None:
    if "ablation" in result.details:
        from_dict(_Study, result.details["ablation"], where="details.ablation")


def _shift(result: Result) -> None:
    if "shift" not in result.details:
        return
    told = result.details["shift"]
    if not isinstance(told, dict):
        raise DataError("details.shift is no table")
    known = {own.name: told[own.name] for own in fields(_Shift) if own.name in told}
    from_dict(_Shift, known, where="details.shift")
    by_source = f"source_names_{result.metric}"
    needed = [result.metric, f"in_distribution_{result.metric}", *([by_source] if by_source in result.metrics else [])]
    for name in needed:
        if not 0 <= result.metrics.get(name, -1) <= 1:
            raise DataError(f"{name} is no share from 0 to 1")


_CHECKS: dict[str, Callable[[Result], None]] = {
    "few-shot curve": _curve,
    "study of prompts": _ablation,
    "accuracy under shift": _shift,
}
_OF = {
    "few-shot curve": [own.name for own in fields(_Curve)],
    "study of prompts": ["ablation"],
    "accuracy under shift": ["shift"],
}


def _is_interval(limits: tuple[float, float]) -> bool:
    return all(map(math.isfinite, limits)) and limits[0] <= limits[1]
