"""The names that are promised before there is a model are those that an evaluation gives."""

import numpy as np
import pytest
from tiny import SPEC

from diptych.data.sources import Sample
from diptych.encoder.loading import create
from diptych.evaluation.metric_names import metrics_of
from diptych.evaluation.tasks import evaluate
from diptych.text.tokenizer import Tokenizer


class Noise:
    """Images of nothing, of one class each, of several, or with a caption each."""

    name, templates = "noise", None

    def __init__(self, classes: int, *, several: bool = False) -> None:
        self.class_names = tuple(f"class {number}" for number in range(classes)) or None
        self.several = several

    def __len__(self) -> int:
        return 8

    def read(self, i: int) -> Sample:
        image = np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)
        if self.class_names is None:
            return Sample(image, (f"text {i}",), None, str(i))
        number = i % len(self.class_names)
        return Sample(image, (), None if self.several else number, str(i), labels=(number,) if self.several else None)


@pytest.mark.parametrize(
    "source",
    [Noise(0), Noise(2), Noise(5), Noise(3, several=True)],
    ids=["pairs", "two classes", "five classes", "several classes"],
)
def test_promised_metrics_are_those_measured(source: Noise) -> None:
    tokenizer = Tokenizer.train(["a photo of a class text"], vocabulary_size=530, context_length=60)
    measured = evaluate(create(SPEC, seed=0, tokenizer=tokenizer), source).metrics
    assert set(metrics_of(source)) == set(measured)
