"""A source is a finite list of samples addressed by integer; here is what every kind has in common, and `open_source`.

| location | what it is |
|---|---|
| ``train-{0000..0099}.tar``, ``shards/*.tar``, a folder of tars | webdataset, also as img2dataset writes it |
| a folder with ``classnames.txt`` and ``test/0.tar`` ... | a CLIP_benchmark data set |
| a folder with one subfolder a class, or ``train/`` and ``val/`` of such | class folders |
| a folder of images, most of them beside a ``.txt`` of the same name, or, with ``captions``, a ``.json`` | pairs |
| ``.csv`` ``.tsv`` ``.jsonl`` ``.parquet`` | a table with an image and a caption column, or else a column of labels |
| ``s3://bucket/{00000..00999}.tar``, ``https://...`` | remote tars, kept on disk shard by shard |
| ``hf://datasets/org/name`` with a ``split`` | a CLIP_benchmark data set elsewhere |
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from diptych.data.files import printable, read_lines
from diptych.data.locations import expanded, natural
from diptych.data.source_spec import CacheSpec
from diptych.errors import DataError, nearest
from diptych.progress import say

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm", "ico")
SPLITS = ("train", "val", "valid", "validation", "dev", "test")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


class Sample(NamedTuple):
    """One image, the texts that go with it and the class it belongs to.

    ``image``: encoded bytes, a path, or a uint8 array (height, width, 3). ``captions``: none where the source has none;
    of a class, what its name makes of the templates. ``key``: names the sample in messages and results. ``keywords``:
    words or tags that may be added to a caption. ``labels``: the classes, ascending, of an image that may show several,
    or none of them; None where an image has one class, or none is known. ``unjudged``: those it is not judged by, as
    what it shows of them is too small or hidden (VOC's "difficult" objects).
    """

    image: bytes | Path | np.ndarray
    captions: tuple[str, ...]
    label: int | None
    key: str
    keywords: tuple[str, ...] = ()
    labels: tuple[int, ...] | None = None
    unjudged: tuple[int, ...] = ()


class Source(Protocol):
    """What the loader and the evaluations read. A source is picklable, and cheap to open again in a worker process.

    It may have ``captions_of(i)`` and ``labels_of(i)``, for captions and labels that are cheaper to have alone,
    ``shard_sizes``, the number of samples of each consecutive shard, ``fetched_sizes``, the same of what is lost
    together, where that is not the shards, ``problems``, sentences about damaged files, ``rows_lost``, how many rows of
    its tables make no sample, ``damage()``, sentences about files that have lost samples without a trace,
    ``listing()`` and ``files()``, by which `fingerprint` and `stamp` know the data again (a file here is a Path, one
    elsewhere a text), ``multilabel``, whether its images may show several classes, ``prefetch(shards)``, which is told
    what is read next, ``class_ids`` and ``members``, by which its classes are found among others, and ``walk(seed)``,
    an order of its own. ``read`` raises DataError for a sample that cannot be used, ShardLost where it is not alone;
    `release` closes files.
    """

    name: str
    class_names: tuple[str, ...] | None
    templates: tuple[str, ...] | None

    def __len__(self) -> int: ...

    def read(self, i: int, /) -> Sample: ...


def read(source: Source, index: int) -> Sample:
    """Sample ``index`` of a source, without blank captions.

    A file that cannot be read is a DataError too, as is text that is not UTF-8 or cannot be written as UTF-8.
    """
    try:
        sample = source.read(index)
        for caption in sample.captions + sample.keywords:
            caption.encode()  # half a surrogate pair, as JSON may hold, would stop a tokenizer
        return sample._replace(captions=tuple(caption for caption in sample.captions if caption.strip()))
    except DataError as error:
        raise type(error)(printable(error)) from error
    except UnicodeError as error:
        raise DataError(f"sample {index} of {source.name}: its caption is not UTF-8 ({printable(error)})") from error
    except OSError as error:
        raise DataError(printable(f"sample {index} of {source.name}: {error}")) from error


def captions_of(source: Source, index: int) -> tuple[str, ...]:
    """All words of a sample, captions and keywords; none where it cannot be read."""
    alone = getattr(source, "captions_of", None)
    try:
        if alone:
            return alone(index)
        sample = read(source, index)
        return sample.captions + sample.keywords
    except DataError:
        return ()


def labels_of(source: Source, index: int) -> tuple[int, ...]:
    """The classes of a sample, one or several; none where it has none, or cannot be read."""
    alone = getattr(source, "labels_of", None)
    try:
        if alone:
            return alone(index)
        sample = read(source, index)
    except (DataError, OSError):
        return ()
    return sample.labels or (() if sample.label is None else (sample.label,))


def damage_of(source: Source) -> tuple[str, ...]:
    """Why samples of a source are lost that are not even counted: sentences about tars that are cut off."""
    return getattr(source, "damage", tuple)()


def release(source: Source) -> None:
    """Close the files that a source has opened; it opens them again where it is read."""
    if closing := getattr(source, "release", None):
        closing()


@contextmanager
def naming(sample: Sample) -> Generator[None]:
    """Puts the sample's key before what is said of its image; whatever files are called, it can be written as UTF-8."""
    try:
        yield
    except (DataError, OSError) as error:
        said = printable(error)
        raise DataError(said if said.startswith(sample.key) else f"{sample.key}: {said}") from error


def open_source(
    location: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    captions: Sequence[str] | None = None,
    keywords: Sequence[str] = (),
    where: str | None = None,
    cache: CacheSpec | None = None,
) -> Source:
    """Open whatever lies at ``location``: a file, folder, ``*`` pattern, ``{000..099}`` range, or a list of those.

    ``split``: which part of a folder that has several (train, val, test). ``captions``: the fields captions are taken
    from, together: of tars ``"txt"`` (a caption a line) or a path into JSON, ``"json.captions.en"`` (a string or a
    list of them); of tables, columns. ``keywords``: the same for words that may be added to captions. ``where``: keeps
    the samples in which a field is true, ``"json.base"``, or has a value, ``"json.vendor=noto"``. ``cache``: where
    remote shards are kept (a location with ``://``: any protocol of fsspec, tars only). Raises DataError that names
    what is missing and what there is.

    >>> open_source("flickr8k", split="train", captions=["json.captions.en"])  # doctest: +SKIP
    """
    if keywords:
        from diptych.data.keywords import WithKeywords

        plain = open_source(location, split=split, captions=captions, where=where, cache=cache)
        return WithKeywords(plain, open_source(location, split=split, captions=keywords, where=where, cache=cache))
    locations = [location] if isinstance(location, str | Path) else list(location)
    fields = tuple(captions) if captions is not None else None
    if any(is_remote(item) for item in locations):
        from diptych.data.remote import open_remote, open_remote_folder

        if split is None:
            return open_remote([str(item) for item in locations], fields, where, cache or CacheSpec())
        if len(locations) > 1 or re.search(r"[*{]|\.tar$", str(locations[0])):
            raise DataError(f"split={split!r} is of folders; name the split's shards instead of {locations[0]}")
        return open_remote_folder(str(locations[0]), split, fields, where, cache or CacheSpec())
    paths = [path for item in locations for path in expanded(str(item))]
    if not paths or "" in map(str, locations):
        raise DataError("no location was given; pass a file, a folder or a pattern")
    if len(paths) == 1 and paths[0].is_dir():
        return _open_folder(paths[0], split, fields, where)
    if split is not None:
        raise DataError(
            f"split={split!r} needs one folder, but {location} is {len(paths)} file(s); name the split's files"
        )
    return _open_files(_name(paths[0]), paths, fields, where)


def _name(file: Path) -> str:
    """What data are called by their first file: by its folder where it is only numbered, or called after a split."""
    numbered = re.fullmatch(rf"({'|'.join(SPLITS)})?[-_.]?\d*", file.stem)
    return printable((file.absolute().parent if numbered else file).stem)


def is_remote(location: str | Path) -> bool:
    """Whether a location is one of fsspec's, ``s3://bucket/0.tar``."""
    return isinstance(location, str) and re.match(r"[a-z][a-z0-9+.-]*://", location) is not None


def splits_of(location: str | Path) -> tuple[str, ...]:
    """The splits that a folder has, as subfolders or in the names of its tars; none of anything else."""
    from diptych.data.folders import subfolders

    folder = Path(location)
    if is_remote(location) or not folder.is_dir():
        return ()
    inner = subfolders(folder)
    found = inner if set(inner) <= set(SPLITS) else []
    return tuple(found or _splits_of_tars(folder.glob("*.tar")))


def _splits_of_tars(tars: Iterable[Path]) -> list[str]:
    return sorted({split for tar in tars if (split := re.split(r"[^a-z]", tar.stem)[0]) in SPLITS})


def _open_files(name: str, paths: Sequence[Path], captions: tuple[str, ...] | None, where: str | None) -> Source:
    from diptych.data.label_tables import LabelTable, label_column
    from diptych.data.tables import TableSource
    from diptych.data.tars import TarSource

    kinds = sorted({path.suffix.lower() for path in paths})
    if kinds == [".tar"]:
        return TarSource.open(name, paths, captions=captions, where=where)
    if len(kinds) == 1 and kinds[0] in TABLES:
        if captions is None and (column := label_column(paths[0], captions=False)):
            return LabelTable(name, paths, column, where=where)
        return TableSource(name, paths, captions=captions, where=where)
    if len(kinds) > 1 and set(kinds) <= {".tar", *TABLES}:
        raise DataError(f"{name} has files of several kinds, {', '.join(kinds)}; give those of one, as *{kinds[0]}")
    raise DataError(
        f"{paths[0]} is no source; give a folder, or files ending in .tar, {', '.join(TABLES)}, all of one kind"
    )


def _open_folder(folder: Path, split: str | None, captions: tuple[str, ...] | None, where: str | None) -> Source:
    from diptych.data.described import Described, described
    from diptych.data.folders import open_images, subfolders
    from diptych.data.tars import TarSource

    name, root = printable(folder.resolve().name), folder
    inner = subfolders(folder)
    if split in inner or (inner and set(inner) <= set(SPLITS)):
        folder = folder / _chosen(split, inner, folder)
    elif split is not None and not list(folder.glob("*.tar")):
        raise DataError(f"{folder} has no splits, so there is no {split!r}; leave split= (--split) out")
    tars = sorted(folder.glob("*.tar"), key=natural)
    if tars:
        tars = _tars_of_split(tars, None if folder != root else split, folder)
        names = next(
            (file for file in (root / "classnames.txt", root.parent / "classnames.txt") if file.is_file()), None
        )
        told = names is not None and (folder != root or (folder / "nshards.txt").exists())
        says = described(names.parent) if names and told else Described()
        return TarSource.open(name, tars, captions=captions, where=where, says=says)
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES)
    if tables:
        return _open_files(name, tables, captions, where)
    _unfiltered(where, name)
    return open_images(name, folder, root, captions)


