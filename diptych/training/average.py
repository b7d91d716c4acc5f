"""An exponential moving average of the weights, which is often a better model than the last weights are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """In fp32, of everything in ``model`` that changes as it trains: weights that learn, and running statistics.

    After step t, from 1, it is the mean of the weights after each step s with the weight ``decay ** (t - s)``. The
    weights before the first step are no part of it, as zero is none of Adam's statistics once their bias is corrected
    (arXiv 1412.6980, section 3). ``tensors``: by their names in ``model.state_dict()``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.float().clone() for name, tensor in _changing(model).items()}
        self._statistics = {name for name, _ in model.named_buffers()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step ``step``, which every step from 1 on is told once."""
        share = (1 - self.decay) / (1 - self.decay**step)
        now = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, tensor in self.tensors.items():
            tensor.lerp_(now[name].float(), share)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from the ``tensors`` of a checkpoint."""
        for name, tensor in self.tensors.items():
            tensor.copy_(saved[name])

    def statistics(self) -> list[Tensor]:
        """The averages of running statistics, of which every process has its own."""
        return [tensor for name, tensor in self.tensors.items() if name in self._statistics]


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """Weights that learn, and the floating-point statistics of modules in training mode."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    statistics = {
        name: buffer
        for path, module in model.named_modules()
        if module.training
        for name, buffer in module.named_buffers(path, recurse=False)
        if buffer.is_floating_point()
    }
    kept = model.state_dict().keys()  # other libraries have constants that are buffers and no part of a checkpoint
    return weights | {name: buffer for name, buffer in statistics.items() if name in kept}
