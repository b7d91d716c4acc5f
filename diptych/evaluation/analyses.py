"""What zero-shot answers tell beside their accuracy: how sure they are and rightly so, and what the prompts gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from diptych.evaluation.abstention import at_threshold, risk_coverage
from diptych.evaluation.calibration import calibration_of_answers
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.intervals import bootstrap
from diptych.evaluation.result import Scores


def with_confidence(scores: Scores, probabilities: str, none_of_these: float | None) -> Scores:
    """With the expected calibration error ``ece``, and, where answers below a probability count as none, the share
    that is ``answered`` and the accuracy of these, ``acc1_answered``.

    probabilities: ``softmax`` or ``sigmoid``, noted in ``details``. Either way the confidence of an answer is the
                   probability of its class, and the error is how far that is from the share of answers that are right.

    ``details`` also has the other metrics of `Calibration`, of the answers and, by the softmax, of all classes.
    """
    confidence_N = np.array(scores.predictions["confidence"])
    correct_N = np.array(scores.predictions["rank"]) == 1
    found = calibration_of_answers(confidence_N, correct_N)
    metrics, limits = {"ece": found.metrics["ece"]}, {"ece": found.intervals["ece"]}
    # Chance of an error is what a perfectly calibrated model would show.
    chance = {"ece": found.calibrated["ece"]}
    bins = [asdict(own) for own in found.equal_width]
    measured, of_measured = dict(found.metrics), dict(found.intervals)
    for name in ("brier", "nll"):
        if values := scores.predictions.get(name):
            measured[name] = float(np.mean(values))
            of_measured[name] = bootstrap(np.array(values), np.arange(len(values)), 0)
    told = {"probabilities": probabilities, "metrics": measured, "intervals": of_measured, "bins": bins}
    details: dict[str, Any] = {"calibration": told}
    if none_of_these is not None:
        kept = at_threshold(confidence_N, correct_N, none_of_these)
        metrics["answered"], limits["answered"] = kept.coverage, kept.coverage_interval
        if kept.accuracy is not None:
            metrics["acc1_answered"], limits["acc1_answered"] = kept.accuracy, kept.accuracy_interval
        curve = risk_coverage(confidence_N, correct_N)
        area = {"area": curve.area, "interval": curve.interval, "best": curve.best, "random": curve.random}
        details["none_of_these"] = {**asdict(kept), "risk_coverage": area}
    return replace(
        scores,
        metrics=scores.metrics | metrics,
        intervals=scores.intervals | limits,
        chance=scores.chance | chance,
        details=scores.details | details,
    )


def with_ablation(
    scores: Scores, others: Mapping[str, Scores], templates: Mapping[str, Sequence[str]], keys: Sequence[str]
) -> Scores:
    """With what each way to prompt gives, its templates, and, but of the first, the name alone, its gain over that,
    image by image."""

    def hits(name: str) -> Measured:
        return Measured(name, range(len(keys)), np.array(others[name].predictions["rank"]) == 1)

    first = next(iter(others))
    study = {}
    for name, own in others.items():
        study[name] = {"acc1": own.metrics["acc1"], "interval": own.intervals["acc1"], "templates": templates[name]}
        if name != first:
            gain = compare(hits(name), hits(first))
            study[name] |= {"gain": gain.difference, "gain_interval": gain.interval, "p": gain.p}
    return replace(scores, details=scores.details | {"ablation": study})
