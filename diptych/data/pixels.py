"""Images of any kind to batches of pixels, decoded a batch ahead by threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import IOBase
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.preprocess import ImageLike, decode_image, preprocess
from diptych.errors import ConfigError, DataError
from diptych.specs import PreprocessSpec

_ONE = str | os.PathLike | bytes | bytearray | memoryview | Image.Image


def pixel_batches(images: ImageLike | Iterable[ImageLike], spec: PreprocessSpec, batch_size: int) -> Iterator[Tensor]:
    """``pixels_BCHW`` of one image or of any number of them, in their order.

    An image is a path, encoded bytes, a Pillow image or a uint8 array (H, W[, channels]); an array of four dimensions
    is many. Raises DataError for one that cannot be read, ConfigError for batches of less than one.
    """
    check_batch_size(batch_size)
    batches = _batches(_several(images), batch_size)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        waiting = None
        for batch in batches:
            ahead = [threads.submit(_pixels_of, image, spec) for image in batch]
            if waiting:
                yield torch.stack([future.result() for future in waiting])
            waiting = ahead
        if waiting:
            yield torch.stack([future.result() for future in waiting])


def is_one(images: object) -> bool:
    """Whether this is one image, rather than many or none."""
    return isinstance(images, _ONE) or (isinstance(images, np.ndarray) and images.ndim < 4)


def check_batch_size(batch_size: int) -> None:
    """Raises ConfigError for what is no whole number, or less than one."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number, at least 1, not {batch_size!r}")


def check_pixels(pixels_BCHW: Tensor, spec: PreprocessSpec) -> None:
    """Raises DataError for what is not a batch of images preprocessed as ``spec`` says."""
    if not isinstance(pixels_BCHW, Tensor):
        raise DataError(f"pixels must be a tensor of PyTorch; {type(pixels_BCHW).__name__} is none")
    shape, kind = tuple(pixels_BCHW.shape), pixels_BCHW.dtype
    if shape[1:] != (3, spec.size, spec.size) or not kind.is_floating_point:
        raise DataError(
            f"pixels must be preprocessed as this model wants them, floats of shape (n, 3, {spec.size}, {spec.size}), "
            f"not {kind} of shape {shape}"
        )


def _pixels_of(image: ImageLike, spec: PreprocessSpec) -> Tensor:
    if isinstance(image, str | os.PathLike) and os.path.isdir(folder := Path(image)):
        raise DataError(f"{folder} is a folder; pass the images in it, such as Path({str(folder)!r}).glob('*.jpg')")
    return preprocess(decode_image(image), spec)


def _several(images: Any) -> Iterable[ImageLike]:
    if is_one(images):
        return [images]
    if isinstance(images, IOBase):
        raise DataError("an open file is not an image; pass its path, or the bytes that its read() gives")
    if not isinstance(images, Iterable):
        raise DataError(f"images are one image or several; {type(images).__name__} is neither")
    return images


def _batches(items: Iterable[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
