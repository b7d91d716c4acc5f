"""Webdataset tars addressed by integer: scanned once, then every sample is one read at its offset.

A sample is a run of members with the same name up to the first dot of the file name (``a/b.jpg``, ``a/b.txt``). The
scan notes where each begins, 8 bytes a sample, and is kept in ``.diptych/`` beside the tars, or in the user's cache
directory where that cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.files import printable, read_bytes
from diptych.data.tar_members import Member, members
from diptych.errors import DataError

_OPEN_FILES = 64


@dataclass(frozen=True)
class ShardIndex:
    """What was found in one tar.

    starts:  where each sample begins, and the end of the last: ``(samples + 1,)``
    links:   of each hard link, in order: where its header begins, where the bytes are it leads to, how many: ``(L, 3)``
    problem: what is wrong with the file, if anything
    """

    starts: np.ndarray
    links: np.ndarray
    problem: str


class Shards:
    """Samples of several tars as one sequence. Small to pickle; indices and files are opened where they are first used.

    ``sizes`` are the samples of each tar. A promised sample that the tar does not hold is a DataError when it is read.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self._indices: dict[int, ShardIndex] = {}
        self._files: OrderedDict[int, int] = OrderedDict()
        promised = [_promised_size(path) for path in paths]
        self.sizes = tuple(
            len(self._index(shard).starts) - 1 if size is None else size for shard, size in enumerate(promised)
        )
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_indices": {}, "_files": OrderedDict()}

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the tars that have been looked into so far."""
        return tuple(printable(index.problem) for _, index in sorted(self._indices.items()) if index.problem)

    def read(self, i: int) -> tuple[str, dict[str, bytes]]:
        """Key and fields of sample ``i``: the bytes of each member by its extension, in lower case."""
        shard = int(np.searchsorted(self._offsets, i, side="right")) - 1
        place = i - int(self._offsets[shard])
        starts = self._index(shard).starts
        if place + 1 >= len(starts):
            raise DataError(
                f"{self.paths[shard]} holds {len(starts) - 1} whole samples of the {self.sizes[shard]} it should"
            )
        start, end = int(starts[place]), int(starts[place + 1])
        data = os.pread(self._file(shard), end - start, start)
        if len(data) < end - start:
            raise DataError(f"{self.paths[shard]} has become shorter since it was scanned")
        fields, key = {}, ""
        for member in members(lambda offset, size: data[offset : offset + size], len(data)):
            key, extension = _split_name(member.name)
            if extension in fields:
                raise DataError(f"{self.paths[shard]} holds {key}.{extension} twice")
            content = data[member.start : member.start + member.size]
            fields[extension] = self._linked(shard, start + member.begin, member) if member.link else content
        return key, fields

    def _linked(self, shard: int, begin: int, member: Member) -> bytes:
        """What the file holds that a hard link with its header at ``begin`` leads to."""
        links = self._index(shard).links
        row = int(np.searchsorted(links[:, 0], begin))
        if row == len(links) or links[row, 0] != begin:
            raise DataError(f"{self.paths[shard]}: {member.name} is a link to {member.link}, which is not there")
        return os.pread(self._file(shard), int(links[row, 2]), int(links[row, 1]))

    def _index(self, shard: int) -> ShardIndex:
        if shard not in self._indices:
            self._indices[shard] = _kept_index(self.paths[shard])
        return self._indices[shard]

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self.paths[shard], os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._files.move_to_end(shard)
        return self._files[shard]


def scan(path: Path) -> ShardIndex:
    """Find where the samples of a tar begin. One that ends early or is corrupt in its middle gives those before
    that."""
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            raise DataError(f"{path} is compressed; decompress it, so that samples can be read by offset")

        def found() -> Iterator[Member]:
            return members(lambda offset, size: os.pread(file.fileno(), size, offset), length)

        starts, links, end, previous, problem = [], {}, 0, None, ""
        try:
            for member in found():
                key, _ = _split_name(member.name)
                if key != previous:
                    starts.append(member.begin)
                end, previous = member.end, key
                if member.link:
                    links[member.begin] = member.link
        except DataError as error:
            problem = f"{path} is damaged after {max(len(starts) - 1, 0)} whole samples: {error}"
            if not starts:
                raise DataError(f"{path} is not a tar archive: {error}") from error
            end = starts.pop()  # the sample in which it broke off
        targets = _targets(found(), set(links.values())) if links else {}
    places = [(begin, *targets[link]) for begin, link in links.items() if link in targets]
    return ShardIndex(np.array([*starts, end], np.int64), np.array(places, np.int64).reshape(-1, 3), problem)


def _targets(members: Iterator[Member], names: set[str]) -> dict[str, tuple[int, int]]:
    """Start and size of the files that links lead to. A second pass: a first would have to remember every name."""
    found = {}
    with contextlib.suppress(DataError):  # the first pass has told it
        for member in members:
            if member.name in names and not member.link:
                found[member.name] = member.start, member.size
    return found


def _split_name(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def _promised_size(path: Path) -> int | None:
    """The number of samples that ``sizes.json`` (webdataset) or ``*_stats.json`` (img2dataset) gives, if there is
    one."""
    for file, key in (
        (path.with_name("sizes.json"), path.name),
        (path.with_name(f"{path.stem}_stats.json"), "successes"),
    ):
        with contextlib.suppress(DataError, ValueError, AttributeError):
            size = json.loads(read_bytes(file)).get(key)
            if isinstance(size, int) and size >= 0:
                return size
    return None


def _kept_index(path: Path) -> ShardIndex:
    """The index of a tar from where it was kept, unless the tar has changed since; else from a scan, which is then
    kept."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    stamp = f"{state.st_size}-{state.st_mtime_ns}"
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diptych" / "shards"
    places = (path.parent / ".diptych" / f"{path.name}.npz", cache / f"{name}.npz")
    for place in places:
        with (
            contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
            open(place, "rb") as file,
        ):
            kept = np.load(file)
            if str(kept["stamp"]) == stamp:
                return ShardIndex(kept["starts"], kept["links"], str(kept["problem"]))
    index = scan(path)
    for place in places[0 if _writable(path.parent) else 1 :]:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
                np.savez(file, starts=index.starts, links=index.links, problem=index.problem, stamp=stamp)
            os.replace(file.name, place)
            break
    return index


def _writable(folder: Path) -> bool:
    """Whether the folder's mode lets its owner write: root could write anyway, but has been told not to."""
    return bool(folder.stat().st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
