"""A run's model as it trains, in shapes alone: what does not learn is locked, adapters are there."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

from diptych import config
from diptych.models.captioner import CaptionModel
from diptych.models.clip import CLIP, hollow
from diptych.models.flops import Cost, Flops, flops
from diptych.specs import CaptionTransformerSpec, HuggingFaceTextSpec, ModelSpec, TextTransformerSpec
from diptych.training.engine import patches_of
from diptych.training.recipe import Recipe
from diptych.training.towers import TowerTraining, prepare
from diptych.training.trained import Model


def outline(spec: ModelSpec, image: TowerTraining, text: TowerTraining) -> CLIP:
    """On the meta device; an encoder of Transformers, which looks at numbers on its way, on the processor."""
    model = hollow(CLIP, spec).train()
    model.image.to("meta")
    if not isinstance(spec.text, HuggingFaceTextSpec):
        model.to("meta")
    prepare(model, image, text, seed=0)
    return model


def cost_of(recipe: Recipe, spec: ModelSpec) -> Flops:
    """Operations of an image and of texts in a step of ``recipe``, whose model is ``spec``.

    Of a language model those of a text tower of its size, and of predicting every token but the first.
    """
    patches, seen = patches_of(recipe)
    writes = isinstance(spec.text, CaptionTransformerSpec)
    counted = dataclasses.replace(spec, text=_tower_like(spec.text)) if writes else spec
    as_json = json.dumps(config.to_dict(counted))
    found = _counted(as_json, recipe.image_tower, recipe.text_tower, seen if seen < patches else None)
    if not writes:
        return found
    token = 2 * spec.text.vocabulary_size * spec.text.width
    first, slope, second = found.differences
    slope = Cost(slope.forward + token, slope.backward + 2 * token)
    return Flops(found.image, (first, slope, second))


def _tower_like(spec: CaptionTransformerSpec) -> TextTransformerSpec:
    values = dataclasses.asdict(spec)
    del values["kind"]
    return TextTransformerSpec(**values)


def parameters_of(spec: ModelSpec) -> dict[str, int]:
    """Of the image tower, of the text tower or language model, and of all."""
    writes = isinstance(spec.text, CaptionTransformerSpec)
    model: Model = hollow(CaptionModel, spec) if writes else hollow(CLIP, spec)
    parts = {"image": model.image, "text": model.text, "all": model}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


@cache  # by a text, since the options of a tower of another library have no hash
def _counted(spec_as_json: str, image: TowerTraining, text: TowerTraining, patches: int | None) -> Flops:
    spec = config.from_dict(ModelSpec, json.loads(spec_as_json))
    return flops(outline(spec, image, text), patches=patches)
