"""Recipes by name: the paper's nine models, and ones that a laptop trains in minutes.

Each is a function of where the pairs are, returning a frozen ``Recipe`` to be changed with ``dataclasses.replace`` or
``diptych.config.override``:

    recipe = override(vit_b_32(data="shards/{0000..0499}.tar"), ["batch_size=4096"])
"""

from __future__ import annotations

from collections.abc import Callable

from diptych import specs
from diptych.errors import ConfigError, nearest
from diptych.training.optimizer import OptimizerSpec
from diptych.training.recipe import DataSpec, Recipe


def _paper(model: str, data: str, rate: float) -> Recipe:
    """The paper's values (tables 18 to 20): 32 epochs at batch 32,768, Adam's constants by kind of image tower."""
    spec = specs.find(model)
    if spec.image.kind == "modified_resnet":
        optimizer = OptimizerSpec(learning_rate=rate, beta2=0.999, epsilon=1e-8)
    else:
        optimizer = OptimizerSpec(learning_rate=rate, beta2=0.98, epsilon=1e-6)
    return Recipe(name=spec.name, model=spec, data=DataSpec(source=data), optimizer=optimizer)


def rn50(data: str) -> Recipe:
    """The paper's RN50."""
    return _paper("RN50", data, 5e-4)


def rn101(data: str) -> Recipe:
    """The paper's RN101."""
    return _paper("RN101", data, 5e-4)


def rn50x4(data: str) -> Recipe:
    """The paper's RN50x4, 288 px."""
    return _paper("RN50x4", data, 5e-4)


def rn50x16(data: str) -> Recipe:
    """The paper's RN50x16, 384 px."""
    return _paper("RN50x16", data, 4e-4)


def rn50x64(data: str) -> Recipe:
    """The paper's RN50x64, 448 px."""
    return _paper("RN50x64", data, 3.6e-4)


def vit_b_32(data: str) -> Recipe:
    """The paper's ViT-B/32."""
    return _paper("ViT-B/32", data, 5e-4)


def vit_b_16(data: str) -> Recipe:
    """The paper's ViT-B/16."""
    return _paper("ViT-B/16", data, 5e-4)


def vit_l_14(data: str) -> Recipe:
    """The paper's ViT-L/14."""
    return _paper("ViT-L/14", data, 4e-4)


RECIPES: dict[str, Callable[[str], Recipe]] = {
    "rn50": rn50,
    "rn101": rn101,
    "rn50x4": rn50x4,
    "rn50x16": rn50x16,
    "rn50x64": rn50x64,
    "vit-b-32": vit_b_32,
    "vit-b-16": vit_b_16,
    "vit-l-14": vit_l_14,
}


def find(name: str) -> Callable[[str], Recipe]:
    """The recipe function of a name, as the command line takes it; ConfigError with the nearest one otherwise."""
    key = name.lower().replace("_", "-").replace("/", "-")
    if key not in RECIPES:
        raise ConfigError(f"no recipe is called {name!r}; {nearest(key, RECIPES)}")
    return RECIPES[key]
