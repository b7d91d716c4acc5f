"""The rows of a table: CSV, TSV, JSON lines or Parquet. One that cannot be read never spoils the others."""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from diptych.data.files import check_regular
from diptych.errors import DataError, nearest

IMAGE_COLUMNS = ("image", "filepath", "path", "file_name", "filename", "image_path", "file")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "txt")

# One row by its columns; for a line that holds none, what it is instead. The image is a path or a place in a Parquet
# file.
Row = Mapping[str, Any] | str


class Asked(NamedTuple):
    """Which columns a caller wants captions from, None for the usual ones, which one it filters by, and whether it
    wants images."""

    captions: Sequence[str] | None = None
    filter: str | None = None
    images: bool = True

    def columns(self, there: Iterable[str]) -> list[str]:
        """Those among the columns there."""
        named = [*caption_columns(there, self.captions), *([self.filter] if self.filter else [])]
        return [name.split(".")[0] for name in named]


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """The rows of one table. Raises DataError where it is no table, lacks a column, or has one twice that is read."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet_rows(path, asked)
    if kind == ".jsonl":
        return _json_rows(path, asked)
    return _csv_rows(path, asked, "\t" if kind == ".tsv" else ",")


def columns(path: Path) -> tuple[str, ...]:
    """The columns of one table, by its schema, its header or its first object; none where there is none."""
    check_regular(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        return tuple(parquet_file(path).schema_arrow.names)
    if kind != ".jsonl":
        with _lines_of(path) as lines:
            return tuple(_header(_records(lines, "\t" if kind == ".tsv" else ","), path))
    objects = (row for row in rows(path, Asked(captions=(), images=False)) if isinstance(row, Mapping))
    return tuple(next(objects, {}))


def caption_columns(columns: Iterable[str], captions: Sequence[str] | None) -> Sequence[str]:
    """The columns that captions are taken from: those asked for, else the first that is called so."""
    return captions or [name for name in CAPTION_COLUMNS if name in columns][:1]


def _check_columns(columns: Sequence[str], path: Path, asked: Asked) -> None:
    has = f"it has {', '.join(columns)}"
    if asked.images and not set(columns) & set(IMAGE_COLUMNS):
        raise DataError(f"{path} has no image column ({', '.join(IMAGE_COLUMNS)}); {has}")
    if asked.captions is None and not set(columns) & set(CAPTION_COLUMNS):
        names = ", ".join(CAPTION_COLUMNS)
        raise DataError(f"{path} has no caption column ({names}); {has}; name it with captions= (--captions)")
    for name in asked.columns(columns):
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, columns)}")
    for name in (*IMAGE_COLUMNS, *asked.columns(columns)):
        if columns.count(name) > 1:
            raise DataError(
                f"{path} has {columns.count(name)} columns called {name!r}; rename those that are not meant"
            )


def _json_rows(path: Path, asked: Asked) -> Iterator[Row]:
    checked = False
    with open(path, "rb") as file:
        for line in filter(bytes.strip, file):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                row = f"not JSON: {error}"
            if isinstance(row, Mapping) and not checked:
                _check_columns(list(row), path, asked)
                checked = True
            yield row


def _csv_rows(path: Path, asked: Asked, delimiter: str) -> Iterator[Row]:
    with _lines_of(path) as lines:
        records = _records(lines, delimiter)
        header = _header(records, path)
        if not header:
            return
        _check_columns(header, path, asked)
        for cells in filter(None, records):
            if isinstance(cells, str):
                yield cells
            elif any(cells[len(header) :]):
                yield f"wider than the header, {len(cells)} cells to {len(header)}; does a cell need quotes?"
            else:
                yield dict(itertools.zip_longest(header, cells[: len(header)]))


@contextmanager
def _lines_of(path: Path) -> Generator[TextIO]:
    """The lines of a table that is text. Raises DataError for UTF-16."""
    with open(path, "rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path} is UTF-16; save it as UTF-8")
    # A cell that is not UTF-8 must not spoil the others: it is kept as it is, and refused when it is read.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield file


def _header(records: Iterator[list[str] | str], path: Path) -> list[str]:
    """The first record that is not blank; nothing where there is none."""
    header = next(filter(None, records), [])
    if isinstance(header, str):
        raise DataError(f"{path} is not a table; its header is {header}")
    return header


def _records(lines: Iterable[str], delimiter: str) -> Iterator[list[str] | str]:
    """The cells of each record, or what is wrong with it.

    A quote that is not closed would take in the records after its own. Where quotes make no sense, reading begins again
    at the next line, so that one record is lost, or in TSV, which many write without quotes, none.
    """
    source, again = iter(lines), deque[str]()
    taken: list[str] = []

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1]
        for line in source:
            taken.append(line)
            yield line

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            plain = taken[0].rstrip("\r\n").split(delimiter)
            yield plain if delimiter == "\t" else f"malformed ({error}); is a quote not closed, or not doubled?"
            again.extendleft(reversed(taken[1:]))
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)


def _parquet_rows(path: Path, asked: Asked) -> Iterator[Row]:
    file = parquet_file(path)
    columns = file.schema_arrow.names
    _check_columns(columns, path, asked)
    image = next(name for name in IMAGE_COLUMNS if name in columns) if asked.images else None
    embedded = image is not None and _is_embedded(file.schema_arrow.field(image).type)
    wanted = {*asked.columns(columns), *([image] if image and not embedded else [])}
    for group in range(file.num_row_groups):
        try:
            table = read_group(file, path, group, sorted(wanted))
        except DataError as error:
            yield from itertools.repeat(f"lost: {error}", file.metadata.row_group(group).num_rows)
            continue
        for place, row in enumerate(_parquet_cells(table)):
            yield row | {image: (group, place, image)} if embedded and not isinstance(row, str) else row


def _is_embedded(kind: Any) -> bool:
    kind = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    return str(kind) not in ("string", "large_string", "string_view")


def _parquet_cells(table: Any) -> Iterator[dict[str, Any] | str]:
    try:
        yield from table.to_pylist()
    except UnicodeDecodeError:  # in one cell or more, before any row was given: now row by row
        for place in range(table.num_rows):
            try:
                yield table.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield f"not UTF-8: {error}"


def parquet_file(path: Path) -> Any:
    """A Parquet file, opened. Raises DataError where it is none."""
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error


def read_group(file: Any, path: Path, group: int, columns: list[str]) -> Any:
    """Some columns of one row group. Raises DataError where it is damaged."""
    import pyarrow

    try:
        return file.read_row_group(group, columns=columns)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}, row group {group}: {error}") from error
