"""Keywords: tags that describe an image beside its captions, and how they join a caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Sample, Source, release
from diptych.errors import DataError

MOST = 4  # keywords that join a caption
KEYWORD_DRAWS = MOST + 3  # random numbers that one caption uses


class WithKeywords:
    """A source whose samples also have keywords: the captions of ``words``, another reading of the same samples."""

    def __init__(self, source: Source, words: Source) -> None:
        if len(source) != len(words):
            raise DataError(f"{source.name} has {len(source)} samples with captions, but {len(words)} with keywords")
        self.name = source.name
        self.class_names = source.class_names
        self.templates = source.templates
        self.shard_sizes: tuple[int, ...] = getattr(source, "shard_sizes", (len(source),))
        self._source, self._words = source, words

    def __len__(self) -> int:
        return len(self._source)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the files read so far."""
        return getattr(self._source, "problems", ())

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (fingerprint(self._source), fingerprint(self._words))

    def prefetch(self, shards: Sequence[int]) -> None:
        """These shards are read next."""
        if prefetch := getattr(self._source, "prefetch", None):
            prefetch(shards)

    def release(self) -> None:
        """Close all files."""
        for source in (self._source, self._words):
            release(source)

    def read(self, i: int) -> Sample:
        sample, other = self._source.read(i), self._words.read(i)
        if sample.key != other.key:
            raise DataError(f"{sample.key} and its keywords, those of {other.key}, are not one sample")
        return sample._replace(keywords=tuple(word for word in other.captions if word not in sample.captions))


def joined(caption: str, keywords: tuple[str, ...], draws: np.ndarray) -> str:
    """A caption as it is (half of the time), before some of the keywords (a quarter), or anywhere among them.

    One keyword to ``MOST`` different ones are drawn, in any order; all is joined by commas. ``draws``: KEYWORD_DRAWS
    numbers in [0, 1).
    """
    if not keywords or draws[0] < 0.5:
        return caption
    left, count = list(keywords), 1 + int(draws[1] * min(MOST, len(keywords)))
    words = [left.pop(int(draw * len(left))) for draw in draws[3 : 3 + count]]
    words.insert(int(draws[2] * (count + 1)) if draws[0] >= 0.75 else 0, caption)
    return ", ".join(words)
