"""The repeated parts of a tower, found from outside, and how each of them is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from diptych.training.batch_norms import statistics_kept

_ROWS = (nn.Sequential, nn.ModuleList)


def blocks(tower: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that stand in a row of their kind: a Transformer's blocks, a ResNet's bottlenecks; also in
    towers of other libraries, which hold theirs in such rows too."""
    for child in tower.children():
        is_row = isinstance(child, _ROWS) and len({type(module) for module in child}) == 1
        if is_row and not isinstance(next(child.children()), _ROWS):
            yield from (module for module in child if any(True for _ in module.parameters()))
        else:
            yield from blocks(child)


def prepare(model: nn.Module, *, compiled: bool, again: bool) -> None:
    """Change how each block is run, in place; names of parameters stay.

    ``compiled``: by kernels that PyTorch makes for it. ``again``: gradient checkpointing (arXiv 1604.06174): only the
    input is kept for the backward pass, which runs the block again; random draws are repeated, and batch norms remember
    a batch once.
    """
    for block in blocks(model):
        forward = torch.compile(block.forward) if compiled else block.forward
        if again:
            contexts = partial(_contexts, block)
            forward = partial(checkpoint, forward, use_reentrant=False, context_fn=contexts)
        if compiled or again:
            block.forward = forward


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), statistics_kept(block)
