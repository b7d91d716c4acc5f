"""Tables with an image and a caption column as a source: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.order import WINDOW
from diptych.data.packed import Packed
from diptych.data.sources import Sample
from diptych.errors import DataError, MissingExtra, nearest

IMAGE_COLUMNS = ("image", "filepath", "path", "file_name", "filename", "image_path", "file")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "txt")

# One row by its columns; for a line that holds none, what it is instead. The image is a path or a place in a Parquet
# file.
Row = Mapping[str, Any] | str

_LISTED = 20  # unusable rows that are named one by one


class TableSource:
    """Rows of tables. The image column holds paths, relative to the table, or (Parquet) encoded bytes.

    Rows with the same path are one image with several captions. ``captions``: the columns, in JSON lines also dotted
    paths; without it the usual names are tried.
    """

    class_names = None
    templates = None

    def __init__(self, name: str, paths: Sequence[Path], *, captions: tuple[str, ...] | None) -> None:
        self.name = name
        self.paths = tuple(paths)
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        images: dict[tuple, list[str]] = {}
        problems: list[str] = []
        shards: list[tuple[int, int]] = []  # of each image: its table, and its row group where it lies in one
        for number, path in enumerate(paths):
            for place, row in enumerate(_rows(path)):
                where = f"{path}, row {place + 1}"
                if not place and isinstance(row, Mapping):
                    _check_columns(list(row), path, captions)
                try:
                    image, texts = _image_and_texts(row, captions, where)
                except DataError as error:
                    problems.append(str(error))
                    continue
                key = (str(path.parent / image),) if isinstance(image, str) else (number, *image)
                if key not in images:
                    shards.append((number, 0 if isinstance(image, str) else image[0]))
                images.setdefault(key, []).extend(texts)
        if not images:
            raise DataError(f"{paths[0]} has no usable rows{''.join(f': {problem}' for problem in problems[:1])}")
        unlisted = len(problems) - _LISTED
        self.problems = (*problems[:_LISTED], *([f"{unlisted} more rows like these"] if unlisted > 0 else []))
        self.shard_sizes = tuple(len(list(shard)) for _, shard in itertools.groupby(shards))
        self._records = Packed(json.dumps([key, texts]) for key, texts in images.items())

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_groups": OrderedDict()}

    def read(self, i: int) -> Sample:
        image, texts = json.loads(self._records[i])
        captions = tuple(dict.fromkeys(text for caption in texts if (text := caption.strip())))
        if len(image) == 1:
            key, data = image[0], Path(image[0])
        else:
            number, group, row, column = image
            key = f"{self.paths[number].name}, row group {group}, row {row}"
            cell = self._group(number, group, column)[row].as_py()
            data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            raise DataError(f"{key} has no image")
        return Sample(data, captions, None, key)

    def _group(self, number: int, group: int, column: str) -> Any:
        """The images of one row group; as many groups are held as the order mixes with each other."""
        if (number, group) not in self._groups:
            table = _parquet(self.paths[number]).read_row_group(group, columns=[column])
            if len(self._groups) >= WINDOW:
                self._groups.popitem(last=False)
            self._groups[number, group] = table.column(0)
        self._groups.move_to_end((number, group))
        return self._groups[number, group]


def _image_and_texts(row: Row, captions: tuple[str, ...] | None, where: str) -> tuple[str | tuple, list[str]]:
    if not isinstance(row, Mapping):
        raise DataError(f"{where} is {row or 'no object'}")
    image = next((row[name] for name in IMAGE_COLUMNS if name in row), None)
    if not image or not isinstance(image, str | tuple):
        raise DataError(f"{where} has no image")
    texts: list[str] = []
    for name in captions or [name for name in CAPTION_COLUMNS if name in row][:1]:
        value: Any = row
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        texts += [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    return image, texts


def _check_columns(columns: Sequence[str], path: Path, captions: tuple[str, ...] | None) -> None:
    has = f"it has {', '.join(columns)}"
    if not set(columns) & set(IMAGE_COLUMNS):
        raise DataError(f"{path} has no image column ({', '.join(IMAGE_COLUMNS)}); {has}")
    if captions is None and not set(columns) & set(CAPTION_COLUMNS):
        raise DataError(f"{path} has no caption column ({', '.join(CAPTION_COLUMNS)}); {has}; name it with captions=")
    for name in captions or ():
        if name.split(".")[0] not in columns:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, columns)}")


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix.lower() == ".parquet":
        yield from _parquet_rows(path)
    elif path.suffix.lower() == ".jsonl":
        with open(path, "rb") as file:
            for line in file:
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        yield f"not JSON: {error}"
    else:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        # A cell that is not UTF-8 must not spoil the others: it is kept as it is, and refused when it is read.
        with open(path, "rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{path} is UTF-16; save it as UTF-8")
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            try:
                yield from csv.DictReader(file, delimiter=delimiter, restkey="cells beyond the header")
            except csv.Error as error:
                raise DataError(f"{path} is not a table: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    file = _parquet(path)
    columns = file.schema_arrow.names
    column = next((name for name in IMAGE_COLUMNS if name in columns), None)
    embedded = column is not None and "string" not in str(file.schema_arrow.field(column).type).split("<")[0]
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[name for name in columns if not embedded or name != column])
        for place, row in enumerate(table.to_pylist()):
            yield row | {column: (group, place, column)} if embedded else row


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(f"{path.name} is Parquet, which needs pyarrow: pip install 'diptych[data]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
