"""Hyper-parameter search: many small runs of one recipe, and the table of how they did.

out/search.json       what is searched, and how
out/trials.jsonl      the table
out/trials/0003/      the run of a trial, as ``train`` leaves it

Killed at any moment and given again, a search goes on: trials that are over stay as they are, one that was under way is
resumed, and those to come are the ones that would have come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diptych import config, distributed
from diptych.data.sources import Source
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, NonFiniteLoss, TrainingError, lacks_memory, nearest
from diptych.progress import say
from diptych.training import search_space, trials
from diptych.training.folder import FREE_ON_RESUME, begun_in, differences, occupied, write_json
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.search_space import Dimension, Values
from diptych.training.session import Evaluator
from diptych.training.trials import Trial
from diptych.training.watch import read_metrics


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched.

    recipe:  of all trials, but for what the space says.
    space:   what is varied.
    sampler: ``grid``, every combination; ``random``; or ``optuna``, which learns from the trials before (an extra).
    metric:  of the evaluation by which trials are ranked, at their end; ``lowest`` where less is better.
    stop_early: end a trial whose metric is worse than the median of three others or more at the same step.
    judged_by: names the data from which the metric comes, since what other data say is no part of the same table.
    """

    recipe: Recipe
    space: tuple[Dimension, ...]
    metric: str
    lowest: bool = False
    sampler: Literal["grid", "random", "optuna"] = "random"
    stop_early: bool = False
    judged_by: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        paths = [dimension.path for dimension in self.space]
        if not paths or len(set(paths)) < len(paths):
            raise ConfigError(f"a search varies one thing or more, each once, not {', '.join(paths) or 'nothing'}")
        if self.seed < 0:
            raise ConfigError(f"the seed of a search must not be negative, not {self.seed}")


