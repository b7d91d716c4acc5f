"""Webdataset tars and CLIP_benchmark folders as a source."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diptych.data import fields
from diptych.data.described import Described
from diptych.data.files import check_regular
from diptych.data.multi_hot import labels_of_npy
from diptych.data.shards import LocalFiles, ShardFiles, Shards
from diptych.data.sources import Sample
from diptych.errors import DataError


class TarSource:
    """Samples of webdataset tars; `open` finds class names and applies filters.

    ``places``: which samples of the shards are kept, ascending; None for all.
    """

    def __init__(
        self,
        name: str,
        shards: Shards,
        *,
        captions: tuple[str, ...],
        places: np.ndarray | None,
        says: Described,
    ) -> None:
        self.name = name
        self.shards = shards
        self.captions = captions
        self.places = places
        self.class_names = says.class_names
        self.templates = says.templates
        self.multilabel = says.multilabel
        self._class_captions = fields.class_captions(says.class_names or (), says.templates)
        self.shard_sizes = shards.sizes
        if places is not None:
            ends = np.cumsum(shards.sizes)
            self.shard_sizes = tuple(np.diff(np.searchsorted(places, ends), prepend=0).tolist())

    @classmethod
    def open(
        cls,
        name: str,
        files: ShardFiles | Sequence[Path],
        *,
        captions: tuple[str, ...] | None,
        where: str | None,
        says: Described | None = None,
    ) -> TarSource:
        """Open tars; ``says``: what the folder that they lie in says of their classes."""
        if isinstance(files, Sequence):
            for path in files:
                check_regular(path)
            files = LocalFiles(files)
        shards = Shards(files)
        if not len(shards):
            raise DataError("; ".join([f"{files.name(0)} holds no samples", *shards.problems[:1]]))
        if captions is not None:
            fields.check_captions(_readable(shards), captions, name)
        places = None
        if where is not None:
            places = np.array([i for i in range(len(shards)) if _kept(shards, i, where)], np.int64)
            if not len(places):
                has = next((f"; the first has {', '.join(fields.names(first))}" for first in _readable(shards)), "")
                raise DataError(f"no sample of {name} passes where={where!r} (--where){has}")
        return cls(
            name,
            shards,
            captions=captions if captions is not None else ("txt",),
            places=places,
            says=says or Described(),
        )

    def __len__(self) -> int:
        return len(self.shards) if self.places is None else len(self.places)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the tars that have been looked into so far."""
        return self.shards.problems

    def damage(self) -> tuple[str, ...]:
        """What is wrong with the tars, of which those here are all looked into."""
        return self.shards.damage()

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (*self.captions, *(self.class_names or ()), *(self.templates or ()))
        yield from self.shards.files.listing(self.shards.sizes)
        if self.places is not None:
            yield hashlib.sha256(self.places.tobytes()).hexdigest()

    def files(self) -> Iterator[Path | str]:
        """The tars; of those elsewhere where they are."""
        files = self.shards.files
        local = isinstance(files, LocalFiles)
        yield from (files.path(shard) if local else files.name(shard) for shard in range(len(files)))

    def prefetch(self, shards: Sequence[int]) -> None:
        """These shards are read next: see `diptych.data.remote`."""
        self.shards.files.prefetch(shards)

    def release(self) -> None:
        """Close all files."""
        self.shards.release()

    def read(self, i: int) -> Sample:
        key, content = self.shards.read(self._place(i))
        return fields.sample_of(key, content, self.captions, self._class_captions, multilabel=self.multilabel)

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The classes of a sample, whose image is not read."""
        field = "npy" if self.multilabel else "cls"
        key, content = self.shards.read(self._place(i), only=field)
        if self.multilabel:
            return labels_of_npy(key, content[field], len(self.class_names or ()) or None) if content else ()
        label = fields.number_of_class(key, content)
        return () if label is None else (label,)

    def _place(self, i: int) -> int:
        return i if self.places is None else int(self.places[i])


def _readable(shards: Shards) -> Iterator[fields.Fields]:
    for i in range(min(len(shards), fields.LOOKED_AT)):
        with contextlib.suppress(DataError):
            yield shards.read(i)[1]


def _kept(shards: Shards, i: int, where: str) -> bool:
    """Whether a sample passes the filter. One that cannot be read stays, to be counted as such when its turn comes."""
    try:
        key, content = shards.read(i)
    except DataError:
        return True
    return fields.kept(key, content, where)
