"""Where a ``Clip`` comes from: a checkpoint, or random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from diptych import zoo
from diptych.encoder.clip import Clip, Precision, check_tokenizer
from diptych.errors import ConfigError
from diptych.models.clip import CLIP, create_model
from diptych.specs import CaptionTransformerSpec, ModelSpec
from diptych.text.pretrained import AnyTokenizer
from diptych.tower_specs import Activation


def load(
    location: str | Path,
    *,
    precision: Precision = "fp32",
    tokenizer: AnyTokenizer | str | Path | None = None,
    image_size: int | None = None,
    context_length: int | None = None,
    activation: Activation | None = None,
    device: str | torch.device | None = None,
) -> Clip:
    """A CLIP from a folder, a ``.pt`` or ``.safetensors`` file, or ``hf:org/name[@revision]``.

    precision:  ``fp32``, or ``fast``: weights of matrix products in bf16.
    tokenizer:  a Tokenizer, or where to find one, for a checkpoint that brings none.
    image_size: another resolution than the checkpoint's; position embeddings are resized.
    context_length: texts of more tokens, or fewer, than the checkpoint's; likewise.
    activation: ``gelu`` or ``quick_gelu``, for weights that do not say.
    device:     where the towers run, such as ``"cpu"`` or ``"cuda:1"``; by default the GPU where there is one.

    Weights are never invented: what is missing or unclear raises CheckpointError that says what to pass. Raises
    ConfigError for a device that is not there.
    """
    from diptych.checkpoints import bundle

    where = default_device() if device is None else _device(device)
    path = tokenizer if isinstance(tokenizer, str | Path) else None
    given = tokenizer if not isinstance(tokenizer, str | Path) else None
    if given is not None:
        check_tokenizer(given)
    whole = bundle.read(
        location, tokenizer=path, image_size=image_size, context_length=context_length, activation=activation
    )
    model = bundle.build(whole).requires_grad_(False)
    clip = Clip(model, given or whole.tokenizer, whole.provenance, precision)
    if precision == "fast":
        _halve(model)
    model.to(where)
    return clip


def default_device() -> torch.device:
    """Where towers run unless told: the GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device(name: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError, TypeError) as error:  # each backend has its own way
        told = str(error).partition("\n")[0]
        raise ConfigError(f"device={str(name)!r} cannot be used here ({told:.100})") from error


def create(name_or_spec: str | ModelSpec, *, seed: int, tokenizer: AnyTokenizer | None = None) -> Clip:
    """A CLIP with random weights, by the name of a released architecture or a spec of one's own.

    With a tokenizer, the model's vocabulary and context length become the tokenizer's. Raises ConfigError with the
    nearest name for an unknown one.
    """
    if not isinstance(name_or_spec, str | ModelSpec):
        raise ConfigError(f"a model is made from the name of an architecture or a ModelSpec, not {name_or_spec!r:.80}")
    spec = zoo.find(name_or_spec) if isinstance(name_or_spec, str) else name_or_spec
    if isinstance(spec.text, CaptionTransformerSpec):
        raise ConfigError(f"{spec.name} writes captions and embeds no texts, so it is no CLIP; training makes one")
    if tokenizer is not None:
        check_tokenizer(tokenizer)
        spec = spec.with_vocabulary(
            tokenizer.vocabulary_size, tokenizer.context_length, tokenizer=tokenizer.family, padding_id=tokenizer.pad_id
        )
    return Clip(create_model(spec, seed=seed), tokenizer, {"weights_from": f"random, seed {seed}"})


@torch.no_grad()
def _halve(model: CLIP) -> None:
    """Convolutions and linear layers to bf16. Norms and the few bare tensors stay: autocast does the rest."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)
