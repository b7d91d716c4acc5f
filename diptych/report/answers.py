"""What was answered, image by image and text by text, from the tables of predictions; damaged ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import DataError
from diptych.evaluation.result import Columns

_ALIKE = 1e-6  # between a metric and what predictions give: both are sums of the same numbers


@dataclass(frozen=True, eq=False)
class Answers:
    """Of N images the keys, the ranks of right answers, from 1, and how confident the first is, where that is known."""

    keys: tuple[Any, ...]
    rank_N: np.ndarray
    confidence_N: np.ndarray | None

    @property
    def right_N(self) -> np.ndarray:
        """Whether the first answer is right."""
        return self.rank_N == 1


@dataclass(frozen=True, eq=False)
class Draws:
    """Of N images the keys, and the share of the draws of examples whose answer is right."""

    keys: tuple[Any, ...]
    right_N: np.ndarray


@dataclass(frozen=True, eq=False)
class TextAnswers:
    """Of M texts what they say, the numbers of the images that are right, and the rank of the first of these."""

    texts: tuple[Any, ...]
    images: tuple[tuple[int, ...], ...]
    rank_M: np.ndarray


def answers_of(columns: Columns, samples: int) -> Answers | None:
    """Whether each answer is right, from a table of predictions; None where it has no ranks, such as one of several
    labels an image. Raises DataError for what is none."""
    if "rank" not in columns:
        return None
    keys = _keys(columns, samples)
    ranks, confidence = _ranks(columns), columns.get("confidence")
    if confidence is not None and not all(isinstance(one, float) and 0 <= one <= 1 for one in confidence):
        raise DataError("confidences are numbers from 0 to 1")
    return Answers(keys, ranks, None if confidence is None else np.array(confidence))


def draws_of(columns: Columns, samples: int, classifier: str) -> Draws | None:
    """Likewise of a classifier of few examples, such as ``fs16``, over its draws."""
    if f"{classifier}_rank" not in columns:
        return None
    keys, told = _keys(columns, samples), columns[f"{classifier}_rank"]
    if len({len(own) if isinstance(own, tuple) else 0 for own in told}) != 1 or not told[0]:
        raise DataError(f"{classifier}_rank has not one rank a draw")
    ranks_ND = np.stack([_ranks({"rank": own}) for own in told])
    return Draws(keys, (ranks_ND == 1).mean(axis=1))


def check(right_N: np.ndarray, columns: Columns, metrics: Mapping[str, float], classifier: str = "") -> None:
    """That the answers are those that the metrics are of. Raises DataError where they give others."""
    labels = columns.get("label", ())
    found = {"acc1": float(right_N.mean())}
    if len(labels) == len(right_N) and all(isinstance(label, int) for label in labels):
        _, class_N = np.unique(labels, return_inverse=True)
        found["mean_per_class_recall"] = float((np.bincount(class_N, right_N) / np.bincount(class_N)).mean())
    for name, value in found.items():
        equal(value, metrics, f"{classifier}{name}")


def equal(value: float, metrics: Mapping[str, float], name: str) -> None:
    """Raises DataError where a metric that answers give is another in the result."""
    if abs(metrics.get(name, value) - value) > _ALIKE:
        raise DataError(f"{name} is {value:.4f} by them, and {metrics[name]:.4f} in the result: they are of another")


def _keys(columns: Columns, samples: int) -> tuple[Any, ...]:
    keys = columns.get("key", ())
    if len(set(keys)) != len(keys) or len(keys) != samples:
        raise DataError(f"{len(set(keys))} images have predictions, and {samples} were evaluated")
    return keys


def text_answers_of(columns: Columns, samples: int) -> TextAnswers | None:
    """Where the texts of a retrieval found their images, of so many; None without a table of that. Raises DataError for
    what is none."""
    if "rank" not in columns:
        return None
    images = columns.get("images", ())
    for own in images:
        if not isinstance(own, tuple) or not own or not all(isinstance(i, int) and 0 <= i < samples for i in own):
            raise DataError(f"the images of a text are numbers from 0 to {samples - 1}, one or more")
    ranks = _ranks(columns)
    if len(images) != len(ranks):
        raise DataError(f"{len(ranks)} texts have ranks, and {len(images)} have images")
    return TextAnswers(columns.get("text", ()), images, ranks)


def _ranks(columns: Columns) -> np.ndarray:
    if not all(isinstance(rank, int) and rank >= 1 for rank in columns["rank"]):
        raise DataError("ranks are numbers from 1")
    return np.array(columns["rank"], np.int64)
