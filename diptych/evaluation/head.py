"""Classification by given weights, as a fine-tuned head has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diptych.data.labelled import class_rows
from diptych.evaluation import zero_shot
from diptych.evaluation.features import embed
from diptych.evaluation.result import Scores

if TYPE_CHECKING:
    from diptych.data.sources import Source
    from diptych.encoder.classifier import Classifier


def classify(classifier: Classifier, source: Source, *, allowed_failures: float = 0.1) -> Scores:
    """Accuracy of a classifier's model and weights on a source whose classes are its own, or some of them, by name.

    Of some, each image is classified into these alone, as ImageNet's variants of 200 classes are. Raises DataError for
    classes that the classifier has not.
    """
    rows = class_rows(source, classifier.labels)
    features = embed(classifier.clip, source, "label", allowed_failures=allowed_failures)
    labels_N = np.array(features.labels, np.int64)
    return zero_shot.score(features.embeddings_NE, labels_N, classifier.weights_CE[list(rows)])
