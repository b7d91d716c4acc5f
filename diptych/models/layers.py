"""The pieces both Transformers are made of: LayerNorm in fp32, attention, MLP, pre-norm block."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.specs import (
    CaptionTransformerSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
    VisionTransformerSpec,
)
from diptych.tower_specs import Activation

BlockSpec = VisionTransformerSpec | TextTransformerSpec | SiglipVisionSpec | SiglipTextSpec | CaptionTransformerSpec


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in fp32 whatever the precision of its input, as the released models do."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float()).to(input.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of the released CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation(name: Activation) -> nn.Module:
    """The module of a named activation."""
    if name == "quick_gelu":
        return QuickGELU()
    return nn.GELU(approximate="tanh" if name == "gelu_tanh" else "none")


@torch.no_grad()
def fan_in_uniform(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """PyTorch's own default for linear and convolution layers: U(-1, 1) / sqrt(fan in), drawn from ``generator``."""
    bound = layer.weight[0].numel() ** -0.5
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator)


def attend(
    queries_BHLK: Tensor,
    keys_BHMK: Tensor,
    values_BHMK: Tensor,
    *,
    causal: bool = False,
    inside_BM: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention, ``(B, H, L, K)``; a causal one never sees a mask: the kernel knows the triangle.

    ``inside_BM``: which of the keys are no padding; by default all.
    """
    mask_B11M = None if inside_BM is None else inside_BM[:, None, None]
    attention = partial(F.scaled_dot_product_attention, attn_mask=mask_B11M, is_causal=causal)
    if queries_BHLK.dtype == torch.bfloat16 and queries_BHLK.device.type == "cpu" and queries_BHLK.requires_grad:
        # The backward pass in bf16 takes three to six times as long as in fp32 there (torch 2.13).
        with torch.autocast("cpu", enabled=False):
            x_BHLK = attention(queries_BHLK.float(), keys_BHMK.float(), values_BHMK.float())
        return x_BHLK.to(queries_BHLK.dtype)
    return attention(queries_BHLK, keys_BHMK, values_BHMK)


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values.

    ``x_BLD`` to ``x_BLD``; ``inside_BL`` tells what is no padding, by default everything.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, inside_BL: Tensor | None = None) -> Tensor:
        B, L, D = x_BLD.shape
        q_BHLK, k_BHLK, v_BHLK = (
            self.query_key_value(x_BLD).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        )
        x_BHLK = attend(q_BHLK, k_BHLK, v_BHLK, causal=self.causal, inside_BM=inside_BL)
        return self.output(x_BHLK.transpose(1, 2).reshape(B, L, D))


class MLP(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, width: int, ratio: float, name: Activation) -> None:
        super().__init__()
        self.expand = nn.Linear(width, int(width * ratio))
        self.activation = activation(name)
        self.contract = nn.Linear(int(width * ratio), width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(x_BLD)))


class Block(nn.Module):
    """Pre-norm residual block: attention, then MLP."""

    def __init__(self, spec: BlockSpec, *, causal: bool) -> None:
        super().__init__()
        self.norm_attention = LayerNorm(spec.width, spec.norm_epsilon)
        self.attention = Attention(spec.width, spec.heads, causal=causal)
        self.norm_mlp = LayerNorm(spec.width, spec.norm_epsilon)
        self.mlp = MLP(spec.width, spec.mlp_ratio, spec.activation)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.attention(self.norm_attention(x_BLD))
        return x_BLD + self.mlp(self.norm_mlp(x_BLD))


class Transformer(nn.Sequential):
    """The blocks of a tower, one after the other."""

    def __init__(self, spec: BlockSpec, *, causal: bool) -> None:
        super().__init__(*(Block(spec, causal=causal) for _ in range(spec.layers)))

    def each(self) -> Iterator[Block]:
        """The blocks, for those who initialise or count them."""
        return (block for block in self if isinstance(block, Block))
