"""Few examples a class as tasks: probes, and a cache beside zero-shot, over draws (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from diptych.encoder.clip import Clip
from diptych.errors import ConfigError
from diptych.evaluation import classification
from diptych.evaluation.classification import ByName
from diptych.evaluation.feature_files import Wanted
from diptych.evaluation.features import Features
from diptych.evaluation.few_shot import Shots, few_shot, few_shot_cache, shots_to_match
from diptych.evaluation.judging import Judge
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.probes import HELD_OUT
from diptych.evaluation.probing import Beginning, fitted, labelled
from diptych.evaluation.result import Interval, Scores
from diptych.evaluation.split import held_out
from diptych.evaluation.subjects import Subject, name_of


def plan_few_shot(subject: Subject, data: Splits, options: Options) -> Plan:
    """Probes of few examples a class, and how many of them match the model's own zero-shot classifier."""
    _check(options)
    judge, named, beginning = Judge.of(data), None, Beginning.of(subject, data, options)
    if isinstance(subject, Clip):
        named = beginning.named or classification.by_name(subject, data, Options(templates=options.templates))

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = labelled(judge, data, features)
        few, tune = (train, validation) if validation else held_out(train, HELD_OUT, options.seed)
        told: dict[str, Any] = {"shots": options.shots, "draws": options.draws, "seed": options.seed}
        towards = beginning.at(features["train"])
        classes = len(judge.class_names)
        points = few_shot(few, test, tune, judge.quality, classes=classes, towards=towards, **told)
        probe = fitted(judge, train, validation, features, options, towards).probe
        full = judge.quality(probe.scores(test.features_ND), test.truth)
        a_class = (len(few.truth) + len(tune.truth)) / len(np.unique(train.truth))
        scores = _of_points(points, f"fs{{}}_{judge.metric}")
        scores.metrics[f"lp_{judge.metric}"] = full
        scores.details["strengths"] = [list(point.strengths) for point in points]
        scores.details["full"] = {"examples": a_class, "accuracy": full}
        if named:
            level = _beside_zero_shot(scores, named, judge, test.truth, features["test"])
            match = shots_to_match([*((point.examples, point.mean) for point in points), (a_class, full)], level)
            known = match.shots if np.isfinite(match.shots) else None  # JSON has no infinity
            scores.details["shots_to_match"] = {"shots": known, "kind": match.kind}
        return scores

    wanted: tuple[Wanted, ...] = ("features", "embeddings") if named else ("features",)
    texts = named.texts if named else ()
    metric = f"fs{max(options.shots)}_{judge.metric}"
    return Plan("label", wanted, data.learning(), score, texts, metric)


def plan_cache(subject: Subject, data: Splits, options: Options) -> Plan:
    """A cache of few examples a class beside zero-shot weights, of which nothing is trained: a cheap baseline."""
    _check(options)
    if not isinstance(subject, Clip):
        raise ConfigError(f"{name_of(subject)} embeds no texts, and a cache stands beside zero-shot weights")
    judge = Judge.of(data)
    named = classification.by_name(subject, data, Options(templates=options.templates))

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = labelled(judge, data, features, "embeddings")
        few, tune = (train, validation) if validation else held_out(train, HELD_OUT, options.seed)
        told: dict[str, Any] = {"shots": options.shots, "draws": options.draws, "seed": options.seed}
        points = few_shot_cache(few, test, tune, named.weights_CE, judge.quality, scale=named.scale, **told)
        scores = _of_points(points, f"cache{{}}_{judge.metric}")
        scores.details["weights"] = [list(point.weights) for point in points]
        scores.details["sharpnesses"] = [list(point.sharpnesses) for point in points]
        _beside_zero_shot(scores, named, judge, test.truth, features["test"])
        return scores

    metric = f"cache{max(options.shots)}_{judge.metric}"
    return Plan("label", ("embeddings",), data.learning(), score, named.texts, metric)


def _check(options: Options) -> None:
    if not options.shots or min(options.shots) < 1 or options.draws < 1:
        raise ConfigError(f"shots and draws are 1 or more, not {options.shots} and {options.draws}")


def _of_points(points: Sequence[Shots], name: str) -> Scores:
    """The mean over draws of each number of shots, as the metric of that name."""
    return Scores(
        metrics={name.format(point.shots): point.mean for point in points},
        intervals={name.format(p.shots): _of_draws(p.metrics) for p in points if len(p.metrics) > 1},
        chance={},
        details={
            "shots": [point.shots for point in points],
            "accuracies": [list(point.metrics) for point in points],
            "classes_short_of_examples": [point.short for point in points],
        },
    )


def _beside_zero_shot(scores: Scores, named: ByName, judge: Judge, truth: np.ndarray, features: Features) -> float:
    """The metric of the zero-shot classifier, which becomes one of the scores too."""
    images_NE = named.images(features)
    zero = judge.score(images_NE, named.weights_CE, truth, features, scale=named.scale, first_C=named.first_C)
    level = zero.metrics[judge.metric]
    scores.metrics[judge.metric], scores.intervals[judge.metric] = level, zero.intervals[judge.metric]
    scores.details["zero_shot"] = level
    return level


def _of_draws(metrics: Sequence[float]) -> Interval:
    """95 % interval of the mean over draws (Student's t); that other test images might have been taken is not in it."""
    half = stats.t.ppf(0.975, len(metrics) - 1) * np.std(metrics, ddof=1) / len(metrics) ** 0.5
    return float(max(0.0, np.mean(metrics) - half)), float(min(1.0, np.mean(metrics) + half))
