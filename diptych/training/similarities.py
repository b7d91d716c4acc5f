"""Losses over all similarities of queries and a gallery, a block of rows at a time, so that memory grows with the
batch and not with its square.

Over several processes each holds its own queries and its own part of the gallery, and computes only the similarities
of its queries (paper, section 2.5). Losses are those of one process with everything; gradients are this process's
share, and the shares of all processes add up to the gradient of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych import distributed
from diptych.training.relations import Answers, Relation

# Scores of a block: 64 MB in fp32. A batch that fits is not computed twice.
SCORES_AT_ONCE = 1 << 24


def cross_entropy(
    queries_QE: Tensor, gallery_GE: Tensor, scale: Tensor, relation: Relation, *, both: bool, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the scaled similarities, spread evenly over the right answers: the mean over queries, or with
    ``both`` the mean of that and of the one over gallery items, for which queries are the answers.

    Unit-norm embeddings in fp32, of this process. ``smoothing``: of the target, the share that is spread over all
    answers alike. Returns the loss, and the shares of queries and of items that rank a right answer first (2).
    """
    loss, accuracies = _CrossEntropy.apply(queries_QE, gallery_GE, scale, relation, both, smoothing)
    return loss, accuracies


def sigmoid(
    queries_QE: Tensor, gallery_GE: Tensor, scale: Tensor, bias: Tensor, relation: Relation
) -> tuple[Tensor, Tensor]:
    """SigLIP's loss (arXiv 2303.15343, equation 1): each pair answers for itself whether it belongs together; summed
    over pairs, divided by the number of queries. Returns it, and the shares as ``cross_entropy`` does."""
    loss, accuracies = _Sigmoid.apply(queries_QE, gallery_GE, scale, bias, relation)
    return loss, accuracies


