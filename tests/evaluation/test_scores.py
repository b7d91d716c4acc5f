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
from diptych.evaluation.ranks import chance_of_recall, ranks, ranks_both_ways, ranks_of_scores


def unit(generator: np.random.Generator, n: int, width: int = 8) -> np.ndarray:
    x = generator.standard_normal((n, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


PAIRS_OF_NINE = np.stack([np.repeat(np.arange(9), 2), np.arange(18)], axis=1)


def plain_recall(queries: np.ndarray, gallery: np.ndarray, right: list[set[int]], k: int) -> float:
    """Any right answer among the k that score highest."""
    hits = [
        bool(set(np.argsort(-(gallery @ query))[:k]) & answers) for query, answers in zip(queries, right, strict=True)
    ]
    return float(np.mean(hits))


def test_one_caption_of_two_images_leaves_the_others_with_their_images() -> None:
    """Five texts an image that are all found or all missed are worth as many trials as there are images."""
    generator = np.random.default_rng(0)
    images_NE = unit(generator, 60, 64)
    found_N = generator.random(60) < 0.5
    texts_ME = np.repeat(np.where(found_N[:, None], images_NE, -images_NE), 5, axis=0)
    pairs = np.stack([np.repeat(np.arange(60), 5), np.arange(300)], axis=1)
    apart = retrieval.score(images_NE, texts_ME, pairs).intervals["image_retrieval_recall@1"]
    assert apart == pytest.approx(intervals.exact(int(found_N.sum()), 60), abs=0.02)
    shared = np.concatenate([pairs, [[1, 0]]])
    assert retrieval.score(images_NE, texts_ME, shared).intervals["image_retrieval_recall@1"] == pytest.approx(apart)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 5), st.booleans(), st.sampled_from([30, 400, 10**9]))
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
        assert np.mean(np.array(scores.predictions["rank"]) <= k) == pytest.approx(scores.metrics[forward])
        assert np.mean(np.array(scores.text_predictions["rank"]) <= k) == pytest.approx(scores.metrics[back])
    assert len(scores.predictions["rank"]) == images
    assert np.median(scores.predictions["rank"]) == scores.metrics["text_retrieval_median_rank"]
    assert np.median(scores.text_predictions["rank"]) == scores.metrics["image_retrieval_median_rank"]


def test_median_ranks_count_from_one_and_captions_of_an_image_come_together() -> None:
    perfect = retrieval.score(np.eye(9), np.eye(9)[np.repeat(np.arange(9), 2)], PAIRS_OF_NINE)
    for side in ("text", "image"):
        name = f"{side}_retrieval_median_rank"
        assert (perfect.metrics[name], perfect.intervals[name]) == (1, (1, 1))
    generator = np.random.default_rng(0)
    images_NE, own_NE = unit(generator, 80), unit(generator, 80)
    pairs = np.stack([np.repeat(np.arange(80), 5), np.arange(400)], axis=1)
    together = retrieval.score(images_NE, np.repeat(images_NE + own_NE, 5, axis=0), pairs)
    ranks_M = np.array(together.text_predictions["rank"])
    assert (ranks_M.reshape(80, 5) == ranks_M[::5, None]).all()
    # Of five equal captions an image the interval is that of one caption an image.
    alone = intervals.median(ranks_M[::5], np.arange(80), 0)
    assert together.intervals["image_retrieval_median_rank"] == alone
    assert together.metrics["image_retrieval_median_rank"] == np.median(ranks_M)


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


def test_a_right_answer_without_a_score_does_not_spoil_another() -> None:
    texts_ME = np.array([[np.nan, 0], [1, 0], [0, 1], [0.5, 0]])
    assert ranks(np.array([[1.0, 0.0]]), texts_ME, np.array([[0, 0], [0, 1]])) == [0]
    assert ranks(np.array([[1.0, 0.0]]), texts_ME, np.array([[0, 0], [0, 3]])) == [1]


def test_ranks_by_scores_know_infinities() -> None:
    least = -np.inf
    scores_QG = np.array([[1.0, least, least], [least, least, 2.0], [3.0, np.nan, 1.0], [np.nan, 1.0, 0.0]])
    right = [(0, 0), (1, 0), (2, 0), (3, 1), (3, 0)]
    assert ranks_of_scores(scores_QG, np.array(right)).tolist() == [0, 2, 1, 0]
    pairs = np.stack([np.arange(4), [1, 2, 1, 0]], axis=1)
    assert ranks_of_scores(scores_QG, pairs).tolist() == [2, 0, 2, 2]


