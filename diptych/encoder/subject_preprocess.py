"""How other libraries' image models want their images, as our preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diptych.config import from_dict
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import HALF, IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec

_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def of_timm(config: Mapping[str, Any], where: str) -> PreprocessSpec:
    """Of a ``config.json`` of timm: the centre of an image resized to its size over ``crop_pct``."""
    told = config.get("pretrained_cfg")
    told = told if isinstance(told, Mapping) else config
    size, mode = told.get("input_size", [3, 224, 224]), told.get("crop_mode", "center")
    if not isinstance(size, list) or len(size) != 3 or size[1] != size[2] or mode not in ("center", "squash"):
        raise CheckpointError(f"{where}: no preprocessing for input_size {size} and crop_mode {mode!r}")
    return _spec(
        {
            "size": size[1],
            "resize_to": int(size[1] / (told.get("crop_pct") or 1)),
            "resize": "squash" if mode == "squash" else "shortest",
            "interpolation": told.get("interpolation", "bicubic"),
            "mean": told.get("mean", IMAGENET_MEAN),
            "std": told.get("std", IMAGENET_STD),
        },
        where,
    )


def of_transformers(preprocessor: Mapping[str, Any], where: str) -> PreprocessSpec:
    """Of a ``preprocessor_config.json`` of an image model; what it leaves out is as ViT's image processor has it."""
    size, share = preprocessor.get("size", 224), preprocessor.get("crop_pct")
    edge = crop = _edge(size, where)
    squash = not (isinstance(size, Mapping) and "shortest_edge" in size)
    if share:  # ConvNeXt's: the centre of a larger image where images are small
        squash = edge >= 384
        edge = edge if squash else int(edge / share)
    elif preprocessor.get("do_center_crop"):
        crop = _edge(preprocessor.get("crop_size", size), where)
    elif not squash:
        raise CheckpointError(f"{where}: its preprocessor_config.json leaves images of different shapes")
    if not all(preprocessor.get(switch, True) for switch in ("do_resize", "do_rescale", "do_normalize")):
        raise CheckpointError(f"{where}: its preprocessor_config.json leaves out resizing, rescaling or normalising")
    return _spec(
        {
            "size": crop,
            "resize_to": edge,
            "resize": "squash" if squash else "shortest",
            "interpolation": _RESAMPLING.get(preprocessor.get("resample", 2), preprocessor.get("resample")),
            "mean": preprocessor.get("image_mean", HALF),
            "std": preprocessor.get("image_std", HALF),
        },
        where,
    )


def _edge(size: Any, where: str) -> int:
    edges = set(size.values()) if isinstance(size, Mapping) else {size}
    if len(edges) != 1 or not isinstance(edge := edges.pop(), int):
        raise CheckpointError(f"{where}: its preprocessor_config.json asks for images of {size}; they must be square")
    return edge


def _spec(values: dict[str, Any], where: str) -> PreprocessSpec:
    try:
        return from_dict(PreprocessSpec, values, "preprocess")
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error
