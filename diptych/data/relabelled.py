"""Labels: of what kind they are, and sources that tell them otherwise: by other names, or as a classifier has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.data.fields import class_captions
from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Sample, Source, damage_of, labels_of, read, release
from diptych.errors import DataError, UnknownClass, nearest

_LISTED = 4  # names in a message


class _Relabelled:
    """The samples of another source, and all that it can do."""

    def __init__(self, source: Source, class_names: Sequence[str] | None) -> None:
        self.source, self.name, self.templates = source, source.name, source.templates
        self.class_names: tuple[str, ...] | None = None if class_names is None else tuple(class_names)
        self.shard_sizes: tuple[int, ...] = tuple(getattr(source, "shard_sizes", (len(source),)))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the files read so far."""
        return getattr(self.source, "problems", ())

    @property
    def rows_lost(self) -> int:
        """How many rows of tables make no sample."""
        return getattr(self.source, "rows_lost", 0)

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


class Renamed(_Relabelled):
    """Under other names for its classes, which keep their numbers. Captions, where the source has none of its own, are
    the names given here.

    Raises DataError where the source has names itself, and not as many.
    """

    def __init__(self, source: Source, class_names: Sequence[str]) -> None:
        if source.class_names is not None and len(source.class_names) != len(class_names):
            raise DataError(
                f"{source.name} has {len(source.class_names)} classes, but {len(class_names)} names are given for them"
            )
        super().__init__(source, class_names)
        self._captions = class_captions(tuple(class_names), self.templates)
        self._own = class_captions(source.class_names or (), self.templates)
        self.multilabel: bool | None = getattr(source, "multilabel", None)
        self.class_ids, self.members = (getattr(source, told, None) for told in ("class_ids", "members"))

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


def own_names(source: Source) -> tuple[str, ...] | None:
    """The names that the data themselves have for their classes."""
    while isinstance(source, Renamed):
        source = source.source
    return source.class_names


class Labelled(_Relabelled):
    """For training a classifier: the only caption of an image is the number, in ``classes``, of its class's name.

    The classes of the source may be some of them, in another order. A sample without a label is a DataError when read;
    a source without class names, or with a class that is none of ``classes``, is one at once.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        super().__init__(source, source.class_names)
        self.numbers = class_rows(source, classes)

    def read(self, i: int, /) -> Sample:
        """The sample with its class's number for a caption."""
        sample = self.source.read(i)
        if sample.label is None:
            raise DataError(f"{sample.key} has no label, so its class is not known")
        return sample._replace(captions=(str(self.numbers[sample.label]),), keywords=())


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
    """Where each class of a source stands among ``classes``, by its name as it is. Equal lists stand as they are.

    Raises DataError for a class that is not there, and for one of a name that several have: which is meant is not
    known.
    """
    if not source.class_names:
        raise DataError(f"{source.name} has no class names, so there is nothing to classify into")
    if tuple(source.class_names) == tuple(classes):
        return tuple(range(len(classes)))
    places = {name: number for number, name in enumerate(classes)}
    for name in source.class_names:
        if name not in places:
            raise DataError(f"{source.name} has a class {name!r} that the classifier has not; {nearest(name, classes)}")
    counts = Counter(classes), Counter(source.class_names)
    if several := [name for name in counts[1] if max(count[name] for count in counts) > 1]:
        raise DataError(
            f"{len(several)} names of {source.name} are those of several classes, so which is meant is not known: "
            f"{', '.join(map(repr, several[:_LISTED]))}; give classes of one name names of their own"
        )
    return tuple(places[name] for name in source.class_names)
