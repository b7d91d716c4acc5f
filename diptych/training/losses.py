"""Losses: values over the pairs of a batch, wherever its parts are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych import distributed
from diptych.errors import ConfigError
from diptych.training import similarities
from diptych.training.relations import Relation


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What departs from the paper's loss; the defaults are the paper.

    equal_captions:   what an equal text of another image is, and any text of an equal image: ``negatives``, wrong as
                      all others; ``positives``, right as well; ``ignored``, neither.
    caption_contrast: weight of a third term, in which the captions of an image find one another among all captions
                      of the batch. It needs two captions or more of each image.
    label_smoothing:  share of the target that is spread over all answers alike.
    nested:           lengths of prefixes of the embeddings that are to be embeddings too, the whole length among them
                      (Matryoshka, arXiv 2205.13147); the loss is the mean over them.
    """

    equal_captions: Literal["negatives", "positives", "ignored"] = "negatives"
    caption_contrast: float = 0.0
    label_smoothing: float = 0.0
    nested: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.caption_contrast < math.inf:
            raise ConfigError(f"loss.caption_contrast must be a number, not negative, not {self.caption_contrast}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing must be a share below 1, not {self.label_smoothing}")
        if any(size < 1 for size in self.nested):
            raise ConfigError(f"loss.nested must hold lengths of embeddings, not {self.nested}")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What a loss sees of this process's part of a batch: B images and M = K * B texts; text m belongs to image m // K.

    images_BE, texts_ME: embeddings of unit norm.
    scale:               what cosine similarities are multiplied by, exp(t).
    bias:                what is added to them where scores are sigmoids, and None where they compete.
    image_ids_B, text_ids_M: integers, equal for equal images and for equal texts, on all processes.
    """

    images_BE: Tensor
    texts_ME: Tensor
    scale: Tensor
    image_ids_B: Tensor
    text_ids_M: Tensor
    bias: Tensor | None = None


_TREATED: dict[str, Literal["right", "hidden"]] = {"positives": "right", "ignored": "hidden"}


def contrastive_loss(pairs: Pairs, spec: LossSpec) -> tuple[Tensor, dict[str, Tensor]]:
    """Symmetric cross-entropy over the scaled similarities (paper, figure 3), or, with a bias, SigLIP's loss.

    Where several answers are right, the target is spread evenly over them. Returns the scalar loss and the share of
    images and of texts that rank a right partner first in the batch. Computed in fp32 whatever the precision of the
    embeddings, since the scale may reach 100. On any number of processes the loss is that of the whole batch on one;
    the gradients of all processes add up to that one's.
    """
    images_BE, texts_ME = pairs.images_BE.float(), pairs.texts_ME.float()
    losses, shares = [], torch.zeros(2)
    for size in spec.nested or (images_BE.shape[1],):
        if size > images_BE.shape[1]:
            raise ConfigError(f"loss.nested asks for {size} dimensions of embeddings of {images_BE.shape[1]}")
        loss, shares = _loss(_prefix(images_BE, size), _prefix(texts_ME, size), pairs, spec)
        losses.append(loss)
    names = ("image_to_text_accuracy", "text_to_image_accuracy")
    return torch.stack(losses).mean(), dict(zip(names, shares.unbind(), strict=True))


def _loss(images_BE: Tensor, texts_ME: Tensor, pairs: Pairs, spec: LossSpec) -> tuple[Tensor, Tensor]:
    scale, relation = pairs.scale.float(), _images_and_texts(pairs, spec)
    if pairs.bias is not None:
        return similarities.sigmoid(images_BE, texts_ME, scale, pairs.bias.float(), relation)
    smoothing = spec.label_smoothing
    loss, shares = similarities.cross_entropy(images_BE, texts_ME, scale, relation, both=True, smoothing=smoothing)
    if spec.caption_contrast:
        among, _ = similarities.cross_entropy(texts_ME, texts_ME, scale, _among_texts(pairs, spec), both=False)
        loss = loss + spec.caption_contrast * among
    return loss, shares


def _prefix(embeddings: Tensor, size: int) -> Tensor:
    return embeddings if size == embeddings.shape[1] else F.normalize(embeddings[:, :size], dim=1)


def _images_and_texts(pairs: Pairs, spec: LossSpec) -> Relation:
    """Of this process's images to all texts."""
    captions = len(pairs.texts_ME) // len(pairs.images_BE)
    right_BK = _numbers(pairs.text_ids_M).view(-1, captions)
    if spec.equal_captions == "negatives":
        return Relation(right_BK)
    texts = (pairs.text_ids_M.view(-1, captions), distributed.gathered(pairs.text_ids_M))
    images = (pairs.image_ids_B[:, None], distributed.gathered(pairs.image_ids_B.repeat_interleave(captions)))
    return Relation(right_BK, alike=(texts, images), treat=_TREATED[spec.equal_captions])


def _among_texts(pairs: Pairs, spec: LossSpec) -> Relation:
    """Of this process's texts to all texts: those of the same image, but not the text itself."""
    captions = len(pairs.texts_ME) // len(pairs.images_BE)
    numbers_M = _numbers(pairs.text_ids_M)
    siblings_MK = numbers_M.view(-1, captions).repeat_interleave(captions, dim=0)
    others_MK = siblings_MK[siblings_MK != numbers_M[:, None]].view(-1, captions - 1)
    if spec.equal_captions == "negatives":
        return Relation(others_MK, numbers_M)
    image_ids_M = pairs.image_ids_B.repeat_interleave(captions)
    alike = tuple((ids_M[:, None], distributed.gathered(ids_M)) for ids_M in (pairs.text_ids_M, image_ids_M))
    return Relation(others_MK, numbers_M, alike, _TREATED[spec.equal_captions])


def _numbers(rows: Tensor) -> Tensor:
    """The place of each of this process's rows among those of all."""
    return torch.arange(len(rows), device=rows.device) + distributed.rank() * len(rows)
