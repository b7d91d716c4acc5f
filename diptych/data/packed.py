"""Many short texts in two arrays: quick to pickle, and shared by worker processes instead of copied."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Packed:
    """An immutable list of texts. Odd ones survive: file names and cells that are not UTF-8 come back as they were."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: int) -> str:
        if not 0 <= i < len(self):
            raise IndexError(f"no text {i} of {len(self)}")
        return self._bytes[self._ends[i] : self._ends[i + 1]].decode("utf-8", "surrogateescape")
