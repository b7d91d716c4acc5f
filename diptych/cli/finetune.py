"""``diptych finetune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe


@Parameter(name="*")
@dataclass(frozen=True)
class Judges:
    """What a fine-tuned model is measured by.

    Parameters
    ----------
    validation
        Images of the same kind, by which the run is watched.
    shifted
        Images of the same classes, or of some of them, of another kind. May be repeated.
    held_out
        Another task, at which the model stays zero-shot. May be repeated.
    """

    validation: str | None = None
    shifted: tuple[str, ...] | None = None
    held_out: tuple[str, ...] | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Labelled:
    """Which labelled images are taken.

    Parameters
    ----------
    split
        Which part of a DATA folder that has several: train, val, test.
    where
        Of DATA, take only samples in which this field is true: json.base.
    validation_split
        Which part of VALIDATION, SHIFTED and HELD_OUT folders that have several.
    """

    split: str | None = None
    where: str | None = None
    validation_split: str | None = None


NOBODY, ALL_IMAGES = Judges(), Labelled()


def finetune(
    model: str,
    data: str,
    /,
    *,
    out: Path,
    judges: Judges = NOBODY,
    head_only: bool = False,
    alpha: float = 0.5,
    images: Labelled = ALL_IMAGES,
    templates: str | None = None,
    resume: bool = False,
    set: tuple[str, ...] | None = None,
) -> int:
    """Fine-tune a model on labelled images from its zero-shot classifier on, and find out what it forgets.

    Afterwards its weights are mixed with those before, in eleven steps (WiSE-FT), and each mixture is measured. Ctrl-C
    saves and stops, --resume goes on. Started by torchrun, all its processes train on one batch together.

    Example:
        diptych finetune my-clip cars --out runs/cars --validation cars-val --shifted sketches --held-out pets

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision].
    data
        Labelled images: class folders, a CLIP_benchmark folder, tars or tables with classes.
    out
        Folder of the run, as of diptych train; model/ and classifier.npz when it is done, and mixed/ with the same.
    head_only
        Train the classifier alone; the image tower stays as it is.
    alpha
        The mixture that is written to mixed/: from 0, the model before, to 1, the fine-tuned one.
    templates
        The prompts the classifier begins from: a built-in set, or a file with one a line; by default the data's own.
    resume
        Go on from the last checkpoint in OUT; every --set that the run began with has to be given again.
    set
        A value of the recipe, such as "duration=3 epochs"; OUT/recipe.json has all of them. May be repeated.
    """
    from diptych import config, distributed
    from diptych.cli.finetune_report import Tasks, report
    from diptych.training import loop
    from diptych.training.allocator import keep_freed_memory
    from diptych.training.interpolation import check_alpha

    keep_freed_memory()
    check_alpha(alpha)
    tasks = Tasks.opened(judges.validation, judges.shifted or (), judges.held_out or (), images.validation_split)
    recipe = config.override(_recipe(model, data, images, templates, head_only=head_only), set or ())
    tasks.check(recipe)
    with distributed.started():
        run = loop.train(recipe, out, resume=resume, evaluators=tasks.evaluators(recipe))
        main = distributed.is_main()
    if run.interrupted or not main:
        return _left(run, main=main)
    report(run, recipe, tasks, alpha)
    return 0


def _left(run: Run, *, main: bool) -> int:
    """The exit status where the mixtures are left to another process, or to another time."""
    from diptych.cli.main import INTERRUPTED
    from diptych.cli.train import told_of

    if main and run.finished:
        print("stopped before the mixtures were measured; go on with --resume")
        return INTERRUPTED
    return told_of(run, main=main)


def _recipe(model: str, data: str, images: Labelled, templates: str | None, *, head_only: bool) -> Recipe:
    from diptych.data.sources import open_source
    from diptych.encoder.loading import load
    from diptych.errors import DataError
    from diptych.text import prompts
    from diptych.training.finetune import fine_tuning
    from diptych.training.recipe import DataSpec

    source = open_source(data, split=images.split, where=images.where)
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    if len(source.class_names) == 1:
        raise DataError(f"{source.name} has one class only, {source.class_names[0]!r}, and two or more are needed")
    return fine_tuning(
        load(model),
        model,
        DataSpec(source=data, split=images.split, where=images.where),
        classes=source.class_names,
        templates=prompts.templates(templates or source.templates or "photo"),
        samples=len(source),
        head_only=head_only,
    )
