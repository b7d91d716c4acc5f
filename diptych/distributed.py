"""The processes of a run: which one this is, and what they exchange. Where there is only one, nothing is exchanged.

Rows are gathered in the order of ranks, and every process holds equally many.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from diptych.errors import DiptychError

# Called otherwise since PyTorch 2.13.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

T = TypeVar("T")
# Until the others count as lost; the main one may evaluate, or learn a vocabulary, for long while they wait for it.
PATIENCE = timedelta(minutes=30)
LONG_PATIENCE = timedelta(days=2)  # where it may fit probes of a million images; who ends is lost at once all the same
_BUCKET = 16 << 20  # numbers that are exchanged at a time
_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def started(patience: timedelta | None = None) -> Generator[None]:
    """Join the processes that torchrun has started, for as long as this lasts; nothing where there are none, or where
    they are joined already. ``patience``: until a silent one counts as lost, `PATIENCE` if it is not said."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # Its functions take the group that there is when it is imported for their default, and one that is held when the
    # processes part keeps its threads: what such a thread still lets go of while Python ends, aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=patience or PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def alone() -> Generator[None]:
    """Within it, this process is the only one to all that is done on this thread: for what it does by itself while the
    others wait for it elsewhere."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_loss(problem: BaseException) -> bool:
    """Whether an error says that another process is gone, or silent."""
    # Gloo's have no type of their own; they name the file of its that they come from.
    return world_size() > 1 and (isinstance(problem, dist.DistError) or "gloo/transport" in str(problem))


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() and not _alone.get() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() and not _alone.get() else 0


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if world_size() > 1:
        dist.barrier()


def from_main(make: Callable[[], T]) -> T:
    """What ``make`` gives on the main process, on every process."""
    if world_size() == 1:
        return make()
    box = [make() if is_main() else None]
    dist.broadcast_object_list(box)
    return box[0]  # ty: ignore[invalid-explicit-return]


def agreed(make: Callable[[], T]) -> T:
    """What ``make`` gives on the main process, or one of our errors that it raises there, on every process: so that all
    go on alike after it."""

    def attempt() -> T | DiptychError:
        try:
            return make()
        except DiptychError as problem:
            return problem

    found = from_main(attempt)
    if isinstance(found, DiptychError):
        raise found
    return found


def all_of(items: Sequence[T]) -> list[T]:
    """The items of all processes, in the order of ranks."""
    if world_size() == 1:
        return list(items)
    parts: list[list[T]] = [[]] * world_size()
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def side_group() -> dist.ProcessGroup:
    """All processes once more, for what they exchange beside the training, from main memory; all call it together."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def highest(number: int, device: torch.device) -> int:
    """The highest of all processes' numbers."""
    if world_size() == 1:
        return number
    votes = torch.tensor(number, device=device)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return int(votes)


def sum_in_place(tensors: Iterable[Tensor], *, weight: float = 1.0) -> None:
    """Each tensor becomes the sum over all processes, times ``weight``; several travel at a time."""
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(t.numel() for t in bucket) >= _BUCKET:
            _sum_bucket(bucket, weight)
            bucket = []
    if bucket:
        _sum_bucket(bucket, weight)


def _sum_bucket(bucket: list[Tensor], weight: float) -> None:
    flat = torch.cat([tensor.flatten().float() for tensor in bucket])
    dist.all_reduce(flat)
    for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(part.view_as(tensor) * weight)


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, without a gradient; ``rows`` themselves where there is one process."""
    if world_size() == 1:
        return rows
    whole = rows.new_empty((world_size() * len(rows), *rows.shape[1:]))
    _all_gather(whole, rows.detach().contiguous())
    return whole


def summed(tensor: Tensor) -> Tensor:
    """The sum of all processes' tensors."""
    if world_size() == 1:
        return tensor
    whole = tensor.detach().clone()
    dist.all_reduce(whole)
    return whole


def summed_rows(whole: Tensor) -> Tensor:
    """The sum of all processes' tensors, of which each gets the rows that it would have gathered."""
    if world_size() == 1:
        return whole
    own = whole.new_empty((len(whole) // world_size(), *whole.shape[1:]))
    _reduce_scatter(own, whole.contiguous())
    return own


def log_sum_exp(tensor: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials of all processes' tensors."""
    if world_size() == 1:
        return tensor
    return gathered(tensor[None]).logsumexp(dim=0)
