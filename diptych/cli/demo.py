"""``diptych demo``."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import ConfigError, NonFiniteLoss, TrainingError

if TYPE_CHECKING:
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe

SAMPLES = (3, 4, 6)  # pictures of unseen pairs to try things on: a blue star, a purple heart, a brown ring
SAMPLE_SIZE = 256  # pixels
LABELS = "blue star,purple star,blue heart"  # to try on the first of them


def demo(*, out: Path = Path("diptych-demo"), seed: int = 0, steps: int | None = None) -> int:
    """Train a small CLIP here and now on scenes that it draws, evaluate it, and write a report to look at.

    It needs no data set and no network. Some combinations of colour and shape never occur in training; the question is
    whether the model can name them. Stopped with Ctrl-C, the same command goes on where it was.

    Example:
        diptych demo --out my-demo

    Parameters
    ----------
    out
        Folder for the run, the model, a few pictures to try it on, and report.html.
    seed
        Decides the weights and the scenes.
    steps
        Train for another number of steps than the recipe's; fewer are faster and worse.
    """
    if steps is not None and steps < 1:
        raise ConfigError(f"--steps is 1 or more, not {steps}")
    from diptych.cli.demo_report import pairs_named
    from diptych.cli.main import INTERRUPTED
    from diptych.data.scenes import Scenes
    from diptych.training import loop, recipes
    from diptych.training.allocator import keep_freed_memory

    keep_freed_memory()
    recipe = recipes.demo(seed=seed) if steps is None else recipes.demo(seed=seed, steps=steps)
    count = recipe.steps(samples=1)
    _announce(recipe, out / "run", count)
    scenes = Scenes("train", count=count * recipe.batch_size, size=recipe.model.preprocess.size, seed=seed)
    try:
        run = loop.train(recipe, out / "run", resume=True, evaluators={"demo": pairs_named}, source=scenes)
    except NonFiniteLoss:
        raise
    except TrainingError as error:  # of what the folder holds
        raise TrainingError(f"{error}. With another --out the demo begins anew") from error
    if not run.finished:
        print(f"stopped after step {run.step} of {run.steps}; the same command goes on from there")
        return INTERRUPTED
    command = ["diptych", "demo", "--out", str(out), "--seed", str(seed), *(["--steps", str(steps)] if steps else [])]
    _report(run, recipe, out, shlex.join(command))
    return 0


def _announce(recipe: Recipe, folder: Path, count: int) -> None:
    """Say what is going to be done: nothing where the folder holds another run, which ``train`` refuses."""
    from diptych.cli.demo_report import PICTURES
    from diptych.config import to_dict
    from diptych.progress import say
    from diptych.training.state import checkpoints

    saved = checkpoints(folder / "checkpoints")
    if saved and _recipe_of(folder) != to_dict(recipe):
        return
    done = int(saved[-1].name.removeprefix("step-")) if saved else 0
    if done == count:
        say(f"{folder} is trained already, all {count:,} steps; it is evaluated and reported again")
        return
    say(
        f"training {recipe.model.name} {f'from step {done:,} on ' if done else ''}for {count - done:,} steps on scenes "
        f"drawn as it goes; on the way it names {PICTURES} new pictures each of unseen and of seen pairs of colour and "
        "shape"
    )
    if crowded := _crowded():
        say(crowded)


def _recipe_of(folder: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return None


def _crowded() -> str | None:
    """A word of advice where other work keeps the cores busy: the threads of one step then wait for one another."""
    import torch

    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= cores or torch.get_num_threads() == 1 or torch.cuda.is_available():
        return None
    return (
        f"the cores are busy: a load of {load:.1f} on {cores}. Training may take ten times as long; one thread is then "
        "faster than several (stop with Ctrl-C and go on with OMP_NUM_THREADS=1 set)"
    )


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
    model, pictures = run.folder / "model", _samples(out / "pictures")
    print()
    print(f"report    {write_page(page, out / 'report.html')}")
    print(f"model     {model}")
    print(f"pictures  {out / 'pictures'}")
    print(f"try       {shlex.join([*_program(), 'classify', str(model), str(pictures[0]), '--labels', LABELS])}")
    print(f"          {shlex.join([*_program(), 'inspect', str(model)])}")


def _samples(folder: Path) -> list[Path]:
    """Pictures of pairs that training never shows, the same ones every time, as files called what they show."""
    from diptych.data.scenes import Scenes

    folder.mkdir(parents=True, exist_ok=True)
    scenes = Scenes("unseen-pairs", count=max(SAMPLES) + 1, size=SAMPLE_SIZE)
    paths = []
    for i in SAMPLES:
        path = folder / f"{scenes.captions_of(i)[0].replace(' ', '-')}.png"
        scenes.picture(i, SAMPLE_SIZE).save(path)
        paths.append(path)
    return paths


def _program() -> list[str]:
    """How a shell, here, starts this very program again."""
    if Path(sys.argv[0]).stem == "diptych":
        return [_called(sys.argv[0])]
    return [_called(sys.executable), "-m", "diptych"]


def _called(program: str) -> str:
    """A program's bare name where the shell finds it by that, else its path, from the working folder if it is below."""
    path = Path(os.path.abspath(program))
    found = shutil.which(path.name)
    if found and os.path.abspath(found) == str(path):
        return path.name
    if path.parent != Path.cwd() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path)
