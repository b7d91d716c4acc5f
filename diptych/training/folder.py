"""The folder of a run: one process works in it at a time, and it stays with the recipe that it was begun with."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
from collections.abc import Generator, Sequence
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
_READABLE = 400  # letters of a line that somebody is to copy
_SHOWN = 60  # of a value


@contextmanager
def occupied(folder: Path) -> Generator[None]:
    """Keep other processes out of a run's folder, which is made where it is not there.

    Raises TrainingError where another process is in it, and where it cannot be made or written. The system lets go of
    the folder when the process ends, however it does; the file ``.lock`` stays. Where there are no locks, on some
    network file systems and on Windows, nobody is kept out.
    """
    with changing(folder):
        _make(folder)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
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


@contextmanager
def changing(folder: Path) -> Generator[None]:
    """Turns what the system refuses into a TrainingError that names the run's folder."""
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise TrainingError(f"{folder} cannot be written: {why[:1].lower()}{why[1:]}; give another folder") from problem


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as problem:  # with parents, no folder is missing: the file system has no room for any
        raise TrainingError(f"{folder} cannot be made: its file system takes no folders; give another one") from problem
    except (FileExistsError, NotADirectoryError) as problem:
        file = next(path for path in (folder, *folder.parents) if path.exists())
        raise TrainingError(f"{folder} cannot be made: {file} is a file; give another folder") from problem


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
    path, begun = folder / "recipe.json", begun_in(folder)
    if not begun:  # a run that failed before its first step keeps nobody out
        write_json(path, recipe)
        return
    if not path.exists():
        raise TrainingError(f"{folder} holds {', '.join(begun)} but no recipe.json; give another folder")
    if not resume:
        raise TrainingError(f"{folder} already holds a run; pass resume (--resume) to go on with it, or another folder")
    check_same(folder, recipe)
    write_json(path, recipe)


def check_same(folder: Path, recipe: Recipe) -> None:
    """Raise TrainingError where ``folder`` holds a run of another recipe, which says what to give for it to go on;
    nothing is looked at where it holds none."""
    path = folder / "recipe.json"
    if not begun_in(folder) or not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError(f"it holds {before!r:.40}")
        before = config.to_dict(config.from_dict(Recipe, before))  # with what has been added since, at its default
    except (OSError, ValueError, ConfigError) as problem:
        raise TrainingError(f"{path} is not the recipe of a run: {problem}") from problem
    now = config.to_dict(recipe)
    unlike = [(name, said) for name, said in differences(before, now) if not name.startswith(FREE_ON_RESUME)]
    if unlike:
        raise TrainingError(
            f"{folder} holds a run of another recipe; they differ in {'; '.join(said for _, said in unlike)}. To go on "
            f"with it, every value has to be given again that it was begun with{_flags(before, unlike)}; or give "
            "another folder (--out)"
        )


def _flags(recipe: dict[str, Any], unlike: Sequence[tuple[str, str]]) -> str:
    """How a command line gives the values of a recipe; empty where that is not to be read."""
    flags = []
    for name, _ in unlike:
        value: Any = recipe
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        flags.append(f"--set {shlex.quote(f'{name}={text}')}")
    return (
        f": {' '.join(flags)}" if len(" ".join(flags)) < _READABLE and "[" not in "".join(n for n, _ in unlike) else ""
    )


def begun_in(folder: Path) -> list[str]:
    """What a run, or a search, has left in a folder, if there was one."""
    return [
        name for name in ("metrics.jsonl", "checkpoints", "model", "search.json") if _holds_something(folder / name)
    ]


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
    """Dotted paths at which two JSON values differ, and how; the place in a list in brackets."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        places = [(i, pair) for i, pair in enumerate(zip(before, now, strict=True)) if isinstance(pair[1], dict)]
        if len(places) == len(now):
            return [found for i, (old, new) in places for found in differences(old, new, f"{path}[{i}]")]
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [(path, f"{path} ({_short(before)} then, {_short(now)} now)")]
    keys = [*now, *(key for key in before if key not in now)]
    return [
        difference
        for key in keys
        for difference in differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
