"""The words of a source without its images: of a text file, a table that may have no images, or any source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from diptych.data.fields import passes
from diptych.data.locations import expanded
from diptych.data.sources import TABLES, captions_of, is_remote, open_source
from diptych.data.table_rows import Asked, rows
from diptych.data.tables import row_texts, value_at
from diptych.errors import DataError
from diptych.progress import progress


def captions_in(
    location: str, *, split: str | None = None, captions: Sequence[str] | None = None, where: str | None = None
) -> Iterator[str]:
    """Every caption at a location that `open_source` takes, or of text files (``.txt``), a caption a line.

    Of tables no image is asked for. Blank captions and rows that cannot be read are left out. Raises DataError for what
    is no source.
    """
    paths = [] if is_remote(location) or not location else expanded(location)
    kinds = {path.suffix.lower() for path in paths if path.is_file()}
    if kinds == {".txt"}:
        if captions or where or split:
            raise DataError(f"{location} is text, a caption a line; leave --captions, --where and --split out")
        found = (text for path in paths for text in _lines(path))
    elif kinds and kinds <= set(TABLES) and split is None:
        found = (text for path in paths for text in _cells(path, captions, where))
    else:
        source = open_source(location, split=split, captions=captions, where=where)
        found = (text for i in progress(range(len(source)), "reading captions") for text in captions_of(source, i))
    return filter(str.strip, found)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            yield from file
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error


def _cells(path: Path, captions: Sequence[str] | None, where: str | None) -> Iterator[str]:
    asked = Asked(captions, where.partition("=")[0] if where else None, images=False)
    for row in rows(path, asked):
        if isinstance(row, Mapping) and (not where or passes(value_at(row, str(asked.filter)), where)):
            yield from (text for text in row_texts(row, captions) if _is_utf8(text))


def _is_utf8(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text
