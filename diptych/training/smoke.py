"""Any recipe shrunk to seconds: the same path through data, towers, objective and optimiser with next to no work."""

from __future__ import annotations

import dataclasses
from typing import Any

from diptych.specs import (
    ExternalImageSpec,
    HuggingFaceTextSpec,
    ModelSpec,
    ModifiedResNetSpec,
)
from diptych.training.recipe import Recipe
from diptych.training.start import StartSpec
from diptych.training.towers import TowerTraining

_EMBEDDING, _CONTEXT = 32, 16
_VOCABULARY = 560  # a little more than the bytes and the two tokens that every vocabulary has


def smoke(recipe: Recipe) -> Recipe:
    """The recipe with 2 steps of 4 images, towers of a layer or two over small images, and a small vocabulary.

    Its data are read as they are, by the training process alone. Weights that it begins from are of another size, so
    all are drawn, and what was to stay as it was learns. Towers of other libraries stay as large as they are.
    """
    loss = dataclasses.replace(recipe.loss, nested=(_EMBEDDING // 2, _EMBEDDING) if recipe.loss.nested else ())
    return dataclasses.replace(
        recipe,
        name=f"{recipe.name}, smoke",
        model=_small(recipe.model),
        data=dataclasses.replace(recipe.data, workers=0),
        start=StartSpec(),
        image_tower=_learning(recipe.image_tower),
        text_tower=_learning(recipe.text_tower),
        vocabulary=_VOCABULARY if isinstance(recipe.vocabulary, int) else recipe.vocabulary,
        duration="2 steps",
        batch_size=4,
        micro_batch=recipe.micro_batch and 2,
        optimizer=dataclasses.replace(recipe.optimizer, warmup_steps=min(recipe.optimizer.warmup_steps, 1)),
        loss=loss,
        evaluate_every=1,
    )


def _learning(tower: TowerTraining) -> TowerTraining:
    return dataclasses.replace(tower, learns="all")


def _small(spec: ModelSpec) -> ModelSpec:
    """A model of the same kinds of towers, activation, pooling and scores."""
    embedding = spec.embedding if isinstance(spec.image, ExternalImageSpec) else _EMBEDDING
    size, image = _small_image(spec)
    return dataclasses.replace(
        spec,
        name=f"{spec.name}, smoke",
        embedding=embedding,
        image=image,
        text=_small_text(spec),
        preprocess=dataclasses.replace(spec.preprocess, size=size, resize_to=None),
    )


def _small_image(spec: ModelSpec) -> tuple[int, Any]:
    image = spec.image
    if isinstance(image, ExternalImageSpec):
        return image.image_size, image
    if isinstance(image, ModifiedResNetSpec):
        return 32, dataclasses.replace(image, image_size=32, layers=(1, 1, 1, 1), stem_width=4, heads=4)
    size = 2 * image.patch_size
    return size, dataclasses.replace(image, image_size=size, width=_EMBEDDING, layers=1, heads=2)


def _small_text(spec: ModelSpec) -> Any:
    text = spec.text
    if isinstance(text, HuggingFaceTextSpec):
        return text
    changes: dict[str, Any] = {"width": _EMBEDDING, "context_length": min(text.context_length, _CONTEXT)}
    fields = {field.name for field in dataclasses.fields(text)}
    return dataclasses.replace(text, **changes | {name: 1 for name in ("layers", "heads") if name in fields})
