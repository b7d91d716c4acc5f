"""Videos as images: the middle frame of each, as the paper takes it for UCF101 and Kinetics (section 3.1.5).

Needs PyAV, the extra ``video``. Frames are counted by decoding, since what a header says of their number is often
wrong; what it says of the file's size is not, so files that are cut off are told by that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diptych.data.files import check_regular, printable
from diptych.data.folders import subfolders
from diptych.data.listed import Item, ListedSource
from diptych.data.preprocess import MAX_PIXELS
from diptych.data.published_lists import ucf101 as ucf101_list
from diptych.data.published_lists import words
from diptych.data.sources import Sample
from diptych.data.video_files import check_whole
from diptych.errors import DataError, MissingExtra

EXTENSIONS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg")

# FFmpeg reads many more, among them lists of other files; so the list is closed.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts"


class VideoSource(ListedSource):
    """The middle frame of each video of a list. One that cannot be decoded is a DataError when it is read."""

    def __init__(self, name: str, folder: Path, items: Iterable[Item], class_names: Sequence[str] | None) -> None:
        _av()  # told before anything is read
        super().__init__(name, folder, items, class_names)

    def read(self, i: int) -> Sample:
        sample = super().read(i)
        return sample._replace(image=middle_frame(self.folder / self._item(i).file))


def middle_frame(path: Path) -> np.ndarray:
    """The frame in the middle of a video, ``(height, width, 3)`` uint8: number n // 2, from 0, of n frames.

    Raises DataError that names the file where it is no video, is cut off, or has fewer than two frames; MissingExtra
    without PyAV.
    """
    av = _av()
    check_regular(path)
    name = printable(path)
    with open(path, "rb") as file:
        check_whole(name, file)
        try:
            count = sum(1 for _ in _frames(av, name, file))
            if count < 2:
                raise DataError(
                    f"{name} has {count} frame{'s' * (count != 1)}, so it is no video; is the rest of it lost?"
                )
            for number, frame in enumerate(_frames(av, name, file)):
                if number == count // 2:
                    return frame.to_ndarray(format="rgb24")
        except DataError:
            raise
        except Exception as error:  # decoders meet hostile files with every kind of exception
            raise DataError(f"{name} cannot be decoded: {type(error).__name__}: {error}") from error
    raise DataError(f"{name} gave {count} frames at first and fewer when it was read again")


def ucf101(base: Path, split: str) -> VideoSource:
    """UCF101: the lists of its first partition, and class folders of videos in ``UCF-101/``, beside or above them."""
    items, names = ucf101_list(base, split)
    places = [place for place in (base / "UCF-101", base.parent / "UCF-101", base) if place.is_dir()]
    return VideoSource("UCF101", places[0], items, names)


def split_folders(base: Path, split: str) -> VideoSource:
    """``val/abseiling/x.mp4``: a folder a split, in it one a class (Kinetics)."""
    return video_folders(base / split)


def video_folders(folder: Path) -> VideoSource:
    """Videos in one subfolder a class, which is called as the subfolder. Raises DataError where there is none."""
    if not folder.is_dir():
        raise DataError(f"{printable(folder)}: no such folder")
    tops = subfolders(folder)
    if odd := [top for top in tops if top != printable(top)]:
        raise DataError(f"{folder}: the folder {printable(odd[0])} cannot name a class, it is not UTF-8; rename it")
    items = (Item(file, label) for label, top in enumerate(tops) for file in _videos(folder, top))
    return VideoSource(printable(folder.resolve().name), folder, items, [words(top) for top in tops])


def _videos(folder: Path, top: str) -> Iterator[str]:
    found = (path for path in (folder / top).rglob("*") if path.suffix.lower() in EXTENSIONS)
    return iter(sorted(str(path.relative_to(folder)) for path in found))


def _frames(av: Any, name: str, file: BinaryIO) -> Iterator[Any]:
    """The frames of the first video stream, in the order in which they are shown."""
    file.seek(0)
    with av.open(file, options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"}) as container:
        if not container.streams.video:
            raise DataError(f"{name} has no video in it; is it sound alone?")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise DataError(f"{name} has frames of more than {MAX_PIXELS:,} pixels; is it a bomb?")
        yield from container.decode(stream)


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtra(
            "videos are decoded by PyAV, which is not installed; pip install 'diptych[video]'"
        ) from error
