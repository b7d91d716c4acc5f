"""Classifiers by the names of a data set's classes: which names and prompts are taken, and what they weigh."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.sources import Source
from diptych.encoder.captioner import Captioner
from diptych.encoder.clip import Clip
from diptych.errors import Caution, ConfigError, DataError
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge, class_names_of
from diptych.evaluation.opening import names_of, templates_of
from diptych.evaluation.plan import Options, Splits
from diptych.evaluation.result import Columns, Scores
from diptych.evaluation.subjects import Subject, name_of
from diptych.text import class_names, prompts
from diptych.text.class_names import Names, averaged

_LISTED = 4  # names in a warning
_OVERFLOWS = 1e30  # a scale from which on products with it are no numbers in fp32


@dataclass(frozen=True, eq=False)
class ByName:
    """A classifier of the names of a data set's classes, in prompts.

    weights_CE: one vector a class. first_C: of each class the first of the same name, as the tokenizer reads it.
    """

    subject: Clip | Captioner
    names: tuple[Names, ...]
    templates: tuple[str, ...]
    weights_CE: np.ndarray
    first_C: np.ndarray

    @property
    def scale(self) -> float:
        """What scores are multiplied by before the softmax; 1 where the model's own makes no probabilities of them."""
        return self.subject.similarity_scale if isinstance(self.subject, Clip) and self.is_probable else 1.0

    @property
    def is_probable(self) -> bool:
        """Whether its scores become probabilities: a temperature that is no number, or that overflows, makes none."""
        if not isinstance(self.subject, Clip):
            return True
        return 0 < self.subject.similarity_scale < _OVERFLOWS and math.isfinite(self.subject.similarity_bias)

    @property
    def bias(self) -> float | None:
        """What is added to scores where each class is answered for itself."""
        sigmoid = isinstance(self.subject, Clip) and self.subject.spec.scores == "sigmoid"
        return self.subject.similarity_bias if sigmoid and self.is_probable else None

    @property
    def texts(self) -> list[str]:
        """What it depends on beside the model."""
        return [*self.templates, *self.class_names]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of each class its name, several divided by ``|``."""
        return tuple("|".join(own) for own in self.names)

    def scores(self, features: Features) -> np.ndarray:
        """Scores (N, C) of the classes, before scale and bias."""
        if isinstance(self.subject, Captioner):
            return self.subject.class_scores(features.embeddings_NE, [own[0] for own in self.names], self.templates)
        return features.embeddings_NE @ self.weights_CE.T

    def judged(self, judge: Judge, truth: np.ndarray, features: Features) -> Scores:
        """Everything that is measured of images by it. Of a CLIP, scores are compared in double precision; images that
        it embeds as zeros are wrong, and told.

        Raises DataError where all are zeros."""
        told: dict[str, Any] = {"scale": self.scale, "bias": self.bias, "first_C": self.first_C}
        if isinstance(self.subject, Captioner):
            return judge.score_classes(self.scores(features), truth, features, **told)
        if zeros := int((~features.embeddings_NE.any(axis=1)).sum()):
            problem = (
                f"{self.subject.spec.name} embeds {zeros:,} of {len(truth):,} images as zeros, which no class is near"
            )
            if zeros == len(truth):
                raise DataError(problem)
            warnings.warn(f"{problem}; they count as wrong", Caution, stacklevel=2)
        scores = judge.score(features.embeddings_NE, self.weights_CE, truth, features, **told)
        if self.is_probable or "confidence" not in scores.predictions:
            return scores
        warnings.warn(f"{self.untold}; calibration is left out", Caution, stacklevel=2)
        return replace(scores, predictions=without_probabilities(scores.predictions))

    @property
    def untold(self) -> str:
        """Why there are no probabilities, in words."""
        scale, bias = (getattr(self.subject, f"similarity_{name}", 1.0) for name in ("scale", "bias"))
        return (
            f"{name_of(self.subject)} multiplies its scores by {scale:g} (exp of logit_scale) and adds {bias:g}, so "
            "they are no probabilities"
        )


def without_probabilities(predictions: Columns) -> Columns:
    """What remains where scores make no probabilities."""
    return {name: column for name, column in predictions.items() if name not in ("confidence", "nll", "brier")}


def by_name(subject: Subject, data: Splits, options: Options) -> ByName:
    """The zero-shot classifier of a data set. Raises ConfigError for a model that reads no texts, DataError for data
    without classes."""
    if not isinstance(subject, Clip | Captioner):
        raise ConfigError(f"{subject.name} has no text tower, so it classifies nothing without examples")
    names, templates = names_of_classes(data, options), templates_of_prompts(data, options)
    first_C = _first_of_name(subject, data.test, names)
    return ByName(subject, names, templates, weights_of(subject, names, templates), first_C)


def weights_of(subject: Clip | Captioner, names: Sequence[Names], templates: Sequence[str]) -> np.ndarray:
    """One unit-norm vector a class (C, E): the mean of those of its names. Of a model that writes captions, whose
    scores are of classes already, the unit matrix. Raises DataError where the model gives no finite numbers."""
    if isinstance(subject, Clip):
        each_ME = subject.classifier([name for own in names for name in own], templates).weights_CE
        weights_CE = averaged(each_ME, names)
        if len(damaged := np.flatnonzero(~np.isfinite(weights_CE).all(axis=1))):
            raise DataError(
                f"{subject.spec.name} gives no finite embedding for {len(damaged)} of the {len(names)} classes; the "
                f"first is {' | '.join(names[damaged[0]])!r}"
            )
        return weights_CE
    if any(len(own) > 1 for own in names):
        raise ConfigError(f"{subject.spec.name} writes captions, so its classes have one name each")
    return np.eye(len(names), dtype=np.float32)


def names_of_classes(data: Splits, options: Options) -> tuple[Names, ...]:
    """What was asked for, else the names that the table of data sets has, else the data's own."""
    own, given = class_names_of(data), options.class_names
    if given is None:
        return names_of(data.row, data.test) if data.row else tuple((name,) for name in own)
    if isinstance(given, str | Path):
        found = class_names.read(given)
    else:
        found = tuple((names,) if isinstance(names, str) else tuple(names) for names in given)
    if len(found) != len(own):
        raise ConfigError(f"{len(found)} class names are given, and {data.test.name} has {len(own)} classes")
    return class_names.in_order(found, own, "class_names= (--class-names)")


