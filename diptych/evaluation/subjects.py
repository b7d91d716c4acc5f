"""What can be evaluated: a CLIP, a model that writes captions, an image encoder alone; what each makes of pixels."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diptych.checkpoints.bundle import fingerprint
from diptych.config import to_dict
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip
from diptych.encoder.subject import ImageSubject
from diptych.errors import ConfigError
from diptych.specs import PreprocessSpec

Subject = Clip | Captioner | ImageSubject


def check_subject(subject: object) -> None:
    """Raises ConfigError for what cannot be evaluated."""
    if not isinstance(subject, Subject):
        raise ConfigError(f"a Clip or an ImageSubject is evaluated, not {subject!r:.80}; diptych.load(...) gives one")


def preprocessing(subject: Subject) -> PreprocessSpec:
    """How images become pixels for it."""
    return subject.preprocess if isinstance(subject, ImageSubject) else subject.spec.preprocess


def outputs(subject: Subject, pixels_BCHW: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (B, E), of unit norm where it is a CLIP, and features before the projection (B, D).

    An image encoder has features alone; what a model that writes captions is given of an image is both.
    """
    if isinstance(subject, Clip):
        return subject.image_outputs(pixels_BCHW)
    if isinstance(subject, Captioner):
        given_BE = subject.encode_pixels(pixels_BCHW)
        return given_BE, given_BE
    features_BD = subject.features_of_pixels(pixels_BCHW)
    return np.empty((len(features_BD), 0), np.float32), features_BD


def name_of(subject: Subject) -> str:
    """How results call it."""
    return subject.name if isinstance(subject, ImageSubject) else subject.spec.name


def identity(subject: Subject) -> dict[str, Any]:
    """What its outputs depend on, beside the images: two subjects of one identity give the same."""
    module = subject.module if isinstance(subject, ImageSubject) else subject.model
    # A library's module tells in its representation what it is made of.
    structure = hashlib.sha256(repr(module).encode()).hexdigest()
    return {
        "model": name_of(subject),
        "weights": fingerprint(dict(module.state_dict())),
        "structure": structure if isinstance(subject, ImageSubject) else to_dict(subject.spec),
        "preprocess": to_dict(preprocessing(subject)),
        "precision": subject.precision,
    }


def cost(subject: Subject) -> dict[str, float]:
    """``gflops`` of an image, a multiplication and an addition being two operations, and ``parameters`` of what sees
    it."""
    size = preprocessing(subject).size
    tower = subject.module if isinstance(subject, ImageSubject) else subject.model.image
    # Fused, attention counts nothing on a CPU; as plain products it counts the same everywhere.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs(subject, torch.zeros(1, 3, size, size))
    parameters = sum(parameter.numel() for parameter in tower.parameters())
    return {"gflops": float(f"{counter.get_total_flops() / 1e9:.4g}"), "parameters": float(parameters)}
