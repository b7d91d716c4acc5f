"""``diptych train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.training.recipe import DataSpec
    from diptych.training.session import Evaluator


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
    resume: bool = False,
    set: tuple[str, ...] | None = None,
) -> None:
    """Train a model by a named recipe; Ctrl-C saves and stops, --resume goes on bit for bit.

    Example:
        diptych train vit-b-32 --data "shards/{0000..0499}.tar" --validation "val/*.tar" --out runs/b32

    Parameters
    ----------
    recipe
        A name, such as vit-b-32; a wrong one lists those there are.
    data
        The pairs: webdataset tars, class folders, or a CSV, TSV, JSONL or Parquet file.
    out
        Folder of the run: recipe.json, metrics.jsonl, tensorboard/, checkpoints/, and model/ when it is done.
    validation
        Pairs on which retrieval is evaluated during training and at the end.
    split
        Which part of a DATA folder that has several: train, val, test.
    captions
        Where captions stand in DATA and VALIDATION: txt, json.captions.en, a column's name. May be repeated.
    keywords
        Where words or tags stand that may be added to captions of DATA: json.keywords.en. May be repeated.
    where
        Take only samples in which this field is true: json.base.
    resume
        Go on from the last checkpoint in OUT.
    set
        A value of the recipe: --set batch_size=512 --set optimizer.learning_rate=1e-3. May be repeated.
    """
    from diptych.config import override
    from diptych.training import loop, recipes
    from diptych.training.allocator import keep_freed_memory

    keep_freed_memory()
    resolved = recipes.find(recipe)(data)
    told = {"split": split, "captions": captions or None, "keywords": keywords or None, "where": where}
    told = {name: value for name, value in told.items() if value is not None}
    resolved = override(dataclasses.replace(resolved, data=dataclasses.replace(resolved.data, **told)), set or ())
    evaluators = {"validation": _retrieval(validation, resolved.data)} if validation else {}
    run = loop.train(resolved, out, resume=resume, evaluators=evaluators)
    if run.finished:
        print(f"the model is in {run.folder / 'model'}")
    else:
        print(f"stopped and saved after step {run.step} of {run.steps}; go on with --resume")


def _retrieval(location: str, data: DataSpec) -> Evaluator:
    from diptych.data.sources import open_source
    from diptych.evaluation.tasks import evaluate
    from diptych.progress import say

    held_out = open_source(location, captions=data.captions, where=data.where)
    told = False

    def evaluator(clip: Clip) -> dict[str, float]:
        nonlocal told
        result = evaluate(clip, held_out, "retrieval")
        if result.skipped and not told:  # once, not at every evaluation
            say(f"left out of the validation: {len(result.skipped)}, such as {result.skipped[0]}")
            told = True
        return result.metrics

    return evaluator
