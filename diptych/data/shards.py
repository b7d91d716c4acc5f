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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.files import printable, read_bytes
from diptych.errors import DataError

_BLOCK = 512
_OPEN_FILES = 64
_LONGEST_END = 65_536  # zeros; more is the hole of a download that was not finished


@dataclass(frozen=True)
class ShardIndex:
    """Where samples begin in one tar, with the end of the last: ``(samples + 1,)``; what was wrong with the file, if
    any."""

    starts: np.ndarray
    problem: str = ""


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
        for member in _members(lambda offset, size: data[offset : offset + size], len(data)):
            key, extension = _split_name(member.name)
            fields[extension] = data[member.start : member.start + member.size]
        return key, fields

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


@dataclass(frozen=True)
class _Member:
    name: str
    begin: int  # of its first header
    start: int  # of its bytes
    size: int


def scan(path: Path) -> ShardIndex:
    """Find where the samples of a tar begin. One that ends early or is corrupt in its middle gives those before
    that."""
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            raise DataError(f"{path} is compressed; decompress it, so that samples can be read by offset")
        starts, end, previous, problem = [], 0, None, ""
        try:
            for member in _members(lambda offset, size: os.pread(file.fileno(), size, offset), length):
                key, _ = _split_name(member.name)
                if key != previous:
                    starts.append(member.begin)
                end, previous = _padded(member.start + member.size), key
        except DataError as error:
            problem = f"{path} is damaged after {max(len(starts) - 1, 0)} whole samples: {error}"
            if not starts:
                raise DataError(f"{path} is not a tar archive: {error}") from error
            end = starts.pop()  # the sample in which it broke off
    return ShardIndex(np.array([*starts, end], np.int64), problem)


def _members(read: Callable[[int, int], bytes], length: int) -> Iterator[_Member]:
    """The regular files of a tar (ustar, GNU and pax headers). Raises DataError where the archive stops making
    sense."""
    offset, begin, long_name, long_size = 0, 0, "", -1
    while offset + _BLOCK <= length:
        header = read(offset, _BLOCK)
        if not header.strip(b"\0"):
            if length - offset > _LONGEST_END:
                raise DataError(f"{length - offset:,} bytes follow the end of the archive at byte {offset:,}")
            return
        try:
            size, kind = _number(header[124:136]), header[156:157]
            if header[257:262] != b"ustar":
                raise ValueError("no header")
        except ValueError as error:
            raise DataError(f"no valid header at byte {offset:,}") from error
        start = offset + _BLOCK
        if kind in b"0\0" and long_size >= 0:
            size = long_size
        if size < 0 or start + size > length:
            raise DataError(f"the file ends at byte {length:,}, inside a member")
        offset = _padded(start + size)
        if kind == b"L":
            long_name = read(start, size).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            try:
                long_name, long_size = _pax(read(start, size), long_name)
            except ValueError as error:
                raise DataError(f"no valid extended header at byte {start:,}") from error
        elif kind in b"0\0":
            name = long_name or _header_name(header)
            if not name.rpartition("/")[2].startswith("."):  # what macOS adds
                yield _Member(name, begin, start, size)
        if kind not in b"Lx":
            begin, long_name, long_size = offset, "", -1
    if length % _BLOCK or not length:
        raise DataError(f"the file ends at byte {length:,}, inside a header")


def _header_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # too large for octal digits
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _pax(data: bytes, name: str) -> tuple[str, int]:
    size = -1
    while data:
        length = int(data.partition(b" ")[0])
        if length < 1:
            raise ValueError("a record of no length")
        key, _, value = data[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        name = value.decode("utf-8", "replace") if key == b"path" else name
        size = int(value) if key == b"size" else size
        data = data[length:]
    return name, size


def _padded(offset: int) -> int:
    return -(-offset // _BLOCK) * _BLOCK


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
                return ShardIndex(kept["starts"], str(kept["problem"]))
    index = scan(path)
    for place in places[0 if _writable(path.parent) else 1 :]:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
                np.savez(file, starts=index.starts, problem=index.problem, stamp=stamp)
            os.replace(file.name, place)
            break
    return index


def _writable(folder: Path) -> bool:
    """Whether the folder's mode lets its owner write: root could write anyway, but has been told not to."""
    return bool(folder.stat().st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
