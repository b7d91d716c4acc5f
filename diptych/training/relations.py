"""Which answers are right for which queries: a few of each by their places, or, where equal ones count, by masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relation:
    """Which items of a gallery are right for which of this process's queries.

    right_QK: their places; equally many for each query.
    itself_Q: where the query itself stands in the gallery and is no answer; None where queries are other things.
    alike:    pairs of ids (ids_QJ, ids_G); query and item are alike where the item's id is one of the query's.
    treat:    whether items that are alike and not among ``right_QK`` are right too, or count for nothing.
    """

    right_QK: Tensor
    itself_Q: Tensor | None = None
    alike: tuple[tuple[Tensor, Tensor], ...] = ()
    treat: Literal["right", "hidden"] = "right"

    def of(self, rows: slice, items: int) -> Answers:
        """The answers of a block of queries."""
        right_bK = self.right_QK[rows]
        itself_b = self.itself_Q[rows] if self.itself_Q is not None else None
        if not self.alike:
            return Answers(right_bK, itself_b, items)
        own_bG = torch.zeros(len(right_bK), items, dtype=torch.bool, device=right_bK.device).scatter_(1, right_bK, True)
        same_bG = torch.zeros_like(own_bG)
        for ids_QJ, ids_G in self.alike:
            for ids_Q in ids_QJ.unbind(dim=1):
                same_bG |= ids_Q[rows, None] == ids_G
        hidden_bG = torch.zeros_like(own_bG) if self.treat == "right" else same_bG & ~own_bG
        if itself_b is not None:
            hidden_bG.scatter_(1, itself_b[:, None], True)
        right_bG = (own_bG | same_bG if self.treat == "right" else own_bG) & ~hidden_bG
        return Answers(right_bK, itself_b, items, right_bG, hidden_bG)


class Answers:
    """The right and the hidden answers of a block of b queries among G items, by their places or by masks."""

    def __init__(
        self,
        right_bK: Tensor,
        itself_b: Tensor | None,
        items: int,
        right_bG: Tensor | None = None,
        hidden_bG: Tensor | None = None,
    ) -> None:
        self.right_bK, self.itself_b, self.items = right_bK, itself_b, items
        self.right_bG, self.hidden_bG = right_bG, hidden_bG

    def hide(self, values_bG: Tensor, value: float) -> Tensor:
        """``values_bG`` with ``value`` at hidden answers, in place."""
        if self.hidden_bG is not None:
            return values_bG.masked_fill_(self.hidden_bG, value)
        return values_bG if self.itself_b is None else values_bG.scatter_(1, self.itself_b[:, None], value)

    def counts(self) -> tuple[Tensor, Tensor]:
        """How many answers are right for each query (b), and for each item (G)."""
        if self.right_bG is not None:
            return self.right_bG.sum(dim=1), self.right_bG.sum(dim=0)
        rows_b = torch.full_like(self.right_bK[:, 0], self.right_bK.shape[1])
        return rows_b, self.right_bK.flatten().bincount(minlength=self.items)

    def shown(self) -> tuple[Tensor | int, Tensor | int]:
        """How many answers are not hidden, for each query (b) and for each item (G)."""
        b = len(self.right_bK)
        if self.hidden_bG is not None:
            return self.items - self.hidden_bG.sum(dim=1), b - self.hidden_bG.sum(dim=0)
        if self.itself_b is not None:
            return self.items - 1, b - self.itself_b.bincount(minlength=self.items)
        return self.items, b

    def sums(self, values_bG: Tensor) -> tuple[Tensor, Tensor]:
        """Of the values at right answers, for each query (b) and for each item (G)."""
        if self.right_bG is not None:
            right_bG = values_bG.masked_fill(~self.right_bG, 0)
            return right_bG.sum(dim=1), right_bG.sum(dim=0)
        values_bK = values_bG.gather(1, self.right_bK)
        columns_G = values_bG.new_zeros(self.items).index_add_(0, self.right_bK.flatten(), values_bK.flatten())
        return values_bK.sum(dim=1), columns_G

    def add(self, values_bG: Tensor, rows_b: Tensor, columns_G: Tensor | float) -> Tensor:
        """``values_bG`` with something for its query and for its item added at each right answer, in place."""
        if self.right_bG is not None:
            return values_bG.add_(self.right_bG * (rows_b[:, None] + columns_G))
        columns_bK = columns_G[self.right_bK] if isinstance(columns_G, Tensor) else columns_G
        return values_bG.scatter_add_(1, self.right_bK, (rows_b[:, None] + columns_bK).expand_as(self.right_bK))

    def negated(self, values_bG: Tensor) -> Tensor:
        """``values_bG`` with the sign changed at right answers, in place."""
        if self.right_bG is not None:
            return values_bG.mul_(1 - 2 * self.right_bG.to(values_bG.dtype))
        return values_bG.scatter_(1, self.right_bK, -values_bG.gather(1, self.right_bK))

    def hits(self, answer_b: Tensor, query_G: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the item given for each query is right for it (b), and whether the query given for each item is
        (G)."""
        if self.right_bG is not None:
            return self.right_bG.gather(1, answer_b[:, None])[:, 0], self.right_bG.gather(0, query_G[None])[0]
        numbers_bK = torch.arange(len(answer_b), device=answer_b.device)[:, None].expand_as(self.right_bK)
        hits_G = torch.zeros_like(query_G, dtype=torch.bool)
        hits_G[self.right_bK] = query_G[self.right_bK] == numbers_bK
        return (self.right_bK == answer_b[:, None]).any(dim=1), hits_G
