"""The tasks by name, and ``evaluate``: one pass over a source, one task, one ``Result``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diptych.config import to_dict
from diptych.errors import ConfigError, DataError, nearest
from diptych.evaluation import retrieval, zero_shot
from diptych.evaluation.features import Features, embed
from diptych.evaluation.result import Result, Scores
from diptych.text import prompts

if TYPE_CHECKING:
    from diptych.data.sources import Source
    from diptych.encoder.clip import Clip, Templates


@dataclass(frozen=True)
class Options:
    """What the tasks can be told: see ``evaluate``."""

    templates: Templates | None
    distinct_captions: bool


@dataclass(frozen=True)
class Task:
    """``published``: CLIP_benchmark's name of it. ``measure`` asks for the features once all else is known to be right;
    it returns them, the scores, and the texts that these depend on beside the data."""

    published: str
    measure: Callable[[Clip, Source, Callable[[], Features], Options], tuple[Features, Scores, Sequence[str]]]


def evaluate(
    clip: Clip,
    source: Source | str | Path,
    task: str | None = None,
    *,
    templates: Templates | None = None,
    distinct_captions: bool = False,
    language: str = "en",
    allowed_failures: float = 0.1,
) -> Result:
    """Evaluate a CLIP on a data set.

    source:            a Source, or a location as ``diptych.data.sources.open_source`` takes it.
    task:              ``zero-shot`` or ``retrieval``; by default what the source is made for: the first where it has
                       class names, the second where it has captions only.
    templates:         of zero-shot; by default the source's own, else ``photo``.
    distinct_captions: of retrieval: equal captions of several images are one text with several right images.
    allowed_failures:  share of samples that may be unreadable before TooManyFailures is raised.

    Raises ConfigError for an unknown task, DataError for a source that lacks what the task needs.
    """
    if isinstance(source, str | Path):
        from diptych.data.sources import open_source

        source = open_source(source)
    name = task or ("zero-shot" if source.class_names else "retrieval")
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; {nearest(name, TASKS)}")
    features, scores, texts = TASKS[name].measure(
        clip,
        source,
        partial(embed, clip, source, allowed_failures=allowed_failures),
        Options(templates, distinct_captions),
    )
    return Result(
        dataset=source.name,
        model=clip.spec.name,
        pretrained=str(clip.provenance.get("weights_from", "")),
        task=TASKS[name].published,
        metrics=scores.metrics,
        language=language,
        intervals=scores.intervals,
        chance=scores.chance,
        samples=len(features.keys),
        skipped=features.failures,
        precision=clip.precision,
        backend=f"torch {torch.__version__}",
        fingerprints=_fingerprints(clip, features, texts),
        predictions={"key": features.keys, **scores.predictions},
    )


def _zero_shot(
    clip: Clip, source: Source, embedded: Callable[[], Features], options: Options
) -> tuple[Features, Scores, Sequence[str]]:
    if options.distinct_captions:
        raise ConfigError("distinct_captions applies to retrieval; zero-shot has classes")
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    templates = prompts.templates(options.templates or source.templates or "photo")
    classifier = clip.classifier(source.class_names, templates)
    features = embedded()
    labels = [label for label in features.labels if label is not None]
    if len(labels) < len(features.labels):
        key = features.keys[features.labels.index(None)]
        raise DataError(f"{source.name}: {key} has no label, so its class is not known")
    scores = zero_shot.score(features.images_NE, np.array(labels), classifier.weights_CE)
    return features, scores, [*templates, *source.class_names]


def _retrieval(
    clip: Clip, source: Source, embedded: Callable[[], Features], options: Options
) -> tuple[Features, Scores, Sequence[str]]:
    if options.templates is not None:
        raise ConfigError("templates apply to zero-shot; retrieval takes captions as they are")
    clip.require_tokenizer()
    features = embedded()
    if () in features.captions:
        key = features.keys[features.captions.index(())]
        raise DataError(f"{source.name}: {key} has no caption; retrieval needs one or more for each image")
    texts, pairs_P2 = retrieval.pairs(features.captions, distinct_captions=options.distinct_captions)
    return features, retrieval.score(features.images_NE, clip.encode_texts(texts), pairs_P2), ()


# One row a task.
TASKS: dict[str, Task] = {
    "zero-shot": Task("zeroshot_classification", _zero_shot),
    "retrieval": Task("zeroshot_retrieval", _retrieval),
}


def _fingerprints(clip: Clip, features: Features, texts: Sequence[str]) -> dict[str, str]:
    from diptych.checkpoints.bundle import fingerprint

    found = {
        "weights": fingerprint(dict(clip.model.state_dict())),
        "tokenizer": clip.tokenizer.fingerprint if clip.tokenizer else "",
        "preprocessing": _hash(to_dict(clip.spec.preprocess)),
        "data": features.fingerprint,
    }
    return found | ({"templates": _hash(list(texts))} if texts else {})


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
