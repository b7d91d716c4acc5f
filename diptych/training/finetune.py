"""Fine-tuning on labelled data: the recipe of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diptych.data.augment import Augmentation
from diptych.encoder.clip import Clip
from diptych.training.head import HeadSpec
from diptych.training.optimizer import OptimizerSpec
from diptych.training.recipe import DataSpec, Recipe
from diptych.training.start import StartSpec
from diptych.training.towers import TowerTraining


def fine_tuning(
    clip: Clip,
    weights: str,
    data: DataSpec,
    *,
    classes: Sequence[str],
    templates: Sequence[str],
    samples: int,
    head_only: bool = False,
) -> Recipe:
    """WiSE-FT's values for a CLIP and its zero-shot head, end to end or the head alone: AdamW at 3e-5, gradients of
    length 1, ten epochs of 512 images (the authors' README and code), decay 0.1, a warm-up of 500 steps (arXiv
    2109.01903, appendix), crops of at least nine tenths of the image, as OpenCLIP has them.

    ``clip`` is what ``weights`` names; the text tower stays as it is. ``samples``: of the data; of few, a batch has at
    most an eighth, and the warm-up is a tenth of the run. A head alone learns at 1e-3, since it is all that learns.
    """
    batch_size = max(2, min(512, samples // 8))
    steps = max(1, 10 * samples // batch_size)
    return Recipe(
        name=f"fine-tuning {clip.spec.name}",
        model=clip.spec,
        data=dataclasses.replace(data, augmentation=Augmentation(scale=(0.9, 1.0))),
        vocabulary=clip.spec.text.vocabulary_size,
        duration="10 epochs",
        batch_size=batch_size,
        start=StartSpec(weights=weights),
        head=HeadSpec(classes=tuple(classes), templates=tuple(templates)),
        image_tower=TowerTraining(learns="nothing" if head_only else "all"),
        text_tower=TowerTraining(learns="nothing"),
        optimizer=OptimizerSpec(
            learning_rate=1e-3 if head_only else 3e-5,
            beta2=0.999,
            epsilon=1e-8,
            weight_decay=0.1,
            warmup_steps=min(500, steps // 10),
            max_gradient_norm=1.0,
        ),
        max_logit_scale=max(100.0, 1.01 * clip.similarity_scale),
        evaluate_every=max(1, steps // 10),
    )
