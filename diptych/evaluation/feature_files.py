"""Features on disk, a Parquet file a part: a pass over the images is made once, and goes on where it was cut off."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diptych.progress import say
from diptych.replacing import replacing

if TYPE_CHECKING:
    import pyarrow

Wanted = Literal["embeddings", "features"]


@dataclass(frozen=True)
class Part:
    """Some consecutive samples of a source: of the n that could be read all that is known, of the others why not.

    places_n: where in the source; the places of failures are not among them.
    label_sets, unjudged: of images that may show several classes, as in ``Sample``.
    digests:  SHA-256 of what was read of each; images: of its image alone.
    arrays:   embeddings (n, E), of no width where there are none, and features (n, D); those that were wanted.
    failures: place in the source, and what was wrong.
    problems: what the source says of damaged files.
    """

    places_n: np.ndarray
    keys: tuple[str, ...]
    labels: tuple[int | None, ...]
    label_sets: tuple[tuple[int, ...] | None, ...]
    unjudged: tuple[tuple[int, ...], ...]
    captions: tuple[tuple[str, ...], ...]
    digests: tuple[bytes, ...]
    images: tuple[bytes, ...]
    arrays: dict[Wanted, np.ndarray]
    failures: tuple[tuple[int, str], ...]
    problems: tuple[str, ...]

    def of(self, wanted: tuple[Wanted, ...]) -> Part:
        """The same with these arrays alone."""
        return replace(self, arrays={name: self.arrays[name] for name in wanted})


def write(part: Part, path: Path) -> None:
    """One Parquet file, whole or absent, a row an image, with checksums."""
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, Any] = {
        "place": pyarrow.array(part.places_n, pyarrow.int64()),
        "key": pyarrow.array(part.keys, pyarrow.string()),
        "label": pyarrow.array(part.labels, pyarrow.int64()),
        "labels": pyarrow.array(
            [None if own is None else list(own) for own in part.label_sets], pyarrow.list_(pyarrow.int64())
        ),
        "unjudged": pyarrow.array([list(own) for own in part.unjudged], pyarrow.list_(pyarrow.int64())),
        "captions": pyarrow.array([list(own) for own in part.captions], pyarrow.list_(pyarrow.string())),
        "digest": pyarrow.array(part.digests, pyarrow.binary(32)),
        "image": pyarrow.array(part.images, pyarrow.binary(32)),
    }
    for name, array in part.arrays.items():
        flat = pyarrow.array(np.ascontiguousarray(array, np.float32).reshape(-1))
        # A list of fixed length none long loses its length in Parquet, so what has no width is left out.
        if array.shape[1]:
            columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1])
    told = {
        "failures": part.failures,
        "problems": part.problems,
        "widths": {n: a.shape[1] for n, a in part.arrays.items()},
    }
    table = pyarrow.table(columns).replace_schema_metadata({"diptych": json.dumps(told)})
    with replacing(path) as partial:
        parquet.write_table(table, partial, compression="zstd", write_page_checksum=True)


def read(path: Path, wanted: tuple[Wanted, ...]) -> Part | None:
    """What ``write`` wrote, with the arrays wanted; None where there is no file, or a damaged one, which is said."""
    if not path.exists():
        return None
    from pyarrow import ArrowException

    try:
        return _read(path, wanted)
    except (OSError, ValueError, KeyError, TypeError, ArrowException) as problem:
        say(f"{path} is damaged and made again: {str(problem).partition(chr(10))[0]}")
        return None


def _read(path: Path, wanted: tuple[Wanted, ...]) -> Part:
    from pyarrow import parquet

    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        told = json.loads((file.schema_arrow.metadata or {})[b"diptych"])
        widths = told["widths"]
        names = ["place", "key", "label", "labels", "unjudged", "captions", "digest", "image"]
        table = file.read([*names, *(name for name in wanted if widths[name])])
    rows = table.num_rows
    return Part(
        places_n=table["place"].to_numpy(),
        keys=tuple(table["key"].to_pylist()),
        labels=tuple(table["label"].to_pylist()),
        label_sets=tuple(own if own is None else tuple(own) for own in table["labels"].to_pylist()),
        unjudged=tuple(map(tuple, table["unjudged"].to_pylist())),
        captions=tuple(map(tuple, table["captions"].to_pylist())),
        digests=tuple(table["digest"].to_pylist()),
        images=tuple(table["image"].to_pylist()),
        arrays={name: _array(table, name, rows, widths[name]) for name in wanted},
        failures=tuple((int(place), str(why)) for place, why in told["failures"]),
        problems=tuple(told["problems"]),
    )


def _array(table: pyarrow.Table, name: str, rows: int, width: int) -> np.ndarray:
    if not width:
        return np.empty((rows, 0), np.float32)
    values = table[name].combine_chunks()
    flat = values.flatten().to_numpy()
    if len(flat) != rows * width:
        raise ValueError(f"{name} has {len(flat)} numbers, not {rows} x {width}")
    return flat.reshape(rows, width)
