"""Losses: values over the pairs of a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diptych.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What departs from the paper's loss; the defaults are the paper.

    equal_captions:   ``negatives``: every image and text of a batch that do not belong together are wrong for one
                      another; ``positives``: a text is also right for images that have an equal one.
    caption_contrast: weight of a third term, in which the captions of an image find one another among all captions
                      of the batch. It needs two captions or more of each image.
    """

    equal_captions: Literal["negatives", "positives"] = "negatives"
    caption_contrast: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.caption_contrast < math.inf:
            raise ConfigError(f"loss.caption_contrast must be a number, not negative, not {self.caption_contrast}")


@dataclass(frozen=True)
class Pairs:
    """What a loss sees of a batch of B images and M = K * B texts; text m belongs to image m // K.

    images_BE, texts_ME: embeddings of unit norm.
    scale:               what cosine similarities are multiplied by, exp(t).
    text_ids_M:          integers, equal for equal texts.
    """

    images_BE: Tensor
    texts_ME: Tensor
    scale: Tensor
    text_ids_M: Tensor


def contrastive_loss(pairs: Pairs, spec: LossSpec) -> tuple[Tensor, dict[str, Tensor]]:
    """Symmetric cross-entropy over the scaled similarities (paper, figure 3).

    Where several answers are right, the target is spread evenly over them. Returns the scalar loss and the share of
    images and of texts that rank a right partner first in the batch. Computed in fp32 whatever the precision of the
    embeddings, since the scale may reach 100.
    """
    images_BE, texts_ME, scale = pairs.images_BE.float(), pairs.texts_ME.float(), pairs.scale.float()
    right_BM, right_MM = _right(pairs, spec)
    logits_BM = scale * images_BE @ texts_ME.T
    loss = (_cross_entropy(logits_BM, right_BM) + _cross_entropy(logits_BM.T, right_BM.T)) / 2
    if spec.caption_contrast:
        logits_MM = (scale * texts_ME @ texts_ME.T).fill_diagonal_(-torch.inf)
        loss = loss + spec.caption_contrast * _cross_entropy(logits_MM, right_MM.fill_diagonal_(False))
    with torch.no_grad():
        metrics = {
            "image_to_text_accuracy": _accuracy(logits_BM, right_BM),
            "text_to_image_accuracy": _accuracy(logits_BM.T, right_BM.T),
        }
    return loss, metrics


def _right(pairs: Pairs, spec: LossSpec) -> tuple[Tensor, Tensor]:
    """Which texts are right for which images, and which texts say the same image, themselves included."""
    B, M = len(pairs.images_BE), len(pairs.texts_ME)
    owner_M = torch.arange(M, device=pairs.texts_ME.device) // (M // B)
    right_MM = owner_M[:, None] == owner_M[None, :]
    if spec.equal_captions == "positives":
        right_MM = right_MM | (pairs.text_ids_M[:, None] == pairs.text_ids_M[None, :])
    return right_MM.view(B, M // B, M).any(dim=1), right_MM


def _cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy to a target that is even over the row's right columns."""
    # Minus infinity (a text with itself) is never right; zero times it must not become NaN.
    log_probabilities = logits.log_softmax(dim=1).masked_fill(~right, 0)
    return -(log_probabilities.sum(dim=1) / right.sum(dim=1)).mean()


def _accuracy(logits: Tensor, right: Tensor) -> Tensor:
    return right.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean()
