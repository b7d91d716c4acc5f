"""What the choices of training cost and give on a small set of drawings: losses, precisions, gradient caching, patch
dropout, objectives.

    python benchmarks/training_studies.py ../shared/data --out runs/studies
    python benchmarks/training_studies.py ../shared/data --out runs/studies --costs      # on a machine at rest

A run is a process of its own, of about two minutes on one thread. It trains on the drawings of two vendors with their
names and keywords, but for one vendor's drawing of every third concept; what it has learned is how often it names
those, zero-shot, among the 92 or 93 concepts of a quarter of them, on average over the quarters.

What is done is not done again, and a run that was cut off goes on from its last checkpoint, so the command can be given
until all is there. ``--costs`` measures instead how long a step takes beside that of the plain run, the two in turn;
other work on the machine would spoil it. `table.md` and `objectives.svg` in the output folder are written anew each
time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import training_studies_report
from training_studies_runs import BATCH, RUNS, drawings, recipe_of

from diptych.data.memory import InMemory
from diptych.data.sources import Source
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError
from diptych.evaluation.tasks import evaluate
from diptych.training.loop import train
from diptych.training.recipe import Recipe

ROUNDS, COST_STEPS = 5, 16  # of measuring a cost, and the steps of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds emoji/")
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--only", choices=RUNS, nargs="+", default=list(RUNS))
    parser.add_argument("--costs", action="store_true", help="measure seconds a step, and train nothing")
    parser.add_argument("--seed", type=int, help="make the one run of --only with this seed here, in this process")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.seed is not None:
        run(options.only[0], options.seed, options.data, options.out)
        return
    for name in options.only if options.costs else []:
        cost(name, options.data, options.out)
    for seed in [] if options.costs else range(3):
        for name in options.only:
            if seed < RUNS[name].seeds:
                done(name, seed, options.data, options.out)
                training_studies_report.write(options.out)
    training_studies_report.write(options.out)


def done(name: str, seed: int, data: Path, out: Path) -> None:
    """Make a run as far as it has not been made; `run.json` in its folder says that it has."""
    folder = out / f"{name}-{seed}"
    if (folder / "run.json").exists():
        return
    try:
        recipe_of(name, seed, data)
    except ConfigError as problem:
        print(f"{folder.name}: left out, since {problem}", flush=True)
        return
    print(f"{folder.name}: training", flush=True)
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(data), "--out", str(out), "--only", name, "--seed", str(seed)]
    with open(folder / "log.txt", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        print(f"{folder.name}: failed; {folder / 'log.txt'} tells why", flush=True)
        return
    found = {"name": name, "seed": seed, "peak_megabytes": usage.ru_maxrss / 1024, "curve": curve(folder)}
    (folder / "run.json").write_text(json.dumps(found, indent=1))


def run(name: str, seed: int, data: Path, out: Path) -> None:
    trained_on, held_out = drawings(data)

    def judge(model: Clip | Captioner) -> Mapping[str, float]:
        results = [evaluate(model, group, "zero-shot").metrics["acc1"] for group in held_out]
        return {"accuracy": statistics.mean(results)}

    folder = out / f"{name}-{seed}" / "run"
    if not (folder / "recipe.json").exists():  # cut off before it began
        shutil.rmtree(folder, ignore_errors=True)
    train(recipe_of(name, seed, data), folder, resume=True, evaluators={"held_out": judge}, source=trained_on)


def curve(folder: Path) -> list[dict[str, Any]]:
    """What evaluations found, by samples seen."""
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [
        {"samples": line["step"] * BATCH} | {name.removeprefix("held_out/"): line[name] for name in line if "/" in name}
        for line in lines
        if "loss" not in line
    ]


def cost(name: str, data: Path, out: Path) -> None:
    """Seconds a step of the processor, of a run and of the plain one of its model in turn."""
    plain = RUNS[name].beside
    try:
        compared = {name: recipe_of(name, 0, data), plain: recipe_of(plain, 0, data)}
    except ConfigError as problem:
        print(f"{name}: left out, since {problem}", flush=True)
        return
    memory = InMemory(drawings(data)[0], side=128)
    seconds: dict[str, list[float]] = {which: [] for which in compared}
    for _ in range(ROUNDS):
        for which, recipe in compared.items():
            seconds[which].append(_seconds_a_step(recipe, memory))
    ratios = [own / other for own, other in zip(seconds[name], seconds[plain], strict=True)]
    found = {"plain": plain, "ratio": statistics.median(ratios), "ratios": ratios, "seconds": seconds}
    (out / f"cost-{name}.json").write_text(json.dumps(found, indent=1))
    print(f"{name}: {found['ratio']:.2f} times as long as {plain}", flush=True)


def _seconds_a_step(recipe: Recipe, source: Source) -> float:
    """Of the processor; without the first steps, which are slower, and the last, after which a model is written."""
    times: list[float] = []

    def clock(_: Clip) -> Mapping[str, float]:
        times.append(time.process_time())
        return {"seconds": times[-1]}

    short = dataclasses.replace(recipe, duration=f"{COST_STEPS} steps", evaluate_every=COST_STEPS // 4)
    with tempfile.TemporaryDirectory() as folder:
        train(short, Path(folder) / "run", evaluators={"clock": clock}, source=source)
    return (times[2] - times[0]) / (COST_STEPS // 2)


if __name__ == "__main__":
    main()
