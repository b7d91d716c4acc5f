"""A whole search beside scikit-learn's, on drawn features and on photographs: the same choice, objective, accuracy."""

from pathlib import Path

import numpy as np
import pytest

from diptych.data.preprocess import decode_image
from diptych.data.sources import open_source, read
from diptych.evaluation.logistic import fit
from diptych.evaluation.probes import accuracy, select
from diptych.evaluation.split import Labelled, held_out
from tests.evaluation.test_logistic import drawn

pytest.importorskip("sklearn", reason="scikit-learn, the reference, is not installed (extra `eval`)")
from diptych.evaluation import scikit_learn


def thumbnails(folder: Path, split: str, classes: int) -> Labelled:
    """8 x 8 pixels of the photographs of the first classes."""
    source = open_source(folder, split=split)
    rows, labels = [], []
    for number in range(len(source)):
        sample = read(source, number)
        if sample.label < classes:
            rows.append(np.asarray(decode_image(sample.image).resize((8, 8)), np.float32).ravel() / 255)
            labels.append(sample.label)
    return Labelled(np.stack(rows), np.array(labels))


def agree(train: Labelled, validation: Labelled, test: Labelled) -> None:
    """Each solver's choice is as good by the other, and at either choice both reach one optimum: the objective to 1e-4,
    the accuracy to 0.1 points. (One sample at a boundary may tip the search to another step of a plateau.)"""
    ours, theirs = (select(train, validation, solver=solver) for solver in ("diptych", "scikit-learn"))
    tenth_of_a_point = 1.001e-3
    assert ours.chosen.metric == pytest.approx(theirs.chosen.metric, abs=tenth_of_a_point)
    features_ND = train.features_ND.astype(float)
    for strength in {ours.chosen.strength, theirs.chosen.strength}:
        one = fit(train.features_ND, train.truth, strength)
        two = scikit_learn.fit(features_ND, train.truth, strength, tolerance=1e-6, most_iterations=20_000)
        assert one.converged
        assert two.converged
        assert one.objective == pytest.approx(two.objective, rel=1e-4)
        for split in (validation, test):
            first, second = (accuracy(probe.scores(split.features_ND), split.truth) for probe in (one, two))
            assert first == pytest.approx(second, abs=tenth_of_a_point)
            if split is validation:
                assert second == pytest.approx(theirs.chosen.metric, abs=tenth_of_a_point)


def test_drawn_features() -> None:
    features_ND, labels_N = drawn(3100, 8, 4)
    everything = Labelled(features_ND.astype(np.float32), labels_N)
    agree(*(everything.take(rows) for rows in np.split(np.arange(3100), [100, 1100])))


@pytest.mark.long
def test_photographs(shared_data: Path) -> None:
    everything, test = (thumbnails(shared_data / "caltech101", split, 20) for split in ("train", "test"))
    train, validation = held_out(everything, 0.5, 0)
    assert min(len(split.truth) for split in (validation, test)) >= 1000, "else a tenth of a point is no sample"
    agree(train, validation, test)


def test_in_fp32_scikit_learn_does_not_reach_what_it_says() -> None:
    """Why it is given fp64, and why `converged` is by the gradient that was measured."""
    features_ND, labels_N = drawn(300, 12, 5)
    single, double = (
        scikit_learn.fit(features_ND.astype(precision), labels_N, 1.0, tolerance=1e-6, most_iterations=20_000)
        for precision in (np.float32, np.float64)
    )
    assert single.iterations < 20_000
    assert not single.converged
    assert double.converged
    assert double.gradient <= 1e-6
