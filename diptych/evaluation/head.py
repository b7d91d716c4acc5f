"""Classification by given weights, as a fine-tuned head has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import class_map, zero_shot
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
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    own, others = ([(name,) for name in names] for names in (source.class_names, classifier.labels))
    classes = class_map.match(own, others, name=source.name, other_name="the classifier")
    features = embed(classifier.clip, source, "label", allowed_failures=allowed_failures)
    scores_NK = classes.pooled(features.embeddings_NE @ classifier.weights_CE.T)
    labels_N = np.array(features.labels, np.int64)
    return zero_shot.score_classes(scores_NK, labels_N)
