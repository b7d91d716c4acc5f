"""Every published form with a fault: a file that is missing, cut off or empty, a label out of range, no image."""

import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from test_published import LISTED, idx, mat, pickled, pixels, write

from diptych.data.preprocess import decode_image
from diptych.data.published.layouts import LAYOUTS, open_layout
from diptych.data.sources import Source, labels_of, read
from diptych.errors import DataError
from diptych.evaluation.datasets import find
from diptych.evaluation.opening import check, open_dataset


def cifar10_python(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    pickled(folder / "batches.meta", {"label_names": ["cat", "dog"]})
    pickled(folder / "test_batch", {"labels": list(labels), "data": pixels(len(labels))})


def cifar100_python(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    pickled(folder / "meta", {"fine_label_names": ["cat", "dog"]})
    pickled(folder / "test", {"fine_labels": list(labels), "data": pixels(len(labels))})


def cifar10_binary(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    (folder / "test_batch.bin").write_bytes(b"".join(bytes([label]) + bytes(3072) for label in labels))


def cifar100_binary(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    (folder / "fine_label_names.txt").write_text("cat\ndog\n")
    (folder / "test.bin").write_bytes(b"".join(bytes([0, label]) + bytes(3072) for label in labels))


def mnist(folder: Path, labels: tuple[int, ...] = (7, 0)) -> None:
    idx(folder / "t10k-images-idx3-ubyte", np.zeros((len(labels), 28, 28), np.uint8))
    idx(folder / "t10k-labels-idx1-ubyte.gz", np.array(labels, np.uint8))


def stl10(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    (folder / "test_X.bin").write_bytes(bytes(27_648 * len(labels)))
    (folder / "test_y.bin").write_bytes(bytes(label + 1 for label in labels))


def flowers(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    mat(folder / "imagelabels.mat", labels=np.array([[label + 1 for label in labels]], np.uint8))
    mat(folder / "setid.mat", tstid=np.arange(1, len(labels) + 1)[None])


def cars(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    table = np.array([[(label + 1, "1.jpg") for label in labels]], [("class", "O"), ("fname", "O")])
    mat(folder / "devkit/cars_test_annos_withlabels.mat", annotations=table)
    mat(folder / "devkit/cars_meta.mat", class_names=np.array([["AM General Hummer", "Acura RL"]], object))


def gtsrb(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    lines = "".join(f"{number}.ppm;{label}\n" for number, label in enumerate(labels))
    write(folder, {"GT-final_test.csv": f"Filename;ClassId\n{lines}"})


def fer2013(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    lines = "".join(f"{label},{' '.join(['0'] * 2304)},PrivateTest\n" for label in labels)
    write(folder, {"fer2013.csv": f"emotion,pixels,Usage\n{lines}"})


def voc2007(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    for number, name in enumerate(("cat", "dog")):
        lines = "".join(f"00000{i} {1 if label == number else -1}\n" for i, label in enumerate(labels))
        write(folder, {f"ImageSets/Main/{name}_test.txt": lines})


def karpathy(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    images = ", ".join(f'{{"filename": "{i}.jpg", "split": "test", "sentences": [{{"raw": "x"}}]}}' for i in labels)
    write(folder, {"dataset_coco.json": f'{{"images": [{images}]}}'})


def clevr(folder: Path, labels: tuple[int, ...] = (1, 0)) -> None:
    scenes = [{"image_filename": f"CLEVR_val_{i}.png", "objects": [{}] * (label + 3)} for i, label in enumerate(labels)]
    write(folder, {"scenes/CLEVR_val_scenes.json": json.dumps({"info": {}, "scenes": scenes})})


MADE: dict[str, Callable[..., None]] = {
    "cifar10-python": cifar10_python, "cifar100-python": cifar100_python, "cifar10-binary": cifar10_binary,
    "cifar100-binary": cifar100_binary, "idx": mnist, "stl10-binary": stl10, "flowers": flowers, "cars": cars,
    "gtsrb": gtsrb, "fer2013-csv": fer2013, "voc2007": voc2007, "karpathy": karpathy,
    "clevr-scenes": clevr,
}  # fmt: skip
# Those that have tests of their own: HDF5, videos, and groups of ImageNet's classes.
ELSEWHERE = {"pcam-hdf5", "ucf101", "video-folders", "objectnet", "vid-robust", "grouped-folders"}
PICTURES = (".jpg", ".JPEG", ".png", ".ppm")


def made(layout: str, folder: Path, **how: object) -> Path:
    folder.mkdir()
    if layout in MADE:
        MADE[layout](folder, **how)
        return folder
    return write(folder, LISTED[layout][0])


def opened(layout: str, folder: Path) -> Source:
    """All of a split, but for its pictures."""
    source = open_layout(layout, folder, "test")
    for i in range(len(source)):
        read(source, i)
        labels_of(source, i)
    return source


def complaint(layout: str, folder: Path) -> str:
    """What is said of a fault; nothing where all that is there can be read."""
    try:
        opened(layout, folder)
    except DataError as error:
        return str(error)
    return ""


def names_of_files(folder: Path) -> list[str]:
    return [str(folder), *(path.name for path in folder.rglob("*") if path.is_file())]


def test_no_form_is_without_these_tests():
    assert {*MADE, *LISTED, *ELSEWHERE} == set(LAYOUTS)


@pytest.mark.parametrize("layout", sorted({*MADE, *LISTED}))
def test_a_file_that_is_missing_or_cut_off_anywhere_is_a_data_error_that_names_it(layout, tmp_path):
    """Or the rest is whole, as of a list of which a line is left: then the number of its images tells."""
    folder = made(layout, tmp_path / "data")
    count, names = len(opened(layout, folder)), names_of_files(folder)
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in PICTURES]
    assert files or layout in ("country-codes", "numbered-folders")
    for file in files:
        content = file.read_bytes()
        step = max(1, len(content) // 15)
        for length in (None, *range(0, len(content), step), len(content) - 1):
            if length is None:
                file.unlink()
            else:
                file.write_bytes(content[:length])
            said = complaint(layout, folder)
            assert not said or any(name in said for name in names), (file.name, length, said)
        file.write_bytes(content)
    assert len(opened(layout, folder)) == count


@pytest.mark.parametrize("layout", sorted({*MADE, *LISTED}))
def test_bytes_that_are_no_text_and_no_archive_are_data_errors(layout, tmp_path):
    folder = made(layout, tmp_path / "data")
    names = names_of_files(folder)
    for file in [path for path in folder.rglob("*") if path.is_file() and path.suffix not in PICTURES]:
        content = file.read_bytes()
        for other in (b"\xff\xfe\x00\x80" * 10, gzip.compress(b"hello"), struct.pack(">I", 2**31) * 8, b"[" * 100_000):
            file.write_bytes(other)
            said = complaint(layout, folder)
            assert not said or any(name in said for name in names), (file.name, said)
        file.write_bytes(content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["flowers", "cars"])
def test_any_byte_of_a_matlab_file_may_be_another_one(layout, packed, tmp_path):
    """SciPy's reader ends the process where some are, such as a 16 at byte 185 of labels."""
    folder = made(layout, tmp_path / "data")
    for file in folder.rglob("*.mat"):
        mat(file, packed, **{name: value for name, value in loadmat(file).items() if name[0] != "_"})
        content = file.read_bytes()
        assert complaint(layout, folder) == ""
        for place in range(124, len(content)):
            for change in (16, 255):
                file.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
                said = complaint(layout, folder)
                assert not said or str(folder) in said or "is of class" in said, (file.name, place, change, said)
        file.write_bytes(content)


def test_what_a_matlab_file_says_of_its_size_is_not_believed(tmp_path):
    """A hundred million structures without a field, numbers that are not there, cells in cells, and zeros, packed."""

    def part(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(kind: int, count: int, inner: bytes, name: bytes = b"labels") -> bytes:
        flags, shape = struct.pack("<II", kind, 0), struct.pack("<ii", 1, count)
        return part(14, part(6, flags) + part(5, shape) + part(1, name) + inner)

    cells = array(6, 1, part(9, bytes(8)), b"")
    for _ in range(5000):
        cells = array(1, 1, cells, b"")
    fieldless = part(5, struct.pack("<i", 32)) + part(1, b"")
    flowers(tmp_path)
    file = tmp_path / "imagelabels.mat"
    header = file.read_bytes()[:128]
    for hostile, message in (
        (array(2, 10**8, fieldless), "are no whole numbers"),
        (array(9, 2**31 - 1, part(2, bytes(16))), "'labels' is to have 2,147,483,647 entries, but 16 are there"),
        (array(1, 2**31 - 1, b""), "ends inside the head of a part"),
        (array(1, 1, cells), "more than 4 deep in each other"),
        (part(15, zlib.compress(bytes(10**8))), "more than 16 MB"),
    ):
        file.write_bytes(header + hostile)
        tracemalloc.start()
        with pytest.raises(DataError, match=message):
            open_layout("flowers", tmp_path, "test")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000_000


@pytest.mark.parametrize("layout", sorted({*MADE} - {"karpathy", "fer2013-csv", "voc2007"}))
def test_a_split_without_an_image_is_an_error(layout, tmp_path):
    with pytest.raises(
        DataError, match=r"no image|no scene|is empty|has 0 bytes|no MATLAB file|annotation 1"
    ) as caught:
        open_layout(layout, made(layout, tmp_path / "data", labels=()), "test")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "layout", "label", "message"),
    [
        ("cifar10", "cifar10-python", 2, r"test_batch 1 is of class 2, but there are 2 classes"),
        ("cifar100", "cifar100-binary", 2, r"test\.bin 1 is of class 2"),
        ("stl10", "stl10-binary", 2, r"test_X\.bin 1 is of class 2"),
        ("cars", "cars", 2, r"1\.jpg is of class 2"),
    ],
)
def test_a_label_that_is_none_of_the_classes_names_its_image(row, layout, label, message, tmp_path):
    folder = made(layout, tmp_path / "data", labels=(0, label))
    with pytest.raises(DataError, match=message):
        read(open_layout(layout, folder, "test"), 1)
    with pytest.raises(DataError, match="2 classes, but"):
        check(find(row), open_dataset(find(row), folder, "test"), "test")


@pytest.mark.parametrize(
    ("row", "layout", "label"), [("mnist", "idx", 10), ("gtsrb", "gtsrb", 43), ("flowers", "flowers", 102)]
)
def test_a_label_beyond_the_names_that_come_with_diptych_is_found_before_anything_is_measured(
    row, layout, label, tmp_path
):
    source = open_dataset(find(row), made(layout, tmp_path / "data", labels=(0, label)), "test")
    with pytest.raises(DataError, match=rf"go from 0 to {label}, but .* 1 of 2 are none of them, first sample 2"):
        check(find(row), source, "test")


@pytest.mark.parametrize("layout", sorted({*LISTED}))
def test_a_picture_that_is_missing_or_cut_off_is_that_samples_error(layout, tmp_path):
    source = open_layout(layout, write(tmp_path, LISTED[layout][0]), "test")
    first, second = (read(source, i).image for i in (0, 1))
    first.write_bytes(first.read_bytes()[:-100])
    second.unlink()
    for image, message in ((first, "truncated|cut off|broken|cannot"), (second, "no such file")):
        with pytest.raises(DataError, match=message) as caught:
            decode_image(image)
        assert image.name in str(caught.value)
