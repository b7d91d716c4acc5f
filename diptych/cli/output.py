"""How verbs print: aligned columns that read as well in a pipe as on a terminal."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from diptych.printable import printable


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header (left out where it is empty), each column as wide as its widest cell."""
    rows = [[printable(cell, lines=False) for cell in row] for row in rows]
    table = [list(header), *rows] if any(header) else rows
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the text too. What is between ``**`` is bold; other signs of
    Markdown in a cell, and tags, are shown as they are."""
    table = [[markdown_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    return "".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |\n" for row in table
    )


def markdown_text(cell: str) -> str:
    """A line of text whose signs are no Markdown, nor tags; what stands between ``**`` is bold."""
    bold = len(cell) > 4 and cell.startswith("**") and cell.endswith("**")
    text = printable(cell[2:-2] if bold else cell.replace("\n", " "), lines=False)
    text = re.sub(r"[\\|*`\[]|<(?! )", lambda sign: f"\\{sign[0]}", text)
    return f"**{text}**" if bold else text


def check_writable(path: Path) -> None:
    """Raise the OSError that a file at ``path`` would meet when it is written, before the work whose result it holds.

    Nothing is made; a disk may still be full in the end.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _check_inside(path, path.absolute().parents)


def check_folder(path: Path) -> None:
    """The same for a folder of several files, whose name alone people know; it may be there or not."""
    _check_inside(path, (path.absolute(), *path.absolute().parents))


def _check_inside(path: Path, folders: Iterable[Path]) -> None:
    """Whether something can be written into the first of the folders that is there; ``path`` is what is named."""
    folder = next(folder for folder in folders if folder.exists())
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        sealed = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if sealed else errno.EACCES
        raise OSError(number, os.strerror(number), str(path))
