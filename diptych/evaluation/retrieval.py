"""Retrieval of texts by images and of images by texts with several right answers where there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.ranks import chance_of_recall, ranks_both_ways
from diptych.evaluation.result import Scores

CUTS = (1, 5, 10)


def pairs(captions: Sequence[Sequence[str]], *, distinct_captions: bool = False) -> tuple[list[str], np.ndarray]:
    """Texts, and which of them belong to which image as rows (image, text), from the captions of each image.

    With ``distinct_captions`` equal captions of several images are one text, for which each of these images is right.
    Without, each is a text of its own with one right image, as in CLIP_benchmark.
    """
    texts: list[str] = []
    index: dict[str, int] = {}
    rows: dict[tuple[int, int], None] = {}
    for image, own in enumerate(captions):
        if not own:
            raise DataError(f"image {image} has no caption; retrieval needs one or more for each")
        for caption in own:
            text = index.setdefault(caption, len(texts)) if distinct_captions else len(texts)
            if text == len(texts):
                texts.append(caption)
            rows[image, text] = None
    return texts, np.array(list(rows), np.int64).reshape(-1, 2)


def score(images_NE: np.ndarray, texts_ME: np.ndarray, pairs_P2: np.ndarray, *, seed: int = 0) -> Scores:
    """Recall at 1, 5 and 10 and median rank, both ways.

    ``text_retrieval_recall@k``: share of images that have one of their texts among the k nearest.
    ``image_retrieval_recall@k``: share of texts that have their image, or one of them, among the k nearest.
    Ties count against the model. Intervals of recalls are exact ones for as many trials as the images are worth, each
    with all of its texts; where texts have several images, the texts. Those of median ranks are a bootstrap over them.
    """
    if not len(pairs_P2):
        raise DataError("there is no pair of image and text to retrieve")
    text_image_P2 = pairs_P2[np.argsort(pairs_P2[:, 1], kind="stable")][:, ::-1]
    texts_own_one = len(text_image_P2) == len(texts_ME)
    ranks_N, ranks_M = ranks_both_ways(images_NE, texts_ME, pairs_P2)
    sides = (
        ("text", ranks_N, np.arange(len(images_NE)), pairs_P2[:, 0], len(texts_ME)),
        (
            "image",
            ranks_M,
            text_image_P2[:, 1] if texts_own_one else np.arange(len(texts_ME)),
            text_image_P2[:, 0],
            len(images_NE),
        ),
    )
    metrics, limits, chance = {}, {}, {}
    for side, ranks_Q, clusters_Q, queries_P, gallery in sides:
        right_Q = np.bincount(queries_P, minlength=len(ranks_Q))
        for k in CUTS:
            name = f"{side}_retrieval_recall@{k}"
            hits_Q = ranks_Q < k
            metrics[name] = float(hits_Q.mean())
            limits[name] = intervals.proportion(hits_Q, clusters_Q)
            chance[name] = chance_of_recall(right_Q, gallery, k)
        name = f"{side}_retrieval_median_rank"
        metrics[name] = float(np.median(ranks_Q) + 1)
        limits[name] = intervals.median(ranks_Q + 1, clusters_Q, seed)
    predictions = {f"{side}_rank": tuple((ranks_Q + 1).tolist()) for side, ranks_Q, *_ in sides}
    predictions["pairs"] = tuple(pairs_P2.tolist())
    return Scores(metrics=metrics, intervals=limits, chance=chance, predictions=predictions)
