"""Classifiers of few examples a class, drawn several times (paper, section 3.1.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from diptych.errors import ConfigError, DataError
from diptych.evaluation.linear import Linear
from diptych.evaluation.logistic import Probe, solve
from diptych.evaluation.logistic_problem import prepare
from diptych.evaluation.neighbours import Cache, cache
from diptych.evaluation.probes import Metric, accuracy, select
from diptych.evaluation.ranks import ranks_of_scores
from diptych.evaluation.split import Labelled

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 5
Learned = TypeVar("Learned", Probe, Cache)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier answers of N test samples: the class that scores highest, the rank of the right one, from 0,
    with ties against it, and, of two classes, by how much the second scores more."""

    predicted_N: np.ndarray
    ranks_N: np.ndarray
    more_N: np.ndarray | None

    @classmethod
    def of(cls, scores_NC: np.ndarray, labels_N: np.ndarray) -> Answers:
        pairs_N2 = np.stack([np.arange(len(labels_N)), labels_N], axis=1)
        more_N = scores_NC[:, 1] - scores_NC[:, 0] if scores_NC.shape[1] == 2 else None
        return cls(scores_NC.argmax(axis=1), ranks_of_scores(scores_NC, pairs_N2), more_N)


@dataclass(frozen=True)
class Shots:
    """Classifiers of so many examples a class: the metric and the answers of each draw.

    examples: how many a class there were on average; fewer than ``shots`` where ``short`` classes had not enough and
              gave all they have.
    """

    shots: int
    metrics: tuple[float, ...]
    examples: float
    short: int
    answers: tuple[Answers, ...] = field(compare=False, repr=False)

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.metrics))

    @property
    def spread(self) -> float:
        """The standard deviation between draws; NaN of a single one."""
        return float(np.std(self.metrics, ddof=1)) if len(self.metrics) > 1 else math.nan


@dataclass(frozen=True)
class ProbeShots(Shots):
    """The strength that each probe was fitted with; ``unconverged``: fits of those shown here that did not reach the
    tolerance."""

    strengths: tuple[float, ...]
    unconverged: int


@dataclass(frozen=True)
class CacheShots(Shots):
    """What was chosen for the cache of each draw: its weight beside zero-shot, infinite where the cache stands alone,
    and its sharpness; ``at_edge``: draws of those shown here for which a better one may lie beyond what was searched.
    """

    weights: tuple[float, ...]
    sharpnesses: tuple[float, ...]
    at_edge: int


def draw(labels_N: np.ndarray, shots: int, seed: int, number: int = 0) -> np.ndarray:
    """Rows of ``shots`` samples of each class, or of all it has where these are fewer; ascending.

    Draws of one seed and number are nested: those of 2 hold that of 1. So from point to point of a curve only the added
    examples change, and a crossing on it depends less on luck; draws of other seeds or numbers are independent. What a
    class gives depends on these and its own samples only.
    """
    if shots < 1:
        raise ConfigError(f"a class gives one example or more, not {shots}")
    rows = [
        np.random.default_rng([seed, number, int(label)]).permutation(np.flatnonzero(labels_N == label))[:shots]
        for label in np.unique(labels_N)
    ]
    return np.sort(np.concatenate(rows))


def few_shot(
    train: Labelled,
    test: Labelled,
    tune: Labelled | float,
    metric: Metric = accuracy,
    *,
    classes: int | None = None,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    towards: Linear | None = None,
) -> tuple[ProbeShots, ...]:
    """Probes of ``shots`` examples a class, ``draws`` times, measured on ``test``.

    tune: the split on which the strength is searched for each draw, as for the full probe, or one strength for all.
    Few examples cannot be split further to choose by (one a class not at all), so a validation split lends labels that
    a real user of few has not, and the curve is what the shots give when the penalty is chosen well. To count only
    the labels of the shots, give a strength. Unlike the full probe, none is refitted on the validation split: it would
    no longer be of few examples.

    towards: weights that the penalty draws to in place of zeros, such as zero-shot ones.

    Raises DataError where truth is not one class a sample.
    """
    classes = int(max(split.truth.max() for split in (train, test))) + 1 if classes is None else classes

    def learn(drawn: Labelled) -> Probe:
        if isinstance(tune, Labelled):
            return select(drawn, tune, metric, classes=classes, towards=towards).probe
        return solve(prepare(drawn.features_ND, drawn.truth, classes, towards), tune)

    return tuple(
        ProbeShots(
            point.shots,
            point.metrics,
            point.examples,
            point.short,
            point.answers,
            strengths=tuple(probe.strength for probe in own),
            unconverged=sum(not probe.converged for probe in own),
        )
        for point, own in _learned(train, test, learn, metric, classes, shots, draws, seed)
    )


def few_shot_cache(
    train: Labelled,
    test: Labelled,
    tune: Labelled,
    weights_CE: np.ndarray,
    metric: Metric = accuracy,
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[CacheShots, ...]:
    """The same draws as a ``neighbours.cache`` beside zero-shot weights: nothing is trained, and ``tune`` chooses its
    weight and sharpness for each draw. Features are of the joint space. Raises DataError as ``few_shot`` does."""

    def learn(drawn: Labelled) -> Cache:
        return cache(drawn, tune, weights_CE, metric)

    return tuple(
        CacheShots(
            point.shots,
            point.metrics,
            point.examples,
            point.short,
            point.answers,
            weights=tuple(one.weight for one in own),
            sharpnesses=tuple(one.sharpness for one in own),
            at_edge=sum(one.at_edge for one in own),
        )
        for point, own in _learned(train, test, learn, metric, len(weights_CE), shots, draws, seed)
    )


def _learned(
    train: Labelled,
    test: Labelled,
    learn: Callable[[Labelled], Learned],
    metric: Metric,
    classes: int,
    shots: Sequence[int],
    draws: int,
    seed: int,
) -> Iterator[tuple[Shots, list[Learned]]]:
    """For each number of shots, from the smallest on and each once, what was learned of each draw, and how good it is.
    Draws that take all samples are one draw, and learned from once."""
    if train.truth.ndim != 1:
        raise DataError("examples a class are drawn where each sample has one class; these have several")
    sizes_C = np.bincount(train.truth, minlength=classes)
    whole: Learned | None = None
    for count in sorted(set(shots)):
        found = []
        for number in range(draws):
            rows = draw(train.truth, count, seed, number)
            one = whole if whole is not None and len(rows) == len(train.truth) else learn(train.take(rows))
            whole = one if len(rows) == len(train.truth) else None
            found.append(one)
        scores = [one.scores(test.features_ND) for one in found]
        metrics = tuple(float(metric(scores_NC, test.truth)) for scores_NC in scores)
        answers = tuple(Answers.of(scores_NC, test.truth) for scores_NC in scores)
        examples = float(np.minimum(sizes_C, count).sum() / (sizes_C > 0).sum())
        yield Shots(count, metrics, examples, int((sizes_C < count).sum()), answers), found
