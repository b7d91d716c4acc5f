"""The batches of a run, as its recipe says."""

from __future__ import annotations

from diptych import distributed
from diptych.data.buckets import Buckets
from diptych.data.loader import Loader
from diptych.data.pool import useful_workers
from diptych.data.sources import Source
from diptych.data.visits import Visits
from diptych.progress import say
from diptych.training.recipe import Recipe
from diptych.training.trained import Trained

_MANY = 100_000  # captions, whose lengths take a minute or so to find


def loader(recipe: Recipe, source: Source, clip: Trained) -> Loader:
    """What gives this process's part of each batch, from any step."""
    data = recipe.data
    window = min(data.length_window, recipe.steps(len(source)))  # samples past the end need no sorting
    if window * recipe.batch_size > _MANY and window > 1 and distributed.is_main():
        say(f"data.length_window: captions of {window * recipe.batch_size:,} samples are read before the first step")
    workers = min(data.workers, useful_workers(recipe.batch_size // distributed.world_size()))
    if workers < data.workers and distributed.is_main():
        say(f"data.workers is {data.workers:,}, of which this batch keeps {workers:,} busy; no more are started")
    return Loader(
        source,
        clip.spec.preprocess,
        batch_size=recipe.batch_size // distributed.world_size(),
        tokenizer=clip.tokenizer,
        visits=Visits(
            seed=recipe.seed,
            augmentation=data.augmentation,
            captions_per_image=data.captions_per_image,
            buckets=Buckets(recipe.batch_size, window) if window > 1 else None,
        ),
        workers=workers,
        max_failures=data.max_failures,
    )
