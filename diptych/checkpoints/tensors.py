"""Named tensors of a file that are read one at a time, and the check that they are exactly a model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych.checkpoints.keys import expected
from diptych.errors import CheckpointError, nearest
from diptych.models.positions import resize_positions
from diptych.specs import ModelSpec, ModifiedResNetSpec

_LISTED = 4  # names in an error message before "and N more"


class Entry(NamedTuple):
    """One tensor of a file: what it is, and how to read it when its turn comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]

    @staticmethod
    def of(tensor: Tensor) -> Entry:
        """An entry whose tensor is there already (perhaps as a mapping of a file, which costs nothing yet)."""
        tensor = tensor.detach()
        return Entry(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def read_safetensors(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a safetensors file, memory-mapped: nothing is copied, pages are read when they are touched; and
    its metadata.

    The mapping is private: writing into a tensor changes memory, never the file. Raises CheckpointError where the file
    is cut off or is not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: Entry.of(file.get_tensor(name)) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); fetch or write it again") from error


def assemble(entries: dict[str, Entry], spec: ModelSpec, names: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """The model's weights in fp32 under our names; ``names`` gives for each of ours the one in the file.

    Entries are taken out one by one and freed, so at most one tensor exists twice; fp32 is handed on as it is.
    Raises CheckpointError that lists missing, extra and wrongly shaped tensors under the file's own names.
    """
    shapes = expected(spec)
    _fill_counters(entries, names)
    _check(entries, shapes, names, where)
    weights = {}
    for name, like in shapes.items():
        tensor = entries.pop(names[name]).load()
        weights[name] = tensor.to(like.dtype).reshape(like.shape).contiguous()
    return weights


def resized(weights: dict[str, Tensor], spec: ModelSpec, image_size: int) -> tuple[dict[str, Tensor], ModelSpec]:
    """Weights and spec of the same model at ``image_size`` pixels, position embeddings resampled (paper, 2.5)."""
    spec = spec.with_image_size(image_size)
    if isinstance(spec.image, ModifiedResNetSpec):
        name, grid = "image.attention_pool.positional_embedding", image_size // 32
    else:
        name, grid = "image.positional_embedding", image_size // spec.image.patch_size
    return weights | {name: resize_positions(weights[name], grid)}, spec


def _fill_counters(entries: dict[str, Entry], names: Mapping[str, str]) -> None:
    """Batch norm's step counter takes no part in any computation here, and old writers left it out."""
    for name in names.values():
        if name.endswith("num_batches_tracked") and name not in entries:
            entries[name] = Entry.of(torch.zeros((), dtype=torch.int64))


def _check(entries: Mapping[str, Entry], shapes: Mapping[str, Tensor], names: Mapping[str, str], where: str) -> None:
    wanted = {names[name]: like for name, like in shapes.items()}
    problems = []
    if missing := [name for name in wanted if name not in entries]:
        problems.append(f"missing {_listed(missing)}")
    if extra := [name for name in entries if name not in wanted]:
        problems.append(f"not part of this model: {_listed(extra)} ({nearest(extra[0], missing or wanted)})")
    wrong = [
        f"{name} is {entries[name].shape}, must be {tuple(like.shape)}"
        for name, like in wanted.items()
        if name in entries and not _fits(entries[name].shape, tuple(like.shape))
    ]
    if wrong:
        problems.append(f"wrong shape: {_listed(wrong)}")
    integers = [
        f"{name} ({entries[name].dtype})"
        for name, like in wanted.items()
        if name in entries and like.is_floating_point() and not entries[name].dtype.is_floating_point
    ]
    if integers:
        problems.append(f"not floating point: {_listed(integers)}; quantised weights cannot be read")
    if problems:
        raise CheckpointError(f"{where} does not hold the weights of this model. " + ". ".join(problems))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # A scale is written as () by some and as (1,) by others.
    return shape == wanted or (wanted == () and shape == (1,))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
