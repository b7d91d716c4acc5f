"""Objectives: they own the model's forward pass and the loss over what it gives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.models.clip import CLIP
from diptych.tokens import Tokens
from diptych.training.losses import LossSpec, Pairs, contrastive_loss


def contrastive(
    model: CLIP,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    image_ids_B: Tensor,
    text_ids_M: Tensor,
    precision: torch.dtype,
    loss: LossSpec,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CLIP's objective (paper, section 2.3), or SigLIP's where scores are sigmoids.

    Towers run in ``precision``, similarities and loss in fp32.

    ``tokens``: M = K * B texts, K for each of the B images one after the other; ``image_ids_B``, ``text_ids_M``: equal
    for equal images and for equal texts.
    """
    with torch.autocast(pixels_BCHW.device.type, precision, enabled=precision != torch.float32):
        images_BE, texts_ME = model(pixels_BCHW, tokens)
    pairs = Pairs(
        images_BE=F.normalize(images_BE.float(), dim=1),
        texts_ME=F.normalize(texts_ME.float(), dim=1),
        scale=model.logit_scale.exp(),
        image_ids_B=image_ids_B,
        text_ids_M=text_ids_M,
        bias=model.logit_bias if model.spec.scores == "sigmoid" else None,
    )
    return contrastive_loss(pairs, loss)
