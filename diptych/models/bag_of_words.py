"""Continuous bag of words: the cheaper text encoder of the paper (figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.models.layers import LayerNorm
from diptych.models.text_transformer import lengths_to_highest
from diptych.models.tower import Intermediates, TextTower, TowerOutput
from diptych.specs import BagOfWordsSpec
from diptych.tokens import Tokens


class BagOfWords(TextTower):
    """``Tokens`` to ``embedding_BE``: the mean of the tokens' embeddings, normalised and projected. Order is lost.

    Intermediates: ``features`` (B, D), before the projection.
    """

    intermediates = ("features",)

    def __init__(self, spec: BagOfWordsSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Embedding(spec.vocabulary_size, spec.width)
        self.norm_final = LayerNorm(spec.width)
        self.projection = nn.Parameter(torch.empty(spec.width, embedding))

    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        length = tokens.longest
        inside_BL = torch.arange(length, device=tokens.ids_BL.device) < tokens.lengths_B[:, None]
        x_BLD = self.token_embedding(tokens.ids_BL[:, :length]) * inside_BL[..., None]
        features_BD = self.norm_final(x_BLD.sum(dim=1) / tokens.lengths_B[:, None])
        kept.offer("features", features_BD)
        return features_BD @ self.projection.to(features_BD.dtype), kept

    def lengths(self, ids_BL: Tensor) -> Tensor:
        """Of bare ids, whose end token is the highest."""
        return lengths_to_highest(ids_BL)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """As the Transformer's: tokens of std 0.02, the projection of std width^-0.5."""
        self.token_embedding.weight.normal_(0, 0.02, generator=generator)
        self.projection.normal_(0, self.spec.width**-0.5, generator=generator)
