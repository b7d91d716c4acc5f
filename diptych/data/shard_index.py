"""What a tar holds, sample by sample: scanned once, and kept.

A sample is a run of members with the same name up to the first dot of the file name (``a/b.jpg``, ``a/b.txt``). The
scan notes where each begins, 8 bytes a sample, and is kept in ``.diptych/`` beside the tars, or in the user's cache
directory where that cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.tar_members import Member, Unmarked, members
from diptych.errors import DataError

_SCAN = 3  # changes with what a scan finds: what was kept before is then found anew


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


def scan(path: Path, name: str | None = None) -> ShardIndex:
    """Find where the samples of a tar begin. One that ends early or is corrupt in its middle gives those before that.

    Every writer in use closes a tar with blocks of zeros (tar, Python's tarfile, and so webdataset's writers, with
    which CLIP_benchmark and img2dataset write theirs): one without them is a problem, though all of its members may be
    there. ``name``: what it is called in messages, where that is not the path.
    """
    name = name or str(path)
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            raise DataError(f"{name} is compressed; decompress it, so that samples can be read by offset")

        def found() -> Iterator[Member]:
            return members(lambda offset, size: os.pread(file.fileno(), size, offset), length, whole=True)

        starts, links, end, previous, problem = [], {}, 0, None, ""
        try:
            for member in found():
                key, _ = split_name(member.name)
                if key != previous:
                    starts.append(member.begin)
                end, previous = member.end, key
                if member.link:
                    links[member.begin] = member.link
        except Unmarked:  # what is there is whole
            problem = (
                f"{name} may be cut off after {len(starts)} samples, since nothing marks its end; if it is whole, "
                f"'truncate -s +1024 {path.name}' marks it"
            )
        except DataError as error:
            problem = f"{name} is damaged after {max(len(starts) - 1, 0)} whole samples: {error}"
            if not starts:
                raise DataError(f"{name} is not a tar archive: {error}") from error
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


def split_name(name: str) -> tuple[str, str]:
    """The name of a sample, with its folder, and of a field, in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def kept_index(path: Path, name: str | None = None) -> ShardIndex:
    """The index of a tar from where it was kept, unless the tar has changed since; else from a scan, which is then
    kept. ``name``: as of `scan`."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    stamp = f"{_SCAN}-{state.st_size}-{state.st_mtime_ns}"
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    places = (kept_beside(path), user_cache() / "shards" / f"{digest}.npz")
    for place in places:
        with (
            contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
            open(place, "rb") as file,
        ):
            kept = np.load(file)
            if str(kept["stamp"]) == stamp:
                return ShardIndex(kept["starts"], kept["links"], str(kept["problem"]))
    index = scan(path, name)
    for place in places[0 if _writable(path.parent) else 1 :]:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
                np.savez(file, starts=index.starts, links=index.links, problem=index.problem, stamp=stamp)
            os.replace(file.name, place)
            break
    return index


def kept_beside(path: Path) -> Path:
    """Where the index of a tar is kept if its folder can be written."""
    return path.parent / ".diptych" / f"{path.name}.npz"


def user_cache() -> Path:
    """The folder of the user's cache directory that is Diptych's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diptych"


def _writable(folder: Path) -> bool:
    """Whether the folder's mode lets its owner write: root could write anyway, but has been told not to."""
    return bool(folder.stat().st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
