"""BERT as a text tower (arXiv 1810.04805), read out at its first token as Chinese-CLIP does (arXiv 2211.01335)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.models.layers import MLP, Attention, LayerNorm
from diptych.models.tower import Intermediates, TextTower, TowerOutput
from diptych.specs import BertSpec
from diptych.tokens import Tokens


class BertBlock(nn.Module):
    """Post-norm residual block: attention to what is no padding, then MLP."""

    def __init__(self, spec: BertSpec) -> None:
        super().__init__()
        self.attention = Attention(spec.width, spec.heads, causal=False)
        self.norm_attention = LayerNorm(spec.width, spec.norm_epsilon)
        self.mlp = MLP(spec.width, spec.mlp_ratio, spec.activation)
        self.norm_mlp = LayerNorm(spec.width, spec.norm_epsilon)

    def forward(self, x_BLD: Tensor, inside_BL: Tensor) -> Tensor:
        x_BLD = self.norm_attention(x_BLD + self.attention(x_BLD, inside_BL))
        return self.norm_mlp(x_BLD + self.mlp(x_BLD))


class Bert(TextTower):
    """``Tokens`` to ``embedding_BE``. The batch runs only to its longest text; padding is not attended to.

    Intermediates: ``tokens`` (B, L, D), after the last block; ``features`` (B, D), the first token's.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: BertSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Embedding(spec.vocabulary_size, spec.width)
        self.positional_embedding = nn.Parameter(torch.empty(spec.positions, spec.width))
        self.segment_embedding = nn.Parameter(torch.empty(2, spec.width))  # of a first and a second sentence
        self.norm_embedding = LayerNorm(spec.width, spec.norm_epsilon)
        self.blocks = nn.ModuleList(BertBlock(spec) for _ in range(spec.layers))
        self.projection = nn.Parameter(torch.empty(spec.width, embedding))

    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        longest = tokens.longest
        inside_BL = torch.arange(longest, device=tokens.ids_BL.device) < tokens.lengths_B[:, None]
        x_BLD = self.token_embedding(tokens.ids_BL[:, :longest])
        x_BLD = self.norm_embedding(x_BLD + self.positional_embedding[:longest] + self.segment_embedding[0])
        for block in self.blocks:
            x_BLD = block(x_BLD, inside_BL)
        kept.offer("tokens", x_BLD)
        features_BD = x_BLD[:, 0]
        kept.offer("features", features_BD)
        return features_BD @ self.projection.to(features_BD.dtype), kept

    def lengths(self, ids_BL: Tensor) -> Tensor:
        """Of bare ids, which are padded with 0."""
        return (ids_BL != 0).sum(dim=1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Normal of std 0.02 everywhere as BERT's; the projection of std width^-0.5."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0, 0.02, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for embedding in (self.positional_embedding, self.segment_embedding):
            embedding.normal_(0, 0.02, generator=generator)
        self.projection.normal_(0, self.spec.width**-0.5, generator=generator)
