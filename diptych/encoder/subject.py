"""Image encoders as subjects of study: CLIP's image tower, or any other, seen through its features alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.checkpoints.boundary import described_by
from diptych.checkpoints.contents import HUGGINGFACE_CONFIG, PREPROCESSOR, Contents
from diptych.checkpoints.files import read_weights
from diptych.checkpoints.huggingface import FAMILIES
from diptych.checkpoints.json_files import read_json, read_preprocessor
from diptych.checkpoints.location import find
from diptych.data.pixels import check_pixels, pixel_batches
from diptych.data.preprocess import ImageLike
from diptych.encoder.clip import Clip, Precision
from diptych.encoder.loading import default_device, load
from diptych.encoder.subject_preprocess import of_timm, of_transformers
from diptych.errors import CheckpointError, DataError
from diptych.models.inference import inference
from diptych.models.libraries import check_size, published_config, timm_model, transformers_encoder
from diptych.models.tower import ImageTower
from diptych.specs import PreprocessSpec


@dataclass(frozen=True, eq=False)
class ImageSubject:
    """An image encoder whose features are looked at: what a linear probe is trained on (paper, section 3.2).

    name:       how results call it.
    module:     any module that makes ``features_BD`` of ``pixels_BCHW``, wherever it is.
    preprocess: how images become pixels for it.
    provenance: JSON-able notes on where its weights came from.
    precision:  ``fp32``, or ``fast``: matrix products in bf16.
    """

    name: str
    module: nn.Module
    preprocess: PreprocessSpec
    provenance: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "fp32"

    @classmethod
    def of(cls, clip: Clip) -> ImageSubject:
        """The image tower of a CLIP: its features before the projection, as the paper probes them."""
        tower = _Features(clip.model.image)
        return cls(clip.spec.name, tower, clip.spec.preprocess, clip.provenance, clip.precision)

    @classmethod
    def load(cls, location: str | Path, *, precision: Precision = "fp32") -> ImageSubject:
        """From whatever ``diptych.load`` takes, a model of timm, or an image model of Transformers.

        The latter two are folders, here or ``hf:org/name[@revision]``, with a ``config.json``, and extras. Nothing in
        them is run. Raises CheckpointError.
        """
        folder, contents = find(location)
        config = _config_of_encoder(folder, contents)
        if config is None:
            return cls.of(load(location, precision=precision))
        provenance, weights = {"weights_from": str(location)}, folder / contents.weights
        with described_by(str(folder / HUGGINGFACE_CONFIG)):
            if "architecture" in config:
                module, preprocess = _timm(config, weights)
            else:
                module, preprocess = _transformers(config, read_preprocessor(folder, contents), weights)
            subject = cls(Path(location).name, module.to(default_device()), preprocess, provenance, precision)
            _try(subject)
        return subject

    def features(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 64) -> np.ndarray:
        """Float32 features (n, D), as they come, of images, one or more, as ``Clip.encode_images`` takes them."""
        batches = pixel_batches(images, self.preprocess, batch_size)
        features = [self.features_of_pixels(pixels_BCHW) for pixels_BCHW in batches]
        if not features:
            raise DataError("no image was given")  # and how many features one has is not known before
        return np.concatenate(features)

    def features_of_pixels(self, pixels_BCHW: Tensor) -> np.ndarray:
        """Float32 features (B, D) of images already preprocessed as ``preprocess`` says, else DataError."""
        check_pixels(pixels_BCHW, self.preprocess)
        with inference(self.module, fast=self.precision == "fast") as device:
            return self.module(pixels_BCHW.to(device, torch.float32)).float().cpu().numpy()


def is_encoder(location: str | Path) -> bool:
    """Whether there is a model of timm, or an image model of Transformers, rather than what ``diptych.load`` takes."""
    return _config_of_encoder(*find(location)) is not None


def _config_of_encoder(folder: Path, contents: Contents) -> Mapping[str, Any] | None:
    if HUGGINGFACE_CONFIG not in contents.configs or contents.description is not None:
        return None
    config = read_json(folder / HUGGINGFACE_CONFIG)
    return config if "architecture" in config or config.get("model_type", "clip") not in list(FAMILIES) else None


class _Features(nn.Module):
    """A tower without its projection."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.tower(pixels_BCHW, keep=("features",))[1]["features"]


class _Pooled(nn.Module):
    """An encoder of Transformers, its class token where it has one, else the mean over all places."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        last = self.encoder(pixel_values=pixels_BCHW).last_hidden_state
        if last.ndim == 4:
            return last.mean(dim=(2, 3))
        square = int(last.shape[1] ** 0.5) ** 2 == last.shape[1]  # one token for each patch and no other
        return last.mean(dim=1) if square else last[:, 0]


def _timm(config: Mapping[str, Any], weights: Path) -> tuple[nn.Module, PreprocessSpec]:
    name, told = config["architecture"], config.get("pretrained_cfg")
    preprocess = of_timm(config)
    options, tensors = config.get("model_args") or {}, _tensors(weights)
    with torch.device("meta"):
        check_size(timm_model(name, options, num_classes=0), tensors)
    module = timm_model(name, options, num_classes=0)
    of_architecture: Any = getattr(module, "default_cfg", None) or {}
    known = told if isinstance(told, Mapping) and "classifier" in told else of_architecture
    heads = known.get("classifier", "head")
    heads = tuple(f"{head}." for head in (heads if isinstance(heads, list) else [heads]) if head)
    try:
        missing, others = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} are not the weights of {name}: {error!s:.300}") from error
    if unknown := [*missing, *(other for other in others if not other.startswith(heads))]:
        raise CheckpointError(f"{weights} are not the weights of {name}: {', '.join(unknown[:4])}")
    return module, preprocess


def _transformers(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, weights: Path
) -> tuple[nn.Module, PreprocessSpec]:
    if preprocessor is None:
        raise CheckpointError(f"{weights.parent} has no {PREPROCESSOR}, so how images become pixels is not known")
    preprocess = of_transformers(preprocessor)
    encoder, missing = transformers_encoder(published_config(config), _tensors(weights))
    # A pooling layer that nothing here uses may be missing; a weight that is used may not.
    if missing := [name for name in missing if "pooler" not in name]:
        raise CheckpointError(f"{weights} lacks weights of the encoder: {', '.join(missing[:4])}")
    return _Pooled(encoder), preprocess


def _tensors(weights: Path) -> dict[str, Tensor]:
    return {name: entry.load() for name, entry in read_weights(weights).entries.items()}


def _try(subject: ImageSubject) -> None:
    """One grey image, so that a size which the encoder does not take is told when it is loaded."""
    size = subject.preprocess.size
    subject.features_of_pixels(torch.zeros(1, 3, size, size))
