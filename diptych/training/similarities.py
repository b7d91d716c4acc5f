"""Losses over all similarities of queries and a gallery, a block of rows at a time, so that memory grows with the
batch and not with its square.

Over several processes each holds its own queries and its own part of the gallery, and computes only the similarities
of its queries (paper, section 2.5). Losses are those of one process with everything; gradients are this process's
share, and the shares of all processes add up to the gradient of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych import distributed

# Scores of a block: 64 MB in fp32. A batch that fits is not computed twice.
SCORES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Relation:
    """Which gallery items are right for which of this process's queries.

    owners_Q, owners_G: integers; a query and an item with equal ones belong together.
    alike:  pairs of tensors (ids_QK, ids_G); a query and an item are alike where the item's id is one of the query's.
    treat:  whether items that are alike and do not belong together are right too, or count for nothing.
    itself_Q: where the query itself stands in the gallery, and is no answer; None where queries are other things.
    """

    owners_Q: Tensor
    owners_G: Tensor
    alike: tuple[tuple[Tensor, Tensor], ...] = ()
    treat: Literal["right", "hidden"] = "right"
    itself_Q: Tensor | None = None

    def of(self, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Which items are right, and which are hidden, for a block of queries: two masks (b, G)."""
        right_bG = self.owners_Q[rows, None] == self.owners_G
        hidden_bG = None
        for ids_QK, ids_G in self.alike:
            for ids_Q in ids_QK.unbind(dim=1):
                same_bG = ids_Q[rows, None] == ids_G
                if self.treat == "right":
                    right_bG |= same_bG
                else:
                    hidden_bG = same_bG if hidden_bG is None else hidden_bG | same_bG
        if hidden_bG is not None:
            hidden_bG &= ~right_bG
        if self.itself_Q is not None:
            itself_b = self.itself_Q[rows]
            hidden_bG = torch.zeros_like(right_bG) if hidden_bG is None else hidden_bG
            hidden_bG[torch.arange(len(itself_b), device=itself_b.device), itself_b] = True
            right_bG &= ~hidden_bG
        return right_bG, hidden_bG


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

    def add(self, rows: slice, scores_bG: Tensor, right_bG: Tensor) -> None:
        self.query_Q[rows] = right_bG.gather(1, scores_bG.argmax(dim=1, keepdim=True))[:, 0].float()
        highest_G, best_G = scores_bG.max(dim=0)
        higher_G = highest_G > self.highest_G
        self.item_G = torch.where(higher_G, right_bG.gather(0, best_G[None])[0].float(), self.item_G)
        self.highest_G = torch.where(higher_G, highest_G, self.highest_G)

    def shares(self) -> Tensor:
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
        rows_log_Q, rows_goal_Q = queries_QE.new_empty(queries), queries_QE.new_empty(queries)
        columns_log_G = queries_QE.new_full((items,), -torch.inf)
        columns_goal_G, counts_G, seen_G = queries_QE.new_zeros(3, items).unbind()
        whole_G = queries_QE.new_zeros(items)
        kept = None
        for rows in _blocks(queries, items):
            scores_bG, right_bG, hidden_bG = _scores(queries_QE, gallery_GE, scale, relation, rows)
            best.add(rows, scores_bG, right_bG)
            goal_bG = scores_bG.masked_fill(~right_bG, 0)
            rows_log_Q[rows] = scores_bG.logsumexp(dim=1)
            rows_goal_Q[rows] = (1 - smoothing) * goal_bG.sum(dim=1) / right_bG.sum(dim=1)
            if smoothing:
                shown_bG = scores_bG if hidden_bG is None else scores_bG.masked_fill(hidden_bG, 0)
                hidden_b = 0 if hidden_bG is None else hidden_bG.sum(dim=1)
                rows_goal_Q[rows] += smoothing * shown_bG.sum(dim=1) / (items - hidden_b)
                whole_G += shown_bG.sum(dim=0)
                seen_G += len(scores_bG) if hidden_bG is None else (~hidden_bG).sum(dim=0)
            if both:
                columns_log_G = columns_log_G.logaddexp(scores_bG.logsumexp(dim=0))
                columns_goal_G += goal_bG.sum(dim=0)
                counts_G += right_bG.sum(dim=0)
            kept = scores_bG
        every = queries * distributed.world_size()
        loss = distributed.summed((rows_log_Q - rows_goal_Q).sum()) / every
        if both:
            columns_log_G = distributed.log_sum_exp(columns_log_G)
            columns_goal_G, counts_G, whole_G, seen_G = distributed.summed(
                torch.stack([columns_goal_G, counts_G, whole_G, seen_G])
            ).unbind()
            goal_G = (1 - smoothing) * columns_goal_G / counts_G
            goal_G = goal_G + smoothing * whole_G / seen_G if smoothing else goal_G
            loss = (loss + (columns_log_G - goal_G).mean()) / 2
        one_block = queries * items <= SCORES_AT_ONCE
        ctx.save_for_backward(queries_QE, gallery_GE, scale, rows_log_Q, columns_log_G, counts_G, seen_G)
        ctx.kept = kept if one_block else None
        ctx.relation, ctx.both, ctx.smoothing = relation, both, smoothing
        shares = best.shares()
        ctx.mark_non_differentiable(shares)
        return loss, shares

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        queries_QE, gallery_GE, scale, rows_log_Q, columns_log_G, counts_G, seen_G = ctx.saved_tensors
        relation, smoothing = ctx.relation, ctx.smoothing
        queries, items = len(queries_QE), len(gallery_GE)
        half = 0.5 if ctx.both else 1.0
        row_weight, column_weight = half / (queries * distributed.world_size()), half / items
        grad_queries_QE, grad_gallery_GE = torch.empty_like(queries_QE), torch.zeros_like(gallery_GE)
        for rows in _blocks(queries, items):
            if ctx.kept is None:
                scores_bG, right_bG, hidden_bG = _scores(queries_QE, gallery_GE, scale, relation, rows)
            else:
                scores_bG, (right_bG, hidden_bG) = ctx.kept, relation.of(rows)
            target_b = row_weight * (1 - smoothing) / right_bG.sum(dim=1)
            grad_bG = (scores_bG - rows_log_Q[rows, None]).exp_().mul_(row_weight)
            target_bG = target_b[:, None]
            if ctx.both:
                grad_bG += (scores_bG - columns_log_G).exp_().mul_(column_weight)
                target_bG = target_bG + column_weight * (1 - smoothing) / counts_G
            grad_bG -= right_bG * target_bG
            if smoothing:
                hidden_b = 0 if hidden_bG is None else hidden_bG.sum(dim=1, keepdim=True)
                spread_bG = row_weight * smoothing / (items - hidden_b)
                spread_bG = spread_bG + column_weight * smoothing / seen_G if ctx.both else spread_bG
                grad_bG -= spread_bG if hidden_bG is None else spread_bG * ~hidden_bG
            grad_queries_QE[rows] = grad_bG @ gallery_GE
            grad_gallery_GE.addmm_(grad_bG.T, queries_QE[rows])
        ctx.kept = None
        grad_scale = grad * (grad_queries_QE * queries_QE).sum()
        grad_gallery_gE = distributed.summed_rows(grad_gallery_GE)
        return grad * scale * grad_queries_QE, grad * scale * grad_gallery_gE, grad_scale, None, None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries_QE: Tensor, own_gallery_gE: Tensor, scale: Tensor, bias: Tensor, relation: Relation
    ) -> tuple[Tensor, Tensor]:
        gallery_GE = distributed.gathered(own_gallery_gE)
        every = len(queries_QE) * distributed.world_size()
        best, loss = _Best(queries_QE, len(gallery_GE)), queries_QE.new_zeros(())
        # No pair needs another's score, so the gradient is had with the loss.
        grad_queries_QE, grad_gallery_GE = torch.empty_like(queries_QE), torch.zeros_like(gallery_GE)
        grad_bias = queries_QE.new_zeros(())
        for rows in _blocks(len(queries_QE), len(gallery_GE)):
            scores_bG, right_bG, _ = _scores(queries_QE, gallery_GE, scale, relation, rows)
            best.add(rows, scores_bG, right_bG)
            signed_bG = torch.where(right_bG, -(scores_bG + bias), scores_bG + bias)  # minus infinity where hidden
            loss += F.softplus(signed_bG).sum()
            grad_bG = torch.where(right_bG, -signed_bG.sigmoid(), signed_bG.sigmoid()).div_(every)
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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scaled similarities of a block of queries, minus infinity where hidden; what is right, and what is hidden."""
    right_bG, hidden_bG = relation.of(rows)
    scores_bG = (scale * queries_QE[rows]) @ gallery_GE.T
    if hidden_bG is not None:
        scores_bG = scores_bG.masked_fill_(hidden_bG, -torch.inf)
    return scores_bG, right_bG, hidden_bG
