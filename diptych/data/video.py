"""Videos as images: the middle frame of each, as the paper takes it for UCF101 and Kinetics (section 3.1.5).

Needs PyAV, the extra ``video``. Frames are counted by decoding, since what a header says of their number is often
wrong; what it says of the file's size is not, so files that are cut off are told by that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diptych.data.files import check_regular, printable
from diptych.data.preprocess import MAX_PIXELS
from diptych.data.video_files import check_whole
from diptych.errors import DataError, MissingExtra

EXTENSIONS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg")

# FFmpeg reads many more, among them lists of other files; so the list is closed.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts"


def middle_frame(path: Path) -> np.ndarray:
    """The frame in the middle of a video, ``(height, width, 3)`` uint8: number n // 2, from 0, of n frames.

    Raises DataError that names the file where it is no video, is cut off, or has fewer than two frames; MissingExtra
    without PyAV.
    """
    av = pyav()
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


def pyav() -> Any:
    """The module ``av``. Raises MissingExtra where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtra(
            "videos are decoded by PyAV, which is not installed; pip install 'diptych[video]'"
        ) from error
