"""What a run gives out: its weights as a bundle, or as a model of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diptych.checkpoints.bundle import Bundle
from diptych.errors import NonFiniteLoss
from diptych.training import adapters
from diptych.training.trained import Trained, built, wrapped


def bundled(clip: Trained, weights: dict[str, Tensor], *, step: int, good: Callable[[], str]) -> Bundle:
    """The bundle of ``clip`` with these ``weights`` after step ``step``, its adapters merged, in fp32.

    Raises NonFiniteLoss where they are of no use; ``good`` tells which checkpoint is.
    """
    plain = {
        name: tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        for name, tensor in adapters.merged(clip.model, weights).items()
    }
    spoilt = [name for name, tensor in plain.items() if not torch.isfinite(tensor).all()]
    if spoilt:
        raise NonFiniteLoss(
            f"step {step}: {len(spoilt)} of the {len(plain)} weights are not finite, such as {spoilt[0]}; "
            f"they were not written, and {good()}. A lower optimizer.learning_rate may help"
        )
    plain.pop("head", None)  # of a classifier, which is kept beside the bundle
    return Bundle(clip.spec, plain, clip.tokenizer, {**clip.provenance, "step": step})


def standing_alone(clip: Trained, bundle: Bundle, device: torch.device) -> Trained:
    """A model of a bundle's weights, used as ``clip`` is."""
    if clip.tokenizer is None:
        raise AssertionError("what is trained has its tokenizer")
    with torch.random.fork_rng(devices=[]):  # towers of other libraries draw weights before they get these
        model = built(bundle).to(device)
    return wrapped(model, clip.tokenizer, bundle.provenance, clip.precision)
