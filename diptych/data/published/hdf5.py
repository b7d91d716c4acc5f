"""PatchCamelyon: a split is an HDF5 file of images and one of labels; images are read one by one.

Needs h5py, the extra ``hdf5``.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.files import check_regular, printable
from diptych.data.fingerprint import glances
from diptych.data.sources import Sample
from diptych.errors import DataError, MissingExtra

_IMAGE = (96, 96, 3)
_CACHE = 32 << 20  # bytes of unpacked blocks that are kept: images that follow each other may lie in one


def patch_camelyon(base: Path, split: str) -> HdfSource:
    """``camelyonpatch_level_2_split_test_x.h5`` with ``x`` (N, 96, 96, 3), and ``_y.h5`` with ``y`` (N, 1, 1, 1), 1
    where the middle of the patch shows a tumour."""
    images, labels = (base / f"camelyonpatch_level_2_split_{split}_{part}.h5" for part in "xy")
    for file in (images, labels):
        if not file.is_file() and file.with_name(f"{file.name}.gz").is_file():
            raise DataError(f"{printable(file)}: no such file, but {file.name}.gz, which gunzip unpacks")
    return HdfSource("PatchCamelyon", images, labels)


class HdfSource:
    """The images of the array ``x`` of one file, with labels, 0 or 1, of ``y`` in another, which alone are in memory.

    Raises DataError that names the file where it is missing, damaged, cut off or holds another array, where labels are
    not one an image, and where there is none; MissingExtra without h5py.
    """

    templates: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __init__(self, name: str, images: Path, labels: Path) -> None:
        self.name = name
        self.problems: tuple[str, ...] = ()
        self._images, self._labels = images, labels
        self._file: Any = None
        self._process = 0
        with _array(images, "x", _IMAGE) as array:
            if array.dtype != np.uint8:
                raise DataError(f"{printable(images)}: its 'x' is of {array.dtype}, not of bytes (uint8)")
            count = len(array)
        with _array(labels, "y", (1, 1, 1)) as array:
            self._labels_N = array[:].reshape(-1)
        if count != len(self._labels_N):
            raise DataError(
                f"{printable(images)} has {count:,} images, but {labels.name} {len(self._labels_N):,} labels"
            )
        if not count:
            raise DataError(f"{printable(images)} holds no image")
        wrong = np.flatnonzero(~np.isin(self._labels_N, (0, 1)))
        if len(wrong):
            label = f"label {wrong[0]:,}, from 0, is {self._labels_N[wrong[0]]}"
            raise DataError(f"{printable(labels)}: {label}, not 0 or 1; {len(wrong):,} of {count:,} are not")

    def __len__(self) -> int:
        return len(self._labels_N)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield hashlib.sha256(self._labels_N.tobytes()).hexdigest()
        yield from glances((self._images,))

    def files(self) -> Iterator[Path]:
        """All that is read."""
        yield from (self._images, self._labels)

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The class of a sample."""
        return (int(self._labels_N[i]),)

    def read(self, i: int) -> Sample:
        label = int(self._labels_N[i])
        with _naming(self._images):
            if self._file is None or self._process != os.getpid():  # what was opened before a fork is not to be shared
                self._file, self._process = _opened(self._images), os.getpid()
            pixels_HWC = self._file["x"][i]
        return Sample(pixels_HWC, (), label, f"{printable(self._images.name)} {i}")

    def release(self) -> None:
        """Close the file of images."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None


@contextmanager
def _array(path: Path, name: str, shape: tuple[int, ...]) -> Generator[Any]:
    """An array of whole numbers (N, *shape), all of it in this file."""
    h5py = _h5py()
    with _naming(path), _opened(path) as file:
        if name not in file:
            raise DataError(f"{printable(path)} has no {name!r}; it has {', '.join(file) or 'nothing':.200}")
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{printable(path)}: its {name!r} leads to another place, where it is not looked for")
        array = file[name]
        if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "iu" or array.shape[1:] != shape:
            has = f"{array.dtype} {array.shape}" if isinstance(array, h5py.Dataset) else "no array"
            wanted = ", ".join(map(str, ("N", *shape)))
            raise DataError(f"{printable(path)}: its {name!r} is {has}, not whole numbers ({wanted})")
        if array.external or array.is_virtual:
            raise DataError(f"{printable(path)}: its {name!r} lies in other files, which are not read")
        if array.chunks:
            blocks = math.prod(-(-size // block) for size, block in zip(array.shape, array.chunks, strict=True))
            written = array.id.get_num_chunks()
        else:
            blocks, written = array.nbytes, array.id.get_storage_size()
        if written != blocks:  # the library reads zeros where nothing was written
            raise DataError(f"{printable(path)}: its {name!r} is incomplete, {written / max(1, blocks):.0%} is written")
        yield array


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Whatever the library meets in a damaged file is a DataError that names it."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{printable(path)} is no HDF5 file, or is damaged or cut off: {error}") from error


def _opened(path: Path) -> Any:
    check_regular(path)
    return _h5py().File(path, "r", rdcc_nbytes=_CACHE)


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise MissingExtra(
            "HDF5 files are read by h5py, which is not installed; pip install 'diptych[hdf5]'"
        ) from error
