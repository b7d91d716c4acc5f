"""``diptych train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.evaluation.result import Result
    from diptych.training.recipe import Recipe


def train(
    recipe: str,
    /,
    *,
    data: str,
    out: Path,
    validation: str | None = None,
    split: str | None = None,
    captions: tuple[str, ...] | None = None,
    keywords: tuple[str, ...] | None = None,
    where: str | None = None,
    validation_split: str | None = None,
    resume: bool = False,
    set: tuple[str, ...] | None = None,
) -> int:
    """Train a model by a named recipe; Ctrl-C saves and stops, --resume goes on bit for bit.

    Started by torchrun, all its processes train on one batch together.

    Example:
        diptych train small-photographs --data pairs.csv --validation val.csv --out runs/mine
        diptych train small-drawings --data emoji --split train --out runs/emoji --set "duration=500 steps"

    Parameters
    ----------
    recipe
        A name, such as small-photographs; a wrong one lists those there are.
    data
        The pairs: webdataset tars, class folders, or a CSV, TSV, JSONL or Parquet file.
    out
        Folder of the run: recipe.json, metrics.jsonl, tensorboard/, checkpoints/, and model/ when it is done.
    validation
        Pairs, or classes, on which the model is evaluated during training and at the end.
    split
        Which part of a DATA folder that has several: train, val, test.
    captions
        Where captions stand in DATA and VALIDATION: txt, json.captions.en, a column's name. May be repeated.
    keywords
        Where words or tags stand that may be added to captions of DATA: json.keywords.en. May be repeated.
    where
        Of DATA and VALIDATION, take only samples in which this field, or column, is true: json.base.
    validation_split
        Which part of a VALIDATION folder that has several.
    resume
        Go on from the last checkpoint in OUT.
    set
        A value of the recipe, such as "duration=500 steps"; OUT/recipe.json has all of them. May be repeated.
    """
    from diptych import distributed
    from diptych.cli.main import INTERRUPTED
    from diptych.config import override
    from diptych.training import loop, recipes
    from diptych.training.allocator import keep_freed_memory

    keep_freed_memory()
    resolved = recipes.find(recipe)(data)
    told = {"split": split, "captions": captions or None, "keywords": keywords or None, "where": where}
    told = {name: value for name, value in told.items() if value is not None}
    resolved = override(dataclasses.replace(resolved, data=dataclasses.replace(resolved.data, **told)), set or ())
    held_out = _Validation(validation, validation_split, resolved) if validation else None
    evaluators = {"validation": held_out} if held_out else {}
    with distributed.started():
        run = loop.train(resolved, out, resume=resume, evaluators=evaluators)
        main = distributed.is_main()
    if not main:
        return 0 if run.finished else INTERRUPTED
    if not run.finished:
        print(f"stopped and saved after step {run.step} of {run.steps}; go on with --resume")
        return INTERRUPTED
    if held_out and held_out.result:
        print(held_out.result)
    print(f"the model is in {run.folder / 'model'}")
    return 0


class _Validation:
    """Zero-shot where the data have classes, else retrieval, in which equal captions are one; ``result``: the last."""

    def __init__(self, location: str, split: str | None, recipe: Recipe) -> None:
        from diptych.data.sources import open_source
        from diptych.errors import ConfigError

        self.source = open_source(
            location, split=split, captions=recipe.data.captions, where=recipe.data.where, cache=recipe.data.cache
        )
        if recipe.objective == "caption" and not self.source.class_names:
            raise ConfigError(
                f"{location} has no class names, and a model with objective caption embeds no texts, so that it can "
                "only be judged by classes; leave --validation out, or name a source that has them"
            )
        self.result: Result | None = None

    def __call__(self, clip: Clip) -> dict[str, float]:
        from diptych.evaluation.tasks import evaluate
        from diptych.progress import say

        first = self.result is None
        self.result = evaluate(clip, self.source, distinct_captions=not self.source.class_names)
        if first and self.result.skipped:  # once, not at every evaluation
            say(f"left out of the validation: {len(self.result.skipped)}, such as {self.result.skipped[0]}")
        return self.result.metrics
