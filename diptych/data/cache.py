"""Whole remote shards on this machine's disk, within a budget, shared by all processes that read them.

A shard is fetched by one process while others that need it wait. It comes under a hidden name and is renamed when it is
whole, so what a kill leaves is never taken for a shard. What was used longest ago goes first; what is open anywhere
stays, by the system's locks, which end with the process that holds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from diptych.data.download import Patience, download, size_of
from diptych.data.shard_index import kept_beside, kept_index, user_cache
from diptych.data.source_spec import CacheSpec
from diptych.errors import ConfigError, DataError, ShardLost

_DEAD_FOR = 3600.0  # seconds in which no process of a run asks again for a shard that could not be had
_ROOM_WITHIN = 30.0  # seconds in which others may let go of a shard
_LOOK_AGAIN = 0.1
# What `path` calls shards, and parts of them on their way; whatever else is in the folder is not the cache's.
_SHARD, _PART = re.compile(r"[0-9a-f]{16}-.+"), re.compile(r"\.[0-9a-f]{16}-.+\.part")


class ShardCache:
    """The shards in one folder. ``since``: failures before this time, of earlier runs, do not count."""

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        self.folder = Path(spec.folder) if spec.folder else user_cache() / "remote"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.patience = Patience(spec.timeout, spec.attempts)
        self.since = time.time()

    def path(self, url: str) -> Path:
        """Where a shard is, once it is there."""
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{url.rpartition('/')[2]}"

    def open(self, url: str) -> int:
        """A descriptor of a shard, which is fetched where it is not there, and stays as long as it is open.

        Raises ShardLost where it cannot be had.
        """
        path = self.path(url)
        while True:
            self.fetch(url)
            with contextlib.suppress(FileNotFoundError):  # it went again at once
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                fcntl.flock(file, fcntl.LOCK_SH)
                state = os.fstat(file)
                if state.st_nlink:
                    # The time it was read last; that of its change stays, by which its index is known.
                    os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
                    return file
                os.close(file)

    def fetch(self, url: str, *, patient: bool = True) -> bool:
        """Make a shard be there. Where not ``patient``, it is left alone, and false comes back, while another process
        fetches it or there is no room for it. Raises ShardLost where it cannot be had."""
        path = self.path(url)
        part = path.with_name(f".{path.name}.part")
        while not path.exists():
            self._check_dead(url)
            with locked(part, patient=patient) as file:
                if file is None:
                    return False
                try:
                    if not path.exists() and not self._fetch(url, file, patient):
                        return False
                except DataError as error:
                    self._bury(url, str(error))
                finally:
                    part.unlink()
        return True

    def _fetch(self, url: str, part: int, patient: bool) -> bool:
        self._check_dead(url)
        path, size = self.path(url), size_of(url, self.patience)
        if not self._reserve(part, size or 0, patient):
            return False
        download(url, path, size, self.patience)
        os.ftruncate(part, 0)  # from here on the shard itself is counted
        try:
            kept_index(path, url)  # now, while nobody waits for it
        except DataError:
            path.unlink()
            raise
        return True

    def _reserve(self, file: int, size: int, patient: bool) -> bool:
        """Note in a part's file how much room it takes, when others have made it."""
        limit = int(self.spec.gigabytes * 1e9)
        if size > limit:
            raise ConfigError(
                f"a shard of {size:,} bytes is larger than {self.folder} may become, {limit:,}; data.cache.gigabytes "
                "must hold two windows, 32 shards"
            )
        deadline = time.monotonic() + (_ROOM_WITHIN if patient else 0)
        while True:
            with locked(self.folder / ".lock", patient=True):
                used = self._evict(limit - size)
                if used + size <= limit:
                    os.pwrite(file, f"{size}".encode(), 0)
                    return True
            if not patient:
                return False
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"a shard of {size:,} bytes has no room in {self.folder}, where shards in use take {used:,} of "
                    f"{limit:,}; data.cache.gigabytes must hold two windows, 32 shards, and what other runs use"
                )
            time.sleep(_LOOK_AGAIN)

    def _evict(self, limit: int) -> int:
        """Remove what was used longest ago, but nothing in use, down to so many bytes; gives how many are used."""
        used, shards = 0, []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                if _SHARD.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    state = entry.stat()
                    used += state.st_size
                    shards.append((state.st_atime_ns, state.st_size, Path(entry.path)))
                elif _PART.fullmatch(entry.name):
                    used += self._part_size(Path(entry.path))
        for _, size, path in sorted(shards):
            if used <= limit:
                break
            with contextlib.suppress(FileNotFoundError, BlockingIOError), _unused(path):
                path.unlink()
                kept_beside(path).unlink(missing_ok=True)
                used -= size
        return used

    def _part_size(self, part: Path) -> int:
        """Bytes that a shard on its way will take; what a killed process left of one is removed, and takes none."""
        with contextlib.suppress(BlockingIOError), _unused(part):  # or else somebody is at it
            name = part.name.removesuffix(".part")
            for attempt in self.folder.glob(f"{glob.escape(name)}.try-*"):
                attempt.unlink(missing_ok=True)
            part.unlink()
            return 0
        return int(part.read_text(encoding="ascii") or 0)

    def _check_dead(self, url: str) -> None:
        grave = self.path(url).with_name(f".{self.path(url).name}.dead")
        with contextlib.suppress(FileNotFoundError):
            if grave.stat().st_mtime > max(self.since, time.time() - _DEAD_FOR):
                raise ShardLost(grave.read_text(encoding="utf-8"))

    def _bury(self, url: str, reason: str) -> None:
        grave = self.path(url).with_name(f".{self.path(url).name}.dead")
        partial = grave.with_suffix(f".dead-{os.getpid()}")
        partial.write_text(reason, encoding="utf-8")
        partial.replace(grave)
        raise ShardLost(reason)


@contextmanager
def locked(path: Path, *, patient: bool) -> Generator[int | None]:
    """A descriptor of a file that is there and locked; none where it is taken and one is not ``patient``."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if os.fstat(file).st_nlink:  # else it was removed while this process waited
                yield file
                return
        finally:
            _release(file)


@contextmanager
def _unused(path: Path) -> Generator[None]:
    """Keeps others from a file; BlockingIOError where one of them has it."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        _release(file)


def _release(file: int) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)  # said, since a process that was forked meanwhile holds it, too
    os.close(file)
