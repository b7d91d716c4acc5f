"""Checkpoints of a run: a bundle, plus what is needed to go on, in one folder that is whole or absent."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError, TrainingError
from diptych.progress import say
from diptych.training import optimizer_files

NAME = re.compile(r"step-(\d{9})")
OPTIMIZER = "optimizer"  # the folder of its tensors
SUMS = "SHA256SUMS"  # of all the other files of a checkpoint, as sha256sum -c reads it


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside the bundle.

    step:    optimiser steps done; it is also the place in the data.
    samples: of the source that the run began with; with another number the place would be another one.
    data:    fingerprint of that source; empty where it has none.
    optimizer: its ``state_dict()``; the tensors of it are in files of their own (older versions: in it).
    threads: of PyTorch, on which the last bits of its sums depend; 0 where nobody noted them.
    average: of the weights, where the recipe asks for one.
    adapters: and the matrices they belong to, which the bundle has merged.
    loss_scale, guard: what `LossScale` and `Guard` remember.
    head:    of a classifier that is trained, which is no part of the bundle.
    """

    step: int
    samples: int
    seconds: float
    optimizer: dict[str, Any]
    data: str = ""
    threads: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)
    adapters: dict[str, Tensor] = field(default_factory=dict)
    loss_scale: dict[str, Any] | None = None
    guard: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Tensor] = field(default_factory=dict)


def save(
    folder: Path,
    bundle: Bundle | None,
    state: State,
    tensors: dict[str, Tensor],
    *,
    keep: int,
    group: dist.ProcessGroup | None = None,
    exchanged: Callable[[], None] = lambda: None,
) -> None:
    """Write ``folder/step-NNNNNNNNN`` under another name, flush it, rename it; then drop all but the last ``keep``.

    ``tensors``: what the optimiser remembers. ``group``: where every process has a part of them, all of them, which
    call this together; only the main one has a ``bundle`` and writes all the rest. ``exchanged``: called when nothing
    that follows waits for another process.
    A kill at any moment leaves the earlier checkpoints as they were, and at most litter for `sweep`. Raises
    TrainingError where it cannot be written, on a full disk say, and leaves nothing of it.
    """
    destination = folder / f"step-{state.step:09d}"
    partial = _hidden(destination)
    try:
        if bundle is not None:
            write(bundle, partial)
        if group is not None:
            dist.barrier(group)  # the others' files are to find a folder
        optimizer_files.write(tensors, partial / OPTIMIZER, group)
        exchanged()
        if bundle is not None:
            _complete(partial, state)
            partial.rename(destination)
            _sync(folder)
    except (OSError, RuntimeError, CheckpointError, CheckpointException) as problem:
        shutil.rmtree(partial, ignore_errors=True)
        then = "".join(f"; resume (--resume) goes on from {path.name}" for path in checkpoints(folder)[-1:])
        raise TrainingError(
            f"step {state.step} could not be saved as {destination}: {_cause(problem)}{then}"
        ) from problem
    if bundle is not None:
        for old in checkpoints(folder)[:-keep]:
            # Renamed first: a kill meanwhile must not leave half a checkpoint under the name of a whole one.
            shutil.rmtree(old.rename(_hidden(old)), ignore_errors=True)


def _complete(partial: Path, state: State) -> None:
    """Add the rest of the state and the sums of all files, and make everything durable."""
    with open(partial / "training.pt", "wb") as file:
        torch.save(dict(vars(state)), file)
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    sums = [f"{_sha256(path)}  {path.relative_to(partial).as_posix()}\n" for path in files]
    (partial / SUMS).write_text("".join(sums), encoding="utf-8")
    for path in (partial / "training.pt", partial / SUMS, partial / OPTIMIZER, partial):
        _sync(path)


def _cause(problem: BaseException) -> object:
    if isinstance(problem, CheckpointException):  # of any of the processes
        problem = next(error for error, _ in problem.failures.values())
    # When PyTorch cannot write, it speaks of positions in its archive; what the disk said stands behind that.
    return problem.__context__ if isinstance(problem.__context__, OSError) else problem


def sweep(folder: Path) -> None:
    """Remove what kills have left of checkpoints that were being written or dropped. Only for the run itself."""
    for litter in folder.glob(".*partial-step-*"):
        shutil.rmtree(litter)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def load(checkpoint: Path) -> tuple[Bundle, State]:
    """A checkpoint's bundle and the rest. Raises TrainingError where it cannot be read or is not as it was written."""
    with reading(checkpoint):
        _check_sums(checkpoint)
        saved = torch.load(checkpoint / "training.pt", weights_only=True)
        state = State(**saved)
        if checkpoint.name != f"step-{state.step:09d}":
            raise ValueError(f"it is of step {state.step}")
        return read(checkpoint), state


def check_data(before: State, samples: int, data: str, *, run: Path, source: str) -> None:
    """Raise TrainingError where the data are others than before: the place in them would mean nothing."""
    if before.samples != samples:
        raise TrainingError(
            f"{run} holds a run over {before.samples:,} samples, but {source} has {samples:,} now; restore the data, "
            "or give another folder to begin anew"
        )
    if before.data and data and before.data != data:
        raise TrainingError(
            f"{run} holds a run over other data than {source} is now: as many samples, but names, sizes, captions or "
            "their order have changed; restore the data, or give another folder to begin anew"
        )


def tell_threads(before: int, device: torch.device) -> None:
    """Say where a run goes on with another number of threads than it was begun with."""
    now = torch.get_num_threads()
    if before not in (0, now) and device.type == "cpu":
        say(f"the run had {before} threads and has {now} now; it goes on, but not bit for bit (OMP_NUM_THREADS)")


@contextmanager
def reading(checkpoint: Path) -> Generator[None]:
    """Turns whatever a damaged checkpoint makes of reading it into a TrainingError that names it."""
    try:
        yield
    # torch.load and an optimizer raise anything on bytes that they did not write; PyTorch's own is no Exception.
    except (Exception, CheckpointException) as problem:
        said = (str(problem) or type(problem).__name__).split(". ")[0].splitlines()[0]  # PyTorch adds paragraphs
        before = [path.name for path in checkpoints(checkpoint.parent) if path.name < checkpoint.name]
        then = f"resume from the one before, {before[-1]}" if before else "begin anew, since there is none before it"
        raise TrainingError(
            f"the checkpoint {checkpoint} cannot be read ({said}); remove that folder to {then}"
        ) from problem


def _check_sums(checkpoint: Path) -> None:
    sums = checkpoint / SUMS
    if not sums.exists():  # an older version's
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        if _sha256(checkpoint / name) != sha256:
            raise ValueError(f"{name} is damaged: it is not as it was written")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hidden(checkpoint: Path) -> Path:
    """What a checkpoint is called while it is not whole."""
    return checkpoint.with_name(f".partial-{checkpoint.name}")


def _sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
