"""What a run trains, a CLIP or a model that writes captions, and as what others get it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.checkpoints.bundle import Bundle, build, build_captioner
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip, Precision
from diptych.models.captioner import CaptionModel, create_caption_model
from diptych.models.clip import CLIP, create_model
from diptych.specs import CaptionTransformerSpec, ModelSpec
from diptych.text.pretrained import AnyTokenizer

Model = CLIP | CaptionModel
Trained = Clip | Captioner


def created(spec: ModelSpec, seed: int) -> Model:
    """A model of random weights."""
    create = create_caption_model if isinstance(spec.text, CaptionTransformerSpec) else create_model
    return create(spec, seed=seed)


def built(bundle: Bundle) -> Model:
    """The model of a bundle."""
    return (build_captioner if isinstance(bundle.spec.text, CaptionTransformerSpec) else build)(bundle)


def wrapped(model: Model, tokenizer: AnyTokenizer, provenance: Mapping[str, Any], precision: Precision) -> Trained:
    """A model with its tokenizer, as evaluations take it."""
    if isinstance(model, CaptionModel):
        return Captioner(model, tokenizer, provenance, precision)
    return Clip(model, tokenizer, provenance, precision)
