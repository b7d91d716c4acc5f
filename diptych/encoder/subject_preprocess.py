"""How other libraries' image models want their images, as our preprocessing.

Whatever of a config is missing or cannot be read raises an error; ``ImageSubject.load`` says in which file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.checkpoints.huggingface_preprocessor import RESAMPLING, edge_of, refuse_other_steps
from diptych.config import from_dict
from diptych.errors import ConfigError
from diptych.specs import HALF, IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec


def of_timm(config: Mapping[str, Any]) -> PreprocessSpec:
    """Of a ``config.json`` of timm: the centre of an image resized to its size over ``crop_pct``."""
    told = config.get("pretrained_cfg")
    told = told if isinstance(told, Mapping) else config
    size, mode = told.get("input_size", [3, 224, 224]), told.get("crop_mode", "center")
    share = told.get("crop_pct") or 1
    if not isinstance(size, list) or len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        raise ConfigError(f"there is no preprocessing for input_size {size!r:.80}, only for [3, size, size]")
    if mode not in ("center", "squash") or not 0 < share <= 1:
        raise ConfigError(f"there is no preprocessing for crop_mode {mode!r:.80} and crop_pct {share!r:.80}")
    return from_dict(
        PreprocessSpec,
        {
            "size": size[1],
            "resize_to": int(size[1] / share),
            "resize": "squash" if mode == "squash" else "shortest",
            "interpolation": told.get("interpolation", "bicubic"),
            "mean": told.get("mean", IMAGENET_MEAN),
            "std": told.get("std", IMAGENET_STD),
        },
        "preprocess",
    )


def of_transformers(preprocessor: Mapping[str, Any]) -> PreprocessSpec:
    """Of a ``preprocessor_config.json`` of an image model; what it leaves out is as ViT's image processor has it."""
    refuse_other_steps(preprocessor)
    size, share = preprocessor.get("size", 224), preprocessor.get("crop_pct")
    edge = crop = edge_of(size)
    squash = not (isinstance(size, Mapping) and "shortest_edge" in size)
    if share:  # ConvNeXt's: the centre of a larger image where images are small
        squash = edge >= 384
        edge = edge if squash else int(edge / share)
    elif preprocessor.get("do_center_crop"):
        crop = edge_of(preprocessor.get("crop_size", size))
    elif not squash:
        raise ConfigError("its image processor leaves images of different shapes")
    return from_dict(
        PreprocessSpec,
        {
            "size": crop,
            "resize_to": edge,
            "resize": "squash" if squash else "shortest",
            "interpolation": RESAMPLING.get(preprocessor.get("resample", 2), preprocessor.get("resample")),
            "mean": preprocessor.get("image_mean", HALF),
            "std": preprocessor.get("image_std", HALF),
        },
        "preprocess",
    )
