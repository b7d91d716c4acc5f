"""Labels: what kind they are of, and a source for training a classifier, whose captions are the numbers of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Sample, Source, read
from diptych.errors import DataError, nearest


class Labelled:
    """The samples of another source, each with the number, in ``classes``, of its class's name as its caption.

    The classes of the source may be some of them, in another order. A sample without a label is a DataError when read;
    a source without class names, or with a class that is none of ``classes``, is one at once.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        self.source, self.name = source, source.name
        self.numbers = class_rows(source, classes)
        self.class_names, self.templates = source.class_names, source.templates
        self.shard_sizes: tuple[int, ...] = tuple(getattr(source, "shard_sizes", (len(source),)))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the files read so far."""
        return getattr(self.source, "problems", ())

    def read(self, i: int, /) -> Sample:
        """The sample with its class's number for a caption."""
        sample = self.source.read(i)
        if sample.label is None:
            raise DataError(f"{sample.key} has no label, so its class is not known")
        return sample._replace(captions=(str(self.numbers[sample.label]),), keywords=())

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (*(self.class_names or ()), fingerprint(self.source))

    def prefetch(self, shards: Sequence[int]) -> None:
        """These shards are read next."""
        if prefetch := getattr(self.source, "prefetch", None):
            prefetch(shards)


def shows_several(source: Source) -> bool:
    """Whether images may show several classes, or none: as the source says, else as its first sample does that can be
    read and has a label."""
    told = getattr(source, "multilabel", None)
    if told is not None:
        return told
    for i in range(len(source)):
        try:
            sample = read(source, i)
        except DataError:
            continue
        if sample.labels is not None or sample.label is not None:
            return sample.labels is not None
    return False


def class_rows(source: Source, classes: Sequence[str]) -> tuple[int, ...]:
    """Where each class of a source stands among ``classes``; equal names stand in their own order."""
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    if tuple(source.class_names) == tuple(classes):
        return tuple(range(len(classes)))
    places = {name: number for number, name in reversed(list(enumerate(classes)))}
    for name in source.class_names:
        if name not in places:
            raise DataError(f"{source.name} has a class {name!r} that the classifier has not; {nearest(name, classes)}")
    return tuple(places[name] for name in source.class_names)
