"""Low-rank adapters (LoRA, arXiv 2106.09685): a matrix stays as it is, and the product of two thin ones learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.layers import MLP, Attention
from diptych.models.modified_resnet import AttentionPool


class LowRankLinear(nn.Linear):
    """``x W' + scale * (x down') up'``: ``down`` (rank, in) is drawn, ``up`` (out, rank) begins as zero, so that it
    begins as the layer that it replaces, whose weight and bias it takes over (LoRA, section 4.1)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = scale
        down = torch.empty(rank, linear.in_features).normal_(0, linear.in_features**-0.5, generator=generator)
        self.down = nn.Parameter(down.to(linear.weight.device))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=linear.weight.device))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + self.scale * F.linear(F.linear(input, self.down), self.up)


def install(tower: nn.Module, rank: int, scale: float, generator: torch.Generator) -> None:
    """An adapter for every linear layer of the attentions and MLPs of a tower, in place."""
    for part in [part for part in tower.modules() if isinstance(part, Attention | MLP | AttentionPool)]:
        for name, child in list(part.named_children()):
            if isinstance(child, nn.Linear):
                setattr(part, name, LowRankLinear(child, rank, scale, generator))


def merged(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ``model`` by name, its adapters' added to the matrices they belong to: those of an ordinary model."""
    plain = dict(weights)
    for name, layer in _adapted(model):
        up, down = plain.pop(f"{name}.up"), plain.pop(f"{name}.down")
        plain[f"{name}.weight"] = plain[f"{name}.weight"] + layer.scale * (up @ down)
    return plain


def state(model: nn.Module) -> dict[str, Tensor]:
    """What merging loses: of every adapted layer its own matrix and the two of its adapter."""
    return {
        f"{name}.{part}": getattr(layer, part).detach()
        for name, layer in _adapted(model)
        for part in ("weight", "up", "down")
    }


@torch.no_grad()
def restore(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Put back what ``state`` gave."""
    for name, layer in _adapted(model):
        for part in ("weight", "up", "down"):
            getattr(layer, part).copy_(saved[f"{name}.{part}"])


def _adapted(model: nn.Module) -> Iterator[tuple[str, LowRankLinear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LowRankLinear))