def templates_of_prompts(data: Splits, options: Options) -> tuple[str, ...]:
    """What was asked for, else what the table of data sets has for it, else the data's own, else a photo."""
    if options.templates is not None:
        return prompts.templates(options.templates)
    return templates_of(data.row, data.test)


def _first_of_name(subject: Clip | Captioner, source: Source, classes: Sequence[Names]) -> np.ndarray:
    """Of each class the first one of the same name, as the tokenizer reads it, so that case, spaces and ways to write
    an accent do not matter where they do not to the model. Warns where there are two of a name."""
    names, tokenizer = [" | ".join(own) for own in classes], subject.require_tokenizer()
    numbers: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for number, own in enumerate(classes):
        numbers.setdefault(tuple(tuple(tokenizer.encode(name)) for name in own), []).append(number)
    first_C = np.arange(len(names))
    several = [same for same in numbers.values() if len(same) > 1]
    for same in several:
        first_C[same] = same[0]
    if several:
        listed = "; ".join(", ".join(f"{names[number]!r} ({number})" for number in same) for same in several[:_LISTED])
        warnings.warn(
            f"{source.name} has several classes of one name, which no model can tell apart; the first of them is taken "
            f"for all: {listed}{' ...' if len(several) > _LISTED else ''}",
            Caution,
            stacklevel=2,
        )
    return first_C
