"""Objectives: they own the model's forward pass and the loss over what it gives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.models.clip import CLIP
from diptych.tokens import Tokens
from diptych.training.losses import Pairs, contrastive_loss


def contrastive(
    model: CLIP, pixels_BCHW: Tensor, tokens: Tokens, *, precision: torch.dtype, ids_B: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """CLIP's objective (paper, section 2.3): towers in ``precision``, similarities and loss in fp32.

    ``ids_B``: pairs with equal ids are right for one another.
    """
    with torch.autocast(pixels_BCHW.device.type, precision, enabled=precision != torch.float32):
        images_BE, texts_BE = model(pixels_BCHW, tokens)
    pairs = Pairs(
        images_BE=F.normalize(images_BE.float(), dim=1),
        texts_BE=F.normalize(texts_BE.float(), dim=1),
        scale=model.logit_scale.exp(),
        ids_B=ids_B,
    )
    return contrastive_loss(pairs)
