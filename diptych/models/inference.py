"""Running a module to get answers from it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(module: nn.Module, *, fast: bool) -> Generator[torch.device]:
    """Evaluation mode without gradients, in bf16 where ``fast``; yields the device that the module is on.

    Each part's own mode is restored afterwards.
    """
    device = next(module.parameters()).device
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast):
            yield device
    finally:
        for part in training:
            part.training = True
