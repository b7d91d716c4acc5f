"""SigLIP's towers (arXiv 2303.15343): patches pooled by attention; texts padded to one length and read at its end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.layers import MLP, LayerNorm, Transformer, attend, fan_in_uniform
from diptych.models.positions import at_places
from diptych.models.tower import ImageTower, Intermediates, TextTower, TowerOutput
from diptych.specs import SiglipTextSpec, SiglipVisionSpec
from diptych.tokens import Tokens


class SiglipVision(ImageTower):
    """``pixels_BCHW`` to ``embedding_BE``, which is as wide as the tower.

    Intermediates: ``tokens`` (B, N, D), normalised, after the last block; ``features`` (B, D), the embedding itself.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: SiglipVisionSpec, embedding: int) -> None:
        super().__init__()
        assert embedding == spec.width, "ModelSpec sees to it"
        self.spec = spec
        self.patch_embedding = nn.Conv2d(3, spec.width, spec.patch_size, spec.patch_size)
        self.positional_embedding = nn.Parameter(torch.empty((spec.image_size // spec.patch_size) ** 2, spec.width))
        self.blocks = Transformer(spec, causal=False)
        self.norm_post = LayerNorm(spec.width, spec.norm_epsilon)
        self.pool = AttentionPooling(spec)

    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = (), places_BK: Tensor | None = None) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        x_BND = self.patch_embedding(pixels_BCHW).flatten(2).transpose(1, 2)
        x_BND = at_places(x_BND + self.positional_embedding.to(x_BND.dtype), places_BK)
        x_BND = self.norm_post(self.blocks(x_BND))
        kept.offer("tokens", x_BND)
        embedding_BE = self.pool(x_BND)
        kept.offer("features", embedding_BE)
        return embedding_BE, kept

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Positions and query of std width^-0.5, Xavier for matrices, patches as PyTorch initialises them."""
        scale = self.spec.width**-0.5
        self.positional_embedding.normal_(0, scale, generator=generator)
        self.pool.probe.normal_(0, scale, generator=generator)
        fan_in_uniform(self.patch_embedding, generator)
        xavier(self, generator)


class AttentionPooling(nn.Module):
    """A learned query attends to every position; a residual MLP follows. ``x_BND`` to (B, D)."""

    def __init__(self, spec: SiglipVisionSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.probe = nn.Parameter(torch.empty(1, 1, spec.width))
        self.query_key_value = nn.Linear(spec.width, 3 * spec.width)
        self.output = nn.Linear(spec.width, spec.width)
        self.norm = LayerNorm(spec.width, spec.norm_epsilon)
        self.mlp = MLP(spec.width, spec.mlp_ratio, spec.activation)

    def forward(self, x_BND: Tensor) -> Tensor:
        D = x_BND.shape[2]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        q_B1D = F.linear(self.probe.expand(len(x_BND), 1, D), weight[:D], bias[:D])
        k_BND, v_BND = F.linear(x_BND, weight[D:], bias[D:]).chunk(2, dim=2)
        x_BH1K = attend(*(self._heads(t) for t in (q_B1D, k_BND, v_BND)))
        x_BD = self.output(x_BH1K.flatten(1))
        return x_BD + self.mlp(self.norm(x_BD))

    def _heads(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(2, (self.heads, -1)).transpose(1, 2)


class SiglipText(TextTower):
    """``Tokens`` to ``embedding_BE``. What stands after a text's end is replaced by padding up to the context length.

    Intermediates: ``tokens`` (B, L, D), normalised, after the last block; ``features`` (B, D), before the projection.
    """

    intermediates = ("tokens", "features")

    def __init__(self, spec: SiglipTextSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Embedding(spec.vocabulary_size, spec.width)
        self.positional_embedding = nn.Parameter(torch.empty(spec.context_length, spec.width))
        self.blocks = Transformer(spec, causal=False)
        self.norm_final = LayerNorm(spec.width, spec.norm_epsilon)
        self.projection = nn.Linear(spec.width, embedding)

    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        kept = Intermediates(keep, self.intermediates)
        x_BLD = self.token_embedding(self._padded(tokens)) + self.positional_embedding
        x_BLD = self.norm_final(self.blocks(x_BLD))
        kept.offer("tokens", x_BLD)
        kept.offer("features", x_BLD[:, -1])
        return self.projection(x_BLD[:, -1]), kept

    def lengths(self, ids_BL: Tensor) -> Tensor:
        """Bare ids are taken as they are: whoever made them has padded them."""
        return torch.full((len(ids_BL),), ids_BL.shape[1], device=ids_BL.device)

    def _padded(self, tokens: Tokens) -> Tensor:
        length = self.spec.context_length
        ids_BL = F.pad(tokens.ids_BL[:, :length], (0, max(0, length - tokens.ids_BL.shape[1])))
        after_BL = torch.arange(length, device=ids_BL.device) >= tokens.lengths_B[:, None]
        return ids_BL.masked_fill(after_BL, self.spec.padding_id)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Tokens and positions of std width^-0.5, Xavier for matrices."""
        scale = self.spec.width**-0.5
        self.token_embedding.weight.normal_(0, scale, generator=generator)
        self.positional_embedding.normal_(0, scale, generator=generator)
        xavier(self, generator)


@torch.no_grad()
def xavier(tower: nn.Module, generator: torch.Generator) -> None:
    """Xavier-uniform weights for every linear layer, those of queries, keys and values each on its own; no biases."""
    for name, module in tower.named_modules():
        if isinstance(module, nn.Linear):
            for part in module.weight.chunk(3 if name.endswith("query_key_value") else 1):
                nn.init.xavier_uniform_(part, generator=generator)
            nn.init.zeros_(module.bias)
