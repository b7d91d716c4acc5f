"""Transformers' ``preprocessor_config.json`` to our preprocessing and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.errors import CheckpointError
from diptych.specs import CLIP_MEAN, CLIP_STD, HALF, ModelSpec

_RESAMPLING: dict[str, int] = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def to_preprocess(preprocessor: Mapping[str, Any], family: str, image_size: int, where: str) -> dict[str, Any]:
    """The values of a ``PreprocessSpec``, as plain data; what the file leaves out is as the family has it.

    Raises CheckpointError for what Diptych's preprocessing cannot do.
    """
    size = preprocessor.get("size", {"shortest_edge": image_size} if family == "clip" else {"height": image_size})
    size = size if isinstance(size, Mapping) else {"shortest_edge": size}
    crops = preprocessor.get("do_center_crop", family == "clip")
    squash = "shortest_edge" not in size
    edges = {edge for edge in size.values() if edge is not None}
    crop = preprocessor.get("crop_size", image_size) if crops else next(iter(edges), None)
    cropped = set(crop.values()) if isinstance(crop, Mapping) else {crop}
    switches = all(preprocessor.get(switch, True) for switch in ("do_resize", "do_rescale", "do_normalize"))
    if len(edges) != 1 or cropped != {image_size} or not (squash or crops) or not switches:
        raise CheckpointError(
            f"{where}: its preprocessor_config.json asks for a preprocessing that Diptych does not have: it resizes, "
            f"crops the centre of {image_size} px, scales to [0, 1] and normalises"
        )
    [edge] = edges
    mean, std = (HALF, HALF) if family == "siglip" else (CLIP_MEAN, CLIP_STD)
    interpolation = {number: name for name, number in _RESAMPLING.items()}.get(preprocessor.get("resample", 3))
    return {
        **{"size": image_size, "resize": "squash" if squash else "shortest", "interpolation": interpolation},
        **({} if edge == image_size else {"resize_to": edge}),
        **{"mean": preprocessor.get("image_mean") or mean, "std": preprocessor.get("image_std") or std},
    }


def from_preprocess(spec: ModelSpec, family: str) -> dict[str, Any]:
    """The content of the file; CheckpointError where the family's image processor cannot do it."""
    preprocess, size = spec.preprocess, spec.preprocess.size
    squash, edge = preprocess.resize == "squash", preprocess.resize_to or size
    processors = {"clip": "CLIP", "siglip": "Siglip", "chinese_clip": "ChineseCLIP"}
    if family == "siglip" and not squash:
        raise CheckpointError(f"Transformers' SigLIP squashes images, {spec.name} crops them")
    return {
        "image_processor_type": f"{processors[family]}ImageProcessor",
        **{"do_convert_rgb": True, "do_resize": True, "resample": _RESAMPLING[preprocess.interpolation]},
        "size": {"height": edge, "width": edge} if squash else {"shortest_edge": edge},
        **{"do_center_crop": not squash or edge > size, "crop_size": {"height": size, "width": size}},
        **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": list(preprocess.mean), "image_std": list(preprocess.std)},
    }
