"""Linear probes, few-shot probes and nearest neighbours as tasks: what features of images tell (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from scipy import stats

from diptych.encoder.clip import Clip
from diptych.errors import ConfigError
from diptych.evaluation import classification
from diptych.evaluation.feature_files import Wanted
from diptych.evaluation.features import Features
from diptych.evaluation.few_shot import few_shot, shots_to_match
from diptych.evaluation.judging import Judge
from diptych.evaluation.neighbours import nearest_neighbours
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.probes import HELD_OUT, Search, search
from diptych.evaluation.result import Interval, Scores
from diptych.evaluation.split import Labelled, held_out
from diptych.evaluation.subjects import Subject
from diptych.progress import say


def plan_linear_probe(subject: Subject, data: Splits, options: Options) -> Plan:
    """The paper's probe: its penalty chosen on the validation split, then refitted on that too."""
    judge = Judge.of(data)

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = _labelled(judge, data, features)
        say(f"searching the strength of a probe of {len(train.truth)} x {train.features_ND.shape[1]} features")
        classes = len(judge.class_names)
        found = search(train, validation, judge.quality, classes=classes, solver=options.solver, seed=options.seed)
        scores = _scored(judge, found.probe.scores(test.features_ND), test.truth, features["test"], "lp_")
        return replace(scores, details={**scores.details, "probe": _told(found)})

    return Plan("label", ("features",), data.learning(), score, metric=f"lp_{judge.metric}")


def plan_neighbours(subject: Subject, data: Splits, options: Options) -> Plan:
    """Votes of the nearest training images; how many is chosen on the validation split."""
    judge = Judge.of(data)

    def score(features: Mapping[Split, Features]) -> Scores:
        train, validation, test = _labelled(judge, data, features)
        if validation is None:
            train, validation = held_out(train, HELD_OUT, options.seed)
        found = nearest_neighbours(train, validation, judge.quality, classes=len(judge.class_names))
        scores = _scored(judge, found.scores(test.features_ND), test.truth, features["test"], "knn_")
        return replace(scores, details={**scores.details, "neighbours": found.count, "tried": found.metrics})

    return Plan("label", ("features",), data.learning(), score, metric=f"knn_{judge.metric}")


def plan_few_shot(subject: Subject, data: Splits, options: Options) -> Plan:
    """Probes of few examples a class, and how many of them match the model's own zero-shot classifier.

    Where there is one, also a cache of the examples beside it, which needs no training.
    """
    if not options.shots or min(options.shots) < 1 or options.draws < 1:
        raise ConfigError(f"shots and draws are 1 or more, not {options.shots} and {options.draws}")
    judge, by_name = Judge.of(data), None
    if isinstance(subject, Clip):
        by_name = classification.plan(subject, data, Options(templates=options.templates))
    names = {"one": f"fs{{}}_{judge.metric}", "full": f"lp_{judge.metric}", "zero": judge.metric}

    def score(features: Mapping[Split, Features]) -> Scores:
        train, tune, test = _labelled(judge, data, features)
        if tune is None:
            train, tune = held_out(train, HELD_OUT, options.seed)
        classes, seed = len(judge.class_names), options.seed
        shots, draws = options.shots, options.draws
        points = few_shot(train, test, tune, judge.quality, classes=classes, shots=shots, draws=draws, seed=seed)
        whole = search(train, tune, judge.quality, classes=classes, seed=seed)
        full = judge.quality(whole.probe.scores(test.features_ND), test.truth)
        a_class = (len(train.truth) + len(tune.truth)) / len(np.unique(train.truth))
        metrics = {names["one"].format(point.shots): point.mean for point in points} | {names["full"]: full}
        limits = {names["one"].format(p.shots): _of_draws(p.metrics) for p in points if len(p.metrics) > 1}
        details = {
            "shots": [point.shots for point in points],
            "accuracies": [list(point.metrics) for point in points],
            "strengths": [list(point.strengths) for point in points],
            "classes_short_of_examples": [point.short for point in points],
            "full": {"examples": a_class, "accuracy": full},
        }
        if by_name:
            zero = by_name.score(features)
            metrics[names["zero"]] = level = zero.metrics[judge.metric]
            limits[names["zero"]] = zero.intervals[judge.metric]
            match = shots_to_match([*((point.examples, point.mean) for point in points), (a_class, full)], level)
            known = match.shots if np.isfinite(match.shots) else None  # JSON has no infinity
            details |= {"zero_shot": level, "shots_to_match": {"shots": known, "kind": match.kind}}
        return Scores(metrics=metrics, intervals=limits, chance={}, details=details)

    wanted: tuple[Wanted, ...] = ("features", "embeddings") if by_name else ("features",)
    texts = by_name.texts if by_name else ()
    metric = names["one"].format(max(options.shots))
    return Plan("label", wanted, data.learning(), score, texts, metric)


def _labelled(
    judge: Judge, data: Splits, features: Mapping[Split, Features]
) -> tuple[Labelled, Labelled | None, Labelled]:
    """Train, validation where there is one, and test, with the classes numbered as in test."""
    found: dict[Split, Labelled] = {}
    for split, source in data.learning().items():
        found[split] = Labelled(features[split].features_ND, judge.truth(features[split], source))
    return found["train"], found.get("validation"), found["test"]


def _scored(judge: Judge, scores_NC: np.ndarray, truth: np.ndarray, features: Features, prefix: str) -> Scores:
    """Under the names that CLIP_benchmark has for probes: ``lp_acc1`` ..."""
    scores = judge.score(scores_NC, np.eye(scores_NC.shape[1], dtype=scores_NC.dtype), truth, features)
    return replace(
        scores,
        metrics={f"{prefix}{name}": value for name, value in scores.metrics.items()},
        intervals={f"{prefix}{name}": interval for name, interval in scores.intervals.items()},
        chance={f"{prefix}{name}": value for name, value in scores.chance.items()},
    )


def _told(found: Search) -> dict[str, Any]:
    return {
        "strength": found.selection.chosen.strength,
        "at_edge": found.selection.at_edge,
        "chosen_on": found.validation,
        "tried": [asdict(trial) for trial in found.selection.trials],
        "converged": found.probe.converged,
        "iterations": found.probe.iterations,
    }


def _of_draws(metrics: Sequence[float]) -> Interval:
    """95 % interval of the mean over draws (Student's t); that other test images might have been taken is not in it."""
    half = stats.t.ppf(0.975, len(metrics) - 1) * np.std(metrics, ddof=1) / len(metrics) ** 0.5
    return float(max(0.0, np.mean(metrics) - half)), float(min(1.0, np.mean(metrics) + half))
