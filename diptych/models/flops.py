"""Floating-point operations of the two towers, counted as they run."""

from __future__ import annotations

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych.models.clip import CLIP
from diptych.tokens import Tokens


@torch.no_grad()
def flops(model: CLIP) -> dict[str, int]:
    """Of one image and of one text as long as the context, a multiplication and an addition being two.

    Images pass through the tower on the meta device, where shapes cost nothing; one text is really encoded.
    """
    spec = model.spec
    size, length = spec.image.image_size, spec.text.context_length
    counts = {}
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(model.image).to("meta")(torch.empty(1, 3, size, size, device="meta"))
    counts["image"] = counter.get_total_flops()
    tokens = Tokens(torch.zeros(1, length, dtype=torch.int64), torch.tensor([length]))
    with FlopCounterMode(display=False) as counter:
        model.encode_text(tokens)
    counts["text"] = counter.get_total_flops()
    return counts
