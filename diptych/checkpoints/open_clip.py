"""OpenCLIP's ``open_clip_config.json`` to a ModelSpec and back.

What OpenCLIP's models have and ours have not is refused by name; so is what our spec says and OpenCLIP cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.checkpoints import open_clip_siglip
from diptych.checkpoints.boundary import described_by
from diptych.checkpoints.open_clip_keys import NO_BIAS, RELEASED_VOCABULARY, section
from diptych.config import from_dict
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import (
    ModelSpec,
    ModifiedResNetSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
    VisionTransformerSpec,
)

_POOLING = {"class_token": "tok", "average": "avg"}


def to_spec(config: Mapping[str, Any], name: str, where: str) -> ModelSpec:
    """The spec that an ``open_clip_config.json`` describes.

    Raises CheckpointError that names the key of a config that is malformed or describes a model we do not have.
    """
    with described_by(where):
        model = section(config, "model_cfg", where)
        preprocess = section({"preprocess_cfg": {}, **config}, "preprocess_cfg", where)
        towers = _towers(model, where)
        size = towers["image"]["image_size"]
        siglip = towers["text"]["kind"] == "siglip_text"
        return from_dict(
            ModelSpec,
            {
                "name": name,
                "embedding": model["embed_dim"],
                **towers,
                "tokenizer": "sentence_piece" if siglip else "clip_byte_pair",
                "scores": "softmax" if model["init_logit_bias"] is NO_BIAS else "sigmoid",
                "preprocess": {
                    # OpenCLIP lets the image tower decide where the two sizes differ.
                    **{"size": size, "mean": preprocess["mean"], "std": preprocess["std"]},
                    **{"resize": preprocess["resize_mode"], "interpolation": preprocess["interpolation"]},
                },
            },
        )


def from_spec(spec: ModelSpec, *, own_tokenizer: bool) -> dict[str, Any]:
    """The ``open_clip_config.json`` of a model, for OpenCLIP's ``local-dir:`` loader.

    ``own_tokenizer``: tokenizer files lie in the same folder. Raises CheckpointError that says what of the spec
    OpenCLIP cannot express.
    """
    image, text = spec.image, spec.text
    if isinstance(image, SiglipVisionSpec):
        return {"model_cfg": open_clip_siglip.config_of(spec), "preprocess_cfg": _preprocess_config(spec)}
    if not isinstance(text, TextTransformerSpec):
        raise CheckpointError(f"OpenCLIP has no {text.kind} of its own, as {spec.name} has")
    if {getattr(tower, "norm_epsilon", 1e-5) for tower in (image, text)} != {1e-5}:
        raise CheckpointError(f"OpenCLIP's norm_epsilon is 1e-5, that of {spec.name} is not")
    vision: dict[str, Any] = {"image_size": image.image_size}
    if isinstance(image, ModifiedResNetSpec):
        vision |= {"layers": list(image.layers), "width": image.stem_width, "head_width": image.width // image.heads}
    elif not isinstance(image, VisionTransformerSpec):
        raise CheckpointError(f"OpenCLIP's config is not written for a tower of {image.kind}, as {spec.name} has")
    else:
        if image.activation != text.activation:
            raise CheckpointError(
                f"OpenCLIP has one activation for both towers; {spec.name} has {image.activation} for images and "
                f"{text.activation} for texts"
            )
        vision |= {"layers": image.layers, "width": image.width, "head_width": image.width // image.heads}
        vision |= {"patch_size": image.patch_size, "mlp_ratio": image.mlp_ratio, "pool_type": _POOLING[image.pooling]}
    texts: dict[str, Any] = {"context_length": text.context_length, "vocab_size": text.vocabulary_size}
    texts |= {"width": text.width, "heads": text.heads, "layers": text.layers, "mlp_ratio": text.mlp_ratio}
    if own_tokenizer or text.vocabulary_size != RELEASED_VOCABULARY:
        # Any name makes the local-dir loader take the folder's own files, and fail where there are none.
        texts["hf_tokenizer_name"] = "tokenizer.json"
    return {
        "model_cfg": {
            "embed_dim": spec.embedding,
            "quick_gelu": text.activation == "quick_gelu",
            **({"init_logit_bias": -10} if spec.scores == "sigmoid" else {}),
            "vision_cfg": vision,
            "text_cfg": texts,
        },
        "preprocess_cfg": _preprocess_config(spec),
    }


def _preprocess_config(spec: ModelSpec) -> dict[str, Any]:
    if spec.preprocess.resize_to not in (None, spec.preprocess.size):
        raise CheckpointError(
            f"OpenCLIP resizes to the size that it crops, {spec.name} to {spec.preprocess.resize_to} px"
        )
    return {
        **{"size": spec.preprocess.size, "mode": "RGB"},
        **{"mean": list(spec.preprocess.mean), "std": list(spec.preprocess.std)},
        **{"interpolation": spec.preprocess.interpolation, "resize_mode": spec.preprocess.resize},
    }


def _towers(model: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    vision, text = model["vision_cfg"], model["text_cfg"]
    if isinstance(vision, Mapping) and isinstance(text, Mapping) and open_clip_siglip.is_siglip(vision):
        return open_clip_siglip.towers(model, where)
    vision = section(model, "vision_cfg", f"{where}: model_cfg")
    text = section(model, "text_cfg", f"{where}: model_cfg")
    activation = "quick_gelu" if model["quick_gelu"] else "gelu"
    return {
        "image": _image(vision, _square(vision["image_size"]), activation),
        "text": {
            "kind": "text_transformer",
            "vocabulary_size": text["vocab_size"],
            "activation": activation,
            **{key: text[key] for key in ("context_length", "width", "heads", "layers", "mlp_ratio")},
        },
    }


def _image(vision: Mapping[str, Any], size: int, activation: str) -> dict[str, Any]:
    width, head_width = vision["width"], vision["head_width"]
    if isinstance(vision["layers"], list):
        return {
            **{"kind": "modified_resnet", "image_size": size, "layers": vision["layers"], "stem_width": width},
            "heads": _heads(32 * width, head_width),
        }
    pooling = {theirs: ours for ours, theirs in _POOLING.items()}
    return {
        **{"kind": "vision_transformer", "image_size": size, "patch_size": _square(vision["patch_size"])},
        **{"width": width, "layers": vision["layers"], "heads": _heads(width, head_width)},
        **{"mlp_ratio": vision["mlp_ratio"], "activation": activation},
        "pooling": pooling.get(vision["pool_type"], vision["pool_type"]),
    }


def _heads(width: int, head_width: int) -> int:
    if width % head_width:
        raise ConfigError(
            f"vision_cfg.head_width ({head_width}) does not divide the width ({width}) of the heads' layer"
        )
    return width // head_width


def _square(size: Any) -> int:
    if isinstance(size, list) and len(set(size)) == 1:
        return size[0]
    if isinstance(size, list):
        raise ConfigError(f"image and patch sizes must be square, not {size}")
    return size
