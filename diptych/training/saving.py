"""Checkpoints are written while the run goes on: a copy of everything is made between two steps, and a thread writes
it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from diptych import distributed
from diptych.checkpoints.bundle import Bundle
from diptych.training import optimizer_files, parallel, state
from diptych.training.state import State


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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._work: Future[None] | None = None

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
        work = partial(state.save, self.folder, whole, rest, copied["optimizer"], keep=self.keep, group=self._group)
        self._work = self._thread.submit(work)

    def wait(self) -> None:
        """Until what was begun is written. Raises TrainingError where it could not be, once."""
        work, self._work = self._work, None
        if work is not None:
            work.result()

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise, without waiting."""
        return self._work is not None and self._work.done() and self._work.exception() is not None

    def close(self) -> None:
        """Wait, and say nothing of what was raised, for when something else has ended the run: nothing is at work in
        the folder after this."""
        self._thread.shutdown(wait=True)

    @property
    def last(self) -> Path | None:
        """The last checkpoint that is whole."""
        return next(reversed(state.checkpoints(self.folder)), None)
