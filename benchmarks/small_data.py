"""What twenty minutes of training teach on small real data: our recipes and OpenCLIP's trainer in turn, judged alike.

    python benchmarks/small_data.py ../shared/data --open-clip .openclip/bin/python
    python benchmarks/small_data.py ../shared/data --open-clip .openclip/bin/python --only emoji --seeds 0

Each trains in a process of its own. The first run of OpenCLIP on a data set is calibrated to the time, so nothing else
may run beside it; its steps are the budget of the other seeds. Afterwards one evaluation, ours, judges both on `val`;
`diptych.load` reads OpenCLIP's checkpoints. What is done is not done again and a run that was cut off begins anew, so
the command can be given until all is there. The output folder then holds `table.md`, the learning curves of each data
set as SVG, and for each run its log, checkpoints and results.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import diptych
from diptych.data.sources import Source, open_source
from diptych.evaluation.tasks import evaluate

RECALLS = [f"{retrieved}_retrieval_recall@{k}" for retrieved in ("text", "image") for k in (1, 5, 10)]
TRAINERS = {"open_clip": "OpenCLIP", "diptych": "Diptych"}
CURVE = 6  # checkpoints of a run that are judged


@dataclass(frozen=True)
class Task:
    """Our recipe for a data set, the captions that it trains on and is judged by, keywords, and which images count."""

    recipe: str
    captions: str
    keywords: str | None = None
    where: str | None = None


TASKS = {
    "emoji": Task("small-drawings", "txt", keywords="json.keywords.en", where="json.base"),
    "flickr8k": Task("small-photographs", "json.captions.en"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds emoji/, flickr8k/ and reference/")
    parser.add_argument("--open-clip", help="the Python of an environment with OpenCLIP; without it only ours is run")
    parser.add_argument("--only", choices=TASKS, help="one data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=20, help="of OpenCLIP's training; ours ends with its recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/small-data"))
    options = parser.parse_args()
    for seed in options.seeds:
        for name in [options.only] if options.only else TASKS:
            for trainer in TRAINERS if options.open_clip else ["diptych"]:
                done(trainer, name, seed, options)
                report(options.out)


def done(trainer: str, name: str, seed: int, options: argparse.Namespace) -> None:
    """Make one run and judge it, as far as that has not been done."""
    folder = options.out / f"{name}-{trainer}-{seed}"
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"{folder}: training", flush=True)
        train = train_open_clip if trainer == "open_clip" else train_ours
        run = {"trainer": trainer, "data": name, "seed": seed, **train(name, seed, folder, options)}
        (folder / "run.json").write_text(json.dumps(run, indent=1))
    if not (folder / "curve.json").exists():
        print(f"{folder}: judging", flush=True)
        run = json.loads((folder / "run.json").read_text())
        chosen = np.unique(np.linspace(0, len(run["checkpoints"]) - 1, CURVE).round().astype(int))
        merges = options.data / "reference" / "bpe_simple_vocab_16e6.txt.gz" if trainer == "open_clip" else None
        task = TASKS[name]
        source = open_source(options.data / name, split="val", captions=[task.captions], where=task.where)
        results = [judged(*run["checkpoints"][i], source, merges, folder / f"result-{i}.json") for i in chosen]
        (folder / "curve.json").write_text(json.dumps(results))


def train_ours(name: str, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    task = TASKS[name]
    command = [sys.executable, "-m", "diptych", "train", task.recipe, "--out", str(folder / "run")]
    command += ["--data", str(options.data / name), "--split", "train", "--set", f"seed={seed}"]
    command += ["--captions", task.captions, "--set", "checkpoints.keep=100", "--set", "checkpoints.every_minutes=3"]
    command += ["--keywords", task.keywords] if task.keywords else []
    command += ["--where", task.where] if task.where else []
    started, before = time.time(), processor_seconds()
    with open(folder / "log.txt", "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    seconds = time.time() - started
    steps = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    batch_size = json.loads((folder / "run" / "recipe.json").read_text())["batch_size"]
    saved = sorted((folder / "run" / "checkpoints").iterdir(), key=lambda path: int(re.sub(r"\D", "", path.name)))
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds() - before, 1),
        "samples_seen": steps * batch_size,
        "checkpoints": [[round(path.stat().st_mtime - started), str(path)] for path in saved],
    }


def train_open_clip(name: str, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    baseline = Path(__file__).with_name("open_clip_baseline.py")
    command = [options.open_clip, str(baseline), str(options.data / name), "--seed", str(seed)]
    command += ["--minutes", str(options.minutes), "--out", str(folder / "run"), "--checkpoints", str(CURVE)]
    earlier = sorted(options.out.glob(f"{name}-open_clip-*/run/trained.json"))
    if earlier:
        seconds = json.loads(earlier[0].read_text())["seconds_per_step_calibrated"]
        command += ["--seconds-per-step", str(seconds)]
    with open(folder / "log.txt", "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    return json.loads((folder / "run" / "trained.json").read_text())


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def judged(seconds: float, checkpoint: str, source: Source, merges: Path | None, out: Path) -> dict[str, Any]:
    """Recall, 95 % intervals and chance of one checkpoint; equal texts are one text."""
    clip = diptych.load(checkpoint, tokenizer=merges, activation="gelu" if merges else None)
    result = evaluate(clip, source, "retrieval", distinct_captions=True)
    result.save(out)
    return {"seconds": seconds} | {
        metric: [100 * value for value in (result.metrics[metric], *result.intervals[metric], result.chance[metric])]
        for metric in RECALLS
    }


def report(out: Path) -> None:
    """Write the tables of all runs that were judged, and a drawing for each data set."""
    tables = []
    for name in TASKS:
        runs = {
            trainer: [read(path.parent) for path in sorted(out.glob(f"{name}-{trainer}-*/curve.json"))]
            for trainer in TRAINERS
        }
        runs = {trainer: of_trainer for trainer, of_trainer in runs.items() if of_trainer}
        if runs:
            tables.append("\n".join([f"### {name}", "", *table(runs), ""]))
            draw(name, runs, out / f"{name}.svg")
    (out / "table.md").write_text("\n".join(tables))


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text()) | {"curve": json.loads((folder / "curve.json").read_text())}


def table(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Rows of Markdown: each run with its intervals, the means of the seeds, their ratio, chance."""
    rows = ["| | image to text, R@1 | R@5 | R@10 | text to image, R@1 | R@5 | R@10 | mean | pairs seen | minutes |"]
    rows += ["|" + "---|" * 10]
    means = {}
    for trainer, of_trainer in runs.items():
        for run in of_trainer:
            last = run["curve"][-1]
            cells = ["{:.1f} ({:.1f} to {:.1f})".format(*last[metric][:3]) for metric in RECALLS]
            cells += [f"{mean_recall(last):.1f}", f"{run['samples_seen']:,}", f"{run['seconds'] / 60:.1f}"]
            rows.append(f"| {TRAINERS[trainer]}, seed {run['seed']} | " + " | ".join(cells) + " |")
        of_seeds = np.array([[run["curve"][-1][metric][0] for metric in RECALLS] for run in of_trainer]).mean(axis=0)
        means[trainer] = [*of_seeds, of_seeds.mean()]
        rows.append(
            f"| **{TRAINERS[trainer]}, mean** | "
            + " | ".join(f"**{value:.1f}**" for value in means[trainer])
            + " | | |"
        )
    if len(means) == len(TRAINERS):
        ratios = [ours / theirs for ours, theirs in zip(means["diptych"], means["open_clip"], strict=True)]
        rows.append("| Diptych / OpenCLIP | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " | | |")
    chance = [last[metric][3] for metric in RECALLS]
    rows.append("| chance | " + " | ".join(f"{value:.1f}" for value in [*chance, np.mean(chance)]) + " | | |")
    return rows


def mean_recall(point: dict[str, Any]) -> float:
    return float(np.mean([point[metric][0] for metric in RECALLS]))


def draw(name: str, runs: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Mean recall over minutes of training, a line for each seed."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for (trainer, of_trainer), colour in zip(runs.items(), ("tab:grey", "tab:blue"), strict=False):
        for number, run in enumerate(of_trainer):
            minutes = [point["seconds"] / 60 for point in run["curve"]]
            label = TRAINERS[trainer] if number == 0 else None
            axes.plot(
                minutes, [mean_recall(point) for point in run["curve"]], "o-", color=colour, label=label, markersize=3
            )
    axes.set(xlabel="minutes of training", ylabel="mean recall on val, %", title=name, xlim=(0, None), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
