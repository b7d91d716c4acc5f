"""What an evaluation yields: metrics with intervals and chance, and all it takes to know what was measured."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.config import from_dict, to_dict
from diptych.errors import DataError

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a task measures. ``intervals`` are of 95 %; ``predictions`` are columns with one entry a sample."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    chance: dict[str, float]
    predictions: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one evaluation.

    The first six fields are those of CLIP_benchmark, under its names, so that notebooks made for it read the JSON.

    metrics:      by CLIP_benchmark's names; fractions from 0 to 1, ranks from 1.
    intervals:    95 % confidence intervals of metrics, as (low, high).
    chance:       what guessing would give.
    samples:      images that were evaluated; ``skipped`` names the others and damaged files, and why.
    fingerprints: SHA-256 of weights, tokenizer, preprocessing, templates, data.
    predictions:  columns with one entry a sample, for analysis after the fact.
    """

    dataset: str
    model: str
    pretrained: str
    task: str
    metrics: dict[str, float]
    language: str = "en"
    intervals: dict[str, Interval] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    skipped: tuple[str, ...] = ()
    precision: str = "fp32"
    backend: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)
    predictions: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The result as JSON, equal for equal results."""
        return json.dumps(to_dict(self), indent=1, ensure_ascii=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the JSON as a new file and rename it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # In file names that are not UTF-8, Python has halves of surrogate pairs; they become JSON's own escapes.
            partial.write_text(self.to_json(), encoding="utf-8", errors="backslashreplace")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what ``save`` wrote, or a result of CLIP_benchmark. Raises DataError or ConfigError."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise DataError(f"{path} is not the JSON of a result: {problem}") from problem
        return from_dict(cls, data, where=str(path))

    def __str__(self) -> str:
        lines = [f"{self.task} of {self.model} on {self.dataset}: {self.samples} samples, {self.precision}"]
        if self.skipped:
            lines.append(f"{len(self.skipped)} samples or files could not be used")
        width = max(map(len, self.metrics), default=0)
        for name, value in self.metrics.items():
            line = f"  {name:{width}}  {value:8.4f}"
            if name in self.intervals:
                line += "  [{:.4f}, {:.4f}]".format(*self.intervals[name])
            if name in self.chance:
                line += f"  chance {self.chance[name]:.4f}"
            lines.append(line)
        return "\n".join(lines)
