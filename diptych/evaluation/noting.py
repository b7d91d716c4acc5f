"""What a result notes beside its numbers: what they depend on, and what was warned of."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from diptych.config import to_dict
from diptych.encoder.subject import ImageSubject
from diptych.errors import Caution
from diptych.evaluation.features import Features
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.result import Result
from diptych.evaluation.subjects import Subject, cost, identity, name_of


@contextmanager
def cautions() -> Generator[list[warnings.WarningMessage]]:
    """What is warned of meanwhile, to be noted; then it is warned of."""
    heard: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", Caution)  # of the second model too, whose warning may be the same
            yield heard
    finally:
        for own in heard:
            warnings.warn_explicit(own.message, own.category, own.filename, own.lineno)


def with_cautions(result: Result, heard: Sequence[warnings.WarningMessage]) -> Result:
    """With our own warnings among what was heard as remarks, each once."""
    said = [str(own.message) for own in heard if isinstance(own.message, Caution)]
    return replace(result, remarks=tuple(dict.fromkeys([*result.remarks, *said])))


def result_of(
    subject: Subject,
    data: Splits,
    published: str,
    plan: Plan,
    features: Mapping[Split, Features],
    options: Options,
    language: str,
    metric: str,
) -> Result:
    """The scores of features, with all that they depend on. ``published``: the task's name; ``metric``: its own."""
    scores, test = plan.score(features), features["test"]
    told, notes = to_dict(options.changed()), [data.note, *_seen_before(features)]
    told |= {name: value for name in ("captions", "where") if (value := to_dict(getattr(data, name)))}
    if shifted_from := data.shifted_from:
        told["shifted_from"] = shifted_from.title
        notes.append(shifted_from.note and f"{shifted_from.title}, that it is shifted from: {shifted_from.note}")
    return Result(
        dataset=data.title,
        model=name_of(subject),
        pretrained=str(subject.provenance.get("weights_from", "")),
        task=published,
        metrics=scores.metrics,
        language=language,
        metric=metric,
        split=data.name,
        remarks=tuple(note for note in notes if note),
        intervals=scores.intervals,
        chance=scores.chance,
        samples=len(test.keys),
        skipped=tuple(failure for own in features.values() for failure in own.failures),
        precision=subject.precision,
        backend=f"torch {torch.__version__}",
        fingerprints=_fingerprints(subject, features, plan.texts),
        options=told,
        details=to_dict(scores.details),  # as it will be read again
        class_names=tuple(plan.class_names),
        templates=tuple(plan.templates),
        cost=cost(subject),
        features={split: own.folder.name for split, own in features.items() if own.folder},
        predictions={"key": test.keys, **scores.predictions},
        text_predictions=scores.text_predictions,
        source_predictions=scores.source_predictions,
    )


def _seen_before(features: Mapping[Split, Features]) -> list[str]:
    """Which images that are measured are also, bit for bit, among those learned from or chosen by."""
    test, told = features["test"].images, []
    for split in (own for own in features if own in ("train", "validation")):
        known = set(features[split].images)
        if again := sum(image in known for image in test):
            told.append(f"{again:,} of the {len(test):,} images that are measured are in the split {split!r} too")
    return told


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
