"""One object that holds a model, its tokenizer and its preprocessing: encode, classify, save."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from diptych.checkpoints.writing import FormatName, write
from diptych.data.pixels import check_batch_size, check_pixels, is_one, pixel_batches
from diptych.data.preprocess import ImageLike
from diptych.encoder.classifier import Classifier, Prediction
from diptych.errors import Caution, ConfigError, DataError, TokenizerError, nearest
from diptych.models.clip import CLIP
from diptych.models.inference import inference
from diptych.specs import ModelSpec
from diptych.text import prompts
from diptych.text.pretrained import AnyTokenizer
from diptych.tokens import Tokens

if TYPE_CHECKING:
    from diptych.checkpoints.bundle import Bundle

Precision = Literal["fp32", "fast"]
Templates = str | Path | Sequence[str]

# Texts tokenized at a time, then sorted by length; also bounds the prompts of a classifier held at once.
TEXTS_AT_ONCE = 16_384


class Clip:
    """A CLIP ready to use. ``model`` is the plain module, in training or evaluation mode as the caller left it.

    model:      ``diptych.models.CLIP``, wherever it is; nothing is copied or moved.
    tokenizer:  None where the checkpoint brought none: images encode, texts raise TokenizerError.
    provenance: JSON-able notes on where the weights came from, saved with them.
    precision:  ``fp32``, or ``fast``: matrix products in bf16.

    >>> clip = diptych.create("ViT-B-32", seed=0)
    >>> clip.encode_images(np.zeros((8, 8, 3), np.uint8)).shape
    (1, 512)
    """

    def __init__(
        self,
        model: CLIP,
        tokenizer: AnyTokenizer | None = None,
        provenance: Mapping[str, Any] | None = None,
        precision: Precision = "fp32",
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is {precision!r}; {nearest(str(precision), get_args(Precision))}")
        if tokenizer is not None:
            check_tokenizer(tokenizer)
            check_vocabulary(model.spec, tokenizer)
        self.model, self.tokenizer = model, tokenizer
        self.provenance = dict(provenance or {})
        self.precision: Precision = precision

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.model.spec

    @property
    def similarity_scale(self) -> float:
        """What cosine similarities are multiplied by before the softmax: exp(logit_scale)."""
        return float(self.model.logit_scale.detach().float().exp())

    @property
    def similarity_bias(self) -> float:
        """What is added to scaled similarities before the sigmoid (SigLIP's ``logit_bias``); 0 where scores compete."""
        return float(self.model.logit_bias.detach()) if self.spec.scores == "sigmoid" else 0.0

    def encode_images(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 64) -> np.ndarray:
        """Unit-norm float32 embeddings (n, E) of one image or of any number of them.

        An image is a path, encoded bytes, a Pillow image or a uint8 array (H, W[, channels]); an array of four
        dimensions is many. Images are decoded a batch ahead of the model, by threads. Raises DataError for an image
        that cannot be read, ConfigError for a ``batch_size`` below 1.
        """
        batches = pixel_batches(images, self.spec.preprocess, batch_size)
        return self._stack(self.encode_pixels(pixels_BCHW) for pixels_BCHW in batches)

    def encode_pixels(self, pixels_BCHW: Tensor) -> np.ndarray:
        """Unit-norm float32 embeddings (B, E) of images already preprocessed as ``spec.preprocess`` says.

        Raises DataError for another shape than (B, 3, size, size) or whole numbers.
        """
        check_pixels(pixels_BCHW, self.spec.preprocess)
        with inference(self.model, fast=self.precision == "fast") as device:
            return _unit(self.model.encode_image(pixels_BCHW.to(device, self.model.logit_scale.dtype)))

    def image_outputs(self, pixels_BCHW: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """In one pass what ``encode_pixels`` gives, and float32 features (B, D) before the projection, as they come."""
        check_pixels(pixels_BCHW, self.spec.preprocess)
        with inference(self.model, fast=self.precision == "fast") as device:
            pixels_BCHW = pixels_BCHW.to(device, self.model.logit_scale.dtype)
            embedding_BE, kept = self.model.image(pixels_BCHW, keep=("features",))
            return _unit(embedding_BE), kept["features"].float().cpu().numpy()

    def encode_texts(self, texts: str | Sequence[str], *, batch_size: int = 256) -> np.ndarray:
        """Unit-norm float32 embeddings (n, E) of one text or several, in their order.

        A text that occurs twice is encoded once; texts of one length share a batch, so that none pays for a longer
        one. Warns where texts are cut to the context length. Raises TokenizerError without a tokenizer, DataError for
        what is no text, ConfigError for a ``batch_size`` below 1.
        """
        tokenizer = self.require_tokenizer()
        check_batch_size(batch_size)
        texts = _texts(texts)
        unique = list(dict.fromkeys(texts))
        embeddings, truncated = [], 0
        for start in range(0, len(unique), TEXTS_AT_ONCE):
            tokens = tokenizer(unique[start : start + TEXTS_AT_ONCE])
            truncated += tokens.truncated
            embeddings.append(self._encode_tokens(tokens, batch_size))
        if truncated:
            limit = tokenizer.context_length
            warnings.warn(f"{truncated} of {len(unique)} texts were cut to {limit} tokens", Caution, stacklevel=2)
        row = {text: i for i, text in enumerate(unique)}
        return self._stack(embeddings)[[row[text] for text in texts]]

    def _encode_tokens(self, tokens: Tokens, batch_size: int) -> np.ndarray:
        order_B = torch.argsort(tokens.lengths_B, stable=True)
        encoded = []
        with inference(self.model, fast=self.precision == "fast") as device:
            for chosen in order_B.split(batch_size):
                lengths_B = tokens.lengths_B[chosen]
                ids_BL = tokens.ids_BL[chosen, : int(lengths_B.max())]
                encoded.append(_unit(self.model.encode_text(Tokens(ids_BL.to(device), lengths_B.to(device)))))
        embeddings_BE = np.concatenate(encoded)
        restored_BE = np.empty_like(embeddings_BE)
        restored_BE[order_B.numpy()] = embeddings_BE
        return restored_BE

    def classifier(self, labels: Sequence[str], templates: Templates = "photo") -> Classifier:
        """A zero-shot classifier over ``labels`` (paper, section 3.1.2).

        The embeddings of a label's prompts, one a template, are averaged and brought back to unit norm. ``templates``
        is a name of ``diptych.text.prompts.TEMPLATES``, a file, one template, or a sequence of them.
        """
        names = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"labels must be a sequence of class names, at least one, not {labels!r:.80}")
        chosen = prompts.templates(templates)
        unique = list(dict.fromkeys(names))
        at_once = max(1, TEXTS_AT_ONCE // len(chosen))
        weights = [self._class_weights(unique[i : i + at_once], chosen) for i in range(0, len(unique), at_once)]
        row = {label: i for i, label in enumerate(unique)}
        return Classifier(self, tuple(names), chosen, np.concatenate(weights)[[row[name] for name in names]])

    def _class_weights(self, labels: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        texts = [prompts.fill(template, label) for label in labels for template in templates]
        embeddings_CTE = self.encode_texts(texts).reshape(len(labels), len(templates), -1)
        mean_CE = embeddings_CTE.mean(axis=1)
        return mean_CE / np.linalg.norm(mean_CE, axis=1, keepdims=True)

    def classify(self, image: ImageLike, labels: Sequence[str], templates: Templates = "photo") -> Prediction:
        """The labels ranked for one image. Raises DataError for several: make a ``classifier`` of the labels once."""
        if not is_one(image):
            raise DataError(
                f"classify takes one image, and {type(image).__name__} is not one; for several use "
                "classifier(labels).rank(images)"
            )
        return self.classifier(labels, templates).rank(image)[0]

    def save(self, folder: str | Path, format: FormatName = "open_clip") -> Path:
        """Write model, tokenizer, preprocessing and provenance as a folder that ``load`` and the named tool open.

        Raises CheckpointError where the format cannot express the model, ConfigError where its weights were rounded.
        """
        return write(self.bundle(), folder, format=format)

    def bundle(self) -> Bundle:
        """All that ``save`` writes, without a head that may be attached. Raises ConfigError where its weights were
        rounded."""
        from diptych.checkpoints.bundle import Bundle

        if any(parameter.dtype == torch.bfloat16 for parameter in self.model.parameters()):
            raise ConfigError("these weights are rounded to bf16; to save them, load them with precision='fp32'")

        weights = {name: tensor for name, tensor in self.model.state_dict().items() if name != "head"}
        return Bundle(self.spec, weights, self.tokenizer, self.provenance)

    def require_tokenizer(self) -> AnyTokenizer:
        """The tokenizer. Raises TokenizerError, which says how to get one, where there is none."""
        if self.tokenizer is None:
            raise TokenizerError(
                f"{self.spec.name} came without a tokenizer, so it encodes images and no texts. Pass tokenizer= "
                "(--tokenizer): the file bpe_simple_vocab_16e6.txt.gz of the released models, a tokenizer.json, or a "
                "folder with one"
            )
        return self.tokenizer

    def __repr__(self) -> str:
        return f"Clip({self.spec.name!r}, tokenizer={self.tokenizer}, precision={self.precision!r})"

    def _stack(self, embeddings: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.empty((0, self.spec.embedding), np.float32), *embeddings])


def check_tokenizer(tokenizer: AnyTokenizer) -> None:
    """Raises TokenizerError for what is no tokenizer of Diptych."""
    if not isinstance(tokenizer, AnyTokenizer):
        raise TokenizerError(
            f"{tokenizer!r:.80} is no tokenizer of diptych.text; make one, such as diptych.Tokenizer.from_files(folder)"
        )


def check_vocabulary(spec: ModelSpec, tokenizer: AnyTokenizer) -> None:
    """Raises TokenizerError for a tokenizer of another vocabulary or of longer texts than the model's."""
    text = spec.text
    if tokenizer.vocabulary_size != text.vocabulary_size or tokenizer.context_length > text.context_length:
        raise TokenizerError(
            f"{spec.name} has {text.vocabulary_size} token embeddings and {text.context_length} positions; this "
            f"tokenizer has {tokenizer.vocabulary_size} tokens and texts of up to {tokenizer.context_length}"
        )


def _texts(texts: Any) -> list[str]:
    several = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str | bytes) else [texts]
    for text in several:
        if not isinstance(text, str):
            raise DataError(f"a text must be a string, not {type(text).__name__}: {text!r:.80}")
    return several


def _unit(embeddings_BE: Tensor) -> np.ndarray:
    return nn.functional.normalize(embeddings_BE.float(), dim=1).cpu().numpy()
