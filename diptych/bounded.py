"""Small files that somebody else wrote, read whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a regular file; OSError for a folder, for a pipe or a device, which may have no end or never
    answer, and for more than ``most`` bytes."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        check_regular(handle)
    except OSError:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"it has more than {most >> 20} MB, which none of its kind has")
    return content


def check_regular(path: Path | int) -> None:
    """OSError for a path, or an open file, that is no regular file."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file; is it a folder, a pipe or a device?")
