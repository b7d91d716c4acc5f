"""Adam whose statistics, and where they are bf16 its weights too, take half the memory (paper, section 2.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def stochastically_rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """fp32 to bf16, up or down by chance, so that the mean over many draws is the value itself.

    Rounding to the nearest would leave a weight where it is whenever its update is less than half the distance to the
    next bf16, which is 1/512 of it at least.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    rounded = (bits + noise).bitwise_and_(-(1 << 16)).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)


def halve(tower: nn.Module) -> None:
    """A tower's matrices to bf16, in place; vectors (gains, biases) are few and stay as they are."""
    for parameter in tower.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.to(torch.bfloat16)


class HalfAdam(torch.optim.Optimizer):
    """AdamW with both statistics in bf16, stochastically rounded; arithmetic is in fp32.

    Weights in bf16 are rounded so as well, those in fp32 are updated as they are. The draws are a function of the step
    and of the parameter's place among all, so that a run that is resumed makes the same ones, and so do processes that
    all have the whole of a parameter, whatever part each has of the others.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """PyTorch gives loaded statistics the precision of their weight; here they get their own back."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state |= {name: state[name].to(torch.bfloat16) for name in ("exp_avg", "exp_avg_sq")}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # ty: ignore[incompatible-method-override]
        """One update of every parameter that has a gradient."""
        generators: dict[torch.device, torch.Generator] = {}
        places = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        for place, (group, parameter) in enumerate(places):
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
                state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
            state["step"] += 1
            generator = generators.setdefault(parameter.device, torch.Generator(parameter.device))
            generator.manual_seed(int(state["step"]) * len(places) + place)
            local = {name: _local(value) for name, value in state.items()}
            _update(_local(parameter), _local(parameter.grad).float(), local, group, generator)


def _local(tensor: Tensor) -> Tensor:
    """Of a sharded tensor this process's part, which shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _update(
    parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any], generator: torch.Generator
) -> None:
    beta1, beta2 = group["betas"]
    count = int(state["step"])
    mean = state["exp_avg"].float().lerp_(gradient, 1 - beta1)
    square = state["exp_avg_sq"].float().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    state["exp_avg"].copy_(stochastically_rounded(mean, generator))
    state["exp_avg_sq"].copy_(stochastically_rounded(square, generator))
    weight = parameter.float() * (1 - group["lr"] * group["weight_decay"])
    scale = square.div_(1 - beta2**count).sqrt_().add_(group["eps"])
    weight.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**count))
    parameter.copy_(stochastically_rounded(weight, generator) if parameter.dtype == torch.bfloat16 else weight)
