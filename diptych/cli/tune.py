"""``diptych tune``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from diptych.cli.reading import ALL_PAIRS, TrainingPairs

if TYPE_CHECKING:
    from diptych.cli.train import Validation
    from diptych.encoder.clip import Clip
    from diptych.training.recipe import Recipe
    from diptych.training.search import Search
    from diptych.training.trials import Trial


@Parameter(name="*")
@dataclass(frozen=True)
class Searching:
    """How values are searched, and by what trials are ranked.

    Parameters
    ----------
    trials
        How many; of a grid, by default all.
    sampler
        grid, random or optuna (an extra).
    metric
        Of the evaluation, by which trials are ranked; by default acc1, or the mean recall where there are no classes.
    lowest
        Less of the metric is better.
    stop_early
        End a trial that is worse than the median of three others or more at the same step.
    seed
        Decides the values that are drawn.
    """

    trials: int | None = None
    sampler: Literal["grid", "random", "optuna"] = "random"
    metric: str | None = None
    lowest: bool = False
    stop_early: bool = False
    seed: int = 0


AT_RANDOM = Searching()


def tune(
    recipe: str,
    /,
    *,
    data: str,
    validation: str,
    out: Path,
    vary: tuple[str, ...],
    how: Searching = AT_RANDOM,
    pairs: TrainingPairs = ALL_PAIRS,
    set: tuple[str, ...] | None = None,
) -> int:
    """Search good values for a recipe: a grid of them, random ones, or those that Optuna proposes.

    Each trial is a run in OUT/trials. Stopped, or killed, the same command goes on; with more --trials it goes further.
    A trial that fails is a row of the table with its reason.

    Example:
        diptych tune rn50 --data pairs.csv --validation val.csv --out tune --vary "seed=0,1,2" --sampler grid
        diptych tune rn50 --data a.csv --validation b.csv --out tune --trials 9 --vary "batch_size=log(64,512)"

    Parameters
    ----------
    recipe
        A name, such as small-photographs; diptych recipes lists them.
    data
        The pairs, as diptych train takes them.
    validation
        Pairs, or classes, by which the trials are ranked.
    out
        Folder of the search: trials.jsonl, trials.md, trials.svg, and a run for each trial.
    vary
        What to vary: "a.b=1,2,3", "a.b=linear(0,1)" or, for 5 points of a grid, "a.b=log(1e-4,1e-2,5)"; repeatable.
    set
        A value of all trials, such as "duration=1 epochs". May be repeated.
    """
    from diptych.cli.train import Validation, resolved
    from diptych.training.allocator import keep_freed_memory
    from diptych.training.search import Search, search
    from diptych.training.search_space import parse

    keep_freed_memory()
    shared = resolved(recipe, data, pairs, set or ())
    held_out = Validation(validation, pairs.validation_split, shared)
    what = Search(
        recipe=dataclasses.replace(shared, name=f"{shared.name}, tuned"),
        space=tuple(parse(text, shared) for text in vary),
        metric=f"validation/{_metric(how.metric, held_out, shared)}",
        lowest=how.lowest,
        sampler=how.sampler,
        stop_early=how.stop_early,
        judged_by=held_out.named,
        seed=how.seed,
    )
    table = search(what, out, trials_wanted=how.trials, evaluators={"validation": _with_mean_recall(held_out)})
    _tell(table, what, out)
    return _status(table)


def _metric(asked: str | None, held_out: Validation, recipe: Recipe) -> str:
    """By what trials are ranked. Raises ConfigError for what no evaluation will give, before anything is trained."""
    from diptych.errors import ConfigError, nearest
    from diptych.evaluation.metric_names import metrics_of

    retrieved = not held_out.source.class_names
    given = [*metrics_of(held_out.source, embeds_texts=recipe.objective != "caption"), *["mean_recall"] * retrieved]
    if asked is not None and asked not in given:
        why = "has no class names, so it is judged by retrieval" if retrieved else "has classes, so it is classified"
        raise ConfigError(
            f"no evaluation gives {asked!r} (--metric): {held_out.location} {why}; {nearest(asked, given)}"
        )
    return asked or ("mean_recall" if retrieved else "acc1")


def _status(table: Sequence[Trial]) -> int:
    """The exit status of a search, which says where it was stopped."""
    from diptych.cli.main import INTERRUPTED

    if not all(trial.over for trial in table):
        print("stopped; the same command goes on")
        return INTERRUPTED
    return 0 if any(trial.state == "done" for trial in table) else 1


def _with_mean_recall(evaluator: Callable[[Clip], Mapping[str, float]]) -> Callable[[Clip], Mapping[str, float]]:
    def judged(clip: Clip) -> Mapping[str, float]:
        metrics = evaluator(clip)
        recalls = [value for name, value in metrics.items() if "recall@" in name]
        return {**metrics, "mean_recall": sum(recalls) / len(recalls)} if recalls else metrics

    return judged


def _tell(table: Sequence[Trial], what: Search, out: Path) -> None:
    """Print the table, best first, and leave it in the folder with a figure."""
    from diptych.cli.output import markdown
    from diptych.printable import printable
    from diptych.training.folder import write_text
    from diptych.training.search_space import written
    from diptych.training.trials import ranked

    paths = [dimension.path for dimension in what.space]
    rows = [
        [
            str(trial.number),
            "" if trial.metric is None else f"{trial.metric:.4f}",
            *(written(trial.values[path]) for path in paths),
            f"{trial.seconds:.0f}",
            trial.state,
        ]
        for trial in ranked(table, lowest=what.lowest)
    ]
    text = markdown(["trial", what.metric, *paths, "seconds", "state"], rows)
    reasons = [
        (f"trial {trial.number} {trial.state}", trial.reason.replace("\n", " ")) for trial in table if trial.reason
    ]
    if reasons:
        text += "\n" + "".join(f"- {trial}: {reason}\n" for trial, reason in reasons)
    print(printable(text), end="")
    write_text(out / "trials.md", text)
    if any(trial.metric is not None for trial in table):
        write_text(out / "trials.svg", _drawn([trial for trial in table if trial.over], what))


def _drawn(table: Sequence[Trial], what: Search) -> str:
    from diptych.report.plots import Panel, Trials, scatter_svg
    from diptych.training.search_space import Choice, written

    panels = []
    for dimension in what.space:
        values = [trial.values[dimension.path] for trial in table]
        if isinstance(dimension, Choice):
            choices = [written(choice) for choice in dimension.values]
            panels.append(Panel(dimension.path, [written(value) for value in values], choices))
        else:
            panels.append(Panel(dimension.path, values, log=dimension.log))
    metric, states = [trial.metric for trial in table], [trial.state for trial in table]
    return scatter_svg(panels, Trials(what.metric, metric, states, lowest=what.lowest))
