"""Adam with decoupled weight decay, and the learning rate as a function of the step (paper, section 2.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.training.half_adam import HalfAdam
from diptych.training.muon import Muon


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """Adam's values; the defaults are the paper's for Vision Transformers (paper, tables 18 and 20).

    algorithm:         ``"adamw"``, or ``"muon"``, which makes updates of matrices orthogonal, at AdamW's rates and half
                       its memory for statistics; everything else stays AdamW's (arXiv 2502.16982).
    max_gradient_norm: longer gradients are scaled down to it; null leaves them, as the paper does.
    half_statistics:   Adam's two in bf16, stochastically rounded, at half the memory (paper, section 2.5).
    """

    algorithm: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 5e-4
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    weight_decay: float = 0.2
    warmup_steps: int = 2000
    max_gradient_norm: float | None = None
    half_statistics: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"optimizer.learning_rate must be positive, not {self.learning_rate}")
        for name, valid, said in (
            ("beta1", 0 <= self.beta1 < 1, "be from 0 to below 1"),
            ("beta2", 0 <= self.beta2 < 1, "be from 0 to below 1"),
            ("epsilon", 0 < self.epsilon < math.inf, "be positive"),
            ("warmup_steps", self.warmup_steps >= 0, "not be negative"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "not be negative"),
        ):
            if not valid:
                raise ConfigError(f"optimizer.{name} must {said}, not {getattr(self, name)}")
        if self.algorithm == "muon" and self.half_statistics:
            raise ConfigError("optimizer.half_statistics are AdamW's; with optimizer.algorithm 'muon' there are none")
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise ConfigError(f"optimizer.max_gradient_norm must be positive or null, not {self.max_gradient_norm}")


def build_optimizer(
    model: nn.Module, spec: OptimizerSpec, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """The optimiser of what learns: weight decay on everything that is not a gain, a bias or the temperature.

    ``factors``: what the learning rate of each parameter is multiplied by, by its name; by default 1 for all.
    """
    norms = (nn.LayerNorm, nn.BatchNorm2d)
    exempt = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    matrices = matrices_of(model) if spec.algorithm == "muon" else {}
    members: dict[tuple[float, bool, int], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_gain_or_bias = id(parameter) in exempt or name.endswith("bias") or name == "logit_scale"
            key = (factors[name] if factors else 1.0, not is_gain_or_bias, matrices.get(id(parameter), 0))
            members.setdefault(key, []).append(parameter)
    # In an order of their own, on which checkpoints rely: what has the highest rate first, what decays before the rest.
    groups = [
        {"params": members[key], "weight_decay": spec.weight_decay * key[1], "rate_factor": key[0], "matrices": key[2]}
        for key in sorted(members, reverse=True)
    ]
    betas = (spec.beta1, spec.beta2)
    if spec.algorithm == "muon":
        return Muon(groups, lr=spec.learning_rate, betas=betas, eps=spec.epsilon)
    if spec.half_statistics:
        return HalfAdam(groups, lr=spec.learning_rate, betas=betas, eps=spec.epsilon)
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=betas, eps=spec.epsilon, fused=True)


def matrices_of(model: nn.Module) -> dict[int, int]:
    """Of how many matrices each weight is made whose updates are orthogonalised, by the weight's identity: the weights
    of linear layers and of convolutions, except those that see pixels; embeddings and bare projections are none."""
    return {
        id(module.weight): 3 if name.endswith("query_key_value") else 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.in_channels != 3)
    }


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)  # checkpoints of older versions have groups without


def warmup_problem(spec: OptimizerSpec, steps: int) -> str | None:
    """What is wrong with a warm-up for a run of so many steps, and what to do."""
    if spec.warmup_steps < steps:
        return None
    return (
        f"the warm-up of {spec.warmup_steps:,} steps is as long as the run of {steps:,} or longer, so the learning "
        f"rate is never reached; --set optimizer.warmup_steps={steps // 20} is usual"
    )


def learning_rate(spec: OptimizerSpec, step: int, steps: int) -> float:
    """The rate for step ``step`` (from 0) of ``steps``: linear warm-up, then half a cosine down to zero."""
    if step < spec.warmup_steps:
        return spec.learning_rate * (step + 1) / spec.warmup_steps
    progress = (step - spec.warmup_steps) / max(1, steps - spec.warmup_steps)
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
