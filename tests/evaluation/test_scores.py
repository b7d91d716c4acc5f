"""Ranks, recalls, accuracies and intervals against plain brute force."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.evaluation import intervals, retrieval, zero_shot
from diptych.evaluation import ranks as ranks_module
from diptych.evaluation.ranks import chance_of_recall, ranks


def unit(generator: np.random.Generator, n: int, width: int = 8) -> np.ndarray:
    x = generator.standard_normal((n, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def plain_recall(queries: np.ndarray, gallery: np.ndarray, right: list[set[int]], k: int) -> float:
    """Any right answer among the k that score highest."""
    hits = [
        bool(set(np.argsort(-(gallery @ query))[:k]) & answers) for query, answers in zip(queries, right, strict=True)
    ]
    return float(np.mean(hits))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 5), st.booleans(), st.sampled_from([1, 7, 10**9]))
def test_retrieval_is_brute_force(seed: int, images: int, most: int, distinct: bool, at_once: int) -> None:
    generator = np.random.default_rng(seed)
    captions = [[f"c{generator.integers(40)}" for _ in range(generator.integers(1, most + 1))] for _ in range(images)]
    texts, pairs = retrieval.pairs(captions, distinct_captions=distinct)
    images_NE, texts_ME = unit(generator, images), unit(generator, len(texts))
    before, ranks_module.SCORES_AT_ONCE = ranks_module.SCORES_AT_ONCE, at_once
    try:
        scores = retrieval.score(images_NE, texts_ME, pairs)
    finally:
        ranks_module.SCORES_AT_ONCE = before
    texts_of = [{int(t) for i, t in pairs if i == image} for image in range(images)]
    images_of = [{int(i) for i, t in pairs if t == text} for text in range(len(texts))]
    for k in (1, 5, 10):
        forward, back = f"text_retrieval_recall@{k}", f"image_retrieval_recall@{k}"
        assert scores.metrics[forward] == pytest.approx(plain_recall(images_NE, texts_ME, texts_of, k))
        assert scores.metrics[back] == pytest.approx(plain_recall(texts_ME, images_NE, images_of, k))
        for name in (forward, back):
            low, high = scores.intervals[name]
            assert low <= scores.metrics[name] <= high
            assert 0 < scores.chance[name] <= 1 + 1e-9
    assert len(scores.predictions["rank"]) == images
    assert np.median(scores.text_predictions["rank"]) == scores.metrics["image_retrieval_median_rank"]


def test_equal_captions_are_one_text_or_several() -> None:
    captions = [["cat", "feline"], ["cat"], ["dog", "dog"]]
    texts, pairs = retrieval.pairs(captions)
    assert texts == ["cat", "feline", "cat", "dog", "dog"]
    assert pairs.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4]]
    texts, pairs = retrieval.pairs(captions, distinct_captions=True)
    assert texts == ["cat", "feline", "dog"]
    assert pairs.tolist() == [[0, 0], [0, 1], [1, 0], [2, 2]]
    # Two drawings of one name: each is right for it, so a model that cannot tell them apart is not punished.
    images_NE = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    texts_ME = np.eye(3, dtype=np.float32)[[0, 2, 1]]
    assert retrieval.score(images_NE, texts_ME, pairs).metrics["image_retrieval_recall@1"] == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="image 1 has no caption"):
        retrieval.pairs([["a"], []])
    with pytest.raises(DataError, match="no pair"):
        retrieval.score(images_NE, texts_ME, np.empty((0, 2), np.int64))


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_model_that_tells_nothing_apart_gets_nothing_right(value: float) -> None:
    same = np.full((20, 4), value, np.float32)
    rank = ranks(same, same, np.stack([np.arange(20)] * 2, axis=1))
    assert set(rank) == {19}  # the last of 20, and not beyond
    two = ranks(same[:1], same, np.array([[0, 3], [0, 4]]))
    assert two == [18]  # wrong answers alone are before it
    assert zero_shot.score(same, np.arange(20), same).metrics["acc5"] == 0


def test_each_query_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="right answer"):
        ranks(np.eye(2), np.eye(2), np.array([[0, 0]]))


def test_memory_is_bounded() -> None:
    generator = np.random.default_rng(0)
    images_NE, texts_ME = unit(generator, 3_000), unit(generator, 6_000)
    pairs = np.stack([np.arange(6_000) // 2, np.arange(6_000)], axis=1)
    before, ranks_module.SCORES_AT_ONCE = ranks_module.SCORES_AT_ONCE, 500_000
    tracemalloc.start()
    try:
        ranks(images_NE, texts_ME, pairs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        ranks_module.SCORES_AT_ONCE = before
    assert peak < 10_000_000  # all similarities at once would take 72 MB


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 60))
def test_zero_shot_is_brute_force(seed: int, classes: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    images_NE, weights_CE = unit(generator, images), unit(generator, classes)
    labels_N = generator.integers(classes, size=images)
    scores = zero_shot.score(images_NE, labels_N, weights_CE)
    order_NC = np.argsort(-(images_NE @ weights_CE.T), axis=1)
    assert scores.metrics["acc1"] == pytest.approx((order_NC[:, 0] == labels_N).mean())
    if classes >= 5:
        assert scores.metrics["acc5"] == pytest.approx((order_NC[:, :5] == labels_N[:, None]).any(axis=1).mean())
        assert scores.chance["acc5"] == 5 / classes
    else:
        assert "acc5" not in scores.metrics
    per_class = [(order_NC[labels_N == c, 0] == c).mean() for c in np.unique(labels_N)]
    assert scores.metrics["mean_per_class_recall"] == pytest.approx(np.mean(per_class))
    assert scores.predictions["predicted"] == tuple(order_NC[:, 0].tolist())
    for name, (low, high) in scores.intervals.items():
        assert low - 1e-9 <= scores.metrics[name] <= high + 1e-9


@pytest.mark.parametrize(("labels", "message"), [([], "no labelled"), ([0, 7], "labels go from 0 to 7"), ([-1], "-1")])
def test_labels_that_cannot_be(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        zero_shot.score(np.eye(4)[: len(labels)], np.array(labels), np.eye(4))


@pytest.mark.parametrize(("right", "gallery", "k"), [(1, 10, 1), (5, 5000, 10), (3, 8, 5), (4, 4, 2), (1, 3, 10)])
def test_chance_is_counted_exactly(right: int, gallery: int, k: int) -> None:
    drawn = min(k, gallery)
    expected = 1 - math.comb(gallery - right, drawn) / math.comb(gallery, drawn)
    assert chance_of_recall(np.array([right, right]), gallery, k) == pytest.approx(expected)


def test_chance_is_what_random_embeddings_reach() -> None:
    generator = np.random.default_rng(1)
    captions = [[f"{i}-{j}" for j in range(5)] for i in range(200)]
    _, pairs = retrieval.pairs(captions)
    found = [retrieval.score(unit(generator, 200), unit(generator, 1000), pairs) for _ in range(8)]
    for name, chance in found[0].chance.items():
        assert np.mean([scores.metrics[name] for scores in found]) == pytest.approx(chance, rel=0.3, abs=0.003)


def test_exact_intervals_cover() -> None:
    assert intervals.exact(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert intervals.exact(50, 100) == pytest.approx((0.3983, 0.6017), abs=1e-4)
    generator = np.random.default_rng(0)
    for proportion in (0.02, 0.5, 0.9):
        drawn = generator.binomial(60, proportion, size=120)
        covered = [low <= proportion <= high for low, high in (intervals.exact(hits, 60) for hits in drawn)]
        assert np.mean(covered) >= 0.92


def test_bootstrap_intervals_cover_clustered_hits() -> None:
    """Captions of one image hit or miss together: drawing captions one by one would be too sure of itself."""
    generator = np.random.default_rng(0)
    covered, widths, naive_widths = [], [], []
    for seed in range(100):
        image_Q = np.repeat(np.arange(80), 5)
        hits_Q = generator.random(400) < np.where(generator.random(80) < 0.5, 0.9, 0.1)[image_Q]
        low, high = intervals.bootstrap(hits_Q, image_Q, seed, draws=200)
        covered.append(low <= 0.5 <= high)
        widths.append(high - low)
        low, high = intervals.bootstrap(hits_Q, np.arange(400), seed, draws=200)
        naive_widths.append(high - low)
    assert 0.87 <= np.mean(covered) <= 0.99
    assert np.mean(widths) > 1.5 * np.mean(naive_widths)


def test_a_bootstrap_of_one_outcome_is_not_certain() -> None:
    nothing, everything = np.zeros(50), np.ones(50)
    assert intervals.bootstrap(nothing, np.arange(50), 0) == intervals.exact(0, 50)
    assert intervals.bootstrap(everything, np.arange(50) // 5, 0) == intervals.exact(10, 10)
    assert intervals.bootstrap(np.arange(50) % 3 == 0, np.arange(50), 0) == intervals.bootstrap(
        np.arange(50) % 3 == 0, np.arange(50), 0
    )


def test_mean_of_proportions_covers() -> None:
    generator = np.random.default_rng(0)
    proportions_C, trials_C = np.array([0.9, 0.5, 0.2, 0.7]), np.array([40, 80, 60, 30])
    covered = []
    for seed in range(200):
        low, high = intervals.mean_of_proportions(
            generator.binomial(trials_C, proportions_C), trials_C, seed, draws=200
        )
        covered.append(low <= proportions_C.mean() <= high)
    assert 0.87 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("proportion", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("images", [1, 3])
def test_classes_of_few_images_are_not_certain(proportion: float, images: int) -> None:
    generator = np.random.default_rng(0)
    trials_C = np.full(50, images)
    covered, widths = [], []
    for seed in range(100):
        low, high = intervals.mean_of_proportions(generator.binomial(trials_C, proportion), trials_C, seed, draws=200)
        covered.append(low <= proportion <= high)
        widths.append(high - low)
    assert np.mean(covered) >= 0.89
    assert 0.02 < min(widths) <= max(widths) < 0.4
