"""Objectives: they own the model's forward and backward pass and the loss over what it gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diptych.tokens import Tokens
from diptych.training.batch_norms import statistics_kept
from diptych.training.forward import Embedded, exchange
from diptych.training.losses import LossSpec, Pairs, contrastive_loss
from diptych.training.parts import Part, parts
from diptych.training.predictive import bag_of_words, caption


def contrastive(
    run: nn.Module,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    image_ids_B: Tensor,
    text_ids_M: Tensor,
    loss: LossSpec,
    micro_batch: int | None = None,
    places_BK: Tensor | None = None,
    loss_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CLIP's objective (paper, section 2.3), or SigLIP's where scores are sigmoids: adds its gradient to that of the
    parameters, and returns the loss and its metrics.

    ``run``: an ``Embed``, or what `parallel.spread` made of one. Similarities and loss are in fp32.
    ``tokens``: M = K * B texts, K for each of the B images one after the other; ``image_ids_B``, ``text_ids_M``: equal
    for equal images and for equal texts.
    ``micro_batch``: how many images, with their texts, are in the towers at a time. Loss and gradient are those of the
    whole batch all the same: everything is embedded without its activations, the loss gives the gradient of each
    embedding, and a second pass takes that into the towers (gradient caching, arXiv 2101.06983). Batch norms see a
    micro-batch at a time, so models that have them are another model then.
    ``places_BK``: the patches of each image that its tower sees, where it has patches; all of them without.
    ``loss_scale``: what the gradient is multiplied by, the loss that is returned is not.
    Where there are several parts, PyTorch's global generator is seeded anew for each, from its seed at the call.
    """
    cut = parts(pixels_BCHW, tokens, places_BK, micro_batch)
    if len(cut) == 1:
        embedded = [run(*cut[0])]
    else:
        draws = torch.initial_seed()
        with torch.no_grad(), statistics_kept(run):
            embedded = [_leaves(_drawn_anew(run, part, draws + i)) for i, part in enumerate(cut)]
    pairs = Pairs(
        images_BE=torch.cat([part.images_BE for part in embedded]),
        texts_ME=torch.cat([part.texts_ME for part in embedded]),
        scale=embedded[-1].scale,
        image_ids_B=image_ids_B,
        text_ids_M=text_ids_M,
        bias=embedded[-1].bias,
    )
    value, metrics = contrastive_loss(pairs, loss)
    value.backward(value.new_tensor(loss_scale))
    if len(cut) > 1:
        _replay(run, cut, embedded, draws)
    return value.detach(), metrics


def _drawn_anew(run: nn.Module, part: Part, draws: int) -> Embedded:
    """A part of a batch, embedded with the random numbers of this seed, such as dropout's."""
    torch.manual_seed(draws)
    return run(*part)


def _leaves(embedded: Embedded) -> Embedded:
    images_BE, texts_ME, scale, bias = embedded
    leaves = [tensor.detach().requires_grad_() for tensor in (images_BE, texts_ME, scale)]
    return Embedded(*leaves, bias=None if bias is None else bias.detach().requires_grad_())


def _replay(run: nn.Module, cut: list[Part], cached: list[Embedded], draws: int) -> None:
    """Take the gradient of everything that was embedded into the parameters, a part at a time."""
    for i, (part, leaves) in enumerate(zip(cut, cached, strict=True)):
        with exchange(run, last=leaves is cached[-1]):
            again = _drawn_anew(run, part, draws + i)
            outputs = [
                (out, leaf.grad)
                for out, leaf in zip(again, leaves, strict=True)
                # A locked tower's have none to take on.
                if out is not None and leaf is not None and leaf.grad is not None and out.requires_grad
            ]
            torch.autograd.backward([out for out, _ in outputs], [gradient for _, gradient in outputs])


Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]

# By the names that recipes have for them; all are called as `contrastive` is.
OBJECTIVES: dict[str, Objective] = {"contrastive": contrastive, "bag_of_words": bag_of_words, "caption": caption}
