"""``diptych finetune``."""

from __future__ import annotations

from pathlib import Path


def finetune(
    model: str,
    data: str,
    /,
    *,
    out: Path,
    validation: str | None = None,
    shifted: tuple[str, ...] = (),
    held_out: tuple[str, ...] = (),
    head_only: bool = False,
    alpha: float = 0.5,
    split: str | None = None,
    where: str | None = None,
    validation_split: str | None = None,
    templates: str | None = None,
    resume: bool = False,
    set: tuple[str, ...] | None = None,
) -> int:
    """Fine-tune a model on labelled images from its zero-shot classifier on, and find out what it forgets.

    Afterwards its weights are mixed with those before, in eleven steps (WiSE-FT), and each mixture is measured. Ctrl-C
    saves and stops, --resume goes on. Started by torchrun, all its processes train on one batch together.

    Example:
        diptych finetune my-clip caltech101 --split train --out runs/caltech
        diptych finetune my-clip cars --out runs/cars --validation cars-val --shifted sketches --held-out pets

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision].
    data
        Labelled images: class folders, a CLIP_benchmark folder, tars or tables with classes.
    out
        Folder of the run, as of diptych train; model/ and classifier.npz when it is done, and mixed/ with the same.
    validation
        Images of the same kind, by which the run is watched.
    shifted
        Images of the same classes, or of some of them, of another kind. May be repeated.
    held_out
        Another task, at which the model stays zero-shot. May be repeated.
    head_only
        Train the classifier alone; the image tower stays as it is.
    alpha
        The mixture that is written to mixed/: from 0, the model before, to 1, the fine-tuned one.
    split
        Which part of a DATA folder that has several: train, val, test.
    where
        Of DATA, take only samples in which this field is true: json.base.
    validation_split
        Which part of VALIDATION, SHIFTED and HELD_OUT folders that have several.
    templates
        The prompts the classifier begins from: a built-in set, or a file with one a line; by default the data's own.
    resume
        Go on from the last checkpoint in OUT.
    set
        A value of the recipe, such as "duration=3 epochs"; OUT/recipe.json has all of them. May be repeated.
    """
    from diptych import config, distributed
    from diptych.cli.finetune_report import Tasks, report
    from diptych.cli.main import INTERRUPTED
    from diptych.data.sources import open_source
    from diptych.encoder.loading import load
    from diptych.errors import ConfigError, DataError
    from diptych.text import prompts
    from diptych.training import loop
    from diptych.training.allocator import keep_freed_memory
    from diptych.training.finetune import fine_tuning
    from diptych.training.recipe import DataSpec

    keep_freed_memory()
    if not 0 <= alpha <= 1:
        raise ConfigError(f"--alpha is from 0, the model before, to 1, the fine-tuned one, not {alpha}")
    source = open_source(data, split=split, where=where)
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    tasks = Tasks.opened(validation, shifted, held_out, validation_split)
    recipe = fine_tuning(
        load(model),
        model,
        DataSpec(source=data, split=split, where=where),
        classes=source.class_names,
        templates=prompts.templates(templates or source.templates or "photo"),
        samples=len(source),
        head_only=head_only,
    )
    recipe = config.override(recipe, set or ())
    with distributed.started():
        run = loop.train(recipe, out, resume=resume, evaluators=tasks.evaluators(recipe))
        main = distributed.is_main()
    if not main:
        return 0 if run.finished else INTERRUPTED
    if not run.finished:
        print(f"stopped and saved after step {run.step} of {run.steps}; go on with --resume")
        return INTERRUPTED
    report(run, recipe, tasks, alpha)
    return 0