class _HopelessError(Exception):
    """Leaves a run that is to be stopped early, with the value for which it is, at its step."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__(f"{value:.4g} at step {step}, worse than most")
        self.point = (step, value)


def search(
    what: Search,
    out: str | Path,
    *,
    trials_wanted: int | None = None,
    evaluators: Mapping[str, Evaluator],
    source: Source | None = None,
) -> list[Trial]:
    """Do the trials that are left, and return all of them; one that is ``begun`` was interrupted.

    ``trials_wanted``: how many in all; of a grid, by default all of it. More may be asked for later.
    ``evaluators``, ``source``: as of ``train``.
    A trial whose values do not go together, or whose loss is no number, or that lacks memory, is one that failed.
    Anything else, such as data that cannot be read, ends the search with its error. Raises TrainingError where the
    folder holds another search.
    """
    folder = Path(out)
    if trials_wanted is None and what.sampler != "grid":
        raise ConfigError(f"how many trials? The sampler {what.sampler!r} goes on for ever (--trials)")
    if trials_wanted is not None and trials_wanted < 1:
        raise ConfigError(f"a search has one trial or more, not {trials_wanted} (--trials)")
    points = search_space.grid(what.space) if what.sampler == "grid" else []
    most = math.inf if what.sampler == "optuna" else search_space.combinations(what.space)
    count = len(points) if trials_wanted is None else int(min(trials_wanted, len(points) or most))
    if trials_wanted is not None and count < trials_wanted:
        say(f"{count} of the {trials_wanted} trials, since there are no more combinations")
    with distributed.started():
        if distributed.world_size() > 1:
            raise ConfigError("a search trains in one process, so torchrun is not for it")
        with occupied(folder):
            _claim(folder, what)
            return _all(what, folder, points, count, evaluators, source)


def _all(
    what: Search,
    folder: Path,
    points: Sequence[Values],
    count: int,
    evaluators: Mapping[str, Evaluator],
    source: Source | None,
) -> list[Trial]:
    table = {trial.number: trial for trial in trials.read(folder)}
    for number in range(count):
        if number in table and table[number].over:
            continue
        before = [trial for trial in table.values() if trial.over]
        if number not in table:
            table[number] = Trial(number=number, values=_values(what, points, before, number))
            trials.add(folder, table[number])
        say(f"trial {number} of {count}: {_told(table[number].values)}")
        table[number] = _done(what, table[number], folder, before, evaluators, source)
        if not table[number].over:  # somebody asked to stop
            break
        trials.add(folder, table[number])
    return [table[number] for number in sorted(table)]


def _values(what: Search, points: Sequence[Values], before: Sequence[Trial], number: int) -> Values:
    if what.sampler == "grid":
        return points[number]
    if what.sampler == "random":
        return search_space.draw(what.space, seed=what.seed, number=number, besides=[trial.values for trial in before])
    from diptych.training.search_optuna import suggest

    return suggest(what.space, before, seed=what.seed + number, lowest=what.lowest)


def _done(
    what: Search,
    trial: Trial,
    folder: Path,
    before: Sequence[Trial],
    evaluators: Mapping[str, Evaluator],
    source: Source | None,
) -> Trial:
    """The trial after its run; still ``begun`` where somebody asked to stop, be it in its last step, so that the search
    does too."""
    run = folder / "trials" / f"{trial.number:04d}"
    watched = {name: _watched(name, evaluator, what, run, before) for name, evaluator in evaluators.items()}
    try:
        recipe = search_space.applied(what.recipe, trial.values)
        begun = (run / "recipe.json").exists()
        trained = train(recipe, run, resume=begun, evaluators=watched, source=source)
    except _HopelessError as left:
        over = _over(replace(trial, state="stopped", reason=str(left)), run, what.metric)
        return replace(over, curve=(*over.curve, left.point) if math.isfinite(left.point[1]) else over.curve)
    except (ConfigError, NonFiniteLoss) as problem:
        return _over(replace(trial, state="failed", reason=str(problem)), run, what.metric)
    except (MemoryError, OSError, RuntimeError) as problem:
        if not lacks_memory(problem):
            raise
        return _over(replace(trial, state="failed", reason=f"not enough memory: {problem}"), run, what.metric)
    if trained.interrupted or not trained.finished:
        return trial
    return _over(replace(trial, state="done"), run, what.metric)


def _over(trial: Trial, run: Path, metric: str) -> Trial:
    """The trial with what its run has written, in which numbers that were none are null. It has failed where its
    metric is one of them at its end."""
    lines = read_metrics(run / "metrics.jsonl")
    evaluated = [line for line in lines if metric in line]
    if trial.state == "done" and not evaluated:
        raise TrainingError(f"no evaluation gave {metric!r} in {run}; the metrics of one are in its metrics.jsonl")
    last = evaluated[-1] if evaluated else {}
    if trial.state == "done" and last[metric] is None:
        trial = replace(trial, state="failed", reason=f"{metric} was no finite number at its end")
    return replace(
        trial,
        metric=last[metric] if trial.state == "done" else None,
        metrics={name: value for name, value in last.items() if name != "step"},
        curve=tuple((int(line["step"]), line[metric]) for line in evaluated if line[metric] is not None),
        seconds=max((line.get("seconds", 0.0) for line in lines), default=0.0),
    )


def _watched(name: str, evaluator: Evaluator, what: Search, run: Path, before: Sequence[Trial]) -> Evaluator:
    """The evaluator, which must give the metric if it is of that name, and after which a hopeless trial is left."""
    own, _, metric = what.metric.rpartition("/")
    if own != name:
        return evaluator

    def evaluate(clip: Clip) -> Mapping[str, float]:
        metrics = evaluator(clip)
        if metric not in metrics:
            raise TrainingError(
                f"no evaluation gives {what.metric!r}; {nearest(what.metric, (f'{name}/{m}' for m in metrics))}"
            )
        step = int(read_metrics(run / "metrics.jsonl")[-1]["step"])
        at_its_end = (run / "model").exists()
        if what.stop_early and not at_its_end and trials.hopeless(metrics[metric], step, before, lowest=what.lowest):
            raise _HopelessError(step, metrics[metric])
        return metrics

    return evaluate


def _told(values: Values) -> str:
    return ", ".join(f"{path} {search_space.written(value)}" for path, value in values.items())


def _claim(folder: Path, what: Search) -> None:
    """Make the folder this search's, or check that it is."""
    path = folder / "search.json"
    begun = begun_in(folder) + [trials.NAME] * (folder / trials.NAME).exists()
    if begun and not path.exists():
        raise TrainingError(f"{folder} holds {', '.join(begun)} but no search.json; give another folder (--out)")
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError(f"it holds {before!r:.40}")
        except (OSError, ValueError) as problem:
            raise TrainingError(
                f"{path} is not what a search wrote: {problem}; give another folder (--out)"
            ) from problem
        unlike = differences(before, config.to_dict(what))
        free = tuple(f"recipe.{name}" for name in FREE_ON_RESUME)
        if different := [said for name, said in unlike if not name.startswith(free)]:
            raise TrainingError(
                f"{folder} holds another search; they differ in {'; '.join(different)}. Give another folder (--out)"
            )
    write_json(path, what)
