"""Transformers' folders: ``config.json`` and ``preprocessor_config.json`` to a ModelSpec and back.

``CLIPModel``, ``SiglipModel`` (SigLIP 2 of a fixed resolution is one too), ``Siglip2Model`` (read, at the resolution of
its position embeddings) and ``ChineseCLIPModel``. What a config asks for and our towers do not have is refused by name;
so is what our spec says and Transformers cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diptych.checkpoints.architecture import ratio
from diptych.checkpoints.boundary import described_by
from diptych.checkpoints.huggingface_preprocessor import from_preprocess, of_squares, to_preprocess
from diptych.config import from_dict
from diptych.errors import CheckpointError, ConfigError, nearest
from diptych.specs import (
    BertSpec,
    ModelSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
    VisionTransformerSpec,
)

_ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
SIGLIP2_VOCABULARY = 256_000
_TRANSFORMER = {"layers": "num_hidden_layers", "heads": "num_attention_heads", "width": "hidden_size"}

# What Transformers takes a key to be where a config leaves it out.
_VISION = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}
_VISION |= {"image_size": 224, "num_channels": 3, "vision_use_head": True}
_TEXT = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "vision_config": {**_VISION, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "text_config": {
            **_TEXT,
            **{"num_attention_heads": 8, "hidden_size": 512, "intermediate_size": 2048},
            **{"vocab_size": 49_408, "max_position_embeddings": 77, "eos_token_id": None},
            **{"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        },
    },
    "siglip": {
        "vision_config": {**_VISION, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        "text_config": {
            **_TEXT,
            **{"vocab_size": 32_000, "max_position_embeddings": 64, "pad_token_id": 1, "projection_size": None},
            **{"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        },
    },
    "siglip2": {
        "vision_config": {
            **_VISION,
            **{"image_size": None, "num_patches": 256, "patch_size": 16},
            **{"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        },
    },
    "chinese_clip": {
        "vision_config": {**_VISION, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "text_config": {
            **_TEXT,
            **{"vocab_size": 30_522, "max_position_embeddings": 512, "type_vocab_size": 2},
            **{"hidden_act": "gelu", "layer_norm_eps": 1e-12},
        },
    },
}
FAMILIES = frozenset(_DEFAULTS)  # what ``model_type`` may be
_TWICE = ("clip", "chinese_clip")
_TOWERS = {"clip": "text_transformer", "siglip": "siglip_text", "chinese_clip": "bert"}


def to_spec(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, name: str, where: str) -> ModelSpec:
    """The spec that a ``config.json`` describes; without ``preprocessor_config.json``, preprocessing is the family's.

    Raises CheckpointError that names the key of a config that is malformed or describes a model we do not have.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in _DEFAULTS:
        raise CheckpointError(f"{where} is of a {family!r:.80} model; {nearest(str(family), _DEFAULTS)}")
    with described_by(where):
        return _spec(config, family, preprocessor, name, where)


def _spec(
    config: Mapping[str, Any], family: str, preprocessor: Mapping[str, Any] | None, name: str, where: str
) -> ModelSpec:
    vision = _section(config, family, "vision_config", where)
    if family == "siglip2":  # of any resolution; here of the one square that its position embeddings are for
        family, preprocessor = "siglip", of_squares(preprocessor)
        vision["image_size"] = math.isqrt(vision["num_patches"]) * vision["patch_size"]
    text = _section(config, family, "text_config", where)
    if vision["num_channels"] != 3 or not vision["vision_use_head"]:
        raise CheckpointError(f"{where}: only image towers of 3 channels with their own head are known")
    embedding = (
        config.get("projection_dim", 512) if family != "siglip" else text["projection_size"] or text["hidden_size"]
    )
    towers = {
        "image": {
            "kind": "siglip_vision" if family == "siglip" else "vision_transformer",
            **{"image_size": vision["image_size"], "patch_size": vision["patch_size"]},
            **_transformer(vision, where),
        },
        "text": {
            **{"kind": _TOWERS[family], "vocabulary_size": text["vocab_size"]},
            **_lengths(text, family),
            **_transformer(text, where),
        },
    }
    tokenizers = {"clip": "clip_byte_pair", "siglip": "sentence_piece", "chinese_clip": "word_piece"}
    spec = from_dict(
        ModelSpec,
        {
            **{"name": name, "embedding": embedding, **towers},
            "preprocess": to_preprocess(preprocessor or {}, family, vision["image_size"]),
            "tokenizer": tokenizers[family],
            "scores": "sigmoid" if family == "siglip" else "softmax",
        },
    )
    # Transformers reads a text out where this id stands, or, in configs of 2, at the highest; here the highest ends it.
    end = text.get("eos_token_id")
    if family == "clip" and end not in (None, 2, spec.text.vocabulary_size - 1):
        raise ConfigError(f"text_config.eos_token_id is {end!r:.80}; CLIP's end token is its last, or 2 in old configs")
    return spec


