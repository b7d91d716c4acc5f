"""The tasks by name, and ``evaluate``: one pass over a data set, one task, one ``Result``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diptych import distributed
from diptych.config import to_dict
from diptych.data.sources import Source
from diptych.encoder.subject import ImageSubject
from diptych.errors import ConfigError, nearest
from diptych.evaluation import classification, probing, retrieval
from diptych.evaluation.features import Features, embed
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.result import Result
from diptych.evaluation.splits import named, open_splits
from diptych.evaluation.subjects import Subject, check_subject, cost, identity, name_of


@dataclass(frozen=True)
class Task:
    """``published``: CLIP_benchmark's name of it. ``metric``: the one it is known by, where the data set says no other.
    ``options``: those of `Options` that it takes. ``learns``: from a split ``train``."""

    published: str
    metric: str
    plan: Callable[[Any, Splits, Options], Plan]
    options: tuple[str, ...]
    learns: bool = False


# One row a task.
TASKS: dict[str, Task] = {
    "zero-shot": Task(
        "zeroshot_classification",
        "acc1",
        classification.plan,
        ("templates", "class_names", "none_of_these", "ablate_prompts"),
    ),
    "linear-probe": Task("linear_probe", "lp_acc1", probing.plan_linear_probe, ("solver", "seed"), learns=True),
    "few-shot": Task(
        "few_shot", "fs16_acc1", probing.plan_few_shot, ("templates", "shots", "draws", "seed"), learns=True
    ),
    "nearest-neighbours": Task("nearest_neighbours", "knn_acc1", probing.plan_neighbours, ("seed",), learns=True),
    "retrieval": Task("zeroshot_retrieval", "text_retrieval_recall@1", retrieval.plan, ("distinct_captions",)),
}


def evaluate(
    subject: Subject,
    source: Splits | Source | str | Path,
    task: str | None = None,
    *,
    language: str = "en",
    allowed_failures: float = 0.1,
    folder: str | Path | None = None,
    **options: Any,
) -> Result:
    """Evaluate a CLIP, a model that writes captions or an image encoder on a data set.

    source:           a Source, ``Splits``, a location as ``diptych.data.sources.open_source`` takes it, or
                      ``cifar10=PLACE`` for a data set of the paper.
    task:             a name of ``TASKS``; by default what the source is made for: ``zero-shot`` where it has class
                      names, ``retrieval`` where it has captions only.
    language:         of the texts, noted in the result.
    allowed_failures: share of samples that may be unreadable, or lack what the task needs (a class, a caption),
                      before TooManyFailures is raised.
    folder:           where embeddings and features are kept, to be made but once.
    options:          those of ``diptych.evaluation.plan.Options`` that the task takes.

    Under torchrun all processes share the images, and each gets the result. Raises ConfigError for an unknown task or
    option, DataError for a source that lacks what the task needs.
    """
    check_subject(subject)
    if task is not None:
        check_task(task)
    if isinstance(source, str | Path):
        location, row = named(str(source))
        source = open_splits(location, row, training=task is not None and TASKS[task].learns)
    data = source if isinstance(source, Splits) else Splits(source)
    name = task or ("zero-shot" if data.test.class_names else "retrieval")
    chosen = Options.of(options)
    _check_options(chosen, name)
    plan = TASKS[name].plan(subject, data, chosen)
    kept = None if folder is None else Path(folder)
    features = {
        split: embed(subject, part, plan.need, wanted=plan.wanted, allowed_failures=allowed_failures, folder=kept)
        for split, part in plan.splits.items()
    }
    return distributed.agreed(lambda: _result(subject, data, TASKS[name], plan, features, chosen, language))


def check_task(name: str) -> None:
    """Raises ConfigError, with the nearest name, for a task that there is not."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; {nearest(name, TASKS)}")


def _check_options(options: Options, task: str) -> None:
    for option in options.changed():
        if option not in TASKS[task].options:
            takers = ", ".join(name for name, row in TASKS.items() if option in row.options)
            raise ConfigError(f"{option} applies to {takers}, not to {task}")


def _result(
    subject: Subject,
    data: Splits,
    task: Task,
    plan: Plan,
    features: Mapping[Split, Features],
    options: Options,
    language: str,
) -> Result:
    scores, test = plan.score(features), features["test"]
    return Result(
        dataset=data.row.name if data.row else data.test.name,
        model=name_of(subject),
        pretrained=str(subject.provenance.get("weights_from", "")),
        task=task.published,
        metrics=scores.metrics,
        language=language,
        metric=plan.metric or task.metric,
        split=data.name,
        remarks=(data.note,) if data.note else (),
        intervals=scores.intervals,
        chance=scores.chance,
        samples=len(test.keys),
        skipped=tuple(failure for own in features.values() for failure in own.failures),
        precision=subject.precision,
        backend=f"torch {torch.__version__}",
        fingerprints=_fingerprints(subject, features, plan.texts),
        options=to_dict(options.changed()),
        details=to_dict(scores.details),  # as it will be read again
        cost=cost(subject),
        features={split: own.kept for split, own in features.items() if own.kept},
        predictions={"key": test.keys, **scores.predictions},
        text_predictions=scores.text_predictions,
    )


def _fingerprints(subject: Subject, features: Mapping[Split, Features], texts: Sequence[str]) -> dict[str, str]:
    known = identity(subject)
    found = {
        "weights": known["weights"],
        "tokenizer": _tokenizer(subject),
        "preprocessing": _hash(known["preprocess"]),
        "data": features["test"].fingerprint,
    }
    found |= {f"data of {split}": own.fingerprint for split, own in features.items() if split != "test"}
    return found | ({"templates": _hash(list(texts))} if texts else {})


def _tokenizer(subject: Subject) -> str:
    tokenizer = None if isinstance(subject, ImageSubject) else subject.tokenizer
    return tokenizer.fingerprint if tokenizer else ""


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
