"""The memory that a step of training takes on one device, told without taking it.

Activations are measured: the towers run a few samples as fake tensors, which have shapes and a device and no numbers,
and what autograd would keep for the backward pass is counted. The rest follows from the number of parameters.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from diptych.models.clip import CLIP
from diptych.models.flops import UnreadTokens
from diptych.specs import HuggingFaceTextSpec, ModelSpec
from diptych.training import blocks
from diptych.training.average import Average
from diptych.training.engine import PRECISIONS, patches_of
from diptych.training.half_adam import halve
from diptych.training.optimizer import matrices_of
from diptych.training.outline import outline
from diptych.training.recipe import Recipe
from diptych.training.similarities import SCORES_AT_ONCE

_FEW = (2, 4)  # images; what both have in common does not grow with the batch, such as weights in bf16


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device.

    weights:     with what batch norms remember.
    average:     of the weights, where one is kept.
    optimizer:   its statistics of what learns.
    gradients:   of what learns.
    activations: what the backward pass needs of the images and texts that are in the towers at a time; None where a
                 tower of another library cannot be measured.
    loss:        embeddings of the whole batch, and the scores that are computed at a time.
    batch:       pixels, as they are given and as the towers take them.
    peak:        at the moment of a step that needs most: when the backward pass begins, or when it has ended.
    """

    weights: int
    average: int
    optimizer: int
    gradients: int
    activations: int | None
    loss: int
    batch: int
    peak: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one process has of a step.

    images:  of the batch. ``captions``: of each of them. ``in_towers``: images that are in the towers at a time.
    lengths: tokens to which the shorter and the longer half of the texts run.
    processes: among which the batch is divided.
    """

    images: int
    captions: int
    in_towers: int
    lengths: tuple[int, int]
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the memory of a step is made of, for a batch of any size; bytes, and those of `Memory`.

    activations: those that do not grow with the batch, and those of one image with its captions.
    sharded:     whether each process holds its part of weights, statistics and gradients only.
    """

    weights: int
    average: int
    optimizer: int
    gradients: int
    activations: tuple[float, float] | None
    pixels: int
    embedding: int
    sharded: bool

    def of(self, part: Part) -> Memory:
        """With so much of a batch on a device. Where blocks are run again for the backward pass, the activations of the
        one that is are not counted, nor where they are sharded its gathered weights."""
        fixed, of_image = self.activations or (0.0, 0.0)
        activations = round(fixed + of_image * part.in_towers)
        texts = part.images * part.captions
        loss = _loss(part.images, texts, part.processes * max(part.images, texts), self.embedding)
        batch = 2 * part.images * self.pixels
        holders = part.processes if self.sharded else 1
        weights, optimizer, gradients = (n // holders for n in (self.weights, self.optimizer, self.gradients))
        # Gradients come as activations go, but those of an earlier part of the batch are there from the beginning.
        backward = activations + loss
        backward = backward + gradients if part.in_towers < part.images else max(backward, gradients)
        return Memory(
            weights=weights,
            average=self.average,
            optimizer=optimizer,
            gradients=gradients,
            activations=None if self.activations is None else activations,
            loss=loss,
            batch=batch,
            peak=weights + self.average + optimizer + batch + backward,
        )


def footprint(recipe: Recipe, spec: ModelSpec, part: Part, *, device: str) -> Footprint:
    """Of a step of ``recipe`` with the model ``spec`` on a kind of device, such as ``cpu``; of ``part`` the captions of
    an image and their lengths count."""
    model = outline(spec, recipe.image_tower, recipe.text_tower)
    if recipe.half_text_weights:
        halve(model.text)
    blocks.prepare(model, compiled=False, again=recipe.gradient_checkpointing)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Footprint(
        weights=_bytes(model.parameters()) + _bytes(model.buffers()),
        average=0 if recipe.ema is None else _bytes(Average(model, recipe.ema).tensors.values()),
        optimizer=_statistics(recipe, model, learning),
        gradients=_bytes(learning),
        activations=_activations(recipe, model, part, device),
        pixels=3 * spec.image.image_size**2 * 4,
        embedding=spec.embedding,
        sharded=recipe.sharding == "full",
    )


def _statistics(recipe: Recipe, model: CLIP, learning: Iterable[Tensor]) -> int:
    if recipe.optimizer.half_statistics:
        return sum(2 * 2 * parameter.numel() for parameter in learning)
    one = matrices_of(model) if recipe.optimizer.algorithm == "muon" else {}
    return sum(_bytes([parameter]) * (1 if id(parameter) in one else 2) for parameter in learning)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _loss(images: int, texts: int, gallery: int, embedding: int) -> int:
    """Embeddings and their gradients, those of all processes gathered and theirs, and two blocks of scores."""
    scores = min(SCORES_AT_ONCE, images * gallery)
    return 4 * (2 * (images + texts) * embedding + 2 * gallery * embedding + 2 * scores)


def _activations(recipe: Recipe, model: CLIP, part: Part, device: str) -> tuple[float, float] | None:
    if isinstance(model.spec.text, HuggingFaceTextSpec):  # looks at numbers on its way
        return None
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to_empty(device=device)
        few, more = (_kept(recipe, model, dataclasses.replace(part, in_towers=images), device) for images in _FEW)
    of_image = (more - few) / (_FEW[1] - _FEW[0])
    return few - of_image * _FEW[0], of_image


def _kept(recipe: Recipe, model: CLIP, part: Part, device: str) -> int:
    """Bytes that autograd keeps besides weights, each storage once however many tensors look into it."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _embedded(recipe, model, part, device)
    return sum(storage.nbytes() for storage in kept.values())


def _embedded(recipe: Recipe, model: CLIP, part: Part, device: str) -> tuple[Tensor, Tensor]:
    """What the objective and `CLIP.forward` do with images and texts that have no numbers, up to the embeddings."""
    precision, size = PRECISIONS[recipe.precision], model.spec.image.image_size
    pixels_BCHW = torch.empty(part.in_towers, 3, size, size, device=device)
    patches, seen = patches_of(recipe)
    places = {}
    if seen < patches:
        places = {"places_BK": torch.zeros(part.in_towers, seen, dtype=torch.int64, device=device)}
    half = part.in_towers * part.captions // 2
    with torch.autocast(device, precision, enabled=precision != torch.float32):
        images_BE = model.image(pixels_BCHW, **places)[0]
        texts_ME = torch.cat([model.text(UnreadTokens.of(half, length, device))[0] for length in part.lengths])
    return F.normalize(images_BE.float(), dim=1), F.normalize(texts_ME.float(), dim=1)


def there_is(device: torch.device) -> int:
    """Bytes of memory of a device; of a processor what the system, or a container, lets programs have."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        told = limit.read_text(encoding="utf-8").strip() if limit.is_file() else ""
        there = min(there, int(told)) if told.isdecimal() else there
    return there
