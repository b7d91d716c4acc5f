"""Images that lie in one array, as the small data sets are published: all of them are in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diptych.data.fields import class_captions
from diptych.data.files import printable
from diptych.data.sources import Sample
from diptych.errors import DataError, UnknownClass


class ArraySource:
    """Pixels ``(N, height, width)`` or ``(N, height, width, 3)``, uint8, each with the number of its class.

    ``origin``: the file that they are of, by whose name and its place a sample is called, as in ``test_batch 7``.
    ``class_names``: None where the files number classes without naming them. Raises DataError for other than one label
    an image, and for no image.
    """

    templates: tuple[str, ...] | None = None

    def __init__(
        self, name: str, pixels: np.ndarray, labels_N: np.ndarray, class_names: Sequence[str] | None, *, origin: Path
    ) -> None:
        if len(pixels) != len(labels_N):
            raise DataError(f"{printable(origin)} has {len(pixels)} images, but {len(labels_N)} labels")
        if not len(pixels):
            raise DataError(f"{printable(origin)} holds no image")
        self.name = name
        self.problems: tuple[str, ...] = ()
        self.class_names: tuple[str, ...] | None = tuple(class_names) if class_names is not None else None
        self._captions = class_captions(self.class_names or (), None)
        self._pixels, self._labels_N, self._origin = pixels, labels_N, printable(origin.name)

    def __len__(self) -> int:
        return len(self._pixels)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from self.class_names or ()
        for array in (self._pixels, self._labels_N):
            yield f"{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The class of a sample."""
        return (int(self._labels_N[i]),)

    def read(self, i: int) -> Sample:
        key, label, pixels = f"{self._origin} {i}", int(self._labels_N[i]), self._pixels[i]
        if self._captions and not 0 <= label < len(self._captions):
            raise UnknownClass.of(f"{key} is of class", label, len(self._captions))
        pixels_HWC = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        return Sample(np.ascontiguousarray(pixels_HWC), self._captions[label] if self._captions else (), label, key)
