"""Writing a folder that is there as a whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Generator, Set
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import CheckpointError


@contextmanager
def replaced(folder: Path, ours: Set[str]) -> Generator[Path]:
    """A new folder to write into, which takes the place of ``folder`` when all of it is on the disk.

    Whoever looks meanwhile sees the old folder or none, never a mixture; after a failure the old one stays. A
    ``folder`` that holds files other than ``ours`` is not ours to replace: CheckpointError.
    """
    folder = Path(os.path.abspath(folder))
    _refuse_strangers(folder, ours)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(folder, "new")
    new.mkdir()
    try:
        yield new
        for path in (*new.iterdir(), new):
            _sync(path)
        _exchange(new, folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what was left beside ``folder`` by processes that were killed while they replaced it.

    Only for whoever knows that no process is replacing it now: what one is writing looks the same.
    """
    litter = re.compile(rf"\.{re.escape(folder.name)}\.(new|old)-[0-9a-f]{{8}}")
    for path in folder.parent.iterdir():
        if litter.fullmatch(path.name):
            shutil.rmtree(path)


def _refuse_strangers(folder: Path, ours: Set[str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give the name of a folder to write")
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else []
    if strangers:
        raise CheckpointError(f"{folder} holds other files ({', '.join(strangers[:3])}); write to a new folder")


def _exchange(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    old = _beside(folder, "old")
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(folder: Path, purpose: str) -> Path:
    return folder.with_name(f".{folder.name}.{purpose}-{uuid.uuid4().hex[:8]}")
