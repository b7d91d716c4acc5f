"""``diptych demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe


def demo(*, out: Path = Path("diptych-demo"), seed: int = 0, steps: int | None = None) -> None:
    """Train a small CLIP here and now on scenes that it draws, evaluate it, and write a report to look at.

    It needs no data set and no network. Some combinations of colour and shape never occur in training; the question is
    whether the model can name them. Stopped with Ctrl-C, the same command goes on where it was.

    Example:
        diptych demo --out my-demo

    Parameters
    ----------
    out
        Folder for the run, the model and report.html.
    seed
        Decides the weights and the scenes.
    steps
        Train for another number of steps than the recipe's; fewer are faster and worse.
    """
    from diptych.cli.demo_report import pairs_named
    from diptych.data.scenes import Scenes
    from diptych.training import loop, recipes
    from diptych.training.allocator import keep_freed_memory

    keep_freed_memory()
    recipe = recipes.demo(seed=seed) if steps is None else recipes.demo(seed=seed, steps=steps)
    count = recipe.steps(samples=1)
    scenes = Scenes("train", count=count * recipe.batch_size, size=recipe.model.preprocess.size, seed=seed)
    print(f"training {recipe.model.name} for {count} steps on scenes drawn as it goes")
    run = loop.train(recipe, out / "run", resume=True, evaluators={"demo": pairs_named}, source=scenes)
    if not run.finished:
        print(f"stopped after step {run.step} of {run.steps}; the same command goes on from there")
        return
    command = ["diptych", "demo", "--out", str(out), "--seed", str(seed), *(["--steps", str(steps)] if steps else [])]
    _report(run, recipe, out, shlex.join(command))


def _report(run: Run, recipe: Recipe, out: Path, command: str) -> None:
    from diptych.cli.demo_report import evaluate_demo, page_of
    from diptych.cli.output import print_table
    from diptych.report.page import percent, write_page

    page = page_of(run, recipe, evaluate_demo(run.clip), command=command)
    rows = [
        [row.name, percent(row.value), f"{percent(row.low)} to {percent(row.high)}", percent(row.chance), row.basis]
        for row in page.tables[0].rows
    ]
    print()
    # A terminal's font may lack the report's narrow space.
    spaced = [[cell.replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in row] for row in rows]
    print_table(["", "result", "95 % interval", "chance", "measured on"], spaced)
    print()
    print(f"report  {write_page(page, out / 'report.html')}")
    print(f"model   {run.folder / 'model'}")
    print(f"try     diptych inspect {run.folder / 'model'}")
