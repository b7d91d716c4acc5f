"""Images of any kind to batches of pixels, decoded a batch ahead by threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.preprocess import ImageLike, decode_image, preprocess
from diptych.specs import PreprocessSpec


def pixel_batches(images: ImageLike | Iterable[ImageLike], spec: PreprocessSpec, batch_size: int) -> Iterator[Tensor]:
    """``pixels_BCHW`` of one image or of any number of them, in their order. Raises DataError for one that cannot be
    read.

    An image is a path, encoded bytes, a Pillow image or a uint8 array (H, W[, channels]); an array of four dimensions
    is many.
    """
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


def _pixels_of(image: ImageLike, spec: PreprocessSpec) -> Tensor:
    return preprocess(decode_image(image), spec)


def _several(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    single = str | Path | bytes | Image.Image
    if isinstance(images, single) or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    return images


def _batches(items: Iterable[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
