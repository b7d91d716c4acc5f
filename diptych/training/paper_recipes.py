"""The paper's nine models by its tables 18 to 20; `diptych.training.recipes` has them with the others."""

from __future__ import annotations

import dataclasses

from diptych import zoo
from diptych.training.optimizer import OptimizerSpec
from diptych.training.recipe import DataSpec, Recipe
from diptych.training.start import StartSpec


def paper(model: str, data: str, rate: float) -> Recipe:
    """32 epochs at batch 32,768, Adam's constants by kind of image tower."""
    spec = zoo.find(model)
    if spec.image.kind == "modified_resnet":
        optimizer = OptimizerSpec(learning_rate=rate, beta2=0.999, epsilon=1e-8)
    else:
        optimizer = OptimizerSpec(learning_rate=rate, beta2=0.98, epsilon=1e-6)
    return Recipe(name=spec.name, model=spec, data=DataSpec(source=data), optimizer=optimizer)


def rn50(data: str) -> Recipe:
    """The paper's RN50.

    ``diptych train rn50 --data "shards/{00000..39999}.tar" --out runs/rn50``: 59.6 (paper, table 11).
    """
    return paper("RN50", data, 5e-4)


def rn101(data: str) -> Recipe:
    """The paper's RN101.

    ``diptych train rn101 --data "shards/{00000..39999}.tar" --out runs/rn101``: 62.2 (paper, table 11).
    """
    return paper("RN101", data, 5e-4)


def rn50x4(data: str) -> Recipe:
    """The paper's RN50x4, 288 px.

    ``diptych train rn50x4 --data "shards/{00000..39999}.tar" --out runs/rn50x4``: 65.8 (paper, table 11).
    """
    return paper("RN50x4", data, 5e-4)


def rn50x16(data: str) -> Recipe:
    """The paper's RN50x16, 384 px.

    ``diptych train rn50x16 --data "shards/{00000..39999}.tar" --out runs/rn50x16``: 70.5 (paper, table 11).
    """
    return paper("RN50x16", data, 4e-4)


def rn50x64(data: str) -> Recipe:
    """The paper's RN50x64, 448 px.

    ``diptych train rn50x64 --data "shards/{00000..39999}.tar" --out runs/rn50x64``: 73.6 (paper, table 11).
    It took 18 days on 592 V100 there.
    """
    return paper("RN50x64", data, 3.6e-4)


def vit_b_32(data: str) -> Recipe:
    """The paper's ViT-B/32.

    ``diptych train vit-b-32 --data "shards/{00000..39999}.tar" --out runs/vit-b-32``: 63.2 (paper, table 11).
    """
    return paper("ViT-B/32", data, 5e-4)


def vit_b_16(data: str) -> Recipe:
    """The paper's ViT-B/16.

    ``diptych train vit-b-16 --data "shards/{00000..39999}.tar" --out runs/vit-b-16``: 68.6 (paper, table 11).
    """
    return paper("ViT-B/16", data, 5e-4)


def vit_l_14(data: str) -> Recipe:
    """The paper's ViT-L/14.

    ``diptych train vit-l-14 --data "shards/{00000..39999}.tar" --out runs/vit-l-14``: 75.3 (paper, table 11).
    """
    return paper("ViT-L/14", data, 4e-4)


def vit_l_14_336(data: str, start: str = "") -> Recipe:
    """The paper's ViT-L/14@336px: one more epoch, at 336 px, of the ViT-L/14 in ``start``.

    ``diptych train vit-l-14-336 --data "shards/{00000..39999}.tar" --out runs/vit-l-14-336 --set
    start.weights=runs/vit-l-14/model``: 76.2 (paper, table 11). Position embeddings are resized. The rate is the
    paper's (table 20); of the rest it says nothing, so that is as in the epochs before, but for a warm-up in the same
    proportion.
    """
    recipe = paper("ViT-L/14@336px", data, 2e-5)
    optimizer = dataclasses.replace(recipe.optimizer, warmup_steps=2000 // 32)
    return dataclasses.replace(recipe, duration="1 epochs", start=StartSpec(weights=start), optimizer=optimizer)
