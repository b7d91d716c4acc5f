"""Zero-shot classification as a task: class names and prompts become weights, images are ranked by them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from diptych.data.sources import Source
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, DataError
from diptych.evaluation import zero_shot
from diptych.evaluation.features import Features
from diptych.evaluation.plan import Options, Plan, Splits
from diptych.evaluation.result import Scores
from diptych.evaluation.subjects import Subject
from diptych.text import prompts

_LISTED = 4  # names in a warning


def plan(subject: Subject, data: Splits, options: Options) -> Plan:
    """Everything but the images: whether there are classes, and their weights."""
    source = data.test
    if not isinstance(subject, Clip | Captioner):
        raise ConfigError(f"{subject.name} has no text tower, so it classifies nothing without examples")
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    names = source.class_names
    templates = prompts.templates(options.templates or source.templates or "photo")
    first_C = _first_of_name(subject, source)
    weights_CE = _weights(subject, names, templates)

    def score(features: Features) -> Scores:
        if isinstance(subject, Captioner):
            scores_NC = subject.class_scores(features.embeddings_NE, names, templates)
        else:
            scores_NC = features.embeddings_NE
        return zero_shot.score(scores_NC, np.array(features.labels, np.int64), weights_CE, first_C=first_C)

    return Plan(
        need="label",
        wanted=("embeddings",),
        splits={"test": source},
        score=lambda features: score(features["test"]),
        texts=[*templates, *names],
    )


def _weights(subject: Clip | Captioner, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    if isinstance(subject, Clip):
        return subject.classifier(names, templates).weights_CE
    return np.eye(len(names), dtype=np.float32)  # the scores themselves are ranked


def _first_of_name(subject: Clip | Captioner, source: Source) -> np.ndarray:
    """Of each class the first one of the same name, as the tokenizer reads it, so that case, spaces and ways to write
    an accent do not matter where they do not to the model. Warns where there are two of a name."""
    names, tokenizer = source.class_names or (), subject.require_tokenizer()
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
