"""What of each tower learns and how fast: all of it, its last blocks, adapters, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.specs import (
    BagOfWordsSpec,
    ExternalImageSpec,
    HuggingFaceTextSpec,
    ImageTowerSpec,
    ModifiedResNetSpec,
    TextTowerSpec,
)
from diptych.training import adapters
from diptych.training.start import StartSpec
from diptych.training.trained import Model

_LEARNS = re.compile(r"all|nothing|last (?P<blocks>\d+) blocks?|adapters of rank (?P<rank>[1-9]\d*)")
_BLOCK = re.compile(r"(blocks\.\d+|stages\.\d+\.\d+)\.")
# What follows the blocks of any tower; whatever is neither this nor in a block stands before them.
_AFTER = re.compile(r"(norm_post|norm_final|projection|pool|attention_pool)\b")


@dataclass(frozen=True, kw_only=True)
class TowerTraining:
    """What of a tower learns, and how fast.

    learns:        ``"all"``, or
                   ``"nothing"``: locked (LiT, arXiv 2111.07991), or
                   ``"last 2 blocks"``: so many, and what follows them (norm, pooling, projection), or
                   ``"adapters of rank 8"``: of the linear layers of attention and MLPs (LoRA, arXiv 2106.09685).
    layer_decay:   the learning rate of a block is this times that of the block above it; what follows the last block
                   has the whole rate, the embeddings the least (BEiT, arXiv 2106.08254).
    adapter_scale: what adapters' products are multiplied by, LoRA's alpha divided by the rank.
    """

    learns: str = "all"
    layer_decay: float = 1.0
    adapter_scale: float = 1.0

    def __post_init__(self) -> None:
        if not _LEARNS.fullmatch(self.learns):
            raise ConfigError(
                "image_tower.learns and text_tower.learns must be 'all', 'nothing', or like 'last 2 blocks' or "
                f"'adapters of rank 8', not {self.learns!r}"
            )
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay of a tower must be above 0 and at most 1, not {self.layer_decay}")
        if not self.adapter_scale > 0:
            raise ConfigError(f"adapter_scale of a tower must be positive, not {self.adapter_scale}")

    @property
    def last_blocks(self) -> int | None:
        """How many blocks learn, where not all do."""
        return self._number("blocks")

    @property
    def rank(self) -> int | None:
        """Of the adapters, where they learn."""
        return self._number("rank")

    def _number(self, group: str) -> int | None:
        match = _LEARNS.fullmatch(self.learns)
        return int(match[group]) if match and match[group] else None


def check(
    training: TowerTraining, spec: ImageTowerSpec | TextTowerSpec, start: StartSpec, name: Literal["image", "text"]
) -> None:
    """ConfigError where a tower cannot be trained as its recipe says, or weights would stay as they were drawn."""
    where = f"{name}_tower.learns is {training.learns!r}"
    if training.learns != "all" and not start.takes(name):
        raise ConfigError(
            f"{where}, but that tower begins from random weights; --set start.weights=MODEL, with start.towers 'both' "
            f"or {name!r}"
        )
    if isinstance(spec, ExternalImageSpec | HuggingFaceTextSpec):
        if training.learns not in ("all", "nothing") or training.layer_decay != 1:
            raise ConfigError(
                f"{name}_tower.learns must be 'all' or 'nothing' and layer_decay 1 for a tower of another library "
                f"({spec.kind}), whose blocks nobody here knows; not {training.learns!r} and {training.layer_decay}"
            )
        return
    blocks = _blocks(spec)
    if training.last_blocks is not None and training.last_blocks > blocks:
        raise ConfigError(f"{where}, but there are {blocks} blocks in that tower; 'all' trains everything")
    if training.rank and isinstance(spec, BagOfWordsSpec):
        raise ConfigError(f"{where}, but a {spec.kind} has no attention and no MLP for adapters")


def _blocks(spec: ImageTowerSpec | TextTowerSpec) -> int:
    if isinstance(spec, ModifiedResNetSpec):
        return sum(spec.layers)
    return getattr(spec, "layers", 0)  # a bag of words has none


def prepare(model: Model, image: TowerTraining, text: TowerTraining, *, seed: int) -> None:
    """Lock what does not learn and install adapters, in place; the model is in training mode.

    What is locked has no gradient, and modules of which nothing learns are in evaluation mode, so that batch norms
    normalise by what they remember and remember nothing new (LiT, section 3).
    """
    generator = torch.Generator().manual_seed(seed)
    for tower, training in ((model.image, image), (model.text, text)):
        if training.rank:
            adapters.install(tower, training.rank, training.adapter_scale, generator)
        deep = depths(tower)
        for name, parameter in tower.named_parameters():
            parameter.requires_grad_(_learns(training, name, deep[name]))
        for module in tower.modules():
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()


def _learns(training: TowerTraining, name: str, depth: int) -> bool:
    if training.rank:
        return name.endswith((".up", ".down"))
    if training.last_blocks is not None:
        return depth <= training.last_blocks
    return training.learns == "all"


def rate_factors(model: Model, image: TowerTraining, text: TowerTraining) -> dict[str, float]:
    """What the learning rate of each parameter of the model is multiplied by; 1 for those of no tower."""
    factors = {name: 1.0 for name, _ in model.named_parameters()}
    for path, tower, training in (("image", model.image, image), ("text", model.text, text)):
        factors |= {f"{path}.{name}": training.layer_decay**depth for name, depth in depths(tower).items()}
    return factors


def depths(tower: nn.Module) -> dict[str, int]:
    """How far below its end each parameter of a tower lies: 0 for what follows the blocks, 1 for the last block and so
    on down to the embeddings. A tower of another library is all end."""
    names = [name for name, _ in tower.named_parameters()]
    if any(name.startswith("trunk.") for name in names):
        return dict.fromkeys(names, 0)
    blocks = list(dict.fromkeys(match[1] for name in names if (match := _BLOCK.match(name))))

    def depth(name: str) -> int:
        if match := _BLOCK.match(name):
            return len(blocks) - blocks.index(match[1])
        return 0 if _AFTER.match(name) else len(blocks) + 1

    return {name: depth(name) for name in names}
