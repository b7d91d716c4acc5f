"""Shallow, narrow twins of the released models, every parameter and buffer drawn anew."""

import dataclasses

import torch

from diptych.checkpoints.bundle import Bundle
from diptych.checkpoints.formats import OPEN_CLIP, Format
from diptych.models.clip import create_model
from diptych.specs import ModelSpec, ModifiedResNetSpec, PreprocessSpec, TextTransformerSpec
from diptych.zoo import MODELS

RELEASED = (
    *("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"),
    *("ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"),
)


def twin(name: str, *, vocabulary: int = 600, context: int = 16) -> ModelSpec:
    """The named model with two blocks a stage at most, 64-wide heads and few of them, at a small resolution."""
    spec = MODELS[name]
    if isinstance(spec.image, ModifiedResNetSpec):
        stem = 8 if spec.image.stem_width <= 64 else 12  # 256 or 384 channels out
        layers = tuple(min(depth, 1 + (depth > 5)) for depth in spec.image.layers)
        size = 64 if spec.image.image_size < 300 else 96
        image = dataclasses.replace(spec.image, image_size=size, layers=layers, stem_width=stem, heads=stem // 2)
    else:
        size = 2 * spec.image.patch_size * (1 + (spec.image.image_size > 300))
        image = dataclasses.replace(spec.image, image_size=size, width=128, layers=2, heads=2)
    width = 64 if spec.text.width < 600 else 128
    text = TextTransformerSpec(
        context_length=context, vocabulary_size=vocabulary, width=width, layers=2, heads=width // 64
    )
    return dataclasses.replace(
        spec, name="twin", embedding=48, image=image, text=text, preprocess=PreprocessSpec(size=size)
    )


def random_weights(spec: ModelSpec, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights none of which is zero, one or shared: gains, biases and running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    weights = create_model(spec, seed=seed).state_dict()
    for name, tensor in weights.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(int(torch.randint(1, 1000, (), generator=generator)))
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif name == "logit_scale":
            tensor.fill_(3.1)
        elif tensor.ndim == 1 and name.endswith("weight"):  # gains
            tensor.copy_(1 + 0.2 * noise)
        elif tensor.ndim == 1:
            tensor.copy_(0.1 * noise)
        else:
            tensor.add_(0.02 * noise)
    return weights


def renames(spec: ModelSpec, format: Format = OPEN_CLIP) -> dict[str, str]:
    """Our names of a CLIP's tensors to OpenAI's and OpenCLIP's, each of which is one tensor there too."""
    return {name: place.names[0] for name, place in format.places(spec).items()}


def bundle(name: str = "ViT-B/32", **options: int) -> Bundle:
    spec = twin(name, **options)
    return Bundle(spec, random_weights(spec))
