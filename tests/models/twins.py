"""Shallow, narrow twins of the released models: the same code paths, cheap enough to run by the hundred."""

import dataclasses

import torch
from torch import nn

from diptych.models.clip import CLIP, create_model
from diptych.specs import (
    BagOfWordsSpec,
    BertSpec,
    ExternalImageSpec,
    HuggingFaceTextSpec,
    ModelSpec,
    ModifiedResNetSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
)
from diptych.tokens import Tokens


def is_external(spec: ModelSpec) -> bool:
    """Whether a tower needs a library that the default tests do without."""
    return isinstance(spec.image, ExternalImageSpec) or isinstance(spec.text, HuggingFaceTextSpec)


def twin(spec: ModelSpec) -> ModelSpec:
    """Same kinds, activation, pooling and ratios; few layers, little width, small images and vocabulary."""
    if isinstance(spec.image, ModifiedResNetSpec):
        image = dataclasses.replace(spec.image, image_size=64, layers=(1, 2, 1, 1), stem_width=8, heads=4)
    else:
        patch = spec.image.patch_size
        image = dataclasses.replace(spec.image, image_size=3 * patch, width=64, layers=2, heads=1)
    small = {} if isinstance(spec.text, BagOfWordsSpec) else {"layers": 2, "heads": 1}
    small |= {"positions": spec.text.context_length} if isinstance(spec.text, BertSpec) else {}
    text = dataclasses.replace(spec.text, width=64, vocabulary_size=300, **small)
    preprocess = dataclasses.replace(spec.preprocess, size=image.image_size)
    embedding = 64 if isinstance(image, SiglipVisionSpec) else 24  # as wide as its image tower
    return dataclasses.replace(spec, embedding=embedding, image=image, text=text, preprocess=preprocess)


def redraw(model: CLIP, seed: int = 0) -> CLIP:
    """Every parameter and buffer from a non-degenerate distribution, so that each one matters to the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 0:
                tensor.fill_(3.0)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.1, generator=generator)
            else:
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
                tensor.normal_(0, max(fan_in, 1) ** -0.5, generator=generator)
    return model


def random_twin(spec: ModelSpec, seed: int = 0) -> CLIP:
    return redraw(create_model(twin(spec), seed=seed), seed).eval()


def pixels(spec: ModelSpec, batch: int = 3, seed: int = 1) -> torch.Tensor:
    size = spec.image.image_size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def tokens(spec: ModelSpec, lengths: tuple[int, ...] = (5, 12, 2), seed: int = 2) -> Tokens:
    """Texts of the given lengths, start and end token included, padded as the tower's are to the context length."""
    generator = torch.Generator().manual_seed(seed)
    end = spec.text.vocabulary_size - 1
    padding = spec.text.padding_id if isinstance(spec.text, SiglipTextSpec) else 0
    ids_BL = torch.full((len(lengths), spec.text.context_length), padding)
    for row, length in zip(ids_BL, lengths, strict=True):
        row[:length] = torch.randint(1, end - 1, (length,), generator=generator)
        row[0], row[length - 1] = end - 1, end
    return Tokens(ids_BL, torch.tensor(lengths))


def modules_of(model: CLIP, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kind)]
