"""The processes of a run: which one this is, and what they exchange. Where there is only one, nothing is exchanged.

Rows are gathered in the order of ranks, and every process holds equally many.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, without a gradient; ``rows`` themselves where there is one process."""
    if world_size() == 1:
        return rows
    whole = rows.new_empty((world_size() * len(rows), *rows.shape[1:]))
    dist.all_gather_into_tensor(whole, rows.detach().contiguous())
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
    dist.reduce_scatter_tensor(own, whole.contiguous())
    return own


def log_sum_exp(tensor: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials of all processes' tensors."""
    if world_size() == 1:
        return tensor
    return gathered(tensor[None]).logsumexp(dim=0)
