"""What of an objective is run over parts of a batch: everything that parameters go into, as one module, which PyTorch's
parallel modules wrap."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from diptych.models.captioner import CaptionModel
from diptych.models.clip import CLIP
from diptych.tokens import Tokens
from diptych.training.trained import Model


class Embedded(NamedTuple):
    """Unit-norm embeddings of images and of texts in fp32, and the model's ``exp(logit_scale)`` and ``logit_bias``."""

    images_BE: Tensor
    texts_ME: Tensor
    scale: Tensor
    bias: Tensor | None


class Embed(nn.Module):
    """A CLIP whose towers run in ``precision``; gives an `Embedded`."""

    def __init__(self, model: CLIP, precision: torch.dtype) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, pixels_BCHW: Tensor, tokens: Tokens, places_BK: Tensor | None) -> Embedded:
        with torch.autocast(pixels_BCHW.device.type, self.precision, enabled=self.precision != torch.float32):
            images_BE, texts_ME = self.model(pixels_BCHW, tokens, places_BK)
        # A copy, since DDP takes a parameter that comes out as it is for one that was not used.
        bias = self.model.logit_bias.clone() if self.model.spec.scores == "sigmoid" else None
        scale = self.model.logit_scale.exp()
        return Embedded(F.normalize(images_BE.float(), dim=1), F.normalize(texts_ME.float(), dim=1), scale, bias)


class Classify(nn.Module):
    """The image tower of a CLIP, in ``precision``, and its head; gives the logits (B, C) of the classes in fp32. The
    scale of similarities is the model's and learns nothing."""

    def __init__(self, model: CLIP, precision: torch.dtype) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, pixels_BCHW: Tensor, tokens: Tokens, places_BK: Tensor | None) -> Tensor:
        if self.model.head is None:
            raise AssertionError("a model without a head is not trained to classify")
        places = {} if places_BK is None else {"places_BK": places_BK}
        with torch.autocast(pixels_BCHW.device.type, self.precision, enabled=self.precision != torch.float32):
            images_BE, _ = self.model.image(pixels_BCHW, **places)
        scale = self.model.logit_scale.detach().exp()
        return scale * F.normalize(images_BE.float(), dim=1) @ self.model.head.T


class Likelihoods(nn.Module):
    """A model that writes captions, in ``precision``; gives the logarithm of each caption's likelihood."""

    def __init__(self, model: CaptionModel, precision: torch.dtype) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, pixels_BCHW: Tensor, tokens: Tokens, places_BK: Tensor | None) -> Tensor:
        with torch.autocast(pixels_BCHW.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.model(pixels_BCHW, tokens, places_BK)


def forward_of(model: Model, precision: torch.dtype) -> nn.Module:
    """What the objectives of a model run."""
    if not isinstance(model, CLIP):
        return Likelihoods(model, precision)
    return Embed(model, precision) if model.head is None else Classify(model, precision)


def exchange(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Within it, processes exchange gradients only with the ``last`` part of a batch, when they are sums over all."""
    return nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()
