"""KITTI's object detection set, whose classes are how far away the closest vehicle is."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from diptych.data.files import printable, read_lines
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import fields_of, lines_of, numbered_lines
from diptych.errors import DataError

_VEHICLES = ("Car", "Van", "Truck")
_BOUNDS = (8.0, 20.0)  # metres along the view; beyond the last is a class too, and no vehicle another (VTAB)
_FIELDS, _DEPTH = 15, 13  # of a line of labels; where in it metres along the view are
_SHARE = 10  # per cent of the videos that are test, and as many val
_FEWEST = 3  # videos
_SEED = 123


def kitti(base: Path, split: str) -> ListedSource:
    """``training/label_2/000000.txt``: ``Car 0.00 0 -1.6 ... 12.3 -1.6``, an object a line, for the image of that
    number in ``training/image_2``; ``mapping/train_rand.txt`` and ``train_mapping.txt`` of the development kit tell
    which video each is of.

    What KITTI itself calls test has no labels. As in TensorFlow Datasets, of which VTAB and the paper have theirs, a
    tenth of the videos, drawn, is measured on, and another chosen by.
    """
    labels, images = base / "training/label_2", base / "training/image_2"
    file, videos = _videos(base)
    if len(videos) != (there := sum(1 for _ in labels.glob("*.txt"))):
        raise DataError(f"{printable(file)} is of {len(videos)} images, but {printable(labels)} is of {there}")
    if len(set(videos)) < _FEWEST:
        raise DataError(f"{printable(file)} has images of {len(set(videos))} videos, which make no three splits")
    numbers = _splits(videos)[split]
    return ListedSource(
        "KITTI Distance",
        images,
        (Item(f"{number:06}.png", _closest(labels / f"{number:06}.txt")) for number in numbers),
        None,
    )


def _closest(file: Path) -> int:
    """The class of an image: the range that its closest vehicle is in, or the last where there is none."""
    lines = read_lines(file)
    if lines is None:
        raise DataError(f"{printable(file)}: no such file")
    depths = [math.inf]
    for number, line in enumerate(lines, 1):
        what, *rest = fields_of(file, number, line, _FIELDS)
        if what in _VEHICLES:
            depths.append(_metres(file, number, rest[_DEPTH - 1]))
    closest = min(depths)
    return len(_BOUNDS) + 1 if closest == math.inf else sum(closest > bound for bound in _BOUNDS)


def _metres(file: Path, number: int, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{printable(file)}, line {number}: {text!r:.40} is no distance")
    return found


def _videos(base: Path) -> tuple[Path, list[str]]:
    """The video of each image, in their order, and the file that tells."""
    kits = sorted(path.parent for path in (*base.glob("mapping/*_rand.txt"), *base.glob("*/mapping/*_rand.txt")))
    if not kits:
        raise DataError(
            f"{printable(base)} has no mapping/train_rand.txt, here or in a folder of the development kit "
            "(devkit_object.zip), which tells the splits"
        )
    file, listed = kits[0] / "train_rand.txt", kits[0] / "train_mapping.txt"
    drives = [fields_of(listed, number, line, 2)[1] for number, line in numbered_lines(listed)]
    places = [place.strip() for place in " ".join(lines_of(file)).replace(",", " ").split()]
    for place in places:
        if not place.isdecimal() or not 1 <= int(place) <= len(drives):
            raise DataError(
                f"{printable(file)}: {place!r:.40} is no line of train_mapping.txt, which has {len(drives)}"
            )
    return file, [drives[int(place) - 1] for place in places]


def _splits(videos: list[str]) -> dict[str, list[int]]:
    """The images of each split."""
    images: dict[str, list[int]] = defaultdict(list)
    for image, video in enumerate(videos):
        images[video].append(image)
    count = max(1, len(images) * _SHARE // 100)
    draws = np.random.RandomState(_SEED)  # the generator that the splits were drawn with
    test = {str(video) for video in draws.choice(sorted(images), count, replace=False)}
    val = {str(video) for video in draws.choice(sorted(set(images) - test), count, replace=False)}
    found: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for image, video in enumerate(videos):
        found["test" if video in test else "val" if video in val else "train"].append(image)
    return found
