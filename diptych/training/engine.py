"""One optimiser step, on all processes alike: a batch's gradient, and the update that it makes."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data.loader import Batch
from diptych.data.order import mixed, uniforms
from diptych.models.clip import CLIP
from diptych.specs import SiglipVisionSpec, VisionTransformerSpec
from diptych.tokens import Tokens
from diptych.training import optimizer_files, state
from diptych.training.batch_norms import put_back, statistics
from diptych.training.blocks import prepare
from diptych.training.forward import forward_of
from diptych.training.head import class_numbers, classification
from diptych.training.loss_scale import LossScale
from diptych.training.objectives import OBJECTIVES
from diptych.training.optimizer import build_optimizer, set_learning_rate
from diptych.training.parallel import finished_gradients, local_gradients, spread, total_norm
from diptych.training.recipe import Recipe
from diptych.training.state import State
from diptych.training.towers import rate_factors
from diptych.training.trained import Model

_PATCHES, _DROPOUT = 4, 5  # keep these draws apart from each other and from the loader's own, which have 0 to 3
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Gradient:
    """What is known of a batch once its gradient is in the parameters.

    loss, norm: of the whole batch, and of its gradient over all parameters, before it is scaled down.
    metrics:    of the objective. truncated: captions of this process that were too long.
    """

    loss: float
    norm: float
    metrics: dict[str, float]
    truncated: int

    @property
    def finite(self) -> bool:
        """Whether an update may be made of it."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)

    @property
    def overflow(self) -> bool:
        """Whether it is the gradient alone that is not finite."""
        return math.isfinite(self.loss) and not math.isfinite(self.norm)


class Engine:
    """A model, where it is, and its optimiser. ``backward`` and ``update`` together are a step; ``discard`` in place of
    the latter leaves everything as it was.

    ``loss_scale``: of fp16, None in other precisions.
    """

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self.recipe, self.model = recipe, model
        self.device = next(model.parameters()).device
        self._before: dict[str, Tensor] = {}
        self.loss_scale = LossScale() if recipe.precision == "fp16" else None
        prepare(model, compiled=recipe.compile, again=recipe.gradient_checkpointing)
        self.run = spread(forward_of(model, PRECISIONS[recipe.precision]), sharding=recipe.sharding)
        factors = rate_factors(model, recipe.image_tower, recipe.text_tower)
        self.optimizer = build_optimizer(model, recipe.optimizer, factors)

    def backward(self, batch: Batch) -> Gradient:
        """Put the gradient of all processes' parts of a batch into the parameters; the weights stay as they are."""
        recipe = self.recipe
        if self.loss_scale or recipe.guard.watches:
            self._before = statistics(self.model)
        pixels_BCHW, tokens = self._inputs(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with self._draws(batch.position):
            loss, metrics = self._pass(batch, pixels_BCHW, tokens)
        gradients = finished_gradients(self.run)
        if self.loss_scale:
            torch._foreach_mul_(gradients, 1 / self.loss_scale.factor)
        norm = total_norm(self.run, gradients)
        numbers = {name: value.item() for name, value in metrics.items()}
        gradient = Gradient(loss.item(), norm.item(), numbers, tokens.truncated)
        if self.loss_scale:
            numbers["loss_scale"] = self.loss_scale.factor
            self.loss_scale.update(overflow=gradient.overflow)
            numbers["overflows"] = self.loss_scale.overflows
        return gradient

    def discard(self) -> None:
        """Make no update, and have batch norms forget the batch, which may have been the trouble."""
        put_back(self.model, self._before)

    def update(self, gradient: Gradient, learning_rate: float) -> None:
        """Change the weights by the gradient that is in the parameters."""
        set_learning_rate(self.optimizer, learning_rate)
        longest = self.recipe.optimizer.max_gradient_norm
        if longest is not None and gradient.norm > longest:
            torch._foreach_mul_(local_gradients(self.run), longest / gradient.norm)
        self.optimizer.step()
        if isinstance(self.model, CLIP):
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=math.log(self.recipe.max_logit_scale))

    def restore(self, checkpoint: Path, resumed: State) -> None:
        """Give the optimiser back what it remembered; TrainingError where that cannot be read."""
        with state.reading(checkpoint):
            optimizer_files.restore(checkpoint / state.OPTIMIZER, resumed.optimizer, self.model, self.optimizer)

    def _pass(self, batch: Batch, pixels_BCHW: Tensor, tokens: Tokens) -> tuple[Tensor, dict[str, Tensor]]:
        """Forward and backward, as the recipe's objective or head has it."""
        recipe = self.recipe
        places_BK = self._places(batch.position, len(pixels_BCHW))
        factor = self.loss_scale.factor if self.loss_scale else 1.0
        if recipe.head:
            return classification(
                self.run,
                pixels_BCHW,
                tokens,
                labels_B=class_numbers(batch.captions).to(self.device),
                loss=recipe.loss,
                micro_batch=recipe.micro_batch,
                places_BK=places_BK,
                loss_scale=factor,
            )
        return OBJECTIVES[recipe.objective](
            self.run,
            pixels_BCHW,
            tokens,
            image_ids_B=batch.image_ids_B.to(self.device),
            text_ids_M=batch.text_ids_M.to(self.device),
            loss=recipe.loss,
            micro_batch=recipe.micro_batch,
            places_BK=places_BK,
            loss_scale=factor,
        )

    @contextmanager
    def _draws(self, position: int) -> Generator[None]:
        """What other libraries' towers draw, such as dropout, belongs to the place in the data, so that a run that is
        resumed draws the same."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(mixed(self.recipe.seed, position, _DROPOUT)) >> 1)
            yield

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tokens]:
        if batch.tokens is None:
            raise AssertionError("a loader with a tokenizer gives tokens")
        pixels_BCHW = batch.pixels_BCHW.contiguous(memory_format=torch.channels_last).to(self.device)
        ids_BL, lengths_B, truncated = batch.tokens
        return pixels_BCHW, Tokens(ids_BL.to(self.device), lengths_B.to(self.device), truncated)

    def _places(self, position: int, images: int) -> Tensor | None:
        """The patches that are seen of each image, a draw that belongs to its position; None where all are."""
        patches, seen = patches_of(self.recipe)
        if seen == patches:
            return None
        draws_BN = uniforms(self.recipe.seed, position + np.arange(images), _PATCHES, count=patches)
        return torch.from_numpy(draws_BN.argsort(axis=1)[:, :seen].copy()).to(self.device)


def patches_of(recipe: Recipe) -> tuple[int, int]:
    """How many patches an image has, and how many of them its tower sees in training; 0 where it has no patches."""
    image = recipe.model.image
    if not isinstance(image, VisionTransformerSpec | SiglipVisionSpec):
        return 0, 0
    patches = (image.image_size // image.patch_size) ** 2
    return patches, max(1, round(patches * (1 - recipe.patch_dropout)))
