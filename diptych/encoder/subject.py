"""Image encoders as subjects of study: CLIP's image tower, or any other, seen through its features alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.checkpoints.contents import HUGGINGFACE_CONFIG, PREPROCESSOR
from diptych.checkpoints.files import read_weights
from diptych.checkpoints.huggingface import FAMILIES
from diptych.checkpoints.location import find
from diptych.checkpoints.resolve import read_json
from diptych.data.pixels import check_pixels, pixel_batches
from diptych.data.preprocess import ImageLike
from diptych.encoder.clip import Clip, Precision
from diptych.encoder.loading import default_device, load
from diptych.encoder.subject_preprocess import of_timm, of_transformers
from diptych.errors import CheckpointError, DataError
from diptych.models.external import library
from diptych.models.inference import inference
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
        config = {}
        if HUGGINGFACE_CONFIG in contents.configs and contents.description is None:
            config = read_json(folder / HUGGINGFACE_CONFIG)
        provenance = {"weights_from": str(location)}
        if "architecture" in config:
            module, preprocess = _timm(config, folder / contents.weights)
        elif config.get("model_type", "clip") not in FAMILIES:
            module, preprocess = _transformers(folder, read_json(folder / PREPROCESSOR))
        else:
            return cls.of(load(location, precision=precision))
        return cls(Path(location).name, module.to(default_device()), preprocess, provenance, precision)

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
    timm = library("timm", "timm")
    preprocess = of_timm(config, str(weights.parent))
    options = dict(config.get("model_args") or {})
    try:
        module = timm.create_model(config["architecture"], num_classes=0, **options)
    except Exception as error:  # whatever the factory of that name raises
        raise CheckpointError(f"timm cannot make {config['architecture']!r} of {weights.parent}: {error}") from error
    tensors = {name: entry.load() for name, entry in read_weights(weights).entries.items()}
    try:
        missing, others = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} are not the weights of {config['architecture']}: {error}") from error
    head = str((config.get("pretrained_cfg") or {}).get("classifier", "head"))
    if unknown := [name for name in (*missing, *others) if not name.startswith(head)]:
        raise CheckpointError(f"{weights} are not the weights of {config['architecture']}: {', '.join(unknown[:4])}")
    return module, preprocess


def _transformers(folder: Path, preprocessor: Mapping[str, Any]) -> tuple[nn.Module, PreprocessSpec]:
    transformers = library("transformers", "transformers")
    preprocess = of_transformers(preprocessor, str(folder))
    try:
        encoder, report = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # whatever the library raises on a folder that is not one of its own
        raise CheckpointError(f"Transformers cannot read {folder}: {error}") from error
    # A pooling layer that nothing here uses may be missing; a weight that is used may not.
    if missing := [name for name in report["missing_keys"] if "pooler" not in name]:
        raise CheckpointError(f"{folder} lacks weights of the encoder: {', '.join(missing[:4])}")
    return _Pooled(encoder), preprocess
