"""Tables and a drawing of what `training_studies.py` has found so far."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from training_studies_runs import RUNS

from diptych.report.drawing import as_svg, look

Found = dict[str, list[dict[str, Any]]]  # the runs there are, of each choice

# What is compared: a title, and the choices, the one that the others are held against first.
TABLES = {
    "Loss": {"plain": "contrastive, fp32", "sigmoid": "sigmoid, fp32"},
    "Precision": {
        "plain": "fp32",
        "bf16": "bf16",
        "half-adam": "bf16, Adam's statistics in bf16",
        "half-text": "bf16, statistics and text weights in bf16",
    },
    "Gradient caching and patch dropout": {
        "vit": "Vision Transformer",
        "vit-cached": "a quarter of the batch at a time",
        "vit-patches": "half of the patches",
    },
    "fp16, on a quarter of the steps": {
        "short-vit": "Vision Transformer, fp32",
        "short-vit-bf16": "bf16",
        "short-vit-fp16": "fp16, dynamic loss scaling",
    },
}
# From the most efficient, as the paper has it, to the least.
OBJECTIVES = {
    "plain": "contrastive, Transformer",
    "bag-contrastive": "contrastive, bag of words",
    "bag-predicted": "predicts a bag of words",
    "caption": "predicts the caption",
}
CHANCE = 4 / 370  # of four groups of 92 or 93 concepts
COMPARED = ("bag-contrastive", "bag-predicted", "caption")  # in figure 2


def write(out: Path) -> None:
    """`table.md` and, where there are runs of objectives, `objectives.svg`."""
    found: Found = {}
    for path in sorted(out.glob("*/run.json")):
        run = json.loads(path.read_text())
        found.setdefault(run["name"], []).append(run)
    parts = [part for title, names in TABLES.items() for part in (f"### {title}", "", *table(names, found, out), "")]
    parts += ["### Objectives", "", *objectives(found), ""]
    (out / "table.md").write_text("\n".join(parts))
    draw(found, out / "objectives.svg")


def table(names: dict[str, str], found: Found, out: Path) -> list[str]:
    """A row for each choice: mean and spread of its accuracy, and what it costs."""
    rows = ["| | seeds | accuracy, % | each seed | seconds a step | peak memory, MB |", "|" + "---|" * 6]
    for name, label in names.items():
        runs = found.get(name)
        if not runs:
            rows.append(f"| {label} | not there yet | | | {_cost(out, name)} | |")
            continue
        finals = [100 * run["curve"][-1]["accuracy"] for run in runs]
        memory = np.median([run["peak_megabytes"] for run in runs])
        rows.append(
            f"| {label} | {len(runs)} | {_spread(finals)} | {', '.join(f'{value:.1f}' for value in finals)} | "
            f"{_cost(out, name)} | {memory:,.0f} |"
        )
    return rows


def _spread(values: list[float]) -> str:
    """Mean, and the standard deviation of one seed where there are several."""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def _cost(out: Path, name: str) -> str:
    if RUNS[name].beside == name:
        return "1"
    path = out / f"cost-{name}.json"
    if not path.exists():
        return "not measured"
    cost = json.loads(path.read_text())
    return f"{cost['ratio']:.2f} of {cost['plain']} ({min(cost['ratios']):.2f} to {max(cost['ratios']):.2f})"


def objectives(found: Found) -> list[str]:
    """Accuracy at the end, and how many samples each objective takes to be as good as the next less efficient one."""
    rows = ["| | seeds | accuracy, % | each seed |", "|---|---|---|---|"]
    curves = {name: mean_curve(found[name]) for name in OBJECTIVES if found.get(name)}
    for name, label in OBJECTIVES.items():
        finals = [100 * run["curve"][-1]["accuracy"] for run in found.get(name, [])]
        told = f"{_spread(finals)} | {', '.join(f'{value:.1f}' for value in finals)}" if finals else "not there yet |"
        rows.append(f"| {label} | {len(finals)} | {told} |")
    rows += ["", "| to be as good in the end as | takes | samples | instead of | fold |", "|---|---|---|---|---|"]
    for better, worse in itertools.pairwise(COMPARED):
        if better in curves and worse in curves:
            samples, accuracies = curves[worse]
            needed = samples_until(curves[better], accuracies[-1])
            told = f"{needed:,.0f} | {samples[-1]:,} | {samples[-1] / needed:.1f}" if needed else "never | |"
            rows.append(f"| {OBJECTIVES[worse]}, {100 * accuracies[-1]:.1f} % | {OBJECTIVES[better]} | {told} |")
    return rows


def mean_curve(runs: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Samples seen, and the mean over seeds of the accuracy then; before the first sample it is chance."""
    samples = np.array([0] + [point["samples"] for point in runs[0]["curve"]])
    accuracies = np.array([[point["accuracy"] for point in run["curve"]] for run in runs]).mean(axis=0)
    return samples, np.concatenate([[CHANCE], accuracies])


def samples_until(curve: tuple[np.ndarray, np.ndarray], accuracy: float) -> float | None:
    """Where a curve first reaches an accuracy, between two evaluations by a straight line; None where it never does."""
    samples, accuracies = curve
    reached = np.flatnonzero(accuracies >= accuracy)
    if not len(reached):
        return None
    after = int(reached[0])
    return float(np.interp(accuracy, accuracies[after - 1 : after + 1], samples[after - 1 : after + 1]))


def draw(found: Found, file: Path) -> None:
    """Accuracy over samples seen: a thin line for each seed, a thick one for the mean."""

    def lines(axes: Axes) -> None:
        for number, (name, label) in enumerate(OBJECTIVES.items()):
            runs, style = found.get(name, []), look(number)
            for run in runs if len(runs) > 1 else []:
                samples, accuracies = mean_curve([run])
                axes.plot(samples / 1000, 100 * accuracies, color=style["color"], linewidth=0.5, alpha=0.6)
            if runs:
                samples, accuracies = mean_curve(runs)
                axes.plot(samples / 1000, 100 * accuracies, label=label, markersize=3, **style)
        axes.set(xlabel="samples seen, thousands", ylabel="zero-shot accuracy, %", xlim=(0, None), ylim=(0, None))
        if axes.lines:
            axes.legend()

    file.write_text(as_svg(lines, (6.0, 3.4)), encoding="utf-8")
