"""What long work says on stderr: a line, or a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

from diptych.printable import printable

T = TypeVar("T")


def say(text: str, stream: TextIO | None = None) -> None:
    """A line on ``stream``, else stderr. Where its reader has gone away the work goes on unheard."""
    stream = stream or sys.stderr
    with contextlib.suppress(OSError), tqdm.external_write_mode(stream):  # above a bar, where there is one
        print(printable(text), file=stream, flush=True)


def progress(items: Iterable[T], doing: str, *, unit: str = "sample") -> Iterator[T]:
    """The items, with a bar on stderr while they are gone through: on a terminal only, and gone when it is done."""
    yield from tqdm(
        items, desc=doing, unit=unit, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True
    )
