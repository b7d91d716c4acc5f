"""One optimiser step, on all processes alike: a batch's gradient, and the update that it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych import distributed
from diptych.data.loader import Batch
from diptych.data.order import uniforms
from diptych.models.clip import CLIP
from diptych.specs import SiglipVisionSpec, VisionTransformerSpec
from diptych.tokens import Tokens
from diptych.training.objectives import OBJECTIVES
from diptych.training.optimizer import build_optimizer, set_learning_rate
from diptych.training.recipe import Recipe
from diptych.training.towers import rate_factors
from diptych.training.trained import Model

_PATCHES = 4  # keeps these draws apart from the loader's own, which have 0 to 3
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


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


class Engine:
    """A model, where it is, and its optimiser. ``backward`` and ``update`` together are a step, which the caller may
    break off between the two."""

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self.recipe, self.model = recipe, model
        self.device = next(model.parameters()).device
        factors = rate_factors(model, recipe.image_tower, recipe.text_tower)
        self.optimizer = build_optimizer(model, recipe.optimizer, factors)

    def backward(self, batch: Batch) -> Gradient:
        """Put the gradient of all processes' parts of a batch into the parameters; the weights stay as they are."""
        recipe = self.recipe
        pixels_BCHW, tokens = self._inputs(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss, metrics = OBJECTIVES[recipe.objective](
            self.model,
            pixels_BCHW,
            tokens,
            image_ids_B=batch.image_ids_B.to(self.device),
            text_ids_M=batch.text_ids_M.to(self.device),
            precision=PRECISIONS[recipe.precision],
            loss=recipe.loss,
            micro_batch=recipe.micro_batch,
            places_BK=self._places(batch.position, len(pixels_BCHW)),
        )
        distributed.sum_in_place(p.grad for p in self.model.parameters() if p.grad is not None)
        norm = torch.nn.utils.get_total_norm(p.grad for p in self.model.parameters() if p.grad is not None)
        numbers = {name: value.item() for name, value in metrics.items()}
        return Gradient(loss.item(), norm.item(), numbers, tokens.truncated)

    def update(self, gradient: Gradient, learning_rate: float) -> None:
        """Change the weights by the gradient that is in the parameters."""
        set_learning_rate(self.optimizer, learning_rate)
        longest = self.recipe.optimizer.max_gradient_norm
        if longest is not None:
            norm = torch.tensor(gradient.norm, device=self.device)
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), longest, norm)
        self.optimizer.step()
        if isinstance(self.model, CLIP):
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=math.log(self.recipe.max_logit_scale))

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tokens]:
        if batch.tokens is None:
            raise AssertionError("a loader with a tokenizer gives tokens")
        pixels_BCHW = batch.pixels_BCHW.contiguous(memory_format=torch.channels_last).to(self.device)
        ids_BL, lengths_B, truncated = batch.tokens
        return pixels_BCHW, Tokens(ids_BL.to(self.device), lengths_B.to(self.device), truncated)

    def _places(self, position: int, images: int) -> Tensor | None:
        """The patches that are seen of each image, a draw that belongs to its position; None where all are."""
        image = self.model.spec.image
        if not self.recipe.patch_dropout or not isinstance(image, VisionTransformerSpec | SiglipVisionSpec):
            return None
        patches = (image.image_size // image.patch_size) ** 2
        seen = max(1, round(patches * (1 - self.recipe.patch_dropout)))
        draws_BN = uniforms(self.recipe.seed, position + np.arange(images), _PATCHES, count=patches)
        return torch.from_numpy(draws_BN.argsort(axis=1)[:, :seen].copy()).to(self.device)
