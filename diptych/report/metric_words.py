"""What metrics are of, whatever the classifier: accuracy is ``acc1`` of zero-shot, ``lp_acc1`` of a linear probe."""

from __future__ import annotations

import re

ACCURACY = "acc1"
_OF_CLASSIFIER = re.compile(r"(lp|knn|(fs|cache)_?\d+)_")
_OVER_DRAWS = re.compile(r"(fs|cache)_?\d+_")
_WORDS = {
    ACCURACY: "accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_acc1_acc5": "mean of top-1 and top-5 accuracy",
    "roc_auc": "ROC AUC",
    "map11": "11-point mAP",
    "mean_average_precision": "mean average precision",
}


def quantity(metric: str) -> str:
    """A metric without what says of which classifier it is."""
    return metric.removeprefix(classifier(metric))


def classifier(metric: str) -> str:
    """What says of which classifier a metric is, such as ``lp_``; empty of zero-shot."""
    found = _OF_CLASSIFIER.match(metric)
    return found[0] if found else ""


def over_draws(metric: str) -> bool:
    """Whether it is a mean over draws of examples, whose interval is over these, and not over images."""
    return bool(_OVER_DRAWS.match(metric))


def word(metric: str) -> str:
    """As people say it."""
    return _WORDS.get(metric, metric)
