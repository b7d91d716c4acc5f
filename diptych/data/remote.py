"""Tars elsewhere, ``s3://bucket/{00000..41455}.tar``: any location that fsspec knows, kept on disk shard by shard.

Nothing but sizes is needed to begin: one ``sizes.json`` beside the shards, or a ``_stats.json`` beside each. Where
there are none every shard is fetched once and counted. What was found out at one start is kept for the next.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from diptych.data import described
from diptych.data.cache import ShardCache, locked
from diptych.data.download import Patience, is_final, opened, persistently
from diptych.data.files import printable
from diptych.data.locations import braces, natural
from diptych.data.packed import Packed
from diptych.data.shard_index import kept_index
from diptych.data.shards import promised_size
from diptych.data.source_spec import CacheSpec
from diptych.data.tars import TarSource
from diptych.errors import DataError, DiptychError
from diptych.progress import progress

_AT_ONCE = 8  # shards that are counted
_ASKED = 512  # small files in one go
_MOST_SHARDS = 1_000_000


def open_remote(
    locations: Sequence[str], captions: tuple[str, ...] | None, where: str | None, spec: CacheSpec
) -> TarSource:
    """The tars at remote locations of one kind as a source; the rest as in `diptych.data.sources.open_source`."""
    protocol = locations[0].partition("://")[0]
    if other := [location for location in locations if location.partition("://")[0] != protocol]:
        raise DataError(f"{other[0]} is elsewhere than {locations[0]}; give one kind, or mix them (data.mixture)")
    urls = [url for location in locations for url in expanded(location, spec)]
    name = printable(urls[0].rpartition("/")[2].removesuffix(".tar"))
    return TarSource.open(name, RemoteFiles(urls, spec), captions=captions, where=where)


def open_remote_folder(
    folder: str, split: str, captions: tuple[str, ...] | None, where: str | None, spec: CacheSpec
) -> TarSource:
    """A split of a CLIP_benchmark folder elsewhere, whose ``nshards.txt`` says how many tars it has.

    Raises DataError where the folder has no such split.
    """
    folder = folder.rstrip("/")
    count, *told = _small_files(
        [
            f"{folder}/{name}"
            for name in (f"{split}/nshards.txt", described.CLASSES, described.TEMPLATES, described.TYPE)
        ],
        Patience(spec.timeout, spec.attempts),
    )
    if count is None:
        raise DataError(
            f"{folder} has no split {split!r}: there is no {split}/nshards.txt; a CLIP_benchmark folder has one a split"
        )
    number = count.decode("utf-8", "replace").strip()
    if not number.isdecimal() or not 0 < int(number) <= _MOST_SHARDS:
        raise DataError(f"{folder}/{split}/nshards.txt holds {number[:40]!r}, not the number of tars")
    says = described.of_bytes(
        folder, dict(zip((described.CLASSES, described.TEMPLATES, described.TYPE), told, strict=True))
    )
    files = RemoteFiles([f"{folder}/{split}/{shard}.tar" for shard in range(int(number))], spec)
    return TarSource.open(printable(folder.rpartition("/")[2]), files, captions=captions, where=where, says=says)


class RemoteFiles:
    """Tars in the order of their locations, fetched when they are read or about to be."""

    def __init__(self, urls: Sequence[str], spec: CacheSpec) -> None:
        self._urls = Packed(urls)
        self._cache = ShardCache(spec)
        self._wanted: tuple[int, ...] = ()
        self._thread: threading.Thread | None = None
        self._began = 0.0

    def __len__(self) -> int:
        return len(self._urls)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_thread": None}

    def name(self, shard: int) -> str:
        return self._urls[shard]

    def path(self, shard: int) -> Path:
        return self._cache.path(self._urls[shard])

    def open(self, shard: int) -> int:
        return self._cache.open(self._urls[shard])

    def listing(self, sizes: Sequence[int]) -> Iterator[str]:
        for shard, samples in enumerate(sizes):
            yield f"{self._urls[shard].rpartition('/')[2]} {samples}"

    def prefetch(self, shards: Sequence[int]) -> None:
        """Fetch what is not there of these, one after the other, while others are read; several processes share it."""
        wanted = tuple(shards)
        running = self._thread is not None and self._thread.is_alive()
        if running or (wanted == self._wanted and time.monotonic() - self._began < 1):
            self._wanted = wanted
            return
        self._wanted, self._began = wanted, time.monotonic()
        self._thread = threading.Thread(target=self._prefetch, daemon=True)
        self._thread.start()

    def _prefetch(self) -> None:
        wanted: tuple[int, ...] = ()
        while wanted != self._wanted:
            wanted = self._wanted
            for shard in wanted:
                if wanted != self._wanted:
                    break
                try:
                    self._cache.fetch(self._urls[shard], patient=False)
                except (DiptychError, OSError):
                    continue  # whoever reads the shard is told

    def promised(self) -> list[int | None]:
        """The samples of each tar: as ``sizes.json`` or ``_stats.json`` tell, or counted; none is None."""
        urls = [self._urls[shard] for shard in range(len(self))]
        folders = {url.rpartition("/")[0] for url in urls}
        told = dict(zip(folders, self._read([f"{folder}/sizes.json" for folder in folders]), strict=True))
        sizes = [
            promised_size(told[folder], name, lambda: None) for folder, _, name in (u.rpartition("/") for u in urls)
        ]
        missing = [shard for shard, size in enumerate(sizes) if size is None]
        if not missing:
            return sizes
        digest = hashlib.sha256("\n".join(urls).encode()).hexdigest()[:16]
        kept = self._cache.folder / f".sizes-{digest}.json"
        with locked(kept.with_suffix(".lock"), patient=True):  # one process asks; others take what it has found
            known = _known(kept)
            missing = [shard for shard in missing if urls[shard] not in known]
            for found in self._found([urls[shard] for shard in missing]):
                known |= found
                partial_file = kept.with_suffix(".tmp")
                partial_file.write_text(json.dumps(known), encoding="utf-8")
                partial_file.replace(kept)
        return [known[url] if size is None else size for url, size in zip(urls, sizes, strict=True)]

    def _found(self, urls: Sequence[str]) -> Iterator[dict[str, int]]:
        """The samples of tars, many at a time: by what img2dataset wrote, else by what is in them."""
        unknown: list[str] = []
        for first in progress(range(0, len(urls), _ASKED), f"asking for sizes, {_ASKED} shards at a time", unit="time"):
            some = urls[first : first + _ASKED]
            stats = self._read([f"{url.removesuffix('.tar')}_stats.json" for url in some])
            sizes = {
                url: promised_size(None, "", lambda stat=stat: stat) for url, stat in zip(some, stats, strict=True)
            }
            unknown += [url for url, size in sizes.items() if size is None]
            yield {url: size for url, size in sizes.items() if size is not None}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for first in progress(
                range(0, len(unknown), _AT_ONCE), f"counting, {_AT_ONCE} shards at a time", unit="time"
            ):
                some = unknown[first : first + _AT_ONCE]
                yield dict(zip(some, threads.map(self._counted, some), strict=True))

    def _counted(self, url: str) -> int:
        try:
            self._cache.fetch(url)
        except DataError as error:
            folder, _, name = url.rpartition("/")
            raise DataError(
                f"{error}; its samples can be neither counted nor replaced by others. Leave it out of the braces, or "
                f'write the numbers of samples to {folder}/sizes.json, {{"{name}": 1000, ...}}'
            ) from error
        return len(kept_index(self._cache.path(url), url).starts) - 1

    def _read(self, urls: Sequence[str]) -> list[Any]:
        """What small JSON files hold; None of those that are not there or are no JSON."""
        return [_parsed(data) for data in _small_files(urls, self._cache.patience)]


def _small_files(urls: Sequence[str], patience: Patience) -> list[bytes | None]:
    """What small files hold; None of those that are not there."""
    return persistently(urls[0], patience, partial(_cat, urls, patience))


def _cat(urls: Sequence[str], patience: Patience) -> list[bytes | None]:
    system, _ = opened(urls[0], patience)
    names = [system._strip_protocol(url) for url in urls]
    found = system.cat(names, on_error="return")
    for name, error in found.items():
        if isinstance(error, Exception) and not is_final(name, error):
            raise error
    return [data if isinstance(data := found.get(name), bytes) else None for name in names]


def expanded(location: str, spec: CacheSpec) -> list[str]:
    """The tars that a remote location stands for: braces, ``*``, or a folder of them. Raises DataError for others."""
    patience, urls = Patience(spec.timeout, spec.attempts), []
    for plain in braces(location):
        if not plain.endswith(".tar") and "*" not in plain:
            plain = f"{plain.rstrip('/')}/*.tar"
        if "*" in plain:
            urls += persistently(plain, patience, partial(_listed, plain, patience))
        else:
            urls.append(plain)
    if not urls or not all(url.endswith(".tar") for url in urls):
        raise DataError(f"{location} names no tars; give such as s3://bucket/{{00000..00999}}.tar, or a folder of them")
    return urls


def _listed(pattern: str, patience: Patience) -> list[str]:
    system, name = opened(pattern, patience)
    return [system.unstrip_protocol(found) for found in sorted(system.glob(name), key=natural)]


def _known(kept: Path) -> dict[str, int]:
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _parsed(data: bytes | None) -> Any:
    try:
        return json.loads(data or b"null")
    except ValueError:
        return None
