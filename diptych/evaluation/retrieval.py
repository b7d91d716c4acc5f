"""Retrieval of texts by images and of images by texts with several right answers where there are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from diptych.encoder.clip import Clip
from diptych.errors import Caution, ConfigError, DataError
from diptych.evaluation import intervals
from diptych.evaluation.features import Features
from diptych.evaluation.plan import Options, Plan, Splits
from diptych.evaluation.ranks import chance_of_recall, ranks_both_ways
from diptych.evaluation.result import Scores
from diptych.evaluation.subjects import Subject, name_of

CUTS = (1, 5, 10)


def plan(subject: Subject, data: Splits, options: Options) -> Plan:
    """Retrieval as a task: whether there are towers for both, and then texts are those of the images' captions."""
    if not isinstance(subject, Clip):
        raise ConfigError(f"{name_of(subject)} embeds no texts, so it retrieves none")
    subject.require_tokenizer()

    def scores(features: Features) -> Scores:
        texts, pairs_P2 = pairs(features.captions, distinct_captions=options.distinct_captions)
        if repeated := len(texts) - len(set(texts)):
            warnings.warn(
                f"{repeated} of the {len(texts)} captions of {data.test.name} are those of an earlier image too, and "
                "count as wrong for it, so that even a perfect model misses them; distinct_captions=True "
                "(--distinct-captions) makes each one text with several right images",
                Caution,
                stacklevel=4,
            )
        texts_ME = subject.encode_texts(texts)
        if len(damaged := np.flatnonzero(~np.isfinite(texts_ME).all(axis=1))):
            warnings.warn(
                f"{name_of(subject)} gives no finite embedding for {len(damaged)} of the {len(texts)} captions, which "
                f"count as wrong; the first is {texts[damaged[0]]!r:.80}",
                Caution,
                stacklevel=4,
            )
        return score(features.embeddings_NE, texts_ME, pairs_P2, texts=texts)

    return Plan(
        need="caption",
        wanted=("embeddings",),
        splits={"test": data.test},
        score=lambda features: scores(features["test"]),
    )


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


def score(
    images_NE: np.ndarray, texts_ME: np.ndarray, pairs_P2: np.ndarray, *, texts: Sequence[str] = (), seed: int = 0
) -> Scores:
    """Recall at 1, 5 and 10 and median rank, both ways.

    ``text_retrieval_recall@k``: share of images that have one of their texts among the k nearest.
    ``image_retrieval_recall@k``: share of texts that have their image, or one of them, among the k nearest.
    Ties count against the model. Intervals of recalls are exact ones for as many trials as the images are worth, each
    with all of its texts, a text of several images being the first one's. Those of median ranks are a bootstrap over
    the same.
    ``texts``: what they say, for the predictions.
    """
    if not len(pairs_P2):
        raise DataError("there is no pair of image and text to retrieve")
    text_image_P2 = pairs_P2[np.argsort(pairs_P2[:, 1], kind="stable")][:, ::-1]
    first_M = np.searchsorted(text_image_P2[:, 0], np.arange(len(texts_ME)))
    ranks_N, ranks_M = ranks_both_ways(images_NE, texts_ME, pairs_P2)
    sides = (
        ("text", ranks_N, np.arange(len(images_NE)), pairs_P2[:, 0], len(texts_ME)),
        (
            "image",
            ranks_M,
            text_image_P2[first_M, 1],
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
    images_of: list[list[int]] = [[] for _ in range(len(texts_ME))]
    texts_of: list[list[int]] = [[] for _ in range(len(images_NE))]
    for image, text in pairs_P2.tolist():
        images_of[text].append(image)
        texts_of[image].append(text)
    (_, of_images_N, *_), (_, of_texts_M, *_) = sides
    own = {"text": tuple(texts)} if texts else {}
    return Scores(
        metrics=metrics,
        intervals=limits,
        chance=chance,
        predictions={"texts": tuple(map(tuple, texts_of)), "rank": tuple((of_images_N + 1).tolist())},
        text_predictions={**own, "images": tuple(map(tuple, images_of)), "rank": tuple((of_texts_M + 1).tolist())},
    )
