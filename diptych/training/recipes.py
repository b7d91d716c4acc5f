"""Recipes by name: the paper's models, later ones, and ones that a laptop trains in minutes.

Each is a function of where the pairs are, returning a frozen ``Recipe`` to be changed with ``dataclasses.replace`` or
``diptych.config.override``:

    recipe = override(vit_b_32(data="shards/{0000..0499}.tar"), ["batch_size=4096"])

In the docstrings stand the command and the result to expect: top-1 of zero-shot ImageNet in per cent, as published with
those data; nothing of that size was repeated here. On several GPUs ``torchrun --nproc-per-node 8 -m diptych train ...``
is the same command, and ``--set micro_batch=256`` makes a batch fit that is too large. ``--smoke`` shrinks any of them
to seconds, to try the data and the machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from diptych import zoo
from diptych.data.augment import Augmentation
from diptych.errors import ConfigError, nearest
from diptych.training.losses import LossSpec
from diptych.training.optimizer import OptimizerSpec
from diptych.training.paper_recipes import (
    paper,
    rn50,
    rn50x4,
    rn50x16,
    rn50x64,
    rn101,
    vit_b_16,
    vit_b_32,
    vit_l_14,
    vit_l_14_336,
)
from diptych.training.recipe import CheckpointSpec, DataSpec, Recipe
from diptych.training.start import StartSpec
from diptych.training.towers import TowerTraining


def lit_b_16(data: str, start: str = "") -> Recipe:
    """A text tower for the image tower of the ViT-B/16 in ``start``, which is locked (LiT).

    ``diptych train lit-b-16 --data "shards/{00000..02999}.tar" --out runs/lit --set start.weights=MODEL``, after
    arXiv 2111.07991. Rate, decay, clipping, batch and warm-up are those of the authors' published configuration
    (big_vision, ``lit_coco.py``), the length is that of their public model of this size.
    """
    return dataclasses.replace(
        paper("ViT-B/16", data, 1e-3),
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


def siglip_b_16(data: str) -> Recipe:
    """SigLIP's ViT-B/16, 224 px: each pair judged by itself, 40 billion pairs seen.

    ``diptych train siglip-b-16 --data "shards/{00000..39999}.tar" --out runs/siglip``: 76.0 on WebLI (arXiv 2303.15343,
    version 4). Rate, decay and beta2 as there (section 4), clipping, warm-up and pairs seen as in SigLIP 2
    (arXiv 2502.14786, section 2); Adam in place of the former's Adafactor, and a vocabulary of that size is learned.
    """
    spec = zoo.find("ViT-B/16-SigLIP")
    optimizer = OptimizerSpec(
        learning_rate=1e-3, beta2=0.95, epsilon=1e-8, weight_decay=1e-4, warmup_steps=20_000, max_gradient_norm=1.0
    )
    return Recipe(
        name="SigLIP-B/16",
        model=spec,
        data=DataSpec(source=data),
        vocabulary=32_000,
        duration="1220703 steps",
        optimizer=optimizer,
        max_logit_scale=1000.0,  # there is no limit; the released model ends beyond the paper's 100
    )


def clipa_l_16(data: str) -> Recipe:
    """A large model fast: CLIPA's L/16 at 64 px and 16 tokens, at a twelfth of the cost of 224 px.

    ``diptych train clipa-l-16 --data "laion400m/{00000..41407}.tar" --out runs/clipa``: 60.3, and 67.8 after 131
    million pairs more at 224 px, in about 3 days on 8 A100 (arXiv 2305.07017; values and results from docs/clipa.md of
    OpenCLIP, whose ViT-B/16 has 67.1 after 32 epochs of the same pairs at 224 px).
    """
    augmentation = Augmentation(scale=(0.4, 1.0), colour=0.32, hue=0.08, grey=0.2)
    return Recipe(
        name="CLIPA-L/16@64px",
        model=zoo.find("CLIPA-L/16").with_image_size(64),
        data=DataSpec(source=data, augmentation=augmentation),
        duration="6 epochs",
        optimizer=OptimizerSpec(learning_rate=1.024e-3, beta2=0.95, warmup_steps=1563),
    )


def clipa_l_16_224(data: str, start: str = "") -> Recipe:
    """The CLIPA model in ``start`` at 224 px, for 131 million pairs more.

    ``diptych train clipa-l-16-224 --data "laion400m/{00000..41407}.tar" --out runs/clipa-224 --set
    start.weights=runs/clipa/model``: 67.8 (sources as of clipa-l-16, whose position embeddings are resized).
    """
    recipe = clipa_l_16(data)
    return dataclasses.replace(
        recipe,
        name="CLIPA-L/16",
        model=recipe.model.with_image_size(224),
        start=StartSpec(weights=start),
        duration="18286 steps",
        batch_size=7168,
        optimizer=OptimizerSpec(learning_rate=2.24e-5, beta2=0.95, warmup_steps=3571),
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
    """A few thousand photographs with several captions each: twenty minutes on two cores.

    ``diptych train small-photographs --data flickr8k --split train --captions json.captions.en --out runs/mine``: 15.9
    % mean recall on its ``val``, by chance 0.5 (docs/RESULTS.md).
    """
    augmentation = Augmentation(scale=(0.4, 1.0), aspect=4 / 3, flip=0.5, colour=0.4)
    pairs = DataSpec(source=data, augmentation=augmentation, captions_per_image=2, in_memory=True, workers=0)
    loss = LossSpec(caption_contrast=0.5)
    return _laptop("small-photographs", "RN-mini@96px", pairs, steps=1850, loss=loss, batch_size=128)


def small_drawings(data: str) -> Recipe:
    """A few thousand drawings, icons or emoji with names or keywords: twenty minutes on two cores.

    ``diptych train small-drawings --data emoji --split train --captions txt --keywords json.keywords.en --where
    json.base --out runs/drawings``: 24.5 % mean recall on its ``val``, by chance 3.5 (docs/RESULTS.md).
    """
    # Strong, since other hands draw the same thing otherwise.
    augmentation = Augmentation(scale=(0.5, 2.0), aspect=1.3, flip=0.5, rotation=25, colour=0.4, hue=0.05, grey=0.1)
    pairs = DataSpec(source=data, augmentation=augmentation, captions_per_image=2, in_memory=True, workers=0)
    loss = LossSpec(equal_captions="positives", caption_contrast=0.5)
    recipe = _laptop("small-drawings", "RN-mini", pairs, steps=2650, loss=loss, batch_size=128)
    return dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, weight_decay=1.0))


def demo(seed: int = 0, steps: int = 1000) -> Recipe:
    """What ``diptych demo`` trains on the scenes it draws: minutes on two cores; see docs/RESULTS.md."""
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
    "siglip-b-16": siglip_b_16,
    "clipa-l-16": clipa_l_16,
    "clipa-l-16-224": clipa_l_16_224,
    "small-photographs": small_photographs,
    "small-drawings": small_drawings,
}


def find(name: str) -> Callable[[str], Recipe]:
    """The recipe function of a name, as the command line takes it; ConfigError with the nearest one otherwise."""
    key = name.lower().replace("_", "-").replace("/", "-")
    if key not in RECIPES:
        raise ConfigError(f"no recipe is called {name!r}; {nearest(key, RECIPES)}")
    return RECIPES[key]


def summary(name: str) -> str:
    """What a recipe is for, in a line: the first of its docstring."""
    return (find(name).__doc__ or "").partition("\n")[0].removesuffix(".").replace("``", "")
