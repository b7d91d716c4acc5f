"""Exact ranks of right answers in a gallery, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SCORES_AT_ONCE = 1_000_000  # 4 MB of similarities in fp32, which stay in the processor's cache while they are counted


def ranks(queries_QE: np.ndarray, gallery_GE: np.ndarray, right_P2: np.ndarray) -> np.ndarray:
    """Rank (Q), from 0, of each query's best right answer among the wrong ones, by dot product.

    right_P2: pairs of query and gallery index that belong together; each query has at least one, else ValueError.

    A wrong answer that scores the same as the best right one counts as before it, and so does one whose score is not a
    number: a model that gives everything the same embedding, or NaN, gets nothing right. A right answer whose score is
    no number is the last of the right ones. Scores are compared as they are in double precision, so that ranks depend
    neither on the library that multiplies nor on what else is ranked.
    """
    queries, gallery = _Side.of(queries_QE, gallery_GE), _Side.of(gallery_GE, queries_QE)
    ranking = _Ranking(queries, gallery, right_P2)
    _sweep(queries, gallery, right_P2, ranking, None)
    return ranking.finished()


def ranks_both_ways(images_NE: np.ndarray, texts_ME: np.ndarray, pairs_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``ranks`` of the images' texts (N) and of the texts' images (M), at the price of one of them.

    pairs_P2: pairs of image and text index; each image and each text has at least one, else ValueError.
    """
    images, texts = _Side.of(images_NE, texts_ME), _Side.of(texts_ME, images_NE)
    by_image, by_text = _Ranking(images, texts, pairs_P2), _Ranking(texts, images, pairs_P2[:, ::-1])
    _sweep(images, texts, pairs_P2, by_image, by_text)
    return by_image.finished(), by_text.finished()


def ranks_of_scores(scores_QG: np.ndarray, right_P2: np.ndarray) -> np.ndarray:
    """``ranks`` by scores that are there already, which may be infinite: equal infinities are ties."""
    rows_P, columns_P = right_P2.T
    wrong_QG = np.ones(scores_QG.shape, bool)
    wrong_QG[rows_P, columns_P] = False
    best_Q = np.full(len(scores_QG), np.nan)
    np.fmax.at(best_Q, rows_P, scores_QG[rows_P, columns_P].astype(np.float64))
    return (wrong_QG & ~(scores_QG < best_Q[:, None])).sum(axis=1)


