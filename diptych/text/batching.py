"""Rows of ids to one ``Tokens``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.tokens import Tokens


def to_tokens(rows: Sequence[Sequence[int]], *, limit: int, end_id: int, pad_id: int) -> Tokens:
    """``Tokens`` of texts: int64 ids (B, longest of the batch), padded.

    Rows past ``limit`` are cut, their end token kept, and counted in ``Tokens.truncated``. A row that has the end token
    earlier ends there: its length says so.
    """
    import torch

    truncated = sum(len(row) > limit for row in rows)
    rows = [row if len(row) <= limit else [*row[: limit - 1], end_id] for row in rows]
    ids_BL = np.full((len(rows), max(map(len, rows), default=0)), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        ids_BL[i, : len(row)] = row
    lengths_B = np.array([list(row).index(end_id) + 1 for row in rows], dtype=np.int64)
    return Tokens(torch.from_numpy(ids_BL), torch.from_numpy(lengths_B), truncated)
