"""A source under other names for its classes, which keep their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.data.fields import class_captions
from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Sample, Source, damage_of, labels_of, release
from diptych.errors import DataError, UnknownClass


class Renamed:
    """The samples of another source, whose captions, where they have none of their own, are the names given here.

    Raises DataError where the source has names itself, and not as many.
    """

    def __init__(self, source: Source, class_names: Sequence[str]) -> None:
        if source.class_names is not None and len(source.class_names) != len(class_names):
            raise DataError(
                f"{source.name} has {len(source.class_names)} classes, but {len(class_names)} names are given for them"
            )
        self.source, self.name, self.templates = source, source.name, source.templates
        self.class_names: tuple[str, ...] | None = tuple(class_names)
        self._captions = class_captions(self.class_names, self.templates)
        self._own = class_captions(source.class_names or (), self.templates)
        self.multilabel: bool | None = getattr(source, "multilabel", None)
        self.class_ids, self.members = (getattr(source, told, None) for told in ("class_ids", "members"))
        self.shard_sizes: tuple[int, ...] = tuple(getattr(source, "shard_sizes", (len(source),)))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the files read so far."""
        return getattr(self.source, "problems", ())

    def read(self, i: int, /) -> Sample:
        """The sample, with the new name of its class for a caption where the old one was its caption."""
        sample = self.source.read(i)
        label = sample.label
        if label is None:
            return sample
        if not 0 <= label < len(self._captions):
            raise UnknownClass.of(f"{sample.key} is of class", label, len(self._captions))
        if sample.captions not in ((), self._own[label] if self._own else ()):
            return sample
        return sample._replace(captions=self._captions[label])

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The classes of a sample."""
        return labels_of(self.source, i)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (*(self.class_names or ()), fingerprint(self.source))

    def files(self) -> Iterator[Path | str]:
        """All that is read, where the source tells."""
        yield from getattr(self.source, "files", tuple)()

    def damage(self) -> tuple[str, ...]:
        """What is wrong with the files."""
        return damage_of(self.source)

    def prefetch(self, shards: Sequence[int]) -> None:
        """These shards are read next."""
        if prefetch := getattr(self.source, "prefetch", None):
            prefetch(shards)

    def release(self) -> None:
        """Close all files."""
        release(self.source)
