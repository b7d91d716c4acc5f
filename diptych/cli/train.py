"""``diptych train``."""

from __future__ import annotations

from pathlib import Path


def train(
    recipe: str,
    /,
    *,
    data: str,
    out: Path,
    validation: str | None = None,
    resume: bool = False,
    set: tuple[str, ...] = (),
) -> None:
    """Train a model by a named recipe; Ctrl-C saves and stops, --resume goes on bit for bit.

    Example:
        diptych train small-photographs --data "flickr8k/train-*.tar" --set data.captions='["json.captions.en"]'
            --validation "flickr8k/val-*.tar" --out runs/flickr8k

    Parameters
    ----------
    recipe
        A name, such as vit-b-32; a wrong one lists those there are.
    data
        The pairs: webdataset tars (globs and {000..499} too), a CSV, TSV, JSONL or Parquet file, class folders.
    out
        Folder of the run: recipe.json, metrics.jsonl, tensorboard/, checkpoints/, and model/ when it is done.
    validation
        Pairs on which retrieval is evaluated during training and at the end.
    resume
        Go on from the last checkpoint in OUT.
    set
        A value of the recipe: --set batch_size=512 --set optimizer.learning_rate=1e-3. May be repeated.
    """
    from diptych.config import override
    from diptych.training import loop, recipes

    resolved = override(recipes.find(recipe)(data), set)
    evaluators = {"validation": _retrieval(validation, resolved.data)} if validation else {}
    run = loop.train(resolved, out, resume=resume, evaluators=evaluators)
    if run.finished:
        print(f"the model is in {run.folder / 'model'}")
    else:
        print(f"stopped and saved after step {run.step} of {run.steps}; go on with --resume")
