"""The keys of OpenCLIP's configs: which are read, which do not matter, and that all others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.errors import CheckpointError
from diptych.specs import CLIP_MEAN, CLIP_STD

RELEASED_VOCABULARY = 49_408  # what OpenCLIP's built-in tokenizer speaks

# Keys that only matter in training, or that the weights overwrite: any value is fine.
_IGNORED = {
    "model_cfg": {
        "custom_text",
        "init_logit_scale",
        "nonscalar_logit_scale",
        "output_dict",
        "cast_dtype",
    },
    "vision_cfg": {
        "patch_dropout",
        "output_tokens",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "timm_model_pretrained",
    },
    "text_cfg": {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "output_tokens", "pad_id", "eos_id"},
    "preprocess_cfg": {"fill_color", "size"},
    "SigLIP's vision_cfg": {"patch_dropout", "output_tokens", "timm_model_pretrained", "timm_drop", "timm_drop_path"},
    "SigLIP's text_cfg": {"hf_tokenizer_name", "tokenizer_kwargs", "output_tokens", "pad_id", "eos_id"},
}
NO_BIAS = ""  # stands for a key that is not there: any number in it means that there is a bias
# Keys that we read, with OpenCLIP's default.
_READ: dict[str, dict[str, Any]] = {
    "model_cfg": {
        "embed_dim": None,
        "vision_cfg": None,
        "text_cfg": None,
        "quick_gelu": False,
        "init_logit_bias": NO_BIAS,
    },
    "vision_cfg": {
        **{"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224},
        "pool_type": "tok",
    },
    "text_cfg": {
        **{"context_length": 77, "vocab_size": RELEASED_VOCABULARY, "width": 512, "heads": 8, "layers": 12},
        "mlp_ratio": 4.0,
    },
    "SigLIP's vision_cfg": {"timm_model_name": "", "timm_pool": "avg", "timm_proj": "linear", "image_size": 0},
    "SigLIP's text_cfg": {
        **{"context_length": 77, "vocab_size": RELEASED_VOCABULARY, "width": 512, "heads": 8, "layers": 12},
        **{
            "mlp_ratio": 4.0,
            "no_causal_mask": False,
            "proj_bias": False,
            "pool_type": "argmax",
            "act_kwargs": {},
            "norm_kwargs": {},
        },
    },
    "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic", "resize_mode": "shortest"},
}
# Keys whose one value we have; every other key is refused unless it is off (false, zero, null or empty).
_ONLY = {"pos_embed_type": "learnable", "proj_type": "linear", "mode": "RGB"}


def section(config: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """One section of a config, such as ``vision_cfg`` or ``SigLIP's vision_cfg``, with what it leaves out.

    Raises CheckpointError for a section that is missing, or that has keys which Diptych's models do not have.
    """
    short = name.removeprefix("SigLIP's ")
    values = config.get(short)
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where} has no object {short!r}; it is not an OpenCLIP config")
    read = dict(_READ[name])
    for key, value in values.items():
        if key in read:
            if type(value) is not type(read[key]) and isinstance(read[key], bool | dict) and value is not None:
                kind = "true or false" if isinstance(read[key], bool) else "an object"
                raise CheckpointError(f"{where}: {short}.{key} is {value!r:.80}, but must be {kind}")
            if isinstance(read[key], int | float) and not isinstance(value, int | float | list | None):
                raise CheckpointError(f"{where}: {short}.{key} is {value!r:.80}, but must be a number")
            read[key] = read[key] if value is None else value
        elif key in _ONLY:
            if value != _ONLY[key]:
                raise CheckpointError(f"{where}: {short}.{key} is {value!r:.80}; Diptych has only {_ONLY[key]!r}")
        elif key == "pool_type" and value == "argmax":  # of texts: the end token, the highest id
            continue
        elif value and key not in _IGNORED[name]:
            raise CheckpointError(f"{where}: {short}.{key} is {value!r:.80}, which Diptych's models do not have")
    if missing := [key for key, value in read.items() if value is None]:
        raise CheckpointError(f"{where}: {short} lacks {', '.join(missing)}")
    return read
