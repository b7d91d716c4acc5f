"""Floating-point operations of the two towers, counted as they run, a multiplication and an addition being two.

On the meta device, where tensors have shapes and no numbers, so that a model of any size is counted on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diptych.models.clip import CLIP
from diptych.specs import HuggingFaceTextSpec
from diptych.tokens import Tokens

_IMAGES = 2  # at a time, since batch norms in training refuse a single one


class UnreadTokens(Tokens):
    """Tokens without numbers: each text is as long as its row of ``ids_BL``."""

    @property
    def longest(self) -> int:
        return self.ids_BL.shape[1]

    @classmethod
    def of(cls, texts: int, length: int, device: str) -> UnreadTokens:
        """So many texts of that length; on a device that has numbers, all ids are 0."""
        ids_BL = torch.zeros(texts, length, dtype=torch.int64, device=device)
        return cls(ids_BL, torch.full((texts,), length, device=device))


@dataclass(frozen=True)
class Cost:
    """Operations of one sample: embedding it, and the gradient of what learns in the tower."""

    forward: int
    backward: int

    @property
    def both(self) -> int:
        """Of a training step."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Flops:
    """Operations of an image, and of a text by its number of tokens.

    ``differences``: of the costs of texts with 1, 2 and 3 tokens (Newton's). A text's cost is a polynomial of second
    degree in its length, since all of a Transformer is linear in it but attention, which is quadratic.
    """

    image: Cost
    differences: tuple[Cost, Cost, Cost]

    def text(self, length: int) -> Cost:
        """Of a text of ``length`` tokens, start and end token included."""
        steps = (1, length - 1, (length - 1) * (length - 2) // 2)
        forward = sum(step * cost.forward for step, cost in zip(steps, self.differences, strict=True))
        return Cost(forward, sum(step * cost.backward for step, cost in zip(steps, self.differences, strict=True)))


def flops(model: CLIP, *, patches: int | None = None) -> Flops:
    """Operations of a model's towers: of a forward pass, and of the gradients of all that learns. Both are moved to the
    meta device, since no weight counts. ``patches``: how many of an image are seen, where not all of them are."""
    spec = model.spec
    image, text = model.image.to("meta"), model.text
    # Transformers' encoders look at numbers on their way.
    device = "cpu" if isinstance(spec.text, HuggingFaceTextSpec) else "meta"
    text.to(device)
    size, context = spec.image.image_size, spec.text.context_length
    pixels_BCHW = torch.empty(_IMAGES, 3, size, size, device="meta")
    places = {}
    if patches is not None:
        places = {"places_BK": torch.zeros(_IMAGES, patches, dtype=torch.int64, device="meta")}
    first, second, third = (_cost(text, UnreadTokens.of(1, min(length, context), device)) for length in (1, 2, 3))
    slope, last = _minus(second, first), _minus(third, second)
    return Flops(_cost(image, pixels_BCHW, **places), (first, slope, _minus(last, slope)))


def _cost(tower: nn.Module, samples: Tensor | Tokens, **places: Tensor) -> Cost:
    count = len(samples.ids_BL if isinstance(samples, Tokens) else samples)
    with FlopCounterMode(display=False) as counter:
        embedding_BE = tower(samples, **places)[0]
        forward = counter.get_total_flops()
        if embedding_BE.requires_grad:
            embedding_BE.sum().backward()
    return Cost(forward // count, (counter.get_total_flops() - forward) // count)


def _minus(cost: Cost, other: Cost) -> Cost:
    return Cost(cost.forward - other.forward, cost.backward - other.backward)
