"""Videos as their middle frames (paper, section 3.1.5): UCF101's lists, and folders of videos, as of Kinetics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from diptych.data.files import printable
from diptych.data.folders import subfolders
from diptych.data.published.image_lists import item_of_folder
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import fields_of, numbered_lines, numbers_of, words
from diptych.data.sources import Sample
from diptych.data.video import EXTENSIONS, middle_frame, pyav
from diptych.errors import DataError


class VideoSource(ListedSource):
    """The middle frame of each video of a list. One that cannot be decoded is a DataError when it is read."""

    def __init__(self, name: str, folder: Path, items: Iterable[Item], class_names: Sequence[str] | None) -> None:
        pyav()  # told before anything is read
        super().__init__(name, folder, items, class_names)

    def read(self, i: int) -> Sample:
        sample = super().read(i)
        return sample._replace(image=middle_frame(self.folder / self._item(i).file))


def ucf101(base: Path, split: str) -> VideoSource:
    """UCF101: the lists of its first partition, and class folders of videos in ``UCF-101/``, beside or above them."""
    items, names = _listed(base, split)
    places = [place for place in (base / "UCF-101", base.parent / "UCF-101", base) if place.is_dir()]
    return VideoSource("UCF101", places[0], items, names)


def _listed(base: Path, split: str) -> tuple[list[Item], list[str]]:
    """The videos of the first of three partitions, and the classes: ``trainlist01.txt``:
    ``Archery/v_Archery_g08_c01.avi 3``; ``classInd.txt``: ``3 Archery``."""
    lists = base if (base / "classInd.txt").is_file() else base / "ucfTrainTestlist"
    classes, listed = [], lists / f"{split}list01.txt"
    for number, line in numbered_lines(lists / "classInd.txt"):
        classes.append(fields_of(lists / "classInd.txt", number, line, 2)[1])
    places = numbers_of(classes)
    items = [item_of_folder(listed, number, line.split()[0], places) for number, line in numbered_lines(listed)]
    return items, [words(name) for name in classes]


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
