"""What batch norms remember of the batches that they have seen: each once, and on all processes the same."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from diptych import distributed


@contextmanager
def statistics_kept(model: nn.Module) -> Generator[None]:
    """Batch norms forget what they see within it, where another pass shows it to them too.

    They are run as ever, since a compiled block whose batch norms are told to remember nothing is another one, which
    keeps other tensors for its backward pass than checkpointing expects.
    """
    before = statistics(model)
    try:
        yield
    finally:
        put_back(model, before)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """A copy of what batch norms remember, by the names of the buffers."""
    return {
        f"{path}.{name}": buffer.clone()
        for path, norm in model.named_modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        for name, buffer in norm.named_buffers()
    }


def put_back(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Have batch norms forget the batches since the `statistics` were copied."""
    for name, buffer in before.items():
        model.get_buffer(name).copy_(buffer)


def share_statistics(model: nn.Module, more: Iterable[Tensor] = ()) -> None:
    """Batch norms see their own process's part of each batch; what they remember becomes the mean of all, and so do
    ``more``, statistics that are kept elsewhere. Those that learn nothing stay as they are."""
    learning = (module for module in model.modules() if module.training)
    buffers = (named for module in learning for named in module.named_buffers(recurse=False))
    statistics = [buffer for name, buffer in buffers if name in ("running_mean", "running_var")]
    distributed.sum_in_place([*statistics, *more], weight=1 / distributed.world_size())