@dataclass(frozen=True, eq=False)
class _Side:
    """Vectors, all finite, and their norms; which were not finite before, or too long to have a norm; and a number for
    each that equal ones share."""

    vectors_QE: np.ndarray
    norms_Q: np.ndarray
    damaged_Q: np.ndarray
    identity_Q: np.ndarray

    @classmethod
    def of(cls, vectors_QE: np.ndarray, others_GE: np.ndarray) -> _Side:
        dtype = np.result_type(vectors_QE, others_GE, np.float32)
        vectors_QE = np.ascontiguousarray(vectors_QE, dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            squares_Q = np.einsum("qe,qe->q", vectors_QE, vectors_QE)  # without an array of all squares
        damaged_Q = np.logical_not(np.isfinite(squares_Q))
        if damaged_Q.any():
            vectors_QE = vectors_QE.copy()
            vectors_QE[damaged_Q] = squares_Q[damaged_Q] = 0
        # Zero has two signs and many bytes; adding zero leaves one.
        identity_Q = np.fromiter((hash((row + 0).tobytes()) for row in vectors_QE), np.int64, len(vectors_QE))
        return cls(vectors_QE, np.sqrt(squares_Q), damaged_Q, identity_Q)


class _Ranking:
    """Ranks of one side's vectors as queries of the other, summed up tile by tile.

    Products of matrices round equal scores differently, by place. So they decide only where a score is further from
    that of the best right answer than they can be wrong; what is nearer is computed again, each pair by itself.
    """

    def __init__(self, queries: _Side, gallery: _Side, right_P2: np.ndarray) -> None:
        self.queries, self.gallery = queries, gallery
        rows_P, columns_P = np.unique(right_P2, axis=0).T
        self.right_Q = np.bincount(rows_P, minlength=len(queries.vectors_QE))
        if not self.right_Q.all():
            raise ValueError("each query needs a right answer")
        scores_P = _dots(queries, gallery, rows_P, columns_P)
        scores_P[gallery.damaged_Q[columns_P]] = -np.inf
        order_P = np.lexsort((scores_P, rows_P))  # the last of each query is its best
        last_Q = np.cumsum(self.right_Q) - 1
        self.best_Q = scores_P[order_P][last_Q]
        self.best_identity_Q = gallery.identity_Q[columns_P[order_P][last_Q]]
        self.hopeless_Q = queries.damaged_Q | np.isneginf(self.best_Q)
        dtype, width = queries.vectors_QE.dtype, queries.vectors_QE.shape[1]
        # A sum of E products is wrong by at most E roundings of the product of norms (Higham, Accuracy and Stability
        # of Numerical Algorithms, section 3.1); twice that, since norms and limits are rounded too.
        slack_Q = queries.norms_Q * gallery.norms_Q.max(initial=0) * (width + 8) * np.finfo(dtype).eps
        self.low_Q = (self.best_Q - slack_Q).astype(dtype)
        self.high_Q = (self.best_Q + slack_Q).astype(dtype)
        self.ranks_Q = np.zeros(len(self.best_Q), np.int64)

    def count(self, scores_QG: np.ndarray, first_query: int, first_answer: int) -> None:
        """Add the wrong answers of a tile; right ones score minus infinity there."""
        own = slice(first_query, first_query + len(scores_QG))
        below_QG = scores_QG < self.low_Q[own, None]
        not_above_QG = scores_QG <= self.high_Q[own, None]
        self.ranks_Q[own] += scores_QG.shape[1] - np.count_nonzero(not_above_QG, axis=1)
        rows, columns = np.nonzero(below_QG ^ not_above_QG)
        if not len(rows):
            return
        rows, columns = rows + first_query, columns + first_answer
        before = self.gallery.identity_Q[columns] == self.best_identity_Q[rows]
        unlike = np.flatnonzero(~before)
        dots = _dots(self.queries, self.gallery, rows[unlike], columns[unlike])
        before[unlike] = dots >= self.best_Q[rows[unlike]]
        np.add.at(self.ranks_Q, rows, before)

    def finished(self) -> np.ndarray:
        """The ranks. What has no score has all wrong answers before it."""
        return np.where(self.hopeless_Q, len(self.gallery.vectors_QE) - self.right_Q, self.ranks_Q)


def _sweep(rows: _Side, columns: _Side, right_P2: np.ndarray, by_row: _Ranking, by_column: _Ranking | None) -> None:
    side = max(1, math.isqrt(SCORES_AT_ONCE))
    # Where one side is short, as classes are, its tiles are long the other way.
    height, width = (
        max(side, SCORES_AT_ONCE // max(1, min(side, len(other)))) for other in (columns.vectors_QE, rows.vectors_QE)
    )
    across = -(-len(columns.vectors_QE) // width)
    tile_P = right_P2[:, 0] // height * across + right_P2[:, 1] // width
    right_P2 = right_P2[np.argsort(tile_P, kind="stable")]
    limits = np.searchsorted(np.sort(tile_P), np.arange(-(-len(rows.vectors_QE) // height) * across + 1))
    for tile, (first, last) in enumerate(zip(limits[:-1].tolist(), limits[1:].tolist(), strict=True)):
        top, left = tile // across * height, tile % across * width
        with np.errstate(over="ignore", invalid="ignore"):
            scores_QG = rows.vectors_QE[top : top + height] @ columns.vectors_QE[left : left + width].T
        scores_QG[rows.damaged_Q[top : top + height]] = np.nan
        scores_QG[:, columns.damaged_Q[left : left + width]] = np.nan
        scores_QG[right_P2[first:last, 0] - top, right_P2[first:last, 1] - left] = -np.inf
        by_row.count(scores_QG, top, left)
        if by_column is not None:
            by_column.count(scores_QG.T, left, top)


def _dots(rows: _Side, columns: _Side, rows_P: np.ndarray, columns_P: np.ndarray) -> np.ndarray:
    """Double-precision dot products (P) of pairs of vectors, each added up in the same order wherever it stands."""
    result_P = np.empty(len(rows_P))
    at_once = max(1, SCORES_AT_ONCE // max(1, rows.vectors_QE.shape[1]))
    for start in range(0, len(rows_P), at_once):
        part = slice(start, start + at_once)
        products_PE = rows.vectors_QE[rows_P[part]].astype(np.float64)
        products_PE *= columns.vectors_QE[columns_P[part]]
        result_P[part] = products_PE.sum(axis=1)
    return result_P


def chance_of_recall(right_Q: np.ndarray, gallery: int, k: int) -> float:
    """Mean probability that k of ``gallery`` answers, drawn blindly, hold one of a query's ``right_Q`` right ones."""
    drawn = np.arange(min(k, gallery))
    missed_Q = np.prod(np.clip(gallery - right_Q[:, None] - drawn, 0, None) / (gallery - drawn), axis=1)
    return float(1 - missed_Q.mean())
