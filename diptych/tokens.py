"""The value that passes between a tokenizer and a text tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(NamedTuple):
    """A batch of tokenized texts, so that padding, trimming and pooling never have to be guessed from ids.

    ids_BL:    integer token ids, start token first, end token at position ``lengths - 1``, padding after it.
    lengths_B: integer number of ids of each text, start and end token included.
    truncated: how many of the texts were cut to the context length (their end token is kept).
    """

    ids_BL: Tensor
    lengths_B: Tensor
    truncated: int = 0

    @property
    def longest(self) -> int:
        """Ids of the longest text."""
        return int(self.lengths_B.max())
