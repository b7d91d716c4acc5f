"""Samples of webdataset tars addressed by integer: every sample is one read at its offset (see `shard_index`)."""

from __future__ import annotations

import contextlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from diptych.data.files import printable, read_bytes
from diptych.data.fingerprint import glances, size_of, some
from diptych.data.order import WINDOW
from diptych.data.shard_index import ShardIndex, kept_index, split_name
from diptych.data.tar_members import Member, members
from diptych.errors import DataError

_OPEN_FILES = WINDOW
_INDICES = 2 * WINDOW  # kept in memory: of thousands of shards all of them would be gigabytes in every worker


class ShardFiles(Protocol):
    """The tars themselves, on this machine or elsewhere."""

    def __len__(self) -> int: ...

    def name(self, shard: int, /) -> str:
        """What a tar is called in messages."""
        ...

    def promised(self) -> list[int | None]:
        """How many samples whoever wrote the tars says that each holds."""
        ...

    def path(self, shard: int, /) -> Path:
        """A tar on this machine; one from elsewhere is fetched."""
        ...

    def open(self, shard: int, /) -> int:
        """A descriptor to read a tar by; as long as it is open, the bytes stay."""
        ...

    def prefetch(self, shards: Sequence[int], /) -> None:
        """These tars are read next, in this order."""
        ...

    def listing(self, sizes: Sequence[int], /) -> Iterator[str]:
        """What tells these tars, which hold so many samples, from others."""
        ...


class LocalFiles:
    """Tars that are files here."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, shard: int) -> str:
        return str(self._paths[shard])

    def path(self, shard: int) -> Path:
        return self._paths[shard]

    def open(self, shard: int) -> int:
        return os.open(self._paths[shard], os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def prefetch(self, shards: Sequence[int]) -> None:
        """Nothing: they are here."""

    def promised(self) -> list[int | None]:
        """By ``sizes.json`` (webdataset) or ``*_stats.json`` (img2dataset), if there is one."""
        known = {folder: _json(folder / "sizes.json") for folder in {path.parent for path in self._paths}}
        return [
            promised_size(known[path.parent], path.name, lambda path=path: _json(stats_of(path)))
            for path in self._paths
        ]

    def listing(self, sizes: Sequence[int]) -> Iterator[str]:
        for path, samples in zip(self._paths, sizes, strict=True):
            yield f"{path.name} {size_of(path)} {samples}"
        yield from glances(self._paths[shard] for shard in some(len(self._paths)))


def promised_size(sizes: Any, name: str, stats: Callable[[], Any]) -> int | None:
    """The number of samples of a tar by what ``sizes.json`` holds, or else by its own ``_stats.json``."""
    for known, key in ((lambda: sizes, name), (stats, "successes")):
        with contextlib.suppress(AttributeError):
            size = known().get(key)
            if isinstance(size, int) and size >= 0:
                return size
    return None


def _json(path: Path) -> Any:
    with contextlib.suppress(DataError, ValueError):
        return json.loads(read_bytes(path))
    return None


def stats_of(path: Path) -> Path:
    """Where img2dataset notes how many samples it put into a tar."""
    return path.with_name(f"{path.stem}_stats.json")


class Shards:
    """Samples of several tars as one sequence. Small to pickle; indices and files are opened where they are first used.

    ``sizes`` are the samples of each tar. A promised sample that the tar does not hold is a DataError when it is read.
    """

    def __init__(self, files: ShardFiles) -> None:
        self.files = files
        self._indices: OrderedDict[int, ShardIndex] = OrderedDict()
        self._open: OrderedDict[int, int] = OrderedDict()
        self._problems: dict[int, str] = {}
        self._lacking: dict[int, str] = {}
        self._looked = False  # into all that are here
        self.sizes = tuple(
            len(self._index(shard).starts) - 1 if size is None else size for shard, size in enumerate(files.promised())
        )
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def __getstate__(self) -> dict:
        return self.__dict__ | {
            "_indices": OrderedDict(),
            "_open": OrderedDict(),
            "_problems": {},
            "_lacking": {},
            "_looked": False,
        }

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Close all files; those that are read again are opened again. What is open stays in a cache for ever."""
        while self._open:
            os.close(self._open.popitem()[1])

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the tars that have been looked into so far."""
        return tuple(printable(problem) for _, problem in sorted(self._problems.items()))

    def damage(self) -> tuple[str, ...]:
        """What is wrong with the tars, of which those here are all looked into, and others where they were read: they
        are cut off or corrupt, or hold another number of samples than was promised."""
        for shard in range(len(self.sizes)) if isinstance(self.files, LocalFiles) and not self._looked else ():
            samples, expected = len(self._index(shard).starts) - 1, self.sizes[shard]
            if samples != expected:
                told = f"sizes.json or {stats_of(self.files.path(shard)).name} tells of {expected}"
                self._lacking[shard] = f"{self.files.name(shard)} holds {samples} whole samples, and {told}"
        self._looked = True
        return tuple(printable(problem) for _, problem in sorted((self._lacking | self._problems).items()))

    def read(self, i: int, only: str | None = None) -> tuple[str, dict[str, bytes]]:
        """Key and fields of sample ``i``: the bytes of each member by its extension, in lower case.

        ``only``: the one field that is wanted; of others no more than their headers is read.
        """
        shard = int(np.searchsorted(self._offsets, i, side="right")) - 1
        place, name = i - int(self._offsets[shard]), self.files.name(shard)
        file, starts = self._file(shard), self._index(shard).starts
        if place + 1 >= len(starts):
            self._lacking[shard] = f"{name} holds {len(starts) - 1} whole samples of the {self.sizes[shard]} it should"
            raise DataError(self._lacking[shard])
        start, end = int(starts[place]), int(starts[place + 1])
        data = os.pread(file, end - start, start) if only is None else None

        def bytes_at(offset: int, size: int) -> bytes:
            found = os.pread(file, size, start + offset) if data is None else data[offset : offset + size]
            if len(found) < size:
                raise DataError(f"{name} has become shorter since it was scanned")
            return found

        fields, key = {}, ""
        for member in members(bytes_at, end - start):
            key, extension = split_name(member.name)
            if extension in fields:
                raise DataError(f"{name} holds {key}.{extension} twice")
            if only is None or extension == only:
                linked = self._linked(shard, start + member.begin, member) if member.link else None
                fields[extension] = bytes_at(member.start, member.size) if linked is None else linked
        return key, fields

    def _linked(self, shard: int, begin: int, member: Member) -> bytes:
        """What the file holds that a hard link with its header at ``begin`` leads to."""
        links = self._index(shard).links
        row = int(np.searchsorted(links[:, 0], begin))
        if row == len(links) or links[row, 0] != begin:
            raise DataError(f"{self.files.name(shard)}: {member.name} is a link to {member.link}, which is not there")
        return os.pread(self._file(shard), int(links[row, 2]), int(links[row, 1]))

    def _index(self, shard: int) -> ShardIndex:
        if shard not in self._indices:
            if len(self._indices) >= _INDICES:
                self._indices.popitem(last=False)
            self._indices[shard] = kept_index(self.files.path(shard), self.files.name(shard))
            if problem := self._indices[shard].problem:
                self._problems[shard] = problem
        self._indices.move_to_end(shard)
        return self._indices[shard]

    def _file(self, shard: int) -> int:
        if shard not in self._open:
            if len(self._open) >= _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[shard] = self.files.open(shard)
        self._open.move_to_end(shard)
        return self._open[shard]
