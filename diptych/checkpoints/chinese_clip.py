"""Chinese-CLIP's files (arXiv 2211.01335): a CLIP whose text tower is a BERT; nothing but shapes tells its sizes."""

from __future__ import annotations

from diptych.checkpoints.architecture import SAY_IT, Shapes, count, heads, image_tower, named, ratio
from diptych.errors import CheckpointError, ConfigError
from diptych.specs import BertSpec, ModelSpec, PreprocessSpec
from diptych.tower_specs import Activation

ASSUMED = ("GELU in the text tower", "heads of width 64, of 80 in ViT-H/14", "images squashed to a square")


def infer(shapes: Shapes, activation: Activation, *, name: str, where: str) -> ModelSpec:
    """The spec whose tensors have these shapes.

    ``activation``: of the image tower. What shapes cannot tell (ASSUMED) is as in all its published models. Raises
    CheckpointError where the tensors are not Chinese-CLIP's.
    """
    try:
        image = image_tower(shapes, activation, head_width=80 if _width(shapes) == 1280 else 64)
        width = shapes["bert.embeddings.word_embeddings.weight"][1]
        positions = shapes["bert.embeddings.position_embeddings.weight"][0]
        text = BertSpec(
            context_length=min(BertSpec.context_length, positions),
            positions=positions,
            vocabulary_size=shapes["bert.embeddings.word_embeddings.weight"][0],
            width=width,
            layers=count(shapes, r"bert\.encoder\.layer\.(\d+)\."),
            heads=heads(width, "the text tower"),
            mlp_ratio=ratio(shapes["bert.encoder.layer.0.intermediate.dense.weight"][0], width),
        )
        spec = ModelSpec(
            name=name,
            embedding=shapes["text_projection"][1],
            image=image,
            text=text,
            preprocess=PreprocessSpec(size=image.image_size, resize="squash"),
            tokenizer="word_piece",
        )
    except KeyError as error:
        raise CheckpointError(f"{where} has no tensor {error.args[0]!r}, so it is no Chinese-CLIP") from error
    except (ConfigError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"the architecture of {where} cannot be told from its tensors: {error}; {SAY_IT}"
        ) from error
    return named(spec)


def _width(shapes: Shapes) -> int:
    return shapes["visual.conv1.weight"][0]
