"""Vision Transformer image tower (paper, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.models.layers import LayerNorm, Transformer, fan_in_uniform
from diptych.models.positions import at_places
from diptych.models.tower import ImageTower, Intermediates, TowerOutput
from diptych.specs import VisionTransformerSpec


class VisionTransformer(ImageTower):
    """``pixels_BCHW`` to ``embedding_BE``; with ``places_BK`` by K patches of each image alone.

    Intermediates: ``tokens`` (B, 1 + N, D), all tokens after the last block; ``features`` (B, D), the normalised
    pooled token before the projection, which linear probes use (paper, appendix A).
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: VisionTransformerSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        patches = (spec.image_size // spec.patch_size) ** 2
        self.patch_embedding = nn.Conv2d(3, spec.width, spec.patch_size, spec.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(spec.width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + patches, spec.width))
        self.norm_pre = LayerNorm(spec.width, spec.norm_epsilon)
        self.blocks = Transformer(spec, causal=False)
        self.norm_post = LayerNorm(spec.width, spec.norm_epsilon)
        self.projection = nn.Parameter(torch.empty(spec.width, embedding))

    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = (), places_BK: Tensor | None = None) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        x_BND = self.patch_embedding(pixels_BCHW).flatten(2).transpose(1, 2)
        positions = self.positional_embedding.to(x_BND.dtype)
        x_BND = at_places(x_BND + positions[1:], places_BK)
        class_B1D = (self.class_embedding.to(x_BND.dtype) + positions[0]).expand(len(x_BND), 1, -1)
        x_BND = self.blocks(self.norm_pre(torch.cat([class_B1D, x_BND], dim=1)))
        kept.offer("tokens", x_BND)
        if self.spec.pooling == "class_token":
            features_BD = self.norm_post(x_BND[:, 0])
        else:
            features_BD = self.norm_post(x_BND[:, 1:]).mean(dim=1)
        kept.offer("features", features_BD)
        return features_BD @ self.projection.to(features_BD.dtype), kept

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Class token, positions and projection from width^-0.5 * N(0, 1); the rest as PyTorch initialises it."""
        scale = self.spec.width**-0.5
        for tensor in (self.class_embedding, self.positional_embedding, self.projection):
            tensor.normal_(0, scale, generator=generator)
        fan_in_uniform(self.patch_embedding, generator)
        for block in self.blocks.each():
            nn.init.xavier_uniform_(block.attention.query_key_value.weight, generator=generator)
            nn.init.zeros_(block.attention.query_key_value.bias)
            fan_in_uniform(block.attention.output, generator)
            nn.init.zeros_(block.attention.output.bias)
            fan_in_uniform(block.mlp.expand, generator)
            fan_in_uniform(block.mlp.contract, generator)
