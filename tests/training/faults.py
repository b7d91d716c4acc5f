"""Training in processes that are killed: at random, or just before a chosen change to the files of the run."""

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from diptych import distributed
from diptych.config import override
from diptych.errors import TrainingError
from diptych.training.loop import train
from tests.training import small
from tests.training.processes import context, join

ENDED_WITH_AN_ERROR = 3
SILENCE = timedelta(seconds=40)  # until a process counts as lost
PATIENCE = 120  # seconds, with the end of a run
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def nothing(rank: int) -> None:
    """What a process does beforehand where a test asks for no more."""


def start(
    world: int,
    data: Path,
    out: Path,
    *,
    changes: Sequence[str] = (),
    kill_at: int | None = None,
    largest_file: int | None = None,
    prepare: Callable[[int], None] = nothing,
) -> list[Any]:
    """The processes of a run that goes on from wherever it is. ``kill_at``: the main one dies just before that change
    to the files of the run, counted from 0. ``largest_file``: in bytes, that the last process can write. ``prepare``:
    called with the rank of each, in it.

    Each writes to ``out-RANK.log`` what it raised, and where it is if it hangs; the main one writes which changes it
    made to ``out-changes.log``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    store = out.with_name(f"{out.name}-store-{time.monotonic_ns()}")
    processes = []
    for rank in range(world):
        limit = largest_file if rank == world - 1 else None
        arguments = (rank, world, store, data, out, tuple(changes), kill_at if rank == 0 else None, limit, prepare)
        processes.append(context.Process(target=_train, args=arguments))
        processes[-1].start()
    return processes


def finish(processes: list[Any], seconds: float = PATIENCE) -> list[int]:
    """Their exit codes; an AssertionError where one does not end by itself."""
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.1, until - time.monotonic()))
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
        process.join()
    assert not hanging, "a process did not end"
    return [process.exitcode for process in processes]


def _train(
    rank: int,
    world: int,
    store: Path,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    kill_at: int | None,
    largest_file: int | None,
    prepare: Callable[[int], None],
) -> None:
    torch.set_num_threads(1)
    distributed.PATIENCE = SILENCE
    with open(out.with_name(f"{out.name}-{rank}.log"), "w") as log:
        sys.stdout = sys.stderr = log
        faulthandler.dump_traceback_later(PATIENCE - 20, file=log)
        if world > 1:
            join(rank, world, store, timeout=SILENCE)
        prepare(rank)
        if rank == 0:
            watch_changes(out, kill_at)
        if largest_file is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        try:
            train(override(small.recipe(data, steps=6, every_steps=2), changes), out, resume=True)
        except TrainingError as problem:
            print(f"TrainingError: {problem}", file=log, flush=True)
            os._exit(ENDED_WITH_AN_ERROR)
        except BaseException:
            traceback.print_exc(file=log)
            log.flush()
            os._exit(1)
        log.flush()
        os._exit(0)


def watch_changes(out: Path, kill_at: int | None) -> None:
    """Write the changes to files in ``out`` to ``out-changes.log``; this process dies just before that change."""
    seen = os.open(out.with_name(f"{out.name}-changes.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    inside = f"{out}{os.sep}"
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in _CHANGES
        if writes and str(arguments[0]).startswith(inside):
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            os.write(seen, f"{event} {arguments[0]}\n".encode())

    sys.addaudithook(hook)