def test_a_class_that_no_example_showed_is_never_answered_and_spoils_no_other() -> None:
    scores_NC = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    labels_N = np.arange(50) % 6
    scores_NC[:, 2] = -np.inf
    found = zero_shot.score_classes(scores_NC, labels_N)
    right_N = (scores_NC.argmax(axis=1) == labels_N) & (labels_N != 2)
    assert found.metrics["acc1"] == right_N.mean() > 0
    assert [rank for rank, label in zip(found.predictions["rank"], labels_N, strict=True) if label == 2] == [6] * 8
    assert np.isfinite(found.predictions["confidence"]).all()
    assert np.isfinite(found.predictions["brier"]).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 4, 10**6]))
def test_scores_of_classes_are_judged_as_embeddings_and_weights_are(seed: int, at_once: int) -> None:
    generator = np.random.default_rng(seed)
    images_NE, weights_CE, labels_N = unit(generator, 30), unit(generator, 7), generator.integers(7, size=30)
    before, zero_shot.SCORES_AT_ONCE = zero_shot.SCORES_AT_ONCE, at_once
    try:
        first_C = np.array([0, 1, 1, 3, 4, 5, 6])
        one = zero_shot.score(images_NE, labels_N, weights_CE, scale=9.0, first_C=first_C)
        two = zero_shot.score_classes(images_NE @ weights_CE.T, labels_N, scale=9.0, first_C=first_C)
    finally:
        zero_shot.SCORES_AT_ONCE = before
    assert one.metrics == two.metrics
    assert one.predictions["predicted"] == two.predictions["predicted"]
    logits_NC = 9.0 * (images_NE @ weights_CE.T).astype(np.float64)
    probabilities_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    for found in (one, two):
        assert found.predictions["confidence"] == pytest.approx(probabilities_NC.max(axis=1), rel=1e-5)
        own_N = probabilities_NC[np.arange(30), labels_N]
        assert found.predictions["nll"] == pytest.approx(-np.log(own_N), rel=1e-5)
        brier_N = ((probabilities_NC - np.eye(7)[labels_N]) ** 2).sum(axis=1)
        assert found.predictions["brier"] == pytest.approx(brier_N, rel=1e-5)


def test_chance_is_among_all_classes_and_answers_are_the_first_of_a_name() -> None:
    scores_NC = np.array([[0, 1, 1 + 1e-7, 0, 0, 0], [3, 1, 1, 0, 0, 0]])  # one name, told apart by rounding
    found = zero_shot.score_classes(scores_NC, np.array([2, 0]), first_C=np.array([0, 1, 1, 3, 4, 5]))
    assert found.predictions["predicted"] == (1, 0)
    assert found.predictions["rank"] == (2, 1)
    assert found.chance == {"acc1": 1 / 6, "acc5": 5 / 6, "mean_per_class_recall": 1 / 6}
    assert found.metrics == {"acc1": 0.5, "acc5": 1, "mean_per_class_recall": 0.5}


def test_each_query_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="right answer"):
        ranks(np.eye(2), np.eye(2), np.array([[0, 0]]))
    with pytest.raises(ValueError, match="right answer"):
        ranks_both_ways(np.eye(2), np.eye(2)[[0, 1, 1]], np.array([[0, 0], [1, 1]]))


def plain_ranks(queries: np.ndarray, gallery: np.ndarray, right: np.ndarray) -> list[int]:
    """Wrong answers that do not score below the best right one that has a score, in exact arithmetic."""
    found = []
    for query in range(len(queries)):
        own = {int(g) for q, g in right if q == query}
        scores = [math.fsum(a * b for a, b in zip(queries[query].tolist(), g, strict=True)) for g in gallery.tolist()]
        best = max((scores[g] for g in own if not math.isnan(scores[g])), default=math.nan)
        found.append(sum(not scores[g] < best for g in range(len(gallery)) if g not in own))
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 14), st.integers(0, 14), st.sampled_from(["apart", "alike", "near"]),
    st.integers(0, 3), st.sampled_from([4, 30, 10**9]),
)  # fmt: skip
def test_ranks_are_those_of_the_definition(
    seed: int, images: int, more: int, kind: str, damaged: int, at_once: int
) -> None:
    generator = np.random.default_rng(seed)
    # Whole numbers have sums without rounding; they are scaled to be no round numbers but in double precision.
    images_NE = generator.integers(-3, 4, (images, 5)).astype(np.float32)
    texts_ME = generator.integers(-3, 4, (images + more, 5)).astype(np.float32)
    if kind == "alike":
        images_NE[:], texts_ME[generator.random(len(texts_ME)) < 0.6] = images_NE[0], texts_ME[0]
    if kind == "near":  # apart by less than a product in single precision tells
        texts_ME[:] = 1 + generator.integers(0, 3, texts_ME.shape) * np.float32(2**-22)
    for _ in range(damaged):
        side = images_NE if generator.random() < 0.5 else texts_ME
        side[generator.integers(len(side)), generator.integers(5)] = np.nan
    pairs = [(image, image) for image in range(images)]
    pairs += [(int(generator.integers(images)), text) for text in range(images, len(texts_ME))]
    pairs += [(int(generator.integers(images)), int(generator.integers(len(texts_ME)))) for _ in range(3)]
    pairs_P2 = np.array(pairs)[generator.permutation(len(pairs))]
    before, ranks_module.SCORES_AT_ONCE = ranks_module.SCORES_AT_ONCE, at_once
    try:
        ranks_N, ranks_M = ranks_both_ways(images_NE, texts_ME, pairs_P2)
        assert ranks(images_NE, texts_ME, pairs_P2).tolist() == ranks_N.tolist()
    finally:
        ranks_module.SCORES_AT_ONCE = before
    assert ranks_N.tolist() == plain_ranks(images_NE, texts_ME, pairs_P2)
    assert ranks_M.tolist() == plain_ranks(texts_ME, images_NE, pairs_P2[:, ::-1])


