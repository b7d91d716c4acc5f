"""The tasks by name, and ``evaluate``: one pass over a source, one task, one ``Result``."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diptych.config import to_dict
from diptych.encoder.captioner import Captioner
from diptych.errors import ConfigError, DataError, nearest
from diptych.evaluation import retrieval, zero_shot
from diptych.evaluation.features import Features, embed
from diptych.evaluation.result import Result, Scores
from diptych.text import prompts

if TYPE_CHECKING:
    from diptych.data.sources import Sample, Source
    from diptych.encoder.clip import Clip, Templates


# The features of a source; it is told what a sample lacks of what the task needs, or nothing where it has all.
Embedded = Callable[[Callable[["Sample"], str]], Features]


@dataclass(frozen=True)
class Options:
    """What the tasks can be told: see ``evaluate``."""

    templates: Templates | None
    distinct_captions: bool


_LISTED = 4  # names in a warning


@dataclass(frozen=True)
class Task:
    """``published``: CLIP_benchmark's name of it. ``measure`` asks for the features once all else is known to be right;
    it returns them, the scores, and the texts that these depend on beside the data."""

    published: str
    measure: Callable[[Any, Source, Embedded, Options], tuple[Features, Scores, Sequence[str]]]


def evaluate(
    clip: Clip | Captioner,
    source: Source | str | Path,
    task: str | None = None,
    *,
    templates: Templates | None = None,
    distinct_captions: bool = False,
    language: str = "en",
    allowed_failures: float = 0.1,
) -> Result:
    """Evaluate a CLIP on a data set; or, by the likelihood of each class's prompts, a model that writes captions.

    source:            a Source, or a location as ``diptych.data.sources.open_source`` takes it.
    task:              ``zero-shot`` or ``retrieval``; by default what the source is made for: the first where it has
                       class names, the second where it has captions only.
    templates:         of zero-shot; by default the source's own, else ``photo``.
    distinct_captions: of retrieval: equal captions of several images are one text with several right images.
    allowed_failures:  share of samples that may be unreadable, or lack what the task needs (a class, a caption),
                       before TooManyFailures is raised.

    Raises ConfigError for an unknown task, DataError for a source that lacks what the task needs.
    """
    if not hasattr(clip, "encode_pixels"):
        raise ConfigError(f"a Clip is evaluated, not {clip!r:.80}; diptych.load(...) gives one")
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
    clip: Clip | Captioner, source: Source, embedded: Embedded, options: Options
) -> tuple[Features, Scores, Sequence[str]]:
    if options.distinct_captions:
        raise ConfigError("distinct_captions applies to retrieval; zero-shot has classes")
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    templates = prompts.templates(options.templates or source.templates or "photo")
    first_C = _first_of_name(clip, source)
    unlabelled = "has no label, so its class is not known"
    if isinstance(clip, Captioner):
        features = embedded(lambda sample: unlabelled if sample.label is None else "")
        images_NE = clip.class_scores(features.images_NE, source.class_names, templates)
        weights_CE = np.eye(len(source.class_names), dtype=np.float32)  # the scores themselves are ranked
    else:
        weights_CE = clip.classifier(source.class_names, templates).weights_CE  # first, since it may fail
        features = embedded(lambda sample: unlabelled if sample.label is None else "")
        images_NE = features.images_NE
    scores = zero_shot.score(images_NE, np.array(features.labels), weights_CE, first_C=first_C)
    return features, scores, [*templates, *source.class_names]


def _retrieval(
    clip: Clip | Captioner, source: Source, embedded: Embedded, options: Options
) -> tuple[Features, Scores, Sequence[str]]:
    if options.templates is not None:
        raise ConfigError("templates apply to zero-shot; retrieval takes captions as they are")
    if isinstance(clip, Captioner):
        raise ConfigError(f"{clip.spec.name} writes captions and embeds no texts, so it retrieves none")
    clip.require_tokenizer()
    features = embedded(lambda sample: "" if sample.captions else "has no caption, which retrieval needs")
    texts, pairs_P2 = retrieval.pairs(features.captions, distinct_captions=options.distinct_captions)
    if repeated := len(texts) - len(set(texts)):
        warnings.warn(
            f"{repeated} of the {len(texts)} captions of {source.name} are those of an earlier image too, and count as "
            "wrong for it, so that even a perfect model misses them; distinct_captions=True (--distinct-captions) "
            "makes each one text with several right images",
            stacklevel=3,
        )
    return features, retrieval.score(features.images_NE, clip.encode_texts(texts), pairs_P2), ()


def _first_of_name(clip: Clip | Captioner, source: Source) -> np.ndarray:
    """Of each class the first one of the same name, as the tokenizer reads it, so that case, spaces and ways to write
    an accent do not matter where they do not to the model. Warns where there are two of a name."""
    names, tokenizer = source.class_names or (), clip.require_tokenizer()
    numbers: dict[tuple[int, ...], list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(tuple(tokenizer.encode(name)), []).append(number)
    first_C = np.arange(len(names))
    several = [same for same in numbers.values() if len(same) > 1]
    for same in several:
        first_C[same] = same[0]
    if several:
        listed = "; ".join(", ".join(f"{names[number]!r} ({number})" for number in same) for same in several[:_LISTED])
        warnings.warn(
            f"{source.name} has several classes of one name, which no model can tell apart; the first of them is taken "
            f"for all: {listed}{' ...' if len(several) > _LISTED else ''}",
            stacklevel=2,
        )
    return first_C


# One row a task.
TASKS: dict[str, Task] = {
    "zero-shot": Task("zeroshot_classification", _zero_shot),
    "retrieval": Task("zeroshot_retrieval", _retrieval),
}


def _fingerprints(clip: Clip | Captioner, features: Features, texts: Sequence[str]) -> dict[str, str]:
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
