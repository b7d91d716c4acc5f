"""Reading files that a folder or a table names: regular ones only, since a pipe or a device may never answer."""

from __future__ import annotations

import re
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import DataError


def check_regular(path: Path) -> None:
    """Raise DataError, naming the path, unless it leads to a regular file."""
    with _naming(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{printable(path)} is no regular file; is it a folder, a pipe or a device?")


def read_bytes(path: Path) -> bytes:
    """What a regular file holds. Raises DataError, naming it, where it is missing, anything else, or unreadable."""
    check_regular(path)
    with _naming(path):
        return path.read_bytes()


@contextmanager
def _naming(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{printable(path)}: no such file") from error
    except OSError as error:
        raise DataError(f"{printable(path)}: {error.strerror or error}") from error
    except ValueError as error:  # no file can be called so: a zero byte, half a surrogate pair
        raise DataError(f"{printable(path)} is no path: {printable(error)}") from error


def read_lines(path: Path) -> list[str] | None:
    """The lines of a text file, stripped, without blank ones at its end; None where there is no such file.

    Raises DataError where it is not UTF-8.
    """
    if not path.is_file():
        return None
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)} is not UTF-8 ({error}); save it as UTF-8") from error
    return _lines(text)


def text_lines(content: bytes) -> list[str]:
    """The lines of a text, stripped, without blank ones at its end. Raises UnicodeDecodeError where it is not UTF-8."""
    return _lines(content.decode("utf-8-sig"))


def _lines(text: str) -> list[str]:
    # Not splitlines: it also breaks at characters that a name may hold.
    return [line.strip() for line in re.split("\r\n|\r|\n", text.rstrip())] if text.strip() else []


def printable(text: object) -> str:
    """A name or message with what cannot be written as UTF-8, as in odd file names, spelled out: ``caf\\udce9``."""
    return str(text).encode("utf-8", "backslashreplace").decode()
