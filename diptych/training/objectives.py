"""Objectives: they own the model's forward and backward pass and the loss over what it gives."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.clip import CLIP
from diptych.tokens import Tokens
from diptych.training.losses import LossSpec, Pairs, contrastive_loss
from diptych.training.parts import Part, parts
from diptych.training.predictive import bag_of_words, caption


def contrastive(
    model: CLIP,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    image_ids_B: Tensor,
    text_ids_M: Tensor,
    precision: torch.dtype,
    loss: LossSpec,
    micro_batch: int | None = None,
    places_BK: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CLIP's objective (paper, section 2.3), or SigLIP's where scores are sigmoids: adds its gradient to that of the
    parameters, and returns the loss and its metrics.

    Towers run in ``precision``, similarities and loss in fp32.
    ``tokens``: M = K * B texts, K for each of the B images one after the other; ``image_ids_B``, ``text_ids_M``: equal
    for equal images and for equal texts.
    ``micro_batch``: how many images, with their texts, are in the towers at a time. Loss and gradient are those of the
    whole batch all the same: everything is embedded without its activations, the loss gives the gradient of each
    embedding, and a second pass takes that into the towers (gradient caching, arXiv 2101.06983). Batch norms see a
    micro-batch at a time, so models that have them are another model then.
    ``places_BK``: the patches of each image that its tower sees, where it has patches; all of them without.
    """
    cut = parts(pixels_BCHW, tokens, places_BK, micro_batch)
    if len(cut) == 1:
        embedded = [_embedded(model, cut[0], precision)]
    else:
        with torch.no_grad(), _statistics_kept(model):
            embedded = [tuple(e.requires_grad_() for e in _embedded(model, part, precision)) for part in cut]
    images, texts = zip(*embedded, strict=True)
    pairs = Pairs(
        images_BE=torch.cat(images),
        texts_ME=torch.cat(texts),
        scale=model.logit_scale.exp(),
        image_ids_B=image_ids_B,
        text_ids_M=text_ids_M,
        bias=model.logit_bias if model.spec.scores == "sigmoid" else None,
    )
    value, metrics = contrastive_loss(pairs, loss)
    value.backward()
    if len(cut) > 1:
        for part, cached in zip(cut, embedded, strict=True):
            again = zip(_embedded(model, part, precision), cached, strict=True)
            learning = [(rows, leaf.grad) for rows, leaf in again if rows.requires_grad]  # a locked tower's do not
            torch.autograd.backward([rows for rows, _ in learning], [gradient for _, gradient in learning])
    return value.detach(), metrics


def _embedded(model: CLIP, part: Part, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Unit-norm embeddings of images and texts in fp32."""
    with torch.autocast(part[0].device.type, precision, enabled=precision != torch.float32):
        images_BE, texts_ME = model(*part)
    return F.normalize(images_BE.float(), dim=1), F.normalize(texts_ME.float(), dim=1)


@contextmanager
def _statistics_kept(model: nn.Module) -> Generator[None]:
    """Batch norms normalise by their batch without remembering it, since a second pass will show it to them again."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]

# By the names that recipes have for them; all are called as `contrastive` is.
OBJECTIVES: dict[str, Objective] = {"contrastive": contrastive, "bag_of_words": bag_of_words, "caption": caption}
