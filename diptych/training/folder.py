"""The folder of a run: one process works in it at a time, and it stays with the recipe that it was begun with."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diptych import config
from diptych.errors import ConfigError, TrainingError
from diptych.training.recipe import Recipe

# What may change between a run and its resumption, since no weight depends on it.
FREE_ON_RESUME = (
    "checkpoints.",
    "evaluate_every",
    "trackers",
    "data.workers",
    "data.max_failures",
    "data.cache.",
    "gradient_checkpointing",
    "sharding",
)


@contextmanager
def occupied(folder: Path) -> Generator[None]:
    """Keep other processes out of a run's folder, which is made where it is not there.

    Raises TrainingError where another process is in it. The system lets go of the folder when the process ends, however
    it does; the file ``.lock`` stays. Where there are no locks, on some network file systems and on Windows, nobody is
    kept out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _is_taken(file):
            owner = os.pread(file, 200, 0).decode("utf-8", "replace").strip()
            raise TrainingError(
                f"{folder} is in use by {owner or 'another process'}; wait for it to end, or give another folder"
            )
        with contextlib.suppress(OSError):  # a full disk; it is only for the message above
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(file)


def _is_taken(file: int) -> bool:
    """Whether another process holds the lock; else it is ours from here on.

    POSIX's kind of lock: worker processes, which may outlive a killed parent for a moment, do not inherit it.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # with other numbers: there are no locks here
        return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


def claim(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Make ``folder`` this recipe's, or check that it is. Raises TrainingError where it holds another run."""
    path = folder / "recipe.json"
    begun = [name for name in ("metrics.jsonl", "checkpoints", "model") if _holds_something(folder / name)]
    if not begun:  # a run that failed before its first step keeps nobody out
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
        before = config.to_dict(config.from_dict(Recipe, before))  # with what has been added since, at its default
    except (OSError, ValueError, ConfigError) as problem:
        raise TrainingError(f"{path} is not the recipe of a run: {problem}") from problem
    now = config.to_dict(recipe)
    different = [said for name, said in differences(before, now) if not name.startswith(FREE_ON_RESUME)]
    if different:
        raise TrainingError(
            f"{folder} holds a run of another recipe; they differ in {'; '.join(different)}. Give the values it was "
            "begun with, or another folder (--out)"
        )
    write_json(path, recipe)


def write_json(path: Path, value: object) -> None:
    """Dataclasses, dicts and lists as a JSON file that is whole or absent."""
    write_text(path, json.dumps(config.to_dict(value), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file that is whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        # In file names that are not UTF-8, Python has halves of surrogate pairs; they become JSON's own escapes.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0


def differences(before: Any, now: Any, path: str = "") -> list[tuple[str, str]]:
    """Dotted paths at which two JSON values differ, and how."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        said = f"{path} ({json.dumps(before):.40} then, {json.dumps(now):.40} now)"
        return [] if before == now else [(path, said)]
    keys = [*now, *(key for key in before if key not in now)]
    return [
        difference
        for key in keys
        for difference in differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    ]
