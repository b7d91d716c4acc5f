"""``diptych demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.evaluation.result import Result

PICTURES = 960  # single objects of each kind; divisible by the number of unseen and of seen pairs
SCENES = 500  # held-out scenes for retrieval


def demo(*, out: Path = Path("diptych-demo"), seed: int = 0, steps: int | None = None) -> None:
    """Train a small CLIP here and now on scenes that it draws, evaluate it, and write a report to look at.

    It needs no data set and no network. Some combinations of colour and shape never occur in training; the question is
    whether the model names them. Stopped with Ctrl-C, the same command goes on where it was.

    Example:
        diptych demo --out my-demo

    Parameters
    ----------
    out
        Folder for the run, the model and report.html.
    seed
        Decides the weights and the scenes.
    steps
        Train for another number of steps than the recipe's: fewer are faster and worse.
    """
    import dataclasses

    from diptych.data.scenes import Scenes
    from diptych.evaluation.tasks import evaluate
    from diptych.training import loop, recipes

    recipe = recipes.demo(seed=seed)
    if steps is not None:
        recipe = dataclasses.replace(recipe, duration=f"{steps} steps")
    size = recipe.model.preprocess.size
    scenes = Scenes("train", count=recipe.steps(samples=1) * recipe.batch_size, size=size, seed=seed)
    held_out = Scenes("held-out", count=SCENES, size=size)

    print(f"drawing scenes and training {recipe.steps(samples=1)} steps on them")
    run = loop.train(recipe, out / "run", resume=True, source=scenes)
    if not run.finished:
        print(f"stopped after step {run.step} of {run.steps}; the same command goes on from there")
        return
    results = {
        "unseen colour-shape pairs": evaluate(run.clip, Scenes("unseen-pairs", count=PICTURES, size=size)),
        "seen colour-shape pairs": evaluate(run.clip, Scenes("seen-pairs", count=PICTURES, size=size)),
        "held-out scenes": evaluate(run.clip, held_out, "retrieval", distinct_captions=True),
    }
