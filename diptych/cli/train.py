"""``diptych train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli.reading import ALL_PAIRS, TrainingPairs, of_validation
from diptych.errors import ConfigError
from diptych.progress import say

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.evaluation.result import Result
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe


def train(
    recipe: str,
    /,
    *,
    data: str,
    out: Path | None = None,
    validation: str | None = None,
    pairs: TrainingPairs = ALL_PAIRS,
    resume: bool = False,
    plan: bool = False,
    smoke: bool = False,
    set: tuple[str, ...] | None = None,
) -> int:
    """Train a model by a named recipe; Ctrl-C saves and stops, --resume goes on bit for bit.

    Started by torchrun, all its processes train on one batch together.

    Example:
        diptych train small-photographs --data pairs.csv --validation val.csv --out runs/mine
        diptych train small-drawings --data emoji --split train --out runs/emoji --set "duration=500 steps"
        diptych train vit-b-32 --data "shards/{0000..0499}.tar" --plan

    Parameters
    ----------
    recipe
        A name, such as small-photographs; diptych recipes lists them.
    data
        The pairs: webdataset tars, class folders, or a CSV, TSV, JSONL or Parquet file.
    out
        Folder of the run: recipe.json, metrics.jsonl, tensorboard/, checkpoints/, and model/ when it is done.
    validation
        Pairs, or classes, on which the model is evaluated during training and at the end.
    resume
        Go on from the last checkpoint in OUT; every --set that the run began with has to be given again.
    plan
        Train nothing: print what it will take and what does not fit, then time a few steps.
    smoke
        Shrink the recipe to 2 steps of a tiny model on DATA: whether all of it runs, in seconds.
    set
        A value of the recipe, such as "duration=500 steps"; OUT/recipe.json has all of them. May be repeated.
    """
    from diptych.training.allocator import keep_freed_memory
    from diptych.training.smoke import smoke as shrunk

    chosen = resolved(recipe, data, pairs, set or ())
    chosen = shrunk(chosen) if smoke else chosen
    if plan:
        return _plan(chosen)
    if out is None:
        raise ConfigError("say where the run is to be written: --out FOLDER (only --plan needs none)")
    keep_freed_memory()
    held_out = Validation(validation, pairs.validation_split, chosen) if validation else None
    return _train(chosen, out, held_out, resume=resume)


def resolved(name: str, data: str, pairs: TrainingPairs, assignments: tuple[str, ...]) -> Recipe:
    """The named recipe over these data, with the values that ``--set`` gives."""
    from diptych.config import override
    from diptych.training import recipes

    for assignment in assignments:
        if assignment.partition("=")[0].strip() == "model.text.vocabulary_size":
            raise ConfigError(
                f"{assignment}: the text tower has as many entries as its tokenizer; --set vocabulary=..."
            )
    recipe = recipes.find(name)(data)
    told = {name: getattr(pairs, name) for name in ("split", "captions", "where", "keywords")}
    told = {name: value for name, value in told.items() if value}
    return override(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **told)), assignments)


def _plan(recipe: Recipe) -> int:
    import os
    from contextlib import nullcontext

    from diptych import distributed
    from diptych.progress import say
    from diptych.training.inputs import source_of
    from diptych.training.pace import pace
    from diptych.training.plan import plan

    source = source_of(recipe)
    with distributed.started() if "RANK" in os.environ else nullcontext():
        planned = plan(recipe, source=source)
        main = distributed.is_main()
        if main:
            print(planned, flush=True)
        if not planned.runs:
            if main:
                print("\ntime: not measured, since this run cannot be done here")
            return 0
        if main:
            say("\ntiming a few steps, for which memory is taken now")
        measured = pace(planned, source)
    if main:
        print(f"\ntime\n{measured}")
    return 0


def _train(recipe: Recipe, out: Path, held_out: Validation | None, *, resume: bool) -> int:
    from diptych import distributed
    from diptych.training import loop
    from diptych.training.cards import add_intervals
    from diptych.training.folder import begun_in, check_same

    with distributed.started():
        if resume and distributed.is_main() and not begun_in(out):
            say(f"{out} holds no run to go on with; beginning one")
        try:
            run = loop.train(recipe, out, resume=resume, evaluators={"validation": held_out} if held_out else {})
        except ConfigError:
            if resume:  # the value that does not fit may be one that was not given again
                check_same(out, recipe)
            raise
        main = distributed.is_main()
    if not run.finished or not main:
        return told_of(run, main=main)
    if held_out and held_out.result:
        print(held_out.result)
    print(f"the model is in {run.folder / 'model'}")
    if held_out and held_out.result:
        intervals = held_out.result.intervals
        add_intervals(run.folder, {f"validation/{name}": interval for name, interval in intervals.items()})
    return 0


def told_of(run: Run, *, main: bool) -> int:
    """The exit status of a run that somebody stopped, or of a process beside the main one, which says what happened."""
    from diptych.cli.main import INTERRUPTED

    if main and not run.finished:
        print(f"stopped and saved after step {run.step} of {run.steps}; go on with --resume")
    return 0 if run.finished else INTERRUPTED


class Validation:
    """Zero-shot where the data have classes, else retrieval, in which equal captions are one; ``result``: the last."""

    def __init__(self, location: str, split: str | None, recipe: Recipe) -> None:
        from diptych.data.sources import open_source

        with of_validation():
            self.source = open_source(
                location, split=split, captions=recipe.data.captions, where=recipe.data.where, cache=recipe.data.cache
            )
        if recipe.objective == "caption" and not self.source.class_names:
            raise ConfigError(
                f"{location} has no class names, and a model with objective caption embeds no texts, so that it can "
                "only be judged by classes; leave --validation out, or name a source that has them"
            )
        if recipe.head:
            raise ConfigError(
                "a recipe with a head is judged by its classifier, and --validation judges the two towers; diptych "
                "finetune trains and judges classifiers"
            )
        self.location = location
        self.result: Result | None = None

    @property
    def named(self) -> str:
        """The location, and what tells these data from others there."""
        from diptych.data.fingerprint import fingerprint

        return f"{self.location} {fingerprint(self.source)[:12]}"

    def __call__(self, clip: Clip) -> dict[str, float]:
        from diptych.evaluation.tasks import evaluate
        from diptych.progress import say

        first = self.result is None
        self.result = evaluate(clip, self.source, distinct_captions=not self.source.class_names)
        if first and self.result.skipped:  # once, not at every evaluation
            say(f"left out of the validation: {len(self.result.skipped)}, such as {self.result.skipped[0]}")
        return self.result.metrics
