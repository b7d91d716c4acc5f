"""Transformers' ``preprocessor_config.json`` to our preprocessing and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diptych.errors import CheckpointError, ConfigError
from diptych.specs import CLIP_MEAN, CLIP_STD, HALF, ModelSpec

RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_PROCESSORS = {"CLIP": "clip", "Siglip": "siglip", "ChineseCLIP": "chinese_clip"}
_TYPE = re.compile(r"(CLIP|Siglip|ChineseCLIP)(ImageProcessor(Fast|Pil)?|FeatureExtractor)")
_STEPS = ("do_resize", "do_rescale", "do_normalize")
_EDGES = ({"shortest_edge"}, {"height", "width"})


def to_preprocess(preprocessor: Mapping[str, Any], family: str, image_size: int) -> dict[str, Any]:
    """The values of a ``PreprocessSpec``, as plain data; what the file leaves out is as its image processor has it.

    Raises ConfigError for what Diptych's preprocessing cannot do.
    """
    kind = preprocessor.get("image_processor_type") or preprocessor.get("feature_extractor_type")
    if kind is not None:
        if not (known := _TYPE.fullmatch(str(kind))):
            raise ConfigError(f"its image processor is {kind!r:.80}; known are CLIP's and SigLIP's")
        family = _PROCESSORS[known[1]]
    refuse_other_steps(preprocessor)
    size = preprocessor.get("size")
    if size is None:
        size = {"shortest_edge": image_size} if family == "clip" else {"height": image_size, "width": image_size}
    size = size if isinstance(size, Mapping) else {"shortest_edge": size}
    crops = preprocessor.get("do_center_crop", family == "clip")
    squash = "shortest_edge" not in size
    edge = edge_of(size)
    crop = edge_of(preprocessor.get("crop_size") or image_size) if crops else edge
    if crop != image_size or not (squash or crops):
        raise ConfigError(
            "its image processor asks for a preprocessing that Diptych does not have: it resizes, crops the centre of "
            f"{image_size} px, scales to [0, 1] and normalises"
        )
    mean, std = (HALF, HALF) if family == "siglip" else (CLIP_MEAN, CLIP_STD)
    return {
        **{"size": image_size, "resize": "squash" if squash else "shortest"},
        "interpolation": RESAMPLING.get(preprocessor.get("resample", 3)),
        **({} if edge == image_size else {"resize_to": edge}),
        **{"mean": preprocessor.get("image_mean") or mean, "std": preprocessor.get("image_std") or std},
    }


def of_squares(preprocessor: Mapping[str, Any] | None) -> dict[str, Any]:
    """SigLIP 2's image processor, which keeps the shape of an image, as one for the squares that its one resolution
    is: whatever it says but sizes."""
    told = preprocessor or {}
    kept = ("resample", *_STEPS, "rescale_factor", "image_mean", "image_std")
    return {"resample": 2} | {key: told[key] for key in kept if told.get(key) is not None}


def refuse_other_steps(preprocessor: Mapping[str, Any]) -> None:
    """ConfigError for an image processor that leaves out one of our steps, has another, or scales otherwise."""
    if off := [step for step in _STEPS if not preprocessor.get(step, True)]:
        raise ConfigError(f"its image processor leaves out a step: {', '.join(off)} is false")
    if preprocessor.get("do_pad"):
        raise ConfigError("its image processor pads images (do_pad), which Diptych does not")
    factor = preprocessor.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-6:
        raise ConfigError(f"its image processor scales by rescale_factor {factor!r:.80}, Diptych by 1/255")


def edge_of(size: Any) -> int:
    """The one number of a size, which is a whole number, ``{"shortest_edge": N}`` or ``{"height": N, "width": N}``."""
    told = size
    if isinstance(size, Mapping):
        told = {key: edge for key, edge in size.items() if edge is not None}
        if set(told) in _EDGES and len({str(edge) for edge in told.values()}) == 1:
            told = next(iter(told.values()))
    if not isinstance(told, int) or isinstance(told, bool):
        raise ConfigError(f"its image processor asks for images of {size!r:.80}; they must be square")
    return told


def from_preprocess(spec: ModelSpec, family: str) -> dict[str, Any]:
    """The content of the file; CheckpointError where the family's image processor cannot do it."""
    preprocess, size = spec.preprocess, spec.preprocess.size
    squash, edge = preprocess.resize == "squash", preprocess.resize_to or size
    processors = {ours: theirs for theirs, ours in _PROCESSORS.items()}
    numbers = {name: number for number, name in RESAMPLING.items()}
    if family == "siglip" and not squash:
        raise CheckpointError(f"Transformers' SigLIP squashes images, {spec.name} crops them")
    return {
        "image_processor_type": f"{processors[family]}ImageProcessor",
        **{"do_convert_rgb": True, "do_resize": True, "resample": numbers[preprocess.interpolation]},
        "size": {"height": edge, "width": edge} if squash else {"shortest_edge": edge},
        **{"do_center_crop": not squash or edge > size, "crop_size": {"height": size, "width": size}},
        **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": list(preprocess.mean), "image_std": list(preprocess.std)},
    }