def _blocks(queries: int, items: int) -> Iterator[slice]:
    at_once = max(1, SCORES_AT_ONCE // items)
    return (slice(start, min(start + at_once, queries)) for start in range(0, queries, at_once))


class _Best:
    """Whether the best-scored answer of each query, and of each item, is a right one."""

    def __init__(self, queries_QE: Tensor, items: int) -> None:
        self.query_Q = queries_QE.new_zeros(len(queries_QE))
        self.highest_G = queries_QE.new_full((items,), -torch.inf)
        self.item_G = queries_QE.new_zeros(items)

    def add(self, rows: slice, scores_bG: Tensor, answers: Answers) -> tuple[Tensor, Tensor]:
        """Take a block in; returns its highest scores by rows and by columns."""
        highest_b, answer_b = scores_bG.max(dim=1)
        highest_G, query_G = scores_bG.max(dim=0)
        hits_b, hits_G = answers.hits(answer_b, query_G)
        self.query_Q[rows] = hits_b.to(highest_b.dtype)
        self.item_G = torch.where(highest_G > self.highest_G, hits_G.to(highest_b.dtype), self.item_G)
        self.highest_G = torch.maximum(self.highest_G, highest_G)
        return highest_b, highest_G

    def shares(self) -> Tensor:
        """Of all processes' queries, and of items (2)."""
        whole_G = distributed.gathered(self.highest_G[None]).argmax(dim=0)
        items_G = distributed.gathered(self.item_G[None]).gather(0, whole_G[None])[0]
        queries = distributed.summed(self.query_Q.sum()) / (len(self.query_Q) * distributed.world_size())
        return torch.stack([queries, items_G.mean()])


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries_QE: Tensor,
        own_gallery_gE: Tensor,
        scale: Tensor,
        relation: Relation,
        both: bool,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        gallery_GE = distributed.gathered(own_gallery_gE)
        queries, items = len(queries_QE), len(gallery_GE)
        best = _Best(queries_QE, items)
        rows_log_Q, rows_goal_Q = queries_QE.new_empty(2, queries).unbind()
        columns_log_G = queries_QE.new_full((items,), -torch.inf)
        right_G, right_count_G, all_G, all_count_G = queries_QE.new_zeros(4, items).unbind()
        scores_bG = gallery_GE
        for rows in _blocks(queries, items):
            scores_bG, answers = _scores(queries_QE, gallery_GE, scale, relation, rows)
            highest_b, highest_G = best.add(rows, scores_bG, answers)
            (right_b, block_right_G), (count_b, count_G) = answers.sums(scores_bG), answers.counts()
            rows_log_Q[rows] = _log_sum_exp(scores_bG, highest_b, dim=1)
            rows_goal_Q[rows] = (1 - smoothing) * right_b / count_b
            right_G += block_right_G
            right_count_G += count_G
            if both:
                columns_log_G = columns_log_G.logaddexp(_log_sum_exp(scores_bG, highest_G, dim=0))
            if smoothing:
                shown_bG, (shown_b, shown_G) = answers.hide(scores_bG.clone(), 0), answers.shown()
                rows_goal_Q[rows] += smoothing * shown_bG.sum(dim=1) / shown_b
                all_G += shown_bG.sum(dim=0)
                all_count_G += shown_G
        loss = distributed.summed((rows_log_Q - rows_goal_Q).sum()) / (queries * distributed.world_size())
        if both:
            columns_log_G = distributed.log_sum_exp(columns_log_G)
            columns = torch.stack([right_G, right_count_G, all_G, all_count_G])
            right_G, right_count_G, all_G, all_count_G = distributed.summed(columns).unbind()
            goal_G = (1 - smoothing) * right_G / right_count_G
            goal_G = goal_G + smoothing * all_G / all_count_G if smoothing else goal_G
            loss = (loss + (columns_log_G - goal_G).mean()) / 2
        ctx.save_for_backward(queries_QE, gallery_GE, scale, rows_log_Q, columns_log_G, right_count_G, all_count_G)
        ctx.kept = scores_bG if queries * items <= SCORES_AT_ONCE else None
        ctx.relation, ctx.both, ctx.smoothing = relation, both, smoothing
        shares = best.shares()
        ctx.mark_non_differentiable(shares)
        return loss, shares

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries_QE, gallery_GE, scale, rows_log_Q, columns_log_G, right_count_G, all_count_G = ctx.saved_tensors
        smoothing, queries, items = ctx.smoothing, len(queries_QE), len(gallery_GE)
        half = 0.5 if ctx.both else 1.0
        row_weight = half / (queries * distributed.world_size())
        column_weight = half / items if ctx.both else 0.0
        grad_queries_QE, grad_gallery_GE = torch.empty_like(queries_QE), torch.zeros_like(gallery_GE)
        for rows in _blocks(queries, items):
            if ctx.kept is None:
                scores_bG, answers = _scores(queries_QE, gallery_GE, scale, ctx.relation, rows)
            else:
                scores_bG, answers = ctx.kept, ctx.relation.of(rows, items)
            grad_bG = (scores_bG - (rows_log_Q[rows, None] - math.log(row_weight))).exp_()
            if ctx.both:  # the scores are not needed after this
                grad_bG += scores_bG.sub_(columns_log_G - math.log(column_weight)).exp_()
            target_b = -row_weight * (1 - smoothing) / answers.counts()[0]
            answers.add(grad_bG, target_b, -column_weight * (1 - smoothing) / right_count_G if ctx.both else 0.0)
            if smoothing:
                shown_b, _ = answers.shown()
                shown_b = shown_b[:, None] if isinstance(shown_b, Tensor) else shown_b
                grad_bG -= row_weight * smoothing / shown_b
                grad_bG -= column_weight * smoothing / all_count_G if ctx.both else 0.0
                answers.hide(grad_bG, 0)
            grad_queries_QE[rows] = grad_bG @ gallery_GE
            grad_gallery_GE.addmm_(grad_bG.T, queries_QE[rows])
        ctx.kept = None
        grad_scale = grads[0] * (grad_queries_QE * queries_QE).sum()
        scaled = grads[0] * scale
        return scaled * grad_queries_QE, scaled * distributed.summed_rows(grad_gallery_GE), grad_scale, None, None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries_QE: Tensor, own_gallery_gE: Tensor, scale: Tensor, bias: Tensor, relation: Relation
    ) -> tuple[Tensor, Tensor]:
        gallery_GE = distributed.gathered(own_gallery_gE)
        every = len(queries_QE) * distributed.world_size()
        best, loss, grad_bias = _Best(queries_QE, len(gallery_GE)), queries_QE.new_zeros(()), queries_QE.new_zeros(())
        # No pair needs another's score, so the gradient is had with the loss.
        grad_queries_QE, grad_gallery_GE = torch.empty_like(queries_QE), torch.zeros_like(gallery_GE)
        for rows in _blocks(len(queries_QE), len(gallery_GE)):
            scores_bG, answers = _scores(queries_QE, gallery_GE, scale, relation, rows)
            best.add(rows, scores_bG, answers)
            wrong_bG = answers.negated(scores_bG.add_(bias))  # how far each pair is on the wrong side
            loss += F.softplus(wrong_bG).sum()
            grad_bG = answers.negated(wrong_bG.sigmoid_().div_(every))
            grad_bias += grad_bG.sum()
            grad_queries_QE[rows] = grad_bG @ gallery_GE
            grad_gallery_GE.addmm_(grad_bG.T, queries_QE[rows])
        grad_scale = (grad_queries_QE * queries_QE).sum()
        grad_gallery_gE = distributed.summed_rows(grad_gallery_GE)
        ctx.save_for_backward(scale * grad_queries_QE, scale * grad_gallery_gE, grad_scale, grad_bias)
        shares = best.shares()
        ctx.mark_non_differentiable(shares)
        return distributed.summed(loss) / every, shares

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grads[0] * saved for saved in ctx.saved_tensors), None)


def _scores(
    queries_QE: Tensor, gallery_GE: Tensor, scale: Tensor, relation: Relation, rows: slice
) -> tuple[Tensor, Answers]:
    """Scaled similarities of a block of queries, minus infinity where hidden; and its answers."""
    answers = relation.of(rows, len(gallery_GE))
    return answers.hide((scale * queries_QE[rows]) @ gallery_GE.T, -torch.inf), answers


def _log_sum_exp(scores_bG: Tensor, highest: Tensor, dim: int) -> Tensor:
    """With the highest scores known; an item for which all of a block is hidden gets minus infinity."""
    shift = highest.clamp(min=torch.finfo(highest.dtype).min).unsqueeze(dim)
    return (scores_bG - shift).exp_().sum(dim=dim).log() + shift.squeeze(dim)
