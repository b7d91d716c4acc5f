"""Checkpoints of a run: a bundle, plus what is needed to go on, in one folder that is whole or absent."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diptych import config
from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.writing import write
from diptych.errors import TrainingError
from diptych.training.recipe import Recipe

NAME = re.compile(r"step-(\d{9})")
# What may change between a run and its resumption, since no weight depends on it.
FREE_ON_RESUME = ("checkpoints.", "evaluate_every", "data.workers", "data.max_failures")


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside the bundle.

    step:    optimiser steps done; it is also the place in the data.
    samples: of the source that the run began with; with another number the place would be another one.
    """

    step: int
    samples: int
    seconds: float
    optimizer: dict[str, Any]


def save(folder: Path, bundle: Bundle, state: State, *, keep: int) -> Path:
    """Write ``folder/step-NNNNNNNNN`` under another name, flush it, rename it; then drop all but the last ``keep``.

    A kill at any moment leaves the earlier checkpoints as they were.
    """
    destination = folder / f"step-{state.step:09d}"
    partial = folder / f".partial-{destination.name}"
    folder.mkdir(parents=True, exist_ok=True)
    for litter in folder.glob(".*partial-step-*"):  # of a kill while another checkpoint was being written
        shutil.rmtree(litter)
    write(bundle, partial)
    with open(partial / "training.pt", "wb") as file:
        torch.save(dict(vars(state)), file)
        file.flush()
        os.fsync(file.fileno())
    _sync(partial)
    partial.rename(destination)
    _sync(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return destination


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def load(checkpoint: Path) -> tuple[Bundle, State]:
    """A checkpoint's bundle and the rest. Raises TrainingError where it cannot be read."""
    with reading(checkpoint):
        saved = torch.load(checkpoint / "training.pt", weights_only=True)
        state = State(**saved)
        if checkpoint.name != f"step-{state.step:09d}":
            raise ValueError(f"it is of step {state.step}")
        return read(checkpoint), state


@contextmanager
def reading(checkpoint: Path) -> Generator[None]:
    """Turns whatever a damaged checkpoint makes of reading it into a TrainingError that names it."""
    try:
        yield
    except Exception as problem:  # torch.load and an optimizer raise anything on bytes that they did not write
        said = (str(problem) or type(problem).__name__).split(". ")[0].splitlines()[0]  # PyTorch adds paragraphs
        raise TrainingError(
            f"the checkpoint {checkpoint} cannot be read ({said}); remove it to resume from the one before"
        ) from problem


def claim(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Make ``folder`` this recipe's, or check that it is. Raises TrainingError where it holds another run."""
    path = folder / "recipe.json"
    begun = [name for name in ("metrics.jsonl", "checkpoints", "model") if _holds_something(folder / name)]
    if not begun:  # a run that failed before its first step keeps nobody out
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, recipe)
        return
    if not path.exists():
        raise TrainingError(f"{folder} holds {', '.join(begun)} but no recipe.json; give another folder")
    if not resume:
        raise TrainingError(f"{folder} already holds a run; pass resume (--resume) to go on with it, or another folder")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError(f"it holds {before!r:.40}")
    except (OSError, ValueError) as problem:
        raise TrainingError(f"{path} is not the recipe of a run: {problem}") from problem
    now = config.to_dict(recipe)
    different = [name for name in _differences(before, now) if not name.startswith(FREE_ON_RESUME)]
    if different:
        raise TrainingError(f"{folder} holds a run of another recipe; they differ in {', '.join(different)}")
    write_json(path, recipe)


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0


def write_json(path: Path, value: object) -> None:
    """Dataclasses, dicts and lists as a JSON file that is whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(config.to_dict(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Dotted paths at which two JSON values differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [path]
    keys = [*now, *(key for key in before if key not in now)]
    return [
        name
        for key in keys
        for name in _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    ]


def _sync(folder: Path) -> None:
    """Make the names in a folder as durable as the bytes in its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
