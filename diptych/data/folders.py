"""Folders of image files as a source: one subfolder a class, or images with sidecar files that hold their captions."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data import fields
from diptych.data.packed import Packed
from diptych.data.sources import IMAGE_EXTENSIONS, Sample
from diptych.errors import DataError

_SIDECARS = ("txt", "json", "cls")


class FolderSource:
    """Images in one subfolder a class, at any depth in it; the class is called as the subfolder, ``_`` read as a space.

    ``root``: where ``zeroshot_classification_templates.txt`` may lie.
    """

    def __init__(self, name: str, folder: Path, root: Path) -> None:
        self.name = name
        self.folder = folder
        self.problems: tuple[str, ...] = ()
        classes = sorted(
            entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
        )
        files = [
            (file, label) for label, name in enumerate(classes) for file in _files(folder / name) if _is_image(file)
        ]
        if not files:
            raise DataError(
                f"{folder} is no source: no tars, no table, no captions beside images, no subfolders of images"
            )
        self.class_names: tuple[str, ...] | None = tuple(name.replace("_", " ") for name in classes)
        self.templates = fields.lines(root / "zeroshot_classification_templates.txt")
        self._captions = fields.class_captions(self.class_names, self.templates)
        self._records = Packed(f"{label} {os.path.relpath(file, folder)}" for file, label in files)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, i: int) -> Sample:
        label, _, file = self._records[i].partition(" ")
        return Sample(self.folder / file, self._captions[int(label)], int(label), _printable(file))


class PairSource:
    """Images with their captions beside them: ``cat.jpg`` with ``cat.txt`` or ``cat.json``, at any depth."""

    class_names = None
    templates = None

    def __init__(self, name: str, folder: Path, *, captions: tuple[str, ...] | None) -> None:
        self.name = name
        self.folder = folder
        self.problems: tuple[str, ...] = ()
        self.captions = captions if captions is not None else ("txt",)
        self._records = Packed(os.path.relpath(file, folder) for file in _files(folder) if _is_image(file))
        if captions is not None:
            fields.check_captions(self._sidecars(folder / self._records[0]), captions, name)

    @staticmethod
    def fits(folder: Path) -> bool:
        """Whether the first image found in the folder has a sidecar."""
        image = next((file for file in _files(folder) if _is_image(file)), None)
        return image is not None and bool(PairSource._sidecars(image))

    def __len__(self) -> int:
        return len(self._records)

    def read(self, i: int) -> Sample:
        file = self._records[i]
        key = _printable(os.path.splitext(file)[0])
        sidecars = self._sidecars(self.folder / file)
        return fields.sample_of(key, {**sidecars, "jpg": b""}, self.captions)._replace(image=self.folder / file)

    @staticmethod
    def _sidecars(image: Path) -> dict[str, bytes]:
        files = ((extension, image.with_suffix(f".{extension}")) for extension in _SIDECARS)
        return {extension: file.read_bytes() for extension, file in files if file.is_file()}


def _files(folder: Path):
    """All files below a folder, sorted, hidden ones left out."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and _is_above(Path(entry.path), folder):
            continue
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def _is_above(link: Path, folder: Path) -> bool:
    """Whether a link leads to a folder that contains it: to follow it would never end."""
    try:
        return folder.resolve().is_relative_to(link.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return True


def _is_image(file: Path) -> bool:
    return file.suffix[1:].lower() in IMAGE_EXTENSIONS


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")
