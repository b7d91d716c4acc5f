"""What a run tells: one JSON line a step, trackers, and a progress bar or plain lines."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from diptych.errors import TrainingError
from diptych.progress import say
from diptych.training.recipe import Recipe
from diptych.training.trackers import Trackers

PLAIN_SECONDS = 10.0  # between lines where there is no terminal to redraw
LATE_STEPS = 50  # over which the time spent waiting for data is told
SHARE_TOLD = 0.1  # of the time, below which it is nobody's concern


class Watch:
    """Writes ``metrics.jsonl`` in a run's folder, feeds the trackers of its recipe and shows progress on ``stream``.

    On resume, lines of steps that will be done again are dropped, so the file reads as one uninterrupted run.
    ``evaluated``: whether the step resumed from has been evaluated already.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, *, first_step: int, steps: int, stream: TextIO | None = None
    ) -> None:
        self.stream = stream or sys.stderr
        self.steps = steps
        path = folder / "metrics.jsonl"
        kept = _truncated(path, first_step)
        self.evaluated = bool(kept) and "loss" not in kept[-1]  # of the first step: its evaluation comes after it
        self.path = path
        self.bar = tqdm(
            total=steps,
            initial=first_step,
            file=self.stream,
            disable=not self.stream.isatty(),
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.trackers = Trackers(folder, recipe, first_step=first_step, say=self.say)
        self.last_plain, self.last_step = 0.0, first_step
        self.started, self.pace = time.monotonic(), 0.0
        self.late: deque[tuple[float, float]] = deque(maxlen=LATE_STEPS)

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Record the metrics of a finished step (counted from 1) and redraw the progress."""
        self._record(step, metrics)
        rate = f"{metrics['samples_per_second']:.0f} samples/s"
        scale = f"scale {metrics['logit_scale']:.1f}  " if "logit_scale" in metrics else ""
        shown = f"loss {metrics['loss']:.3f}  {scale}{rate}{self._waiting(metrics)}"
        if self.bar.disable:
            self._plain(step, shown)
        else:
            self.bar.set_postfix_str(shown, refresh=False)
            self.bar.update(1)

    def evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Record and show the numbers of an evaluation."""
        self._record(step, metrics)
        by_evaluator: dict[str, list[str]] = {}
        for name, value in metrics.items():
            evaluator, _, metric = name.rpartition("/")
            by_evaluator.setdefault(evaluator, []).append(_shown(metric, value))
        for evaluator, shown in by_evaluator.items():
            self.say(f"step {step}: {evaluator + ': ' if evaluator else ''}{'  '.join(shown)}")

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            # JSON has no infinity, which is what a gradient's norm may be at a step that made no update.
            shown = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
            file.write(json.dumps({"step": step, **shown}) + "\n")
        self.trackers.log(step, metrics)

    def _waiting(self, metrics: Mapping[str, float]) -> str:
        """The share of the time of late in which the model waited for data, where it is worth a word."""
        self.late.append((metrics.get("data_wait", 0.0), metrics.get("seconds", 0.0)))
        (_, begun), (_, now) = self.late[0], self.late[-1]
        waited = sum(wait for wait, _ in list(self.late)[1:])
        return f"  waiting for data {waited / (now - begun):.0%}" if waited > SHARE_TOLD * (now - begun) else ""

    def say(self, text: str) -> None:
        """A line above the progress bar."""
        with contextlib.suppress(OSError):  # as say
            self.bar.write(text, file=self.stream)

    def close(self) -> None:
        """Flush everything to disk."""
        self.bar.close()
        self.trackers.close()

    def _plain(self, step: int, shown: str) -> None:
        now = time.monotonic()
        if now - self.last_plain < PLAIN_SECONDS and step < self.steps:
            return
        # Seconds a step of late, so that a stall long ago does not count for ever.
        recent = (now - (self.last_plain or self.started)) / (step - self.last_step)
        self.pace = (self.pace + recent) / 2 if self.pace else recent
        self.last_plain, self.last_step = now, step
        say(f"step {step}/{self.steps}  {shown}  {_clock(self.pace * (self.steps - step))} left", self.stream)


class Quiet:
    """The watch of a process beside the main one, which speaks for all."""

    evaluated = True

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _shown(metric: str, value: float) -> str:
    """A metric's name and value, short: ``text R@1 4.2 %``."""
    found = re.fullmatch(r"(text|image)_retrieval_(recall@(\d+)|median_rank)", metric)
    if found:
        metric = f"{found[1]} R@{found[3]}" if found[3] else f"{found[1]} median rank"
    is_share = (found and found[3]) or metric in ("acc1", "acc5", "mean_per_class_recall")
    return f"{metric} {value:.1%}" if is_share else f"{metric} {value:.4g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a ``metrics.jsonl`` that are whole; a kill may have torn the last one."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
            metrics = json.loads(line)
            if metrics["step"] >= 0:
                lines.append(metrics)
    return lines


def _truncated(path: Path, step: int) -> list[dict[str, float]]:
    """Keep only whole lines of steps up to ``step`` and return what they say."""
    if not path.exists():
        return []
    kept = [metrics for metrics in read_metrics(path) if metrics["step"] <= step]
    if not kept and step:
        raise TrainingError(
            f"{path} holds nothing of the {step} steps that the checkpoint has done; is it another run's?"
        )
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(metrics) + "\n" for metrics in kept), encoding="utf-8")
    os.replace(partial, path)
    return kept