def _tars_of_split(tars: list[Path], split: str | None, folder: Path) -> list[Path]:
    """Tars whose names begin with a split, ``train-0000.tar``, are taken by split; others together, and all of them."""
    count = folder / "nshards.txt"
    if (lines := read_lines(count)) is not None:
        number = "\n".join(lines)
        if not number.isdecimal():
            raise DataError(f"{count} holds {number[:40]!r}, not the number of tars")
        if not int(number):
            raise DataError(f"{count} holds {number[:40]!r}, but {tars[0].name} is there")
        there, tars = tars, [folder / f"{i}.tar" for i in range(int(number))]
        counted = set(tars)
        if others := [tar.name for tar in there if tar not in counted]:
            left = f"{others[0]} is not read" if len(others) == 1 else f"{len(others)} are not read, {others[0]} first"
            say(f"warning: {count} says {int(number):,}, but there are {len(there):,} tars; {left}")
    splits = _splits_of_tars(tars)
    if split is None and len(splits) < 2:
        return tars
    chosen = _chosen(split, splits, folder)
    return [tar for tar in tars if re.split(r"[^a-z]", tar.stem)[0] == chosen]


def _chosen(split: str | None, splits: Sequence[str], folder: Path) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None:
        raise DataError(f"{folder} has the splits {', '.join(splits)}; say which with split= (--split)")
    if split not in splits:
        raise DataError(f"{folder} has no split {split!r}; {nearest(split, splits)}")
    return split


def _unfiltered(where: str | None, name: str) -> None:
    if where is not None:
        raise DataError(f"where= (--where) does not apply to {name}: only tars and tables have fields to filter by")
