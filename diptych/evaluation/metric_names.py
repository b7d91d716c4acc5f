"""What an evaluation will measure, known before there is a model: the names of its metrics, from answers made up."""

from __future__ import annotations

import numpy as np

from diptych.data.sources import Source
from diptych.evaluation import retrieval, zero_shot
from diptych.evaluation.analyses import with_confidence
from diptych.evaluation.judging import OF_SEVERAL, Judge
from diptych.evaluation.plan import Splits


def metrics_of(source: Source, *, embeds_texts: bool = True) -> tuple[str, ...]:
    """Of ``evaluate(model, source)``: zero-shot where there are class names, else retrieval. ``embeds_texts``: the
    model is a CLIP, and none that writes captions."""
    if not source.class_names:
        return tuple(retrieval.score(np.eye(2), np.eye(2), np.array([[0, 0], [1, 1]])).metrics)
    if Judge.of(Splits(source)).kind == "multi-label":
        return OF_SEVERAL
    scores = zero_shot.score_classes(np.zeros((2, len(source.class_names))), np.zeros(2, np.int64))
    return tuple((with_confidence(scores, "softmax", None) if embeds_texts else scores).metrics)
