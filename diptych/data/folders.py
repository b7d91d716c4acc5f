"""Folders of image files as a source: one subfolder a class, or images with sidecar files that hold their captions."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.data import fields
from diptych.data.files import printable, read_bytes
from diptych.data.fingerprint import glances, some
from diptych.data.packed import Packed
from diptych.data.sources import IMAGE_EXTENSIONS, Sample, captions_of
from diptych.errors import DataError

_SIDECARS = ("txt", "json", "cls")
_STRAY = 0.01  # the share of images with a .txt beside them that does not yet make a folder one of captions


class FolderSource:
    """Images in one subfolder a class, at any depth in it; the class is called as the subfolder, ``_`` read as a space.

    ``files``: the images, relative to ``folder``, sorted. ``root``: where ``zeroshot_classification_templates.txt`` may
    lie.
    """

    def __init__(self, name: str, folder: Path, files: Sequence[str], root: Path) -> None:
        self.name = name
        self.folder = folder
        self.problems: tuple[str, ...] = ()
        classes = subfolders(folder)
        odd = next((name for name in classes if name != printable(name)), None)
        if odd is not None:
            raise DataError(f"{folder}: the folder {printable(odd)} cannot name a class, it is not UTF-8; rename it")
        labels = {name: label for label, name in enumerate(classes)}
        inside = [(labels[top], file) for file in files if (top := file.split(os.sep)[0]) in labels]
        if not inside:
            raise DataError(
                f"{folder} is no source: no tars, no table, no captions beside images, no subfolders of images"
            )
        self.class_names: tuple[str, ...] | None = tuple(name.replace("_", " ") for name in classes)
        self.templates = fields.lines(root / "zeroshot_classification_templates.txt")
        self._captions = fields.class_captions(self.class_names, self.templates)
        self._records = Packed(f"{label} {file}" for label, file in inside)

    def __len__(self) -> int:
        return len(self._records)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (*(self.class_names or ()), *(self.templates or ()))
        yield from (self._records[i] for i in range(len(self)))
        yield from glances(self.folder / self._records[i].partition(" ")[2] for i in some(len(self)))

    def files(self) -> Iterator[Path]:
        """All that is read."""
        return (self.folder / self._records[i].partition(" ")[2] for i in range(len(self)))

    def read(self, i: int) -> Sample:
        label, _, file = self._records[i].partition(" ")
        return Sample(self.folder / file, self._captions[int(label)], int(label), printable(file))

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The class of a sample, whose image is not looked at."""
        return (int(self._records[i].partition(" ")[0]),)


class PairSource:
    """Images with their captions beside them: ``cat.jpg`` with ``cat.txt`` or ``cat.json``, at any depth.

    ``files``: the images, relative to ``folder``.
    """

    class_names = None
    templates = None

    def __init__(self, name: str, folder: Path, files: Sequence[str], *, captions: tuple[str, ...]) -> None:
        self.name = name
        self.folder = folder
        self.problems: tuple[str, ...] = ()
        self.captions = captions
        self._records = Packed(files)

    def __len__(self) -> int:
        return len(self._records)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (self._records[i] for i in range(len(self)))
        for i in some(len(self)):
            yield from captions_of(self, i)
            yield from glances([self.folder / self._records[i]])

    def files(self) -> Iterator[Path]:
        """All that is read; of what lies beside an image there may be nothing."""
        for i in range(len(self)):
            image = self.folder / self._records[i]
            yield from (image, *(image.with_suffix(f".{extension}") for extension in _SIDECARS))

    def read(self, i: int) -> Sample:
        file = self._records[i]
        key = printable(os.path.splitext(file)[0])
        sidecars = _sidecars(self.folder / file)
        return fields.sample_of(key, {**sidecars, "jpg": b""}, self.captions)._replace(image=self.folder / file)


def open_images(name: str, folder: Path, root: Path, captions: tuple[str, ...] | None) -> FolderSource | PairSource:
    """Pairs where captions lie beside the images, class folders where none do: all images are looked at, not one.

    Raises DataError where it is neither, or could be both.
    """
    images = list(images_in(folder))
    files = [file for file, _ in images]
    if captions is not None:
        wanted = {field.split(".")[0] for field in captions}
        told = [file for file, beside in images if not wanted.isdisjoint(beside)]
        told = told or [file for file, beside in images if beside]
        if not told:
            raise DataError(f"{folder} has no {' or '.join(sorted(wanted)) or 'files'} beside its images for captions=")
        fields.check_captions((_sidecars(folder / file) for file in told), captions, name)
        return PairSource(name, folder, files, captions=captions)
    texts = [file for file, beside in images if "txt" in beside]
    others = sum(bool(beside) for _, beside in images)
    flat = not any(os.sep in file for file in files)
    if texts and (flat or len(texts) >= len(files) / 2):
        return PairSource(name, folder, files, captions=("txt",))
    if len(texts) > _STRAY * len(files):
        raise DataError(
            f"{folder}: {len(texts)} of its {len(files)} images have a .txt beside them ({printable(texts[0])} is the "
            "first), too few for pairs and too many for folders of classes; pass captions=['txt'] to read pairs, or "
            "move the .txt away"
        )
    if not texts and others and (flat or others >= len(files) / 2):
        raise DataError(
            f"{folder}: {others} of its {len(files)} images have .json or .cls beside them, but none a .txt; name the "
            "fields with captions= (such as json.caption), or move those files away to read folders of classes"
        )
    return FolderSource(name, folder, files, root)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones and links that lead back to where they are."""
    return sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry) and not _leads_back(entry, folder))


def images_in(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every image below a folder, its path relative to it, sorted, with the extensions of what lies beside it."""
    yield from ((os.path.relpath(path, folder), beside) for path, beside in _walk(folder, None))


def _walk(folder: Path, entered: set[tuple[int, int]] | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``entered``: the folders seen so far, into which no link is followed again. Each subfolder of the top has its
    own, since each may be a class; None at the top itself."""
    entries = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name)
    names = {entry.name for entry in entries}
    for entry in entries:
        if _is_folder(entry):
            inside = {_identity(folder)} if entered is None else entered
            identity = _identity(Path(entry.path))
            if not entry.is_symlink() or not (identity in inside or _leads_back(entry, folder)):
                inside.add(identity)
                yield from _walk(Path(entry.path), inside)
            continue
        stem, extension = os.path.splitext(entry.name)
        if extension[1:].lower() in IMAGE_EXTENSIONS:
            yield entry.path, tuple(sidecar for sidecar in _SIDECARS if f"{stem}.{sidecar}" in names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return False
        raise


def _leads_back(entry: os.DirEntry[str], folder: Path) -> bool:
    """Whether this is a link to a folder that contains it: to follow it would never end."""
    return entry.is_symlink() and folder.resolve().is_relative_to(Path(entry.path).resolve())


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _sidecars(image: Path) -> dict[str, bytes]:
    files = ((extension, image.with_suffix(f".{extension}")) for extension in _SIDECARS)
    return {extension: read_bytes(file) for extension, file in files if file.is_file()}
