"""Samples that could not be used: counted, listed, and too many of them are an error."""

from __future__ import annotations

import math

from diptych.errors import TooManyFailures

_EXAMPLES = 5


class Failures:
    """What failed during one loader's life: ``reasons`` by sample index, ``count`` of failed reads.

    ``allowed``: the share of ``samples``, those of the source, that may fail. Each counts once, however often and in
    whatever order they are read, so that no seed and no cluster of bad ones makes a share that is allowed too large.
    """

    def __init__(self, *, allowed: float, samples: int) -> None:
        self.allowed = allowed
        self.samples = samples
        self.reasons: dict[int, str] = {}
        self.count = 0
        self._replaced = 0

    def add(self, failed: list[tuple[int, str]], replaced: int) -> None:
        """Note the index and reason of each read that failed, and how many samples were replaced in the end.

        Raises TooManyFailures past the share allowed, or once it is beyond chance that the source is past it.
        """
        self.count += len(failed)
        self._replaced += replaced
        self.reasons.update(failed)
        if len(self.reasons) / self.samples > self.allowed:  # divided, not multiplied: 0.29 * 100 is less than 29
            raise TooManyFailures(
                f"{len(self.reasons)} of the {self.samples:,} samples failed, more than the {self.allowed:.1%} "
                f"allowed; {self.summary()}"
            )
        # A source that is bad altogether need not be read to a share of its end. Every failure drew one replacement, at
        # random from the whole source: of those alone, the share that failed estimates the source's.
        missed = self.count - self._replaced
        expected = self.allowed * self.count
        if missed > expected + 6 * math.sqrt(expected) + 10:
            raise TooManyFailures(
                f"{missed} of {self.count} samples drawn at random failed, far more than the {self.allowed:.1%} "
                f"allowed; {self.summary()}"
            )

    def summary(self) -> str:
        """One line: how many samples failed, and why the first of them did."""
        listed = [self.reasons[index] for index in sorted(self.reasons)[:_EXAMPLES]]
        more = f" ... and {len(self.reasons) - len(listed)} more" if len(self.reasons) > len(listed) else ""
        return f"{len(self.reasons)} sample(s) failed: {' | '.join(listed)}{more}"
