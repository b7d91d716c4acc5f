"""Named tensors of a file that are read one at a time, and the check that they are exactly a model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych.checkpoints.boundary import listed
from diptych.checkpoints.limits import check_safetensors
from diptych.checkpoints.places import Place
from diptych.errors import CheckpointError, ConfigError
from diptych.models.captioner import CaptionModel
from diptych.models.clip import CLIP
from diptych.models.positions import resize_positions
from diptych.specs import (
    CaptionTransformerSpec,
    ExternalImageSpec,
    ModelSpec,
    ModifiedResNetSpec,
    SiglipTextSpec,
    SiglipVisionSpec,
    TextTransformerSpec,
)

LONGEST_TEXT = 65_536  # tokens
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2}
_LISTED = 4  # names in an error message before "and N more"


class Entry(NamedTuple):
    """One tensor of a file: what it is, and how to read it when its turn comes.

    ``axes``: its shape as it lies there, where that says more than the one it is read in.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]
    axes: tuple[int, ...] | None = None

    @staticmethod
    def of(tensor: Tensor) -> Entry:
        """An entry whose tensor is there already (perhaps as a mapping of a file, which costs nothing yet)."""
        tensor = tensor.detach()
        return Entry(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def read_safetensors(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a safetensors file, memory-mapped: nothing is copied, pages are read when they are touched; and
    its metadata.

    The mapping is private: writing into a tensor changes memory, never the file. Raises CheckpointError where the file
    is cut off, is not safetensors, or names more tensors than a model has.
    """
    check_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: Entry.of(file.get_tensor(name)) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); fetch or write it again") from error


def expected(spec: ModelSpec) -> dict[str, Tensor]:
    """Every tensor of the model by its name, on the meta device: shapes and types without memory.

    Raises CheckpointError for sizes that no tensor can have.
    """
    kind = CaptionModel if isinstance(spec.text, CaptionTransformerSpec) else CLIP
    try:
        with torch.device("meta"):
            return kind(spec).state_dict()
    except (RuntimeError, OverflowError, TypeError) as error:
        said = str(error).splitlines()[0]  # PyTorch adds where in itself it happened
        raise CheckpointError(f"there can be no model with the sizes of {spec.name}: {said}") from error


def assemble(
    entries: dict[str, Entry],
    spec: ModelSpec,
    places: Mapping[str, Place],
    where: str,
    model: str = "this model",
) -> dict[str, Tensor]:
    """The model's weights in fp32 under our names; ``places`` tells where each of them lies in the file.

    Entries are taken out one by one and freed, so at most one tensor exists twice; fp32 that lies there as it is here
    is handed on. Raises CheckpointError that says whose weights they are not (``model``) and lists missing, extra and
    wrongly shaped tensors by the file's own names.
    """
    shapes = expected(spec)
    _fill_counters(entries, places)
    if problems := _problems(entries, shapes, places):
        raise CheckpointError(f"{where} does not hold the weights of {model}. " + ". ".join(problems))
    weights = {}
    for name, like in shapes.items():
        stored = places[name].shapes(tuple(like.shape))
        tensor = places[name].join([entries.pop(part).load().reshape(shape) for part, shape in stored.items()])
        narrow = tensor.to(like.dtype)
        if tensor.dtype == torch.float64 and not narrow.isfinite().equal(tensor.isfinite()):
            raise CheckpointError(f"{where}: {next(iter(stored))} holds numbers that are too large for fp32")
        weights[name] = narrow.reshape(like.shape).contiguous()
    return weights


def resized(weights: dict[str, Tensor], spec: ModelSpec, image_size: int) -> tuple[dict[str, Tensor], ModelSpec]:
    """Weights and spec of the same model at ``image_size`` pixels, position embeddings resampled (paper, 2.5)."""
    spec = spec.with_image_size(image_size)
    if isinstance(spec.image, ExternalImageSpec):  # whether it takes another size is its own affair
        return weights, spec
    if isinstance(spec.image, ModifiedResNetSpec):
        name, grid = "image.attention_pool.positional_embedding", image_size // 32
    else:
        name, grid = "image.positional_embedding", image_size // spec.image.patch_size
    first = 0 if isinstance(spec.image, SiglipVisionSpec) else 1
    return weights | {name: resize_positions(weights[name], grid, first=first)}, spec


def stretched(weights: dict[str, Tensor], spec: ModelSpec, context_length: int) -> tuple[dict[str, Tensor], ModelSpec]:
    """Weights and spec of the same model for texts of up to ``context_length`` tokens, the first and the last position
    embedding staying what they are and the others interpolated between them."""
    if context_length > LONGEST_TEXT:
        raise ConfigError(f"context_length is at most {LONGEST_TEXT:,} tokens, not {context_length:,}")
    text = dataclasses.replace(spec.text, context_length=context_length)
    if isinstance(text, TextTransformerSpec | SiglipTextSpec | CaptionTransformerSpec):
        old_DL = weights["text.positional_embedding"].float().T
        new_DL = F.interpolate(old_DL[None], context_length, mode="linear", align_corners=True)[0]
        weights = weights | {"text.positional_embedding": new_DL.T.contiguous()}
    return weights, dataclasses.replace(spec, text=text)


def _fill_counters(entries: dict[str, Entry], places: Mapping[str, Place]) -> None:
    """Batch norm's step counter takes no part in any computation here, and old writers left it out."""
    for name in (part for place in places.values() for part in place.names):
        if name.endswith("num_batches_tracked") and name not in entries:
            entries[name] = Entry.of(torch.zeros((), dtype=torch.int64))


def _problems(entries: Mapping[str, Entry], shapes: Mapping[str, Tensor], places: Mapping[str, Place]) -> list[str]:
    wanted = {
        part: (shape, like.is_floating_point())
        for name, like in shapes.items()
        for part, shape in places[name].shapes(tuple(like.shape)).items()
    }
    problems = []
    if missing := [name for name in wanted if name not in entries]:
        problems.append(f"missing {_listed(missing)}")
    if extra := [name for name in entries if name not in wanted]:
        problems.append(f"not part of this model: {_listed(extra)}")
    wrong = [
        f"{name} is {entries[name].shape}, must be {shape}"
        for name, (shape, _) in wanted.items()
        if name in entries and not _fits(entries[name].shape, shape)
    ]
    if wrong:
        problems.append(f"wrong shape: {_listed(wrong)}")
    integers = [
        f"{name} ({entries[name].dtype})"
        for name, (_, floating) in wanted.items()
        if name in entries and floating and entries[name].dtype not in _NUMBERS
    ]
    if integers:
        problems.append(f"not floating point: {_listed(integers)}; quantised weights cannot be read")
    return problems


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # A scale is written as () by some and as (1,) by others.
    return shape == wanted or {shape, wanted} == {(), (1,)}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return listed(names, _LISTED) + more
