"""One remote file fetched through fsspec: watched, so that a server that falls silent is left, and tried again."""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from diptych.errors import ConfigError, DataError, DiptychError, MissingExtra, nearest

T = TypeVar("T")

_LEAST = 16_384  # bytes a second; a server that brings less is as good as dead
_PAUSE = 1.0  # seconds before the second attempt; twice as many before each further one
_LONGEST_PAUSE = 60.0
_ASK_AGAIN = (408, 425, 429)  # of HTTP's answers that blame the one who asks, those that time may mend


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for: ``timeout`` seconds of one request in which too little comes, and how many
    ``attempts`` there are in all."""

    timeout: float
    attempts: int


def opened(url: str, patience: Patience) -> tuple[Any, str]:
    """The file system of a location and the location's name in it. Raises MissingExtra where it takes a package that is
    not installed, DataError for a protocol that nobody knows."""
    import fsspec

    protocol = url.partition("://")[0]
    options: dict[str, Any] = {}
    try:
        if protocol in ("http", "https"):
            from aiohttp import ClientTimeout

            # Its own limit is five minutes for a whole file, however large.
            options["client_kwargs"] = {
                "timeout": ClientTimeout(sock_connect=patience.timeout, sock_read=patience.timeout)
            }
        system, name = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise MissingExtra(
            f"{protocol}:// needs a package that is not installed ({error}); pip install 'diptych[remote]' is for "
            f"http(s), pip install 'fsspec[{protocol}]' for others"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{url}: no protocol {protocol!r}; {nearest(protocol, fsspec.available_protocols())}"
        ) from error
    return system, name


def size_of(url: str, patience: Patience) -> int | None:
    """Bytes of a remote file; None where the server does not say. Raises DataError as `download` does."""

    def ask() -> int | None:
        system, name = opened(url, patience)
        return system.info(name).get("size")

    return persistently(url, patience, partial(_watched, ask, patience.timeout, lambda: 0))


def download(url: str, path: Path, size: int | None, patience: Patience) -> None:
    """Fetch a remote file of so many bytes; ``path`` is there when all of it is.

    Raises DataError that names the location and the last reason after as many attempts as there may be, or at once for
    a reason that will stay: it is missing, or may not be read.
    """
    tries = itertools.count()

    def attempt() -> None:
        # Each has a file of its own: one that was left may still write into it.
        partial = path.with_name(f".{path.name}.try-{next(tries)}")

        def fetch() -> None:
            system, name = opened(url, patience)
            system.get_file(name, str(partial))

        def arrived() -> int:
            return partial.stat().st_size if partial.exists() else 0

        try:
            _watched(fetch, patience.timeout, arrived)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ConfigError(
                    f"the disk of {path.parent} is full; make room, or lower data.cache.gigabytes"
                ) from error
            raise
        else:
            if size is not None and arrived() != size:
                raise OSError(f"{arrived():,} bytes came of {size:,}")
            with open(partial, "rb") as file:
                os.fsync(file.fileno())  # a name that outlives a power cut must not stand for less
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    persistently(url, patience, attempt)


def persistently(url: str, patience: Patience, work: Callable[[], T]) -> T:
    """What the work gives; it is tried again, after a pause, where it fails for a reason that may pass.

    Raises DataError with the last reason.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            return work()
        except DiptychError:
            raise
        except Exception as error:  # every file system has errors of its own
            last = is_final(url, error) or attempt == patience.attempts
            tries = "" if attempt == 1 else f" ({attempt} attempts)"
            if last:
                raise DataError(f"{url} cannot be had: {_said(error)}{tries}") from error
        time.sleep(min(_LONGEST_PAUSE, _PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1))
    raise AssertionError("attempts are positive")


def _watched(work: Callable[[], T], timeout: float, arrived: Callable[[], int]) -> T:
    """What the work gives. Raises TimeoutError where too little arrives in ``timeout`` seconds; it is then left alone.

    In a thread, since few file systems can be told how long to wait.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    before, since = 0, time.monotonic()
    while thread.is_alive():
        thread.join(min(1.0, timeout / 4))
        now, seconds = arrived(), time.monotonic() - since
        if now - before >= _LEAST * timeout:
            before, since = now, time.monotonic()
        elif seconds > timeout and thread.is_alive():
            raise TimeoutError(f"{now - before:,} bytes came in {seconds:.1f} seconds")
    if errors:
        raise errors[0]
    return results[0]


def is_final(url: str, error: BaseException) -> bool:
    """Whether asking again would be in vain: a file is missing, or may not be read."""
    status = getattr(error, "status", None) or getattr(error.__cause__, "status", None)
    if status is not None:
        return 400 <= status < 500 and status not in _ASK_AGAIN
    if isinstance(error, FileNotFoundError):  # over HTTP fsspec calls a file so that it could not ask for
        return error.__cause__ is None or not url.startswith("http")
    return isinstance(error, PermissionError | IsADirectoryError)


def _said(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
    if isinstance(cause, FileNotFoundError):
        return "no such file"
    return f"{type(cause).__name__}: {cause}".rstrip(": ")
