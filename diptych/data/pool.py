"""Worker processes that start once and fill shared memory; nothing they compute depends on how many there are.

The parent cuts each batch into chunks, deals them to the workers in turn, and takes the batches in order. A few
batches are under way at a time, each in a slot of shared memory, so memory is bounded. Every worker has a pipe of its
own: one that is killed takes no lock with it, and the parent notices.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError, DiptychError

CHUNK = 32  # samples a worker does at a time
_UNDER_WAY = 3  # batches


def useful_workers(batch_size: int) -> int:
    """How many workers have something to do: one for each chunk of the batches that are under way."""
    return _UNDER_WAY * -(-batch_size // CHUNK)


class Job(Protocol):
    """What the workers do: fill ``pixels`` (n, 3, size, size) uint8 for the positions from ``start`` and say the
    rest."""

    def __call__(self, start: int, pixels: Tensor, /) -> Any: ...


class Pool:
    """Runs a job over ranges of positions, in ``workers`` processes or, with 0, in this one."""

    def __init__(self, job: Job, *, workers: int, batch_size: int, image_size: int) -> None:
        self._job = job
        self._workers = workers
        self._shape = (batch_size, 3, image_size, image_size)
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._slots: list[Tensor] = []
        self._expected: list[int] = []
        self._running = False
        self._finalizer: weakref.finalize | None = None

    def run(self, batches: Iterable[tuple[int, int]]) -> Iterator[tuple[Tensor, list[Any]]]:
        """For each (start, stop): the pixels, valid until the next is asked for, and what the job said of each
        chunk."""
        if self._running:
            raise DataError("this loader is being read already; finish or close that pass, or make a second loader")
        self._running = True
        try:
            yield from self._in_workers(iter(batches)) if self._workers else self._here(batches)
        except GeneratorExit:
            self._drain()
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._running = False

    def close(self) -> None:
        """Stop the workers; a later `run` starts new ones."""
        if self._finalizer:
            self._finalizer()
        self._processes, self._pipes, self._slots, self._finalizer = [], [], [], None

    def _here(self, batches: Iterable[tuple[int, int]]) -> Iterator[tuple[Tensor, list[Any]]]:
        pixels = torch.empty(self._shape, dtype=torch.uint8)
        for start, stop in batches:
            yield pixels[: stop - start], [self._job(a, pixels[a - start : b - start]) for a, b in _chunks(start, stop)]

    def _in_workers(self, batches: Iterator[tuple[int, int]]) -> Iterator[tuple[Tensor, list[Any]]]:
        if not self._processes:
            self._start()
        under_way: deque[tuple[int, int, int, list[int]]] = deque()
        free = deque(range(_UNDER_WAY))
        turn = 0
        self._expected = [0] * self._workers
        while True:
            while free:
                bounds = next(batches, None)
                if bounds is None:
                    break
                slot, chunks = free.popleft(), _chunks(*bounds)
                owners = [(turn + number) % self._workers for number in range(len(chunks))]
                turn = (turn + len(chunks)) % self._workers
                # One message a worker, however large the batch: full pipes both ways would be a deadlock.
                for worker in dict.fromkeys(owners):
                    mine = [chunk for chunk, owner in zip(chunks, owners, strict=True) if owner == worker]
                    self._send(worker, slot, bounds[0], mine)
                under_way.append((slot, *bounds, owners))
            if not under_way:
                return
            slot, start, stop, owners = under_way.popleft()
            said = [self._receive(owner) for owner in owners]
            yield self._slots[slot][: stop - start], said
            free.append(slot)

    def _send(self, worker: int, slot: int, first: int, chunks: list[tuple[int, int]]) -> None:
        try:
            self._pipes[worker].send((slot, first, chunks))
        except OSError:
            self._died(worker)
        self._expected[worker] += len(chunks)

    def _receive(self, worker: int) -> Any:
        """The next answer of one worker; answers come in the order of the tasks."""
        pipe, process = self._pipes[worker], self._processes[worker]
        while pipe not in wait([pipe, *(other.sentinel for other in self._processes)]):
            if not process.is_alive() and not pipe.poll():
                self._died(worker)
            for other, suspect in enumerate(self._processes):
                if not suspect.is_alive() and other != worker:
                    self._died(other)
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            self._died(worker)
        self._expected[worker] -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _died(self, worker: int) -> None:
        process = self._processes[worker]
        process.join(1)
        code = process.exitcode
        cause = f"by signal {signal.Signals(-code).name}" if code and code < 0 else f"with exit status {code}"
        hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
        raise DataError(f"loader worker {worker} (process {process.pid}) ended {cause}{hint}")

    def _drain(self) -> None:
        """Wait for what is under way, so that nobody writes into a slot that the next run uses."""
        if not self._processes:
            return
        try:
            for worker, expected in enumerate(self._expected):
                for _ in range(expected):
                    self._receive(worker)
        except DiptychError:
            self.close()

    def _start(self) -> None:
        # Forked workers see the source without a copy and need no importable main module; elsewhere they are spawned.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        size = _UNDER_WAY * math.prod(self._shape)
        # Anonymous memory is not subject to the size of /dev/shm, which containers keep small.
        memory = mmap.mmap(-1, size) if sys.platform == "linux" else context.RawArray("B", size)
        self._slots = list(_slots(memory, self._shape))
        pairs = [context.Pipe() for _ in range(self._workers)]
        self._pipes = [ours for ours, _ in pairs]
        for worker, (_, theirs) in enumerate(pairs):
            others = [pipe for pair in pairs for pipe in pair if pipe is not theirs] if sys.platform == "linux" else []
            arguments = (self._job, memory, self._shape, theirs, others)
            process = context.Process(target=_work, args=arguments, daemon=True, name=f"diptych-loader-{worker}")
            process.start()
            self._processes.append(process)
        for _, theirs in pairs:
            theirs.close()
        self._finalizer = weakref.finalize(self, _stop, self._processes, self._pipes)


def _slots(memory: Any, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.frombuffer(memory, np.uint8)).view(_UNDER_WAY, *shape)


def _chunks(start: int, stop: int) -> list[tuple[int, int]]:
    return [(a, min(a + CHUNK, stop)) for a in range(start, stop, CHUNK)]


def _work(job: Job, memory: Any, shape: Sequence[int], pipe: Connection, others: list[Connection]) -> None:
    """The life of a worker: until the parent closes its end, or is gone."""
    # Often sent to all processes of a job; they are the parent's to handle.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads of the parent's tokenizer did not come along
    for other in others:
        other.close()
    torch.set_num_threads(1)
    slots = _slots(memory, shape)
    while True:
        try:
            slot, first, chunks = pipe.recv()
            for start, stop in chunks:
                pipe.send(_answer(job, start, slots[slot][start - first : stop - first]))
        except (EOFError, OSError):
            return


def _end_with_parent() -> None:
    """End this process when its parent is gone, also while it waits for a file that does not answer.

    The parent holds one end of a pipe that nobody writes to. Later workers inherit it, so the last one ends first.
    """
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _answer(job: Job, start: int, pixels_BCHW: Tensor) -> Any:
    try:
        return job(start, pixels_BCHW)
    except DiptychError as error:
        return error
    except Exception:
        return DataError(f"a loader worker failed at position {start}:\n{traceback.format_exc()}")


def _stop(processes: list[Any], pipes: list[Connection]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.kill()  # they hold nothing that could be left half done
    for process in processes:
        process.join()
