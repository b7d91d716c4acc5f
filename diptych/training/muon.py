"""Muon: updates of matrices are made orthogonal; everything else is AdamW's (arXiv 2502.16982)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5  # as published (Jordan et al., 2024)


def orthogonalised(matrices_PRC: Tensor) -> Tensor:
    """Each matrix with its singular values brought to about 1, its singular vectors kept; in bf16.

    Newton and Schulz's iteration with a polynomial of the fifth degree, whose coefficients are chosen to raise small
    singular values fast; it ends with values between about 0.7 and 1.2, which serves as well as 1.
    """
    a, b, c = _COEFFICIENTS
    x = matrices_PRC.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """AdamW but for groups with ``matrices``, the number of equal matrices of which each of their parameters is made.

    Their momentum is orthogonalised and scaled to the root mean square that an update of AdamW has, so that rate and
    weight decay are AdamW's own (arXiv 2502.16982, section 2.2). Kernels of convolutions count as matrices of
    (out, in * height * width).
    """

    def __init__(
        self, params: Any, *, lr: float, betas: tuple[float, float], eps: float, momentum: float = 0.95
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "momentum": momentum, "matrices": 0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # ty: ignore[incompatible-method-override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            update = _muon if group["matrices"] else _adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update(parameter, parameter.grad, self.state[parameter], group)


def _muon(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    if not state:
        state["momentum"] = torch.zeros_like(parameter)
    momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
    ahead = gradient.add(momentum, alpha=group["momentum"])  # Nesterov's
    matrices_PRC = ahead.reshape(group["matrices"], len(ahead) // group["matrices"], -1)
    scale = 0.2 * math.sqrt(max(matrices_PRC.shape[1:]))
    parameter.sub_(orthogonalised(matrices_PRC).view(parameter.shape).to(parameter.dtype), alpha=group["lr"] * scale)


def _adam(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    if not state:
        state |= {"step": torch.zeros(()), "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
    state["step"] += 1
    count, (beta1, beta2) = int(state["step"]), group["betas"]
    mean = state["mean"].lerp_(gradient, 1 - beta1)
    square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    scale = (square / (1 - beta2**count)).sqrt_().add_(group["eps"])
    parameter.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**count))
