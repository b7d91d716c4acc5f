"""An image tower and a language model that writes what it shows: the paper's first attempt (section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.clip import IMAGE_TOWERS, undrawn
from diptych.models.layers import LayerNorm, Transformer
from diptych.models.text_transformer import initialise_blocks
from diptych.models.tower import Tower
from diptych.specs import CaptionTransformerSpec, ModelSpec
from diptych.tokens import Tokens


class CaptionTransformer(Tower):
    """Unnormalised image embeddings (B, E) and a text for each to the log-likelihood of each text (B).

    The sequence begins with the image, projected, where texts have their start token, and each place predicts the next
    token, the end token being the last. Tokens are predicted by the matrix that embeds them, as in VirTex (arXiv
    2006.06666); likelihoods are in fp32.
    """

    intermediates = ()

    def __init__(self, spec: CaptionTransformerSpec, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Embedding(spec.vocabulary_size, spec.width)
        self.positional_embedding = nn.Parameter(torch.empty(spec.context_length, spec.width))
        self.image_projection = nn.Parameter(torch.empty(embedding, spec.width))
        self.blocks = Transformer(spec, causal=True)
        self.norm_final = LayerNorm(spec.width, spec.norm_epsilon)

    def forward(self, images_BE: Tensor, tokens: Tokens) -> Tensor:
        places = int(tokens.lengths_B.max()) - 1  # the end token predicts nothing
        ids_BL = tokens.ids_BL[:, : places + 1]
        image_BD = images_BE @ self.image_projection.to(images_BE.dtype)
        x_BLD = torch.cat([image_BD[:, None], self.token_embedding(ids_BL[:, 1:places])], dim=1)
        x_BLD = self.norm_final(self.blocks(x_BLD + self.positional_embedding[:places]))
        inside_BL = torch.arange(places, device=ids_BL.device) < tokens.lengths_B[:, None] - 1
        logits_NV = F.linear(x_BLD[inside_BL], self.token_embedding.weight)  # N tokens, padding left out
        logs_N = -F.cross_entropy(logits_NV.float(), ids_BL[:, 1:][inside_BL], reduction="none")
        return logs_N.new_zeros(inside_BL.shape).masked_scatter(inside_BL, logs_N).sum(dim=1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """As the text tower's; the projection of std embedding^-0.5."""
        self.token_embedding.weight.normal_(0, 0.02, generator=generator)
        self.positional_embedding.normal_(0, 0.01, generator=generator)
        self.image_projection.normal_(0, len(self.image_projection) ** -0.5, generator=generator)
        initialise_blocks(self.blocks, self.spec, generator)


class CaptionModel(nn.Module):
    """The image tower of a CLIP, and in place of its text tower a ``CaptionTransformer``; texts have no embeddings."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if not isinstance(spec.text, CaptionTransformerSpec):
            raise AssertionError(f"{spec.name} has a {spec.text.kind}, and writes no captions")
        self.spec = spec
        self.image = IMAGE_TOWERS[type(spec.image)](spec.image, spec.embedding)
        self.text = CaptionTransformer(spec.text, spec.embedding)

    def forward(self, pixels_BCHW: Tensor, tokens: Tokens, places_BK: Tensor | None = None) -> Tensor:
        """Log-likelihood (M) of M = K * B texts, K for each of the B images one after the other.

        As in a CLIP, the shorter half of the texts runs apart from the longer one, and with ``places_BK`` an image
        tower that has patches sees only those.
        """
        places = {} if places_BK is None else {"places_BK": places_BK}
        images_BE, _ = self.image(pixels_BCHW, **places)
        images_ME = images_BE.repeat_interleave(len(tokens.ids_BL) // len(images_BE), dim=0)
        order_M = tokens.lengths_B.argsort(stable=True)
        halves = [
            self.text(images_ME[half], Tokens(tokens.ids_BL[half], tokens.lengths_B[half])) for half in order_M.chunk(2)
        ]
        return torch.cat(halves)[order_M.argsort()]


def create_caption_model(spec: ModelSpec, *, seed: int) -> CaptionModel:
    """A caption model with random weights, the same for the same seed."""
    model, generator = undrawn(CaptionModel, spec, seed), torch.Generator().manual_seed(seed)
    model.image.initialise(generator)
    model.text.initialise(generator)
    return model
