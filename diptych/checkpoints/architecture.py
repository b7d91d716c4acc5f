"""The architecture of a model from the names and shapes of its tensors, where a file brings no config."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from diptych.checkpoints.boundary import listed
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import (
    BagOfWordsSpec,
    ExternalImageSpec,
    HuggingFaceTextSpec,
    ModelSpec,
    ModifiedResNetSpec,
    PreprocessSpec,
    TextTransformerSpec,
    VisionTransformerSpec,
)
from diptych.tower_specs import Activation
from diptych.zoo import MODELS

HEAD_WIDTH = 64  # of all released models; shapes do not tell it
SAY_IT = "say it in Python, with diptych.checkpoints.bundle.read(path, spec=ModelSpec(...))"

Shapes = Mapping[str, tuple[int, ...]]


def infer(shapes: Shapes, activation: Activation, *, name: str, where: str) -> ModelSpec:
    """The spec whose tensors have these shapes, under the names of OpenAI's and OpenCLIP's flat files.

    A model of the named table gets its name, others ``name``. What shapes cannot tell is as in all released models:
    heads of width 64, the class token pooled, CLIP's preprocessing. Raises CheckpointError where the tensors are not a
    CLIP's, or 64 does not divide a width.
    """
    try:
        image = image_tower(shapes, activation)
        width = shapes["ln_final.weight"][0]
        text = TextTransformerSpec(
            context_length=shapes["positional_embedding"][0],
            vocabulary_size=shapes["token_embedding.weight"][0],
            width=width,
            layers=count(shapes, r"transformer\.resblocks\.(\d+)\."),
            heads=heads(width, "the text tower"),
            mlp_ratio=ratio(*shapes["transformer.resblocks.0.mlp.c_fc.weight"]),
            activation=activation,
        )
        spec = ModelSpec(
            name=name,
            embedding=shapes["text_projection"][1],
            image=image,
            text=text,
            preprocess=PreprocessSpec(size=image.image_size),
            scores="sigmoid" if "logit_bias" in shapes else "softmax",
        )
    except KeyError as error:
        raise CheckpointError(
            f"{where} has no tensor {error.args[0]!r}, so it is not a CLIP in the layout of OpenAI or OpenCLIP "
            f"(it holds {listed(shapes, 3)} ...)"
        ) from error
    except (ConfigError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"the architecture of {where} cannot be told from its tensors: {error}; {SAY_IT}"
        ) from error
    return named(spec)


def infer_own_text(shapes: Shapes, activation: Activation, *, name: str, where: str) -> ModelSpec:
    """The same under the names of OpenCLIP's models with a text tower of their own."""
    return infer(
        {key.removeprefix("text."): shape for key, shape in shapes.items()}, activation, name=name, where=where
    )


def image_tower(
    shapes: Shapes, activation: Activation, head_width: int = HEAD_WIDTH
) -> ModifiedResNetSpec | VisionTransformerSpec:
    """The image tower under OpenAI's names; KeyError and ValueError where there is none or its heads do not fit."""
    if "visual.layer1.0.conv1.weight" in shapes:
        return _modified_resnet(shapes)
    return _vit(shapes, activation, head_width)


def _vit(shapes: Shapes, activation: Activation, head_width: int) -> VisionTransformerSpec:
    width, _, patch, _ = shapes["visual.conv1.weight"]
    return VisionTransformerSpec(
        image_size=_grid(shapes["visual.positional_embedding"][0]) * patch,
        patch_size=patch,
        width=width,
        layers=count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=heads(width, "the image tower", head_width),
        mlp_ratio=ratio(*shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
        activation=activation,
    )


def _modified_resnet(shapes: Shapes) -> ModifiedResNetSpec:
    stem = shapes["visual.layer1.0.conv1.weight"][0]
    a, b, c, d = (count(shapes, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    return ModifiedResNetSpec(
        image_size=32 * _grid(shapes["visual.attnpool.positional_embedding"][0]),
        layers=(a, b, c, d),
        stem_width=stem,
        heads=heads(32 * stem, "the image tower"),
    )


def named(spec: ModelSpec) -> ModelSpec:
    """The spec under the name of the known model that it is but for its activation; else as it is."""
    for known in MODELS.values():
        if _but_for_activation(dataclasses.replace(known, name=spec.name)) == _but_for_activation(spec):
            return dataclasses.replace(spec, name=known.name)
    return spec


def _but_for_activation(spec: ModelSpec) -> ModelSpec:
    image, text = spec.image, spec.text
    if not isinstance(image, ModifiedResNetSpec | ExternalImageSpec):
        image = dataclasses.replace(image, activation="gelu")
    if not isinstance(text, BagOfWordsSpec | HuggingFaceTextSpec):
        text = dataclasses.replace(text, activation="gelu")
    return dataclasses.replace(spec, image=image, text=text)


def count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the names have where the pattern has its group: the layers of a tower."""
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})


def _grid(positions: int) -> int:
    grid = math.isqrt(positions - 1)
    if grid * grid != positions - 1:
        raise ValueError(f"{positions} position embeddings are not one and a square grid")
    return grid


def heads(width: int, tower: str, head_width: int = HEAD_WIDTH) -> int:
    """The number of heads of this width; ValueError where it does not divide the tower's."""
    if width % head_width:
        raise ValueError(f"{tower} is {width} wide, no multiple of {head_width}, so its heads are not known")
    return width // head_width


def ratio(hidden: int, width: int) -> float:
    """The ``mlp_ratio`` for which ``int(width * ratio)`` is the hidden width, whatever rounding does."""
    quotient = hidden / width
    return quotient if int(width * quotient) == hidden else math.nextafter(quotient, math.inf)
