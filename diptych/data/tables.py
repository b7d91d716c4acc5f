"""Tables with an image and a caption column as a source: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.fields import passes
from diptych.data.files import check_regular, printable
from diptych.data.fingerprint import glances, some
from diptych.data.order import WINDOW
from diptych.data.packed import Packed
from diptych.data.sources import Sample
from diptych.data.table_rows import IMAGE_COLUMNS, Asked, Row, caption_columns, parquet_file, read_group, rows
from diptych.errors import DataError

_LISTED = 20  # unusable rows that are named one by one


class TableSource:
    """Rows of tables. The image column holds paths, relative to the table, or (Parquet) encoded bytes.

    Rows with the same path are one image with several captions. ``captions``: the columns, in JSON lines also dotted
    paths; without it the usual names are tried. ``where``: a column that must be true, or ``column=value``.
    """

    class_names: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None

    def __init__(
        self, name: str, paths: Sequence[Path], *, captions: tuple[str, ...] | None, where: str | None = None
    ) -> None:
        self.name = name
        self.paths = tuple(paths)
        self.captions = captions
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        asked = Asked(captions, where.partition("=")[0] if where else None)
        images: dict[tuple, list[Any]] = {}
        problems: list[str] = []
        shards: list[tuple[int, int]] = []  # of each image: its table, and its row group where it lies in one
        for number, path in enumerate(paths):
            check_regular(path)
            for place, row in enumerate(rows(path, asked)):
                if where and isinstance(row, Mapping) and not passes(value_at(row, str(asked.filter)), where):
                    continue
                try:
                    image, texts = self._image_and_texts(row, f"{path}, row {place + 1}")
                except DataError as error:
                    problems.append(printable(error))
                    continue
                key = (str(path.parent / image),) if isinstance(image, str) else (number, *image)
                if key not in images:
                    shards.append((number, 0 if isinstance(image, str) else image[0]))
                images.setdefault(key, []).extend(texts)
        if not images:
            among = f" among those that pass where={where!r} (--where)" if where else ""
            reason = "".join(f": {problem}" for problem in problems[:1])
            raise DataError(f"{paths[0]} has no usable rows{among}{reason}")
        self.rows_lost = len(problems)
        unlisted = len(problems) - _LISTED
        self.problems = (*problems[:_LISTED], *([f"{unlisted} more rows like these"] if unlisted > 0 else []))
        self.shard_sizes = tuple(len(list(shard)) for _, shard in itertools.groupby(shards))
        self._records = Packed(json.dumps([key, texts]) for key, texts in images.items())

    def __len__(self) -> int:
        return len(self._records)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        for i in range(len(self)):
            image, texts = json.loads(self._records[i])
            told = [os.path.basename(image[0])] if len(image) == 1 else map(str, image)
            yield "\t".join([*told, *map(str, texts)])
        for i in some(len(self)):
            image, _ = json.loads(self._records[i])
            yield from glances([Path(image[0]) if len(image) == 1 else self.paths[image[0]]])

    def files(self) -> Iterator[Path]:
        """The tables, and the images that they name."""
        yield from self.paths
        for i in range(len(self)):
            image, _ = json.loads(self._records[i])
            if len(image) == 1:
                yield Path(image[0])

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_groups": OrderedDict()}

    def read(self, i: int) -> Sample:
        image, texts = json.loads(self._records[i])
        captions = tuple(dict.fromkeys(text for caption in texts if (text := str(caption).strip())))
        key = self._key(i)
        if len(image) == 1:
            data = Path(image[0])
        else:
            number, group, row, column = image
            cell = self._group(number, group, column)[row].as_py()
            data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            raise DataError(f"{key} has no image")
        return Sample(data, captions, None, key)

    def _image_and_texts(self, row: Row, where: str) -> tuple[str | tuple, list[Any]]:
        if not isinstance(row, Mapping):
            raise DataError(f"{where} is {row or 'no object'}")
        image = next((row[name] for name in IMAGE_COLUMNS if name in row), None)
        if not image or not isinstance(image, str | tuple):
            raise DataError(f"{where} has no image")
        return image, self._texts(row, where)

    def _texts(self, row: Mapping[str, Any], where: str) -> list[Any]:
        """What a row says of its image; ``where`` names it."""
        return row_texts(row, self.captions)

    def _key(self, i: int) -> str:
        image, _ = json.loads(self._records[i])
        if len(image) == 1:
            return printable(image[0])
        number, group, row, _ = image
        return f"{self.paths[number].name}, row group {group}, row {row}"

    def _group(self, number: int, group: int, column: str) -> Any:
        """The images of one row group; as many groups are held as the order mixes with each other."""
        if (number, group) not in self._groups:
            path = self.paths[number]
            table = read_group(parquet_file(path), path, group, [column])
            if len(self._groups) >= WINDOW:
                self._groups.popitem(last=False)
            self._groups[number, group] = table.column(0)
        self._groups.move_to_end((number, group))
        return self._groups[number, group]


def row_texts(row: Mapping[str, Any], captions: Sequence[str] | None) -> list[str]:
    """The captions of a row, of one column or several; a cell may hold a list of them."""
    values = [value_at(row, name) for name in caption_columns(row, captions)]
    cells = [cell for value in values for cell in (value if isinstance(value, list) else [value])]
    return [cell for cell in cells if isinstance(cell, str)]


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """What a row holds at a dotted path; None where there is nothing."""
    value: Any = row
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
