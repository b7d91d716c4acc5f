"""Whether data are those of before, told at a glance: what a run notes, to refuse others when it goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from diptych.data.sources import Source

GLANCES = 64  # files or samples that are looked into, however many there are
_OF_CLASSES = ("class_names", "class_ids", "members", "multilabel")
_END = 65_536  # bytes at either end of a file: past the zeros of a tar there are captions in them


def fingerprint(source: Source) -> str:
    """SHA-256 over the ``listing()`` of a source: texts that tell its samples from others; empty where it has none.

    A listing holds names, sizes and what is in memory anyway, and glances at some files, so that millions of samples
    take seconds. Other data have another one, unless they differ in the middle of a file of the same name and size.
    Data that were copied, moved or touched keep theirs: folders and times have no part in it.
    """
    listing = getattr(source, "listing", None)
    if listing is None:
        return ""
    digest = hashlib.sha256()
    for text in listing():
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def stamp(source: Source) -> str:
    """SHA-256 over the fingerprint of a source, what it says of its classes, and the size and times of each file that
    its ``files()`` name; empty where its fingerprint is. Of a file elsewhere, whose place is a text, that place counts.

    It misses no file that was written again, nor one that may now be read or no longer, and changes where files were
    only copied: what was computed from the data and kept must be of these very data.
    """
    known = fingerprint(source)
    files = getattr(source, "files", None)
    if not known or files is None:
        return known
    told = [getattr(source, name, None) for name in _OF_CLASSES]  # by files beside the data, which are not listed
    digest = hashlib.sha256(f"{known} {told}".encode("utf-8", "surrogatepass"))
    for file in files():
        if isinstance(file, str):
            digest.update(file.encode("utf-8", "surrogatepass") + b"\0")
            continue
        try:
            state = os.stat(file)
        except (OSError, ValueError):
            digest.update(b"none\0")
        else:
            # What writes a file can set back the time of that (cp -p, rsync -t, tar), but not that of its last change.
            digest.update(f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\0".encode())
    return digest.hexdigest()


def some(count: int) -> range:
    """At most ``GLANCES`` of so many places, spread evenly."""
    return range(0, count, max(1, -(-count // GLANCES)))


def size_of(file: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return file.stat().st_size
    except (OSError, ValueError):  # the latter of a name that no file can have
        return -1


def glances(files: Iterable[Path]) -> Iterator[str]:
    """Of each file its size and a hash of both of its ends, or that it cannot be read."""
    for file in files:
        try:
            if not file.is_file():  # a pipe would be waited for
                raise FileNotFoundError(file)
            with open(file, "rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                ends = opened.read(_END)
                opened.seek(max(len(ends), size - _END))
                ends += opened.read(_END)
        except (OSError, ValueError):
            yield "not to be read"
        else:
            yield f"{size} {hashlib.sha256(ends).hexdigest()}"
