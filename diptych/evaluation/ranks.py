"""Exact ranks of right answers in a gallery, in bounded memory."""

from __future__ import annotations

import numpy as np

SCORES_AT_ONCE = 16_000_000  # 64 MB of similarities in fp32


def ranks(queries_QE: np.ndarray, gallery_GE: np.ndarray, right_P2: np.ndarray) -> np.ndarray:
    """Rank (Q), from 0, of each query's best right answer among the wrong ones, by dot product.

    right_P2: pairs of query and gallery index that belong together; each query has at least one.

    A wrong answer that scores the same as the best right one counts as before it, and so does one whose score is not a
    number: a model that gives everything the same embedding, or NaN, gets nothing right.
    """
    if len(np.unique(right_P2[:, 0])) != len(queries_QE):
        raise ValueError("each query needs a right answer")
    right_P2 = right_P2[np.argsort(right_P2[:, 0], kind="stable")]
    result_Q = np.empty(len(queries_QE), np.int64)
    at_once = max(1, SCORES_AT_ONCE // max(1, len(gallery_GE)))
    for start in range(0, len(queries_QE), at_once):
        scores_QG = queries_QE[start : start + at_once] @ gallery_GE.T
        first, last = np.searchsorted(right_P2[:, 0], [start, start + at_once])
        rows, columns = right_P2[first:last, 0] - start, right_P2[first:last, 1]
        best_Q = np.full(len(scores_QG), -np.inf, scores_QG.dtype)
        with np.errstate(invalid="ignore"):  # a NaN stays one
            np.maximum.at(best_Q, rows, scores_QG[rows, columns])
        before_QG = ~(scores_QG < best_Q[:, None])
        before_QG[rows, columns] = False  # whatever they score: a rank is among wrong answers
        result_Q[start : start + at_once] = before_QG.sum(axis=1)
    return result_Q


def chance_of_recall(right_Q: np.ndarray, gallery: int, k: int) -> float:
    """Mean probability that k of ``gallery`` answers, drawn blindly, hold one of a query's ``right_Q`` right ones."""
    drawn = np.arange(min(k, gallery))
    missed_Q = np.prod(np.clip(gallery - right_Q[:, None] - drawn, 0, None) / (gallery - drawn), axis=1)
    return float(1 - missed_Q.mean())
