"""A model that writes captions, with its tokenizer and preprocessing: how likely it finds a text, given an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.data.pixels import check_pixels
from diptych.encoder.clip import Precision, check_tokenizer, check_vocabulary
from diptych.encoder.loading import default_device
from diptych.models.captioner import CaptionModel
from diptych.models.inference import inference
from diptych.specs import ModelSpec
from diptych.text import prompts
from diptych.text.pretrained import AnyTokenizer
from diptych.tokens import Tokens

PAIRS_AT_ONCE = 4096  # of an image and a text, in the language model


class Captioner:
    """A caption model ready to use; what training with ``objective=caption`` gives. It embeds no texts, so it retrieves
    nothing, but it classifies: by the likelihood of each class's prompt. The arguments are as those of a ``Clip``."""

    def __init__(
        self,
        model: CaptionModel,
        tokenizer: AnyTokenizer,
        provenance: Mapping[str, Any] | None = None,
        precision: Precision = "fp32",
    ) -> None:
        check_tokenizer(tokenizer)
        check_vocabulary(model.spec, tokenizer)
        self.model, self.tokenizer = model, tokenizer
        self.provenance = dict(provenance or {})
        self.precision: Precision = precision

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.model.spec

    def encode_pixels(self, pixels_BCHW: Tensor) -> np.ndarray:
        """What the language model is given of images: float32 (B, E), of any norm. Raises DataError as a ``Clip``."""
        check_pixels(pixels_BCHW, self.spec.preprocess)
        with inference(self.model, fast=self.precision == "fast") as device:
            return self.model.image(pixels_BCHW.to(device))[0].float().cpu().numpy()

    def log_likelihoods(self, images_NE: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Of every text, given every image: float32 (N, M). ``images_NE``: what ``encode_pixels`` gave."""
        tokens = self.tokenizer(texts)
        found_NM = np.empty((len(images_NE), len(texts)), np.float32)
        order_M = torch.argsort(tokens.lengths_B, stable=True)
        with inference(self.model, fast=self.precision == "fast") as device:
            all_NE = torch.from_numpy(images_NE).to(device)
            for chosen in order_M.split(PAIRS_AT_ONCE):
                some = Tokens(tokens.ids_BL[chosen].to(device), tokens.lengths_B[chosen].to(device))
                columns = chosen.numpy()
                for start in range(0, len(all_NE), max(1, PAIRS_AT_ONCE // len(chosen))):
                    rows = slice(start, start + max(1, PAIRS_AT_ONCE // len(chosen)))
                    found_NM[rows, columns] = self._of_pairs(all_NE[rows], some)
        return found_NM

    def _of_pairs(self, images_nE: Tensor, tokens: Tokens) -> np.ndarray:
        texts, images = len(tokens.ids_BL), len(images_nE)
        repeated = Tokens(tokens.ids_BL.repeat(images, 1), tokens.lengths_B.repeat(images))
        pairs_P = self.model.text(images_nE.repeat_interleave(texts, dim=0), repeated)
        return pairs_P.view(images, texts).cpu().numpy()

    def class_scores(self, images_NE: np.ndarray, labels: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        """How likely each class is for each image: float32 (N, C), the logarithm of the mean likelihood of the class's
        prompts, one a template."""
        texts = [prompts.fill(template, label) for label in labels for template in templates]
        logs_NCT = self.log_likelihoods(images_NE, texts).reshape(len(images_NE), len(labels), len(templates))
        return np.logaddexp.reduce(logs_NCT, axis=2) - np.float32(np.log(len(templates)))

    def require_tokenizer(self) -> AnyTokenizer:
        """The tokenizer, which every caption model has."""
        return self.tokenizer

    def __repr__(self) -> str:
        return f"Captioner({self.spec.name!r}, tokenizer={self.tokenizer}, precision={self.precision!r})"


def load_captioner(location: str | Path) -> Captioner:
    """The caption model of a run's folder ``model``, in fp32 on the device that there is. Raises CheckpointError."""
    from diptych.checkpoints import bundle
    from diptych.errors import CheckpointError

    whole = bundle.read(location)
    model = bundle.build_captioner(whole).requires_grad_(False)
    if whole.tokenizer is None:
        raise CheckpointError(f"{location} has no tokenizer, without which a caption model reads no text")
    return Captioner(model.to(default_device()), whole.tokenizer, whole.provenance)
