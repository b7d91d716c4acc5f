"""SigLIP in OpenCLIP's config: an image tower by its name in timm, and a text tower with its own switches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diptych.checkpoints.open_clip_keys import section
from diptych.errors import CheckpointError
from diptych.specs import ModelSpec, SiglipTextSpec, SiglipVisionSpec

_NAME = re.compile(r"vit_(base|large|so400m|giantopt)_patch(\d+)_siglip_(\d+)")
# Width, layers, heads and MLP ratio of timm's sizes.
_SIZES: dict[str, tuple[int, int, int, float]] = {
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "so400m": (1152, 27, 16, 3.7362),
    "giantopt": (1536, 40, 16, 4.0),
}
# timm gives these the GELU that SigLIP was trained with, the others the exact one, which differs by less than 0.001.
_TANH = re.compile(r"vit_(base_patch32|large_patch16_siglip_512|so400m_patch16|giantopt)")
_RESOLUTIONS = {
    ("base", 32): (256,),
    ("base", 16): (224, 256, 384, 512),
    ("large", 16): (256, 384, 512),
    ("so400m", 14): (224, 378, 384),
    ("so400m", 16): (256, 384, 512),
    ("giantopt", 16): (256, 384),
}
_SIGLIP2_VOCABULARY = 256_000
# What SigLIP's towers have in common, and the two GELUs that its text tower may have.
_VISION = {"timm_pool": "map", "timm_proj": "none"}
_TEXT = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
_TANH_GELU = {"approximate": "tanh"}
_GELUS = ({}, {"approximate": "none"}, _TANH_GELU)


def is_siglip(vision: Mapping[str, Any]) -> bool:
    """Whether this ``vision_cfg`` names one of timm's SigLIP towers."""
    name = vision.get("timm_model_name")
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def towers(model: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """The two tower specs, as plain data; CheckpointError for switches that SigLIP's towers do not have."""
    vision = section(model, "SigLIP's vision_cfg", f"{where}: model_cfg")
    text = section(model, "SigLIP's text_cfg", f"{where}: model_cfg")
    name = vision["timm_model_name"]
    match = _NAME.fullmatch(name)
    assert match
    width, layers, heads, mlp_ratio = _SIZES[match[1]]
    wrong = [f"vision_cfg.{key} is {vision[key]!r:.80}" for key, value in _VISION.items() if vision[key] != value]
    wrong += [f"text_cfg.{key} is {text[key]!r:.80}" for key, value in _TEXT.items() if text[key] != value]
    wrong += [f"text_cfg.act_kwargs is {text['act_kwargs']!r:.80}"] if text["act_kwargs"] not in _GELUS else []
    wrong += [f"text_cfg.norm_kwargs is {text['norm_kwargs']!r:.80}"] if text["norm_kwargs"].keys() - {"eps"} else []
    wrong += ["quick_gelu is true"] if model["quick_gelu"] else []
    if wrong:
        raise CheckpointError(f"{where} is of no SigLIP that Diptych has: {', '.join(wrong)}")
    vocabulary = text["vocab_size"]
    return {
        "image": {
            **{"kind": "siglip_vision", "image_size": vision["image_size"] or int(match[3])},
            **{"patch_size": int(match[2]), "width": width, "layers": layers, "heads": heads, "mlp_ratio": mlp_ratio},
            "activation": "gelu_tanh" if _TANH.match(name) else "gelu",
        },
        "text": {
            **{"kind": "siglip_text", "vocabulary_size": vocabulary},
            "padding_id": int(vocabulary != _SIGLIP2_VOCABULARY),
            **{key: text[key] for key in ("context_length", "width", "heads", "layers", "mlp_ratio")},
            "activation": "gelu_tanh" if text["act_kwargs"] == _TANH_GELU else "gelu",
            "norm_epsilon": text["norm_kwargs"].get("eps", 1e-5),
        },
    }


def config_of(spec: ModelSpec) -> dict[str, Any]:
    """The ``model_cfg`` of a SigLIP; CheckpointError where timm has no image tower of its sizes."""
    image, text = spec.image, spec.text
    assert isinstance(image, SiglipVisionSpec)
    if not isinstance(text, SiglipTextSpec) or spec.scores != "sigmoid":
        raise CheckpointError(f"OpenCLIP has no {text.kind} beside SigLIP's image tower, as {spec.name} has")
    if text.activation == "quick_gelu":
        raise CheckpointError(f"OpenCLIP's SigLIP has no QuickGELU, as the text tower of {spec.name} has")
    return {
        "embed_dim": spec.embedding,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": image.image_size,
            **{"timm_model_name": _timm_name(image, spec.name), "timm_model_pretrained": False},
            **{"timm_pool": "map", "timm_proj": "none"},
        },
        "text_cfg": {
            **{"context_length": text.context_length, "vocab_size": text.vocabulary_size},
            **{"hf_tokenizer_name": "tokenizer.json", "tokenizer_kwargs": {"clean": "canonicalize"}},
            **{"width": text.width, "heads": text.heads, "layers": text.layers, "mlp_ratio": text.mlp_ratio},
            **{"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
            "norm_kwargs": {"eps": text.norm_epsilon},
            **({"act_kwargs": {"approximate": "tanh"}} if text.activation == "gelu_tanh" else {}),
        },
    }


def _timm_name(image: SiglipVisionSpec, model: str) -> str:
    shape = (image.width, image.layers, image.heads, int(image.width * image.mlp_ratio))
    for (size, patch), resolutions in _RESOLUTIONS.items():
        width, layers, heads, ratio = _SIZES[size]
        if shape != (width, layers, heads, int(width * ratio)) or patch != image.patch_size:
            continue
        for resolution in sorted(resolutions, key=lambda px: px != image.image_size):
            name = f"vit_{size}_patch{patch}_siglip_{resolution}"
            if image.activation == ("gelu_tanh" if _TANH.match(name) else "gelu") and image.norm_epsilon == 1e-6:
                return name
    raise CheckpointError(
        f"OpenCLIP takes SigLIP's image tower from timm, which has none like that of {model}: {image.layers} layers of "
        f"width {image.width}, patch {image.patch_size}, {image.activation}"
    )
