"""Recipes by name: the paper's models, and ones that a laptop trains in minutes.

Each is a function of where the pairs are, returning a frozen ``Recipe`` to be changed with ``dataclasses.replace`` or
``diptych.config.override``:

    recipe = override(vit_b_32(data="shards/{0000..0499}.tar"), ["batch_size=4096"])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from diptych import zoo
from diptych.data.augment import Augmentation
from diptych.errors import ConfigError, nearest
from diptych.training.losses import LossSpec
from diptych.training.optimizer import OptimizerSpec
from diptych.training.recipe import CheckpointSpec, DataSpec, Recipe
from diptych.training.start import StartSpec
from diptych.training.towers import TowerTraining


def _paper(model: str, data: str, rate: float) -> Recipe:
    """The paper's values (tables 18 to 20): 32 epochs at batch 32,768, Adam's constants by kind of image tower."""
    spec = zoo.find(model)
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


def vit_l_14_336(data: str, start: str = "") -> Recipe:
    """The paper's ViT-L/14@336px: one more epoch, at 336 px, of the ViT-L/14 in ``start`` (section 2.5).

    Position embeddings are resized. The rate is the paper's (table 20); of the rest it says nothing, so that is as in
    the epochs before, but for a warm-up in the same proportion to the run.
    """
    recipe = _paper("ViT-L/14@336px", data, 2e-5)
    optimizer = dataclasses.replace(recipe.optimizer, warmup_steps=2000 // 32)
    return dataclasses.replace(recipe, duration="1 epochs", start=StartSpec(weights=start), optimizer=optimizer)


def lit_b_16(data: str, start: str = "") -> Recipe:
    """A text tower for the image tower of the ViT-B/16 in ``start``, which is locked (LiT, arXiv 2111.07991).

    Rate, decay, clipping, batch and warm-up are those of the authors' published configuration (big_vision,
    ``lit_coco.py``), the length is that of their public model of this size.
    """
    return dataclasses.replace(
        _paper("ViT-B/16", data, 1e-3),
        name="LiT-B/16",
        start=StartSpec(weights=start, towers="image"),
        image_tower=TowerTraining(learns="nothing"),
        duration="60000 steps",
        batch_size=4096,
        optimizer=OptimizerSpec(
            learning_rate=1e-3,
            beta2=0.999,
            epsilon=1e-8,
            weight_decay=0.01,
            warmup_steps=1800,
            max_gradient_norm=1.0,
        ),
    )


def _laptop(name: str, model: str, data: DataSpec, *, steps: int, loss: LossSpec, batch_size: int) -> Recipe:
    """What the small recipes share; found on validation splits (docs/LOG.md)."""
    return Recipe(
        name=name,
        model=zoo.find(model),
        data=data,
        vocabulary=4096,
        duration=f"{steps} steps",
        batch_size=batch_size,
        optimizer=OptimizerSpec(learning_rate=1e-3, warmup_steps=steps // 20, max_gradient_norm=1.0),
        loss=loss,
        checkpoints=CheckpointSpec(every_steps=steps, every_minutes=5),
        evaluate_every=max(1, steps // 5),
    )


def small_photographs(data: str) -> Recipe:
    """A few thousand photographs with several captions each: twenty minutes on two cores."""
    augmentation = Augmentation(scale=(0.4, 1.0), aspect=4 / 3, flip=0.5, colour=0.4)
    pairs = DataSpec(source=data, augmentation=augmentation, captions_per_image=2, in_memory=True, workers=0)
    loss = LossSpec(caption_contrast=0.5)
    return _laptop("small-photographs", "RN-mini@96px", pairs, steps=1850, loss=loss, batch_size=128)


def small_drawings(data: str) -> Recipe:
    """A few thousand drawings, icons or emoji with names, and keywords where told: twenty minutes on two cores."""
    # Strong, since other hands draw the same thing otherwise.
    augmentation = Augmentation(scale=(0.5, 2.0), aspect=1.3, flip=0.5, rotation=25, colour=0.4, hue=0.05, grey=0.1)
    pairs = DataSpec(source=data, augmentation=augmentation, captions_per_image=2, in_memory=True, workers=0)
    loss = LossSpec(equal_captions="positives", caption_contrast=0.5)
    recipe = _laptop("small-drawings", "RN-mini", pairs, steps=2650, loss=loss, batch_size=128)
    return dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, weight_decay=1.0))


def demo(seed: int = 0, steps: int = 1000) -> Recipe:
    """What ``diptych demo`` trains on the scenes it draws: minutes on two cores."""
    scenes = DataSpec(source="drawn scenes", captions_per_image=2, workers=1)
    loss = LossSpec(equal_captions="positives", caption_contrast=0.5)
    recipe = _laptop("demo", "RN-micro", scenes, steps=steps, loss=loss, batch_size=128)
    optimizer = dataclasses.replace(recipe.optimizer, learning_rate=3e-3, weight_decay=0.1)
    return dataclasses.replace(recipe, optimizer=optimizer, vocabulary=1024, seed=seed)


RECIPES: dict[str, Callable[[str], Recipe]] = {
    "rn50": rn50,
    "rn101": rn101,
    "rn50x4": rn50x4,
    "rn50x16": rn50x16,
    "rn50x64": rn50x64,
    "vit-b-32": vit_b_32,
    "vit-b-16": vit_b_16,
    "vit-l-14": vit_l_14,
    "vit-l-14-336": vit_l_14_336,
    "lit-b-16": lit_b_16,
    "small-photographs": small_photographs,
    "small-drawings": small_drawings,
}


def find(name: str) -> Callable[[str], Recipe]:
    """The recipe function of a name, as the command line takes it; ConfigError with the nearest one otherwise."""
    key = name.lower().replace("_", "-").replace("/", "-")
    if key not in RECIPES:
        raise ConfigError(f"no recipe is called {name!r}; {nearest(key, RECIPES)}")
    return RECIPES[key]
