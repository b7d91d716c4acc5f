"""The two towers on their hinge: one embedding space and a learned temperature (paper, figure 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diptych import specs
from diptych.models.bag_of_words import BagOfWords
from diptych.models.bert import Bert
from diptych.models.external import HuggingFaceImage, HuggingFaceText, TimmTower
from diptych.models.modified_resnet import ModifiedResNet
from diptych.models.siglip import SiglipText, SiglipVision
from diptych.models.text_transformer import TextTransformer
from diptych.models.tower import ImageTower, TextTower
from diptych.models.vision_transformer import VisionTransformer
from diptych.specs import ModelSpec
from diptych.tokens import Tokens

INITIAL_LOGIT_SCALE = {"softmax": math.log(1 / 0.07), "sigmoid": math.log(10)}  # paper, section 2.5; SigLIP, 3.2
INITIAL_LOGIT_BIAS = -10.0  # SigLIP, section 3.2

M = TypeVar("M", bound=nn.Module)

IMAGE_TOWERS: dict[type, Callable[[Any, int], ImageTower]] = {
    specs.VisionTransformerSpec: VisionTransformer,
    specs.ModifiedResNetSpec: ModifiedResNet,
    specs.SiglipVisionSpec: SiglipVision,
    specs.TimmSpec: TimmTower,
    specs.HuggingFaceImageSpec: HuggingFaceImage,
}
TEXT_TOWERS: dict[type, Callable[[Any, int], TextTower]] = {
    specs.TextTransformerSpec: TextTransformer,
    specs.SiglipTextSpec: SiglipText,
    specs.BertSpec: Bert,
    specs.BagOfWordsSpec: BagOfWords,
    specs.HuggingFaceTextSpec: HuggingFaceText,
}


class CLIP(nn.Module):
    """Image tower, text tower and ``logit_scale``, the log of what cosine similarities are multiplied by; where scores
    are sigmoids, also ``logit_bias``, which is added to them. ``head``: the weights (C, E) of a classifier that is
    trained with it, None where there is none; it is no part of a bundle.

    Construct it on the meta device to count or to load weights into it; ``create_model`` gives initialised weights.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.image = IMAGE_TOWERS[type(spec.image)](spec.image, spec.embedding)
        self.text = TEXT_TOWERS[type(spec.text)](spec.text, spec.embedding)
        self.logit_scale = nn.Parameter(torch.empty(()))
        if spec.scores == "sigmoid":
            self.logit_bias = nn.Parameter(torch.empty(()))
        self.head: nn.Parameter | None
        self.register_parameter("head", None)

    def encode_image(self, pixels_BCHW: Tensor) -> Tensor:
        """Unnormalised image embeddings (B, E) of preprocessed pixels."""
        return self.image(pixels_BCHW)[0]

    def encode_text(self, tokens: Tokens | Tensor) -> Tensor:
        """Unnormalised text embeddings (B, E) of ``Tokens``, or of bare ids (B, L), padded as is usual for the tower
        (CLIP's own: the end token is the highest id)."""
        return self.text(self._tokens(tokens))[0]

    def forward(
        self, pixels_BCHW: Tensor, tokens: Tokens | Tensor, places_BK: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unnormalised embeddings of images and texts, each with a row for each.

        The shorter half of the texts runs apart from the longer one, each only to its own longest. With ``places_BK``
        an image tower that has patches sees only those K of each image (FLIP, arXiv 2212.00794).
        """
        tokens = self._tokens(tokens)
        order_B = tokens.lengths_B.argsort(stable=True)
        halves = [self.encode_text(Tokens(tokens.ids_BL[half], tokens.lengths_B[half])) for half in order_B.chunk(2)]
        places = {} if places_BK is None else {"places_BK": places_BK}
        return self.image(pixels_BCHW, **places)[0], torch.cat(halves)[order_B.argsort()]

    def _tokens(self, tokens: Tokens | Tensor) -> Tokens:
        return Tokens(tokens, self.text.lengths(tokens)) if isinstance(tokens, Tensor) else tokens


def hollow(kind: Callable[[ModelSpec], M], spec: ModelSpec) -> M:
    """A model, such as a CLIP, to put weights into: on the meta device, so that it costs nothing, or, where a tower is
    of another library and has constants that are no weights, on the processor with what that library draws."""
    if isinstance(spec.image, specs.ExternalImageSpec) or isinstance(spec.text, specs.HuggingFaceTextSpec):
        return kind(spec)
    with torch.device("meta"):
        return kind(spec)


def undrawn(kind: Callable[[ModelSpec], M], spec: ModelSpec, seed: int) -> M:
    """A model on the processor whose norms are as new and whose other weights are not drawn yet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # other libraries draw from the global generator
        model = hollow(kind, spec)
    if next(model.parameters()).is_meta:
        model.to_empty(device="cpu")
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.reset_parameters()  # gains one, biases zero, running statistics fresh
    return model


def create_model(spec: ModelSpec, *, seed: int) -> CLIP:
    """A CLIP with random weights, the same for the same seed, leaving PyTorch's global generator alone."""
    model, generator = undrawn(CLIP, spec, seed), torch.Generator().manual_seed(seed)
    model.image.initialise(generator)
    model.text.initialise(generator)
    with torch.no_grad():
        model.logit_scale.fill_(INITIAL_LOGIT_SCALE[spec.scores])
        if spec.scores == "sigmoid":
            model.logit_bias.fill_(INITIAL_LOGIT_BIAS)
    return model
