"""Checkpoints are written while the run goes on: a copy of everything is made between two steps, and a thread writes
it.

Where every process writes a part, the threads have a group of their own, so that whatever they exchange never meets
what the training does. What they wait for may never come, though, once a process is lost: one may have left that
others wait for, and itself stay for its thread, which waits for them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from diptych import distributed
from diptych.checkpoints.bundle import Bundle
from diptych.training import optimizer_files, parallel, state
from diptych.training.state import State

# Seconds after the loss of a process that the others' parts of a checkpoint are waited for. If the lost one had written
# its own, no more than an answer is missing; else there is nothing to wait for.
LAST_WORDS = 3.0


class Saver:
    """Writes one checkpoint at a time to ``folder``. The main process does, and with ``shared`` every process its part
    of what the optimiser remembers; all call the same methods in the same order.
    """

    def __init__(self, folder: Path, device: torch.device, *, keep: int, shared: bool) -> None:
        self.folder, self.keep = folder, keep
        self._group = distributed.side_group() if shared else None
        fast = device.type == "cuda"
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=fast, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=fast
            )
        )
        self._work: Future[None] | None = None
        self._exchanged = Event()

    def start(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        bundle: Callable[[dict[str, Tensor]], Bundle],
        rest: State,
    ) -> None:
        """Copy weights and optimiser, and begin to write them, when what was begun before is written.

        ``bundle``: makes one of the copied weights, on the main process. Raises what it raises, and what `wait` does.
        """
        self.wait()
        weights = parallel.whole_weights(model)
        if not (distributed.is_main() or self._group):
            return
        live = {"weights": weights, "optimizer": optimizer_files.remembered(model, optimizer)}
        copied = self._stager.stage(live | {"average": rest.average, "adapters": rest.adapters})
        assert isinstance(copied, dict)  # not a future of one, since staging is asked to be done when it returns
        whole = bundle(copied["weights"]) if distributed.is_main() else None
        head = {name: tensor for name, tensor in copied["weights"].items() if name == "head"}
        rest = replace(rest, average=copied["average"], adapters=copied["adapters"], head=head)
        self._exchanged = exchanged = Event()
        if self._group is None:
            exchanged.set()
        save = partial(state.save, self.folder, whole, rest, copied["optimizer"], keep=self.keep, group=self._group)
        self._work = _begun(partial(save, exchanged=exchanged.set))
        self._work.add_done_callback(lambda _: exchanged.set())

    def wait(self) -> None:
        """Until what was begun is written. Raises TrainingError where it could not be, once."""
        if (work := self._work) is not None:
            wait_for([work])
            self._work = None
            work.result()

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise, without waiting."""
        return self._work is not None and self._work.done() and self._work.exception() is not None

    def close(self, *, lost: bool = False) -> None:
        """Wait, and say nothing of what was raised, for when something else has ended the run: nothing is at work in
        the folder after this.

        ``lost``: it has ended because another process is gone or silent. A checkpoint that its part may be missing of
        is given up after `LAST_WORDS`; what is left to do for this process alone is still done.
        """
        if self._work and lost and not self._exchanged.wait(LAST_WORDS):
            atexit.register(_end_at_once)
        elif self._work:
            wait_for([self._work])
        self._work = None

    @property
    def last(self) -> Path | None:
        """The last checkpoint that is whole."""
        return next(reversed(state.checkpoints(self.folder)), None)


def _end_at_once() -> None:
    """When a process ends of which a thread was given up: waking amid Python's own end, that would abort it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or a pipe that nobody reads
            stream.flush()
    os._exit(1)


def _begun(work: Callable[[], None]) -> Future[None]:
    """What ``work`` will have done, in a thread that keeps no process from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as problem:
            future.set_exception(problem)

    Thread(target=run, name="checkpoint", daemon=True).start()
    return future
