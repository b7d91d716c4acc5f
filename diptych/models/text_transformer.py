"""Causal Transformer text tower, read out at the end token (paper, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.models.layers import LayerNorm, Transformer, fan_in_uniform
from diptych.models.tower import Intermediates, TextTower, TowerOutput
from diptych.specs import CaptionTransformerSpec, TextTransformerSpec
from diptych.tokens import Tokens


class TextTransformer(TextTower):
    """``Tokens`` to ``embedding_BE``.

    Attention is causal and the feature is the end token's, so nothing after it can matter: the batch runs only to its
    longest text. Intermediates: ``tokens`` (B, L, D), after the last block; ``features`` (B, D), before the projection.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: TextTransformerSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Embedding(spec.vocabulary_size, spec.width)
        self.positional_embedding = nn.Parameter(torch.empty(spec.context_length, spec.width))
        self.blocks = Transformer(spec, causal=True)
        self.norm_final = LayerNorm(spec.width, spec.norm_epsilon)
        self.projection = nn.Parameter(torch.empty(spec.width, embedding))

    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        longest = tokens.longest
        ids_BL = tokens.ids_BL[:, :longest]
        x_BLD = self.token_embedding(ids_BL) + self.positional_embedding[:longest]
        x_BLD = self.blocks(x_BLD)
        kept.offer("tokens", x_BLD)
        end_BD = x_BLD[torch.arange(len(x_BLD), device=x_BLD.device), tokens.lengths_B - 1]
        features_BD = self.norm_final(end_BD)
        kept.offer("features", features_BD)
        return features_BD @ self.projection.to(features_BD.dtype), kept

    def lengths(self, ids_BL: Tensor) -> Tensor:
        """Of bare ids, whose end token is the highest."""
        return lengths_to_highest(ids_BL)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Normal everywhere, scaled by width and depth (released code; paper page, section 1)."""
        self.token_embedding.weight.normal_(0, 0.02, generator=generator)
        self.positional_embedding.normal_(0, 0.01, generator=generator)
        self.projection.normal_(0, self.spec.width**-0.5, generator=generator)
        initialise_blocks(self.blocks, self.spec, generator)


@torch.no_grad()
def initialise_blocks(
    blocks: Transformer, spec: TextTransformerSpec | CaptionTransformerSpec, generator: torch.Generator
) -> None:
    """The blocks of a causal Transformer, as the released code has them."""
    width, residual = spec.width, spec.width**-0.5 * (2 * spec.layers) ** -0.5
    for block in blocks.each():
        for linear in (block.mlp.expand, block.mlp.contract):
            fan_in_uniform(linear, generator)  # for the biases; the weights follow
        block.attention.query_key_value.weight.normal_(0, width**-0.5, generator=generator)
        block.attention.output.weight.normal_(0, residual, generator=generator)
        block.mlp.expand.weight.normal_(0, (2 * width) ** -0.5, generator=generator)
        block.mlp.contract.weight.normal_(0, residual, generator=generator)
        nn.init.zeros_(block.attention.query_key_value.bias)
        nn.init.zeros_(block.attention.output.bias)


def lengths_to_highest(ids_BL: Tensor) -> Tensor:
    """How many ids each text has, (B,), where its end token is the highest id and the rest is padding."""
    return ids_BL.argmax(dim=1) + 1
