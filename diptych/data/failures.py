"""Samples that could not be used: counted, listed, and too many of them are an error."""

from __future__ import annotations

from diptych.errors import TooManyFailures

_FEWEST = 1000  # reads before a share is judged; until then, as if so many had been made
_EXAMPLES = 5


class Failures:
    """What failed during one loader's life: ``reasons`` by sample index, ``count`` of failed reads among ``reads``."""

    def __init__(self, *, allowed: float, samples: int) -> None:
        self.allowed = allowed
        self.reasons: dict[int, str] = {}
        self.count = 0
        self.reads = 0
        self._fewest = min(_FEWEST, samples)

    def add(self, reads: int, failed: list[tuple[int, str]]) -> None:
        """Note so many reads, and the index and reason of each that failed. Raises TooManyFailures past the share
        allowed."""
        self.reads += reads
        self.count += len(failed)
        self.reasons.update(failed)
        if failed and self.count > self.allowed * max(self.reads, self._fewest):
            raise TooManyFailures(
                f"{self.count} of {self.reads} reads failed, more than the {self.allowed:.1%} allowed; {self.summary()}"
            )

    def summary(self) -> str:
        """One line: how many samples failed, and why the first of them did."""
        listed = [self.reasons[index] for index in sorted(self.reasons)[:_EXAMPLES]]
        more = f" ... and {len(self.reasons) - len(listed)} more" if len(self.reasons) > len(listed) else ""
        return f"{len(self.reasons)} sample(s) failed: {' | '.join(listed)}{more}"
