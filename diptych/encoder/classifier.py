"""Classifiers, zero-shot or fine-tuned, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from diptych.data.preprocess import ImageLike
from diptych.errors import ConfigError, DataError
from diptych.replacing import replacing

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip


@dataclass(frozen=True)
class Prediction:
    """The labels of one image, the most probable first, each with its probability."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """The probability of the most probable label."""
        return self.probabilities[0]

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.labels, self.probabilities, strict=True)

    def __str__(self) -> str:
        return "\n".join(f"{probability:7.2%}  {label}" for label, probability in self)


@dataclass(frozen=True, eq=False)
class Classifier:
    """One weight vector a label: of unit norm where it is zero-shot, made by ``Clip.classifier``; any where it was
    fine-tuned."""

    clip: Clip
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    weights_CE: np.ndarray

    def save(self, path: str | Path) -> Path:
        """Write labels, templates and weights as one NumPy archive, with what tells the model, but without it. It is
        whole or absent."""
        path = Path(path)
        texts = [np.array(text, np.str_) for text in (self.labels, self.templates, _seen_by(self.clip))]
        labels, templates, model = texts
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez(file, labels=labels, templates=templates, model=model, weights_CE=self.weights_CE)
        return path

    @classmethod
    def load(cls, path: str | Path, clip: Clip) -> Classifier:
        """What ``save`` wrote, for the model it belongs to. Raises DataError where it is none, or of another width;
        ConfigError where it belongs to another model, which older files do not tell."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                weights_CE = archive["weights_CE"].astype(np.float32)
                labels, templates = (tuple(archive[name].tolist()) for name in ("labels", "templates"))
                model = str(archive["model"]) if "model" in archive else None
        except (OSError, ValueError, KeyError, BadZipFile) as problem:
            raise DataError(f"{path} is no classifier: {problem}") from problem
        if weights_CE.shape != (len(labels), clip.spec.embedding):
            raise DataError(
                f"{path} has weights of shape {weights_CE.shape} for {len(labels)} labels, and {clip.spec.name} has "
                f"embeddings of {clip.spec.embedding}"
            )
        if model is not None and model != _seen_by(clip):
            raise ConfigError(
                f"{path} is a classifier of another model's embeddings than those of this {clip.spec.name}, by the "
                "hash of the weights; give the model that was saved beside it"
            )
        return cls(clip, labels, templates, weights_CE)

    def predict_proba(self, images: ImageLike | Iterable[ImageLike]) -> np.ndarray:
        """Probabilities (n, C) of the labels, in their order, for images as ``Clip.encode_images`` takes them.

        They sum to one, or, where ``spec.scores`` is ``sigmoid``, each label answers for itself.
        """
        logits_BC = self.clip.similarity_scale * (self.clip.encode_images(images) @ self.weights_CE.T)
        if self.clip.spec.scores == "sigmoid":
            return 1 / (1 + np.exp(-(logits_BC + self.clip.similarity_bias)))
        exponentials_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
        return exponentials_BC / exponentials_BC.sum(axis=1, keepdims=True)

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> list[str]:
        """The most probable label of each image."""
        return [prediction.label for prediction in self.rank(images)]

    def rank(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """All labels of each image, ranked."""
        ranked = []
        for probabilities_C in self.predict_proba(images):
            order_C = np.argsort(-probabilities_C, kind="stable")
            ranked.append(Prediction(tuple(self.labels[i] for i in order_C), tuple(probabilities_C[order_C].tolist())))
        return ranked


def _seen_by(clip: Clip) -> str:
    """SHA-256 of the weights by which images are embedded and scored, rounded to bf16, as ``precision="fast"`` rounds
    them: the same however the model was opened."""
    import torch

    from diptych.checkpoints.bundle import fingerprint

    weights = {name: weight for name, weight in clip.model.state_dict().items() if weight.is_floating_point()}
    judging = {name: weight for name, weight in weights.items() if name != "head" and not name.startswith("text.")}
    return fingerprint({name: weight.to(torch.bfloat16) for name, weight in judging.items()})
