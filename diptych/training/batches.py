"""The batches of a run, as its recipe says."""

from __future__ import annotations

from diptych import distributed
from diptych.data.buckets import Buckets
from diptych.data.loader import Loader
from diptych.data.sources import Source
from diptych.data.visits import Visits
from diptych.training.recipe import Recipe
from diptych.training.trained import Trained


def loader(recipe: Recipe, source: Source, clip: Trained) -> Loader:
    """What gives this process's part of each batch, from any step."""
    data = recipe.data
    return Loader(
        source,
        clip.spec.preprocess,
        batch_size=recipe.batch_size // distributed.world_size(),
        tokenizer=clip.tokenizer,
        visits=Visits(
            seed=recipe.seed,
            augmentation=data.augmentation,
            captions_per_image=data.captions_per_image,
            buckets=Buckets(recipe.batch_size, data.length_window) if data.length_window > 1 else None,
        ),
        workers=data.workers,
        max_failures=data.max_failures,
    )