def test_equal_embeddings_tie_wherever_they_stand() -> None:
    """Products of matrices round the same dot product differently in the middle of a matrix and at its edge."""
    generator = np.random.default_rng(0)
    queries_QE, gallery_GE = unit(generator, 33, 512), np.repeat(unit(generator, 1, 512), 1003, axis=0)
    right = np.stack([np.arange(33), np.arange(33) * 30], axis=1)
    assert set(ranks(queries_QE, gallery_GE, right)) == {1002}


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
        assert low <= scores.metrics[name] <= high


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


def test_a_share_in_clusters() -> None:
    alone = intervals.proportion(np.arange(100) < 90, np.arange(100))
    assert alone == pytest.approx(intervals.exact(90, 100), abs=0.004)  # but for the tails of Student's distribution
    # Twenty clusters are worth 16.7 trials, for Student's tails and a degree of freedom.
    together = intervals.proportion(np.repeat(np.arange(20) < 18, 5), np.repeat(np.arange(20), 5))
    assert together == pytest.approx(intervals.exact(18, 20), abs=0.03)
    assert intervals.proportion(np.ones(50), np.arange(50) // 5) == intervals.exact(10, 10)
    assert intervals.proportion(np.arange(4) < 1, np.zeros(4)) == (0, 1)  # one cluster says nothing


def test_a_median_in_clusters() -> None:
    assert intervals.median(np.full(30, 4.0), np.arange(30), 0) == (4, 4)
    values = np.arange(101.0)
    low, high = intervals.median(values, np.arange(101), 0)
    # The order statistics of the binomial distribution: ranks 41 and 61 of 101.
    assert low == pytest.approx(40, abs=2)
    assert high == pytest.approx(60, abs=2)
    shuffled = np.random.default_rng(0).permutation(101)
    assert intervals.median(values[shuffled], shuffled, 0) == (low, high)
    wide = intervals.median(np.repeat(values, 5), np.repeat(np.arange(101), 5), 0)
    naive = intervals.median(np.repeat(values, 5), np.arange(505), 0)
    assert wide[1] - wide[0] > 1.6 * (naive[1] - naive[0])


def test_a_bootstrap_of_one_outcome_is_not_certain() -> None:
    nothing, everything = np.zeros(50), np.ones(50)
    assert intervals.bootstrap(nothing, np.arange(50), 0) == intervals.exact(0, 50)
    assert intervals.bootstrap(everything, np.arange(50) // 5, 0) == intervals.exact(10, 10)
    assert intervals.bootstrap(np.arange(50) % 3 == 0, np.arange(50), 0) == intervals.bootstrap(
        np.arange(50) % 3 == 0, np.arange(50), 0
    )


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


def test_counting_kinds_of_clusters_is_drawing_them() -> None:
    # 300 hits and 100 misses are counted, as many other values drawn one by one: mean and spread are the same.
    hits_K = np.repeat([1.0, 0.0], [300, 100])
    few = intervals.resampled_means(hits_K, np.ones(400), 0, 4000)
    many = intervals.resampled_means(hits_K + np.linspace(0, 1e-9, 400), np.ones(400), 0, 4000)
    spread = math.sqrt(0.75 * 0.25 / 400)
    # The mean of 4,000 draws is off by spread / 63, their standard deviation by about a hundredth of it.
    assert few.mean() == pytest.approx(0.75, abs=spread / 15)
    assert many.mean() == pytest.approx(0.75, abs=spread / 15)
    assert few.std() == pytest.approx(spread, rel=0.05)
    assert many.std() == pytest.approx(spread, rel=0.05)