def _section(config: Mapping[str, Any], family: str, section: str, where: str) -> dict[str, Any]:
    # CLIP's configs may have a section twice; Transformers takes the second, and nothing of the first, which has its
    # defaults written over.
    twice = config.get(f"{section}_dict") if family in _TWICE else None
    values = config.get(section) if twice is None else twice
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where}: {section} is {values!r:.80}, but must be an object")
    defaults = _DEFAULTS[family][section]
    told = {key: default if values.get(key) is None else values[key] for key, default in defaults.items()}
    for key, value in told.items():
        kind = int if isinstance(defaults[key], int) else int | float
        if isinstance(defaults[key], int | float) and not isinstance(value, kind):
            number = "a whole number" if kind is int else "a number"
            raise CheckpointError(f"{where}: {section}.{key} is {value!r:.80}, but must be {number}")
    return told


def _transformer(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    activation = section["hidden_act"]
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{where}: hidden_act {activation!r:.80} is none of our activations; "
            f"{nearest(str(activation), _ACTIVATIONS)}"
        )
    width, hidden = section["hidden_size"], section["intermediate_size"]
    return {ours: section[theirs] for ours, theirs in _TRANSFORMER.items()} | {
        "mlp_ratio": ratio(hidden, width),
        "activation": _ACTIVATIONS[activation],
        "norm_epsilon": section["layer_norm_eps"],
    }


def _lengths(text: Mapping[str, Any], family: str) -> dict[str, Any]:
    positions = text["max_position_embeddings"]
    if family == "chinese_clip":
        return {"positions": positions, "context_length": min(BertSpec.context_length, positions)}
    if family == "siglip":  # configs of SigLIP 2 often say 1, as SigLIP's do; its vocabulary pads with 0
        padding = 0 if text["vocab_size"] == SIGLIP2_VOCABULARY else text["pad_token_id"]
        return {"context_length": positions, "padding_id": padding}
    return {"context_length": positions}


def from_spec(spec: ModelSpec, *, start_id: int | None, end_id: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``config.json`` and the ``preprocessor_config.json`` of a model, for Transformers' ``from_pretrained``.

    ``start_id``, ``end_id``: of the tokenizer; by default the last two of a CLIP vocabulary. Raises CheckpointError
    that says what of the spec Transformers cannot express.
    """
    family = family_of(spec)
    image, text = spec.image, spec.text
    assert isinstance(image, VisionTransformerSpec | SiglipVisionSpec)
    assert isinstance(text, TextTransformerSpec | SiglipTextSpec | BertSpec)
    vision_config = {
        **{"image_size": image.image_size, "patch_size": image.patch_size, "num_channels": 3},
        **_section_of(image, family, "vision"),
    }
    text_config = {"vocab_size": text.vocabulary_size, **_section_of(text, family, "text")}
    if isinstance(text, BertSpec):
        text_config |= {"max_position_embeddings": text.positions, "type_vocab_size": 2}
    else:
        text_config |= {"max_position_embeddings": text.context_length}
    if isinstance(text, TextTransformerSpec):
        text_config |= {
            "bos_token_id": text.vocabulary_size - 2 if start_id is None else start_id,
            "eos_token_id": text.vocabulary_size - 1 if end_id is None else end_id,
            "pad_token_id": 0,
        }
    if isinstance(text, SiglipTextSpec):
        text_config |= {"pad_token_id": text.padding_id, "projection_size": spec.embedding}
    else:
        vision_config["projection_dim"] = text_config["projection_dim"] = spec.embedding
    config = {
        "architectures": [{"clip": "CLIPModel", "siglip": "SiglipModel", "chinese_clip": "ChineseCLIPModel"}[family]],
        "model_type": family,
        **({"projection_dim": spec.embedding} if family != "siglip" else {}),
        "text_config": text_config,
        "vision_config": vision_config,
    }
    return config, from_preprocess(spec, family)


def family_of(spec: ModelSpec) -> str:
    """Which of Transformers' models this is; CheckpointError that says what none of them has."""
    kinds = {family: (_TOWERS[family], "softmax" if family != "siglip" else "sigmoid") for family in _TOWERS}
    families = [family for family, (text, scores) in kinds.items() if (spec.text.kind, spec.scores) == (text, scores)]
    image = "siglip_vision" if families == ["siglip"] else "vision_transformer"
    if not families or spec.image.kind != image:
        raise CheckpointError(
            f"Transformers has no model with the towers of {spec.name}: {spec.image.kind} for images, {spec.text.kind} "
            f"for texts, scores by {spec.scores}"
        )
    if isinstance(spec.image, VisionTransformerSpec) and spec.image.pooling != "class_token":
        raise CheckpointError(f"Transformers pools the class token, {spec.name} the {spec.image.pooling}")
    return families[0]


def _section_of(tower: Any, family: str, part: str) -> dict[str, Any]:
    activations = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "model_type": f"{family}_{part}_model",
        **{theirs: getattr(tower, ours) for ours, theirs in _TRANSFORMER.items()},
        "intermediate_size": int(tower.width * tower.mlp_ratio),
        "hidden_act": activations[tower.activation],
        "layer_norm_eps": tower.norm_epsilon,
    }
