"""Writing a folder that is there as a whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Generator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path

from diptych.errors import CheckpointError


@contextmanager
def replaced(folder: Path, ours: Set[str]) -> Generator[Path]:
    """A new folder to write into, which takes the place of ``folder`` when all of it is on the disk.

    Whoever looks meanwhile sees the old folder or none, never a mixture; after a failure the old one stays. A link
    stays one: what it points to is replaced. What killed processes left of earlier tries is removed. A ``folder`` that
    holds files other than ``ours``, or that this process works in, is not ours to replace: CheckpointError.
    """
    folder = Path(os.path.realpath(folder))
    _refuse_strangers(folder, ours)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():  # else what is left may be the only copy
        sweep(folder)
    new = _beside(folder, "new")
    new.mkdir()
    with ExitStack() as held:
        held.enter_context(_held(new))
        try:
            yield new
            for path in (*new.iterdir(), new):
                _sync(path)
            _exchange(new, folder, held)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what was left beside ``folder`` by processes that were killed while they replaced it, and nothing that one
    is writing now. Where the system has no locks to tell the two apart, everything stays."""
    for path in _litter(folder):
        with _held(path) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)


def _litter(folder: Path) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.(new|old)-[0-9a-f]{{8}}")
    return [path for path in folder.parent.iterdir() if pattern.fullmatch(path.name) and path.is_dir()]


@contextmanager
def _held(folder: Path) -> Generator[bool]:
    """Hold a folder's lock, which ends with the process however that ends; False where another holds it, or there are
    no locks."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # another process swept it meanwhile
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        yield free
    finally:
        os.close(handle)


def _refuse_strangers(folder: Path, ours: Set[str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give the name of a folder to write")
    here = Path(os.path.realpath(Path.cwd()))
    if folder == here or folder in here.parents:
        raise CheckpointError(f"{folder} is the folder that this runs in; give the name of a new one")
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else []
    if strangers:
        raise CheckpointError(f"{folder} holds other files ({', '.join(strangers[:3])}); write to a new folder")


def _exchange(new: Path, folder: Path, held: ExitStack) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    old = _beside(folder, "old")
    held.enter_context(_held(folder))
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
