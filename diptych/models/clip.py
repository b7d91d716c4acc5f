"""The two towers on their hinge: one embedding space and a learned temperature (paper, figure 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diptych.models.modified_resnet import ModifiedResNet
from diptych.models.text_transformer import TextTransformer
from diptych.models.vision_transformer import VisionTransformer
from diptych.specs import ModelSpec, ModifiedResNetSpec
from diptych.tokens import Tokens

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)  # paper, section 2.5


class CLIP(nn.Module):
    """Image tower, text tower and ``logit_scale``, the log of what cosine similarities are multiplied by.

    Construct it on the meta device to count or to load weights into it; ``create_model`` gives initialised weights.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.image: VisionTransformer | ModifiedResNet
        if isinstance(spec.image, ModifiedResNetSpec):
            self.image = ModifiedResNet(spec.image, spec.embedding)
        else:
            self.image = VisionTransformer(spec.image, spec.embedding)
        self.text = TextTransformer(spec.text, spec.embedding)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def encode_image(self, pixels_BCHW: Tensor) -> Tensor:
        """Unnormalised image embeddings (B, E) of preprocessed pixels."""
        return self.image(pixels_BCHW)[0]

    def encode_text(self, tokens: Tokens | Tensor) -> Tensor:
        """Unnormalised text embeddings (B, E) of ``Tokens``, or of ids (B, L) whose end token is the highest id."""
        return self.text(_tokens(tokens))[0]

    def forward(self, pixels_BCHW: Tensor, tokens: Tokens | Tensor) -> tuple[Tensor, Tensor]:
        """Unnormalised embeddings of images and texts, each with a row for each.

        The shorter half of the texts runs apart from the longer one, each only to its own longest.
        """
        tokens = _tokens(tokens)
        order_B = tokens.lengths_B.argsort(stable=True)
        halves = [self.encode_text(Tokens(tokens.ids_BL[half], tokens.lengths_B[half])) for half in order_B.chunk(2)]
        return self.encode_image(pixels_BCHW), torch.cat(halves)[order_B.argsort()]


def _tokens(tokens: Tokens | Tensor) -> Tokens:
    return Tokens(tokens, tokens.argmax(dim=1) + 1) if isinstance(tokens, Tensor) else tokens


def create_model(spec: ModelSpec, *, seed: int) -> CLIP:
    """A CLIP with random weights, the same for the same seed, leaving PyTorch's global generator alone."""
    with torch.device("meta"):
        model = CLIP(spec)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.reset_parameters()  # gains one, biases zero, running statistics fresh
    model.image.initialise(generator)
    model.text.initialise(generator)
    with torch.no_grad():
        model.logit_scale.fill_(INITIAL_LOGIT_SCALE)
    return model
