"""The tasks by name, and ``evaluate``: one pass over a data set, one task, one ``Result``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from diptych import distributed
from diptych.data.sources import Source
from diptych.errors import ConfigError, nearest
from diptych.evaluation import adaptation, probing, retrieval, shot_tasks
from diptych.evaluation.datasets import Row
from diptych.evaluation.features import check_whole, embed
from diptych.evaluation.noting import cautions, result_of, with_cautions
from diptych.evaluation.plan import Options, Plan, Splits
from diptych.evaluation.result import Result
from diptych.evaluation.splits import distinct, named, open_splits
from diptych.evaluation.subjects import Subject, check_subject


@dataclass(frozen=True)
class Task:
    """``published``: CLIP_benchmark's name of it. ``metric``: the one it is known by, where the data set says no other.
    ``options``: those of `Options` that it takes, and ``shifted_from``. ``learns``: from a split ``train``, its own or
    that of the source that it is shifted from."""

    published: str
    metric: str
    plan: Callable[[Any, Splits, Options], Plan]
    options: tuple[str, ...]
    learns: Literal["", "own", "source"] = ""


# One row a task.
TASKS: dict[str, Task] = {
    "zero-shot": Task(
        "zeroshot_classification",
        "acc1",
        adaptation.plan_zero_shot,
        ("templates", "class_names", "none_of_these", "ablate_prompts", "shifted_from", "mapping"),
    ),
    "linear-probe": Task(
        "linear_probe", "lp_acc1", probing.plan_linear_probe, ("solver", "start", "seed"), learns="own"
    ),
    "supervised-adaptation": Task(
        "supervised_adaptation",
        "lp_acc1",
        adaptation.plan_supervised,
        ("shifted_from", "mapping", "solver", "start", "seed"),
        learns="source",
    ),
    "few-shot": Task(
        "few_shot",
        "fs16_acc1",
        shot_tasks.plan_few_shot,
        ("templates", "shots", "draws", "start", "seed"),
        learns="own",
    ),
    "few-shot-cache": Task(
        "few_shot_cache", "cache16_acc1", shot_tasks.plan_cache, ("templates", "shots", "draws", "seed"), learns="own"
    ),
    "nearest-neighbours": Task("nearest_neighbours", "knn_acc1", probing.plan_neighbours, ("seed",), learns="own"),
    "retrieval": Task("zeroshot_retrieval", "text_retrieval_recall@1", retrieval.plan, ("distinct_captions",)),
}


def evaluate(
    subject: Subject,
    source: Splits | Source | Row | str | Path,
    task: str | None = None,
    *,
    shifted_from: Splits | Source | Row | str | Path | None = None,
    language: str = "en",
    allowed_failures: float = 0.1,
    folder: str | Path | None = None,
    **options: Any,
) -> Result:
    """Evaluate a CLIP, a model that writes captions or an image encoder on a data set.

    source:           a location as ``diptych.data.sources.open_source`` takes it, ``cifar10=PLACE`` for a data set of
                      the paper, a row of one's own (``own_datasets.read_rows``) or a TOML file with one; else
                      ``Splits`` (``splits.open_splits``), or a Source, which has no row, so no metric or prompts of it.
    task:             a name of ``TASKS``; by default what the source is made for: ``zero-shot`` where it has class
                      names, ``retrieval`` where it has captions only.
    shifted_from:     what the source is shifted from, likewise: the source's classes are then all of these, some, or
                      groups of them. Zero-shot is also by their names, and supervised adaptation learns from them.
    language:         of the texts, noted in the result.
    allowed_failures: share of samples that may be unreadable, or lack what the task needs (a class, a caption),
                      before TooManyFailures is raised.
    folder:           where embeddings, features and probes are kept, to be made but once.
    options:          those of ``diptych.evaluation.plan.Options`` that the task takes.

    A Source is measured on as it is, and what could not be read of it is in the result (``skipped``). All else must be
    whole: DataError for tars that are cut off, and for images that the system does not let be read.

    Under torchrun all processes share the images, and each gets the result. Raises ConfigError for an unknown task or
    option, DataError for a source that lacks what the task needs, or whose classes are not those that it is shifted
    from.

    >>> diptych.evaluate(clip, "sketches", "supervised-adaptation", shifted_from="photos")  # doctest: +SKIP
    """
    check_subject(subject)
    if task is not None:
        check_task(task)
    learns = TASKS[task].learns if task is not None else ""
    data = _opened(source, training=learns == "own")
    if shifted_from is not None:
        data = replace(data, shifted_from=_opened(shifted_from, training=learns == "source"))
    name = task or default_task(data)
    chosen = Options.of(options)
    check_taken([*chosen.changed(), *(["shifted_from"] if data.shifted_from else [])], [name])
    kept = None if folder is None else Path(folder)
    with cautions() as heard:
        plan = TASKS[name].plan(subject, data, chosen)
        features = {
            split: embed(subject, part, plan.need, wanted=plan.wanted, allowed_failures=allowed_failures, folder=kept)
            for split, part in plan.splits.items()
        }
        if isinstance(source, Splits | Row | str | Path):  # a Source is measured on as it is
            for split, part in plan.splits.items():
                check_whole(features[split], part)
        row = TASKS[name]
        told = (subject, data, row.published, plan, features, chosen, language, plan.metric or row.metric)
        return distributed.agreed(lambda: with_cautions(result_of(*told), heard))


def default_task(data: Splits) -> str:
    """What data are made for."""
    return "zero-shot" if data.test.class_names else "retrieval"


def check_task(name: str) -> None:
    """Raises ConfigError, with the nearest name, for a task that there is not."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; {nearest(name, TASKS)}")


def check_taken(options: Iterable[str], tasks: Sequence[str]) -> None:
    """Raises ConfigError for an option, or ``shifted_from``, that none of the tasks takes."""
    for option in options:
        if not any(option in TASKS[task].options for task in tasks):
            takers = ", ".join(name for name, row in TASKS.items() if option in row.options)
            raise ConfigError(f"{option} applies to {takers or 'no task'}, not to {', '.join(tasks)}")


def _opened(source: Splits | Source | Row | str | Path, *, training: bool) -> Splits:
    if isinstance(source, Row):
        if not source.location:
            raise ConfigError(f"where {source.title} lies is not known; evaluate {f'{source.name}=FOLDER'!r}")
        return open_splits(source.location, source, training=training)
    if isinstance(source, str | Path):
        location, row = named(str(source))
        return open_splits(location, row, training=training)
    if isinstance(source, Splits):
        return distinct(source) if training else source
    if not hasattr(source, "read"):
        raise ConfigError(f"a location, a row, Splits or a Source is evaluated on, not {source!r:.80}")
    return Splits(source)
