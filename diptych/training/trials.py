"""The table of a search's trials: a JSON line when one begins and one when it is over, so that a kill loses neither."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from diptych import config
from diptych.errors import ConfigError, TrainingError

NAME = "trials.jsonl"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a search.

    state:   ``begun``, done by train's own resume if it was cut off; ``done``; ``stopped``, for it was worse than most
             at the same step; ``failed``, for the ``reason`` told.
    values:  what it has of the space, by dotted path.
    metric:  at its end; null where it did not come so far.
    metrics: all that was evaluated at its end; null for what was no finite number.
    curve:   the metric at each evaluation, as (step, value).
    """

    number: int
    values: dict[str, Any]
    state: Literal["begun", "done", "stopped", "failed"] = "begun"
    metric: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.state != "begun"


def read(folder: Path) -> list[Trial]:
    """The trials of a search by number, each as it was last written; what a kill tore off the file is dropped."""
    path = folder / NAME
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    if torn := lines.pop():
        os.truncate(path, path.stat().st_size - len(torn))
    trials = {}
    for number, line in enumerate(lines, start=1):
        try:
            trial = config.from_dict(Trial, json.loads(line))
        except (ValueError, ConfigError) as problem:
            raise TrainingError(f"{path}, line {number} is not a trial: {problem}") from problem
        trials[trial.number] = trial
    return [trials[number] for number in sorted(trials)]


def add(folder: Path, trial: Trial) -> None:
    """Append a trial as it is now."""
    with open(folder / NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(config.to_dict(trial), ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def ranked(trials: Sequence[Trial], *, lowest: bool = False) -> list[Trial]:
    """The best first; then those that were stopped, failed or are not over, in their order."""

    def place(trial: Trial) -> tuple[int, float, int]:
        if trial.state != "done" or trial.metric is None:
            return 1, 0.0, trial.number
        return 0, trial.metric if lowest else -trial.metric, trial.number

    return sorted(trials, key=place)


def hopeless(value: float, step: int, others: Sequence[Trial], *, lowest: bool) -> bool:
    """Whether a value is worse than the median of three trials or more at that step (after Google Vizier's rule, 2017,
    section 3.2, whose median is of means up to the step)."""
    at_step = [there for trial in others for s, there in trial.curve if s == step]
    if len(at_step) < 3:
        return False
    return value > median(at_step) if lowest else value < median(at_step)
