"""Losses: values over the pairs of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """What a loss sees of a batch of B matching pairs.

    images_BE, texts_BE: embeddings of unit norm; row i of one belongs to row i of the other.
    scale:               what cosine similarities are multiplied by, exp(t).
    ids_B:               integers, equal for pairs that are right for one another; None where every pair is its own.
    """

    images_BE: Tensor
    texts_BE: Tensor
    scale: Tensor
    ids_B: Tensor | None = None


def contrastive_loss(pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
    """Symmetric cross-entropy over the scaled similarities, matching pairs on the diagonal (paper, figure 3).

    Where pairs share an id, the target of each is spread evenly over them instead of calling its twins wrong.
    Returns the scalar loss and the share of images and of texts that rank their own partner first in the batch.
    Computed in fp32 whatever the precision of the embeddings, since the scale may reach 100.
    """
    logits_BB = pairs.scale.float() * pairs.images_BE.float() @ pairs.texts_BE.float().T
    target_B = torch.arange(len(logits_BB), device=logits_BB.device)
    target = target_B
    if pairs.ids_B is not None:
        right_BB = (pairs.ids_B[:, None] == pairs.ids_B[None, :]).float()
        target = right_BB / right_BB.sum(dim=1, keepdim=True)
    loss = (F.cross_entropy(logits_BB, target) + F.cross_entropy(logits_BB.T, target)) / 2
    with torch.no_grad():
        metrics = {
            "image_to_text_accuracy": (logits_BB.argmax(dim=1) == target_B).float().mean(),
            "text_to_image_accuracy": (logits_BB.argmax(dim=0) == target_B).float().mean(),
        }
    return loss, metrics
