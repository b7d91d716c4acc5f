"""PatchCamelyon's HDF5 files: small ones written here, damaged and hostile ones."""

import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from diptych.data.fingerprint import fingerprint
from diptych.data.published.layouts import open_layout
from diptych.data.sources import labels_of, read, release
from diptych.errors import DataError, MissingExtra
from diptych.evaluation.datasets import find
from diptych.evaluation.opening import check, open_dataset

h5py = pytest.importorskip("h5py", reason="h5py (the extra hdf5) is not installed")

X, Y = (f"camelyonpatch_level_2_split_test_{part}.h5" for part in "xy")
PATCHES = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1], np.uint8).reshape(5, 1, 1, 1)


def written(path: Path, name: str, values: object, **how: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **how)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / X, "x", PATCHES)
    written(tmp_path / Y, "y", LABELS)
    return tmp_path


@pytest.mark.parametrize("how", [{}, {"chunks": (2, 96, 96, 3), "compression": "gzip"}])
def test_patches_are_read_in_any_order_again_and_from_a_copy(folder: Path, how: dict) -> None:
    written(folder / X, "x", PATCHES, **how)
    source = open_layout("pcam-hdf5", folder, "test")
    assert len(source) == 5
    assert [labels_of(source, i) for i in range(5)] == [(0,), (1,), (1,), (0,), (1,)]
    for i in (4, 0, 3):
        assert (read(source, i).image == PATCHES[i]).all()
    assert (read(source, 2).label, read(source, 2).key) == (1, f"{X} 2")
    release(source)
    assert (read(source, 1).image == PATCHES[1]).all()
    copy = pickle.loads(pickle.dumps(source))
    assert (read(copy, 1).image == PATCHES[1]).all()
    assert fingerprint(copy) == fingerprint(source) != ""
    with pytest.raises(DataError, match=r"split_train_x\.h5: no such file"):
        open_layout("pcam-hdf5", folder, "train")


def test_the_split_that_is_chosen_by_is_called_valid(folder: Path) -> None:
    for name in (X, Y):
        os.rename(folder / name, folder / name.replace("test", "valid"))
    assert len(open_layout("pcam-hdf5", folder, "val")) == 5


def test_the_row_names_the_classes(folder: Path) -> None:
    source = open_dataset(find("pcam"), folder, "test")
    assert source.class_names == ("healthy lymph node tissue", "lymph node tissue with a metastatic tumour")
    assert check(find("pcam"), source, "test").note.startswith("not the paper's split: PatchCamelyon test has 5 images")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_that_is_forked_opens_the_file_itself(folder: Path) -> None:
    source = open_layout("pcam-hdf5", folder, "test")
    read(source, 0)
    child = os.fork()
    if not child:
        os._exit(0 if (read(source, 4).image == PATCHES[4]).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (read(source, 3).image == PATCHES[3]).all()


def test_images_are_not_all_read_into_memory(folder: Path) -> None:
    count = 2000  # 55 MB, which deflate makes small
    with h5py.File(folder / X, "w") as file:
        array = file.create_dataset("x", (count, 96, 96, 3), np.uint8, chunks=(50, 96, 96, 3), compression="gzip")
        for start in range(0, count, 50):
            array[start : start + 50] = start // 50
    written(folder / Y, "y", np.zeros((count, 1, 1, 1), np.uint8))
    tracemalloc.start()
    source = open_layout("pcam-hdf5", folder, "test")
    assert [read(source, i).image.max() for i in (0, 60, 1999)] == [0, 1, 39]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def half_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        array = file.create_dataset("x", (5, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3))
        array[:2] = PATCHES[:2]


def elsewhere(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("/etc/other.h5", "x")


def in_other_files(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (5, 96, 96, 3), np.uint8, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (X, Path.unlink, "no such file"),
        (Y, Path.unlink, "no such file"),
        (X, lambda path: path.write_bytes(b""), "no HDF5 file, or is damaged or cut off"),
        (X, lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "no HDF5 file, or is damaged"),
        (X, cut_off, "cut off: .*truncated file"),
        (Y, cut_off, "cut off: .*truncated file"),
        (X, half_written, "its 'x' is incomplete, 40% is written"),
        (X, elsewhere, "leads to another place"),
        (X, in_other_files, "lies in other files"),
        (X, lambda path: written(path, "images", PATCHES), "has no 'x'; it has images"),
        (X, lambda path: written(path, "x/y", PATCHES), "its 'x' is no array"),
        (X, lambda path: written(path, "x", PATCHES[..., :1]), r"is uint8 \(5, 96, 96, 1\), not .* \(N, 96, 96, 3\)"),
        (X, lambda path: written(path, "x", PATCHES.astype(np.float32)), "is float32"),
        (X, lambda path: written(path, "x", PATCHES.astype(np.int16)), "of int16, not of bytes"),
        (X, lambda path: written(path, "x", PATCHES[:3]), r"has 3 images, but .*_y\.h5 5 labels"),
        (Y, lambda path: written(path, "y", LABELS[:, 0]), r"is uint8 \(5, 1, 1\)"),
        (Y, lambda path: written(path, "y", LABELS + 1), "label 1, from 0, is 2, not 0 or 1; 3 of 5 are not"),
        (Y, lambda path: written(path, "y", LABELS.astype(np.int8) - 1), "label 0, from 0, is -1"),
    ],
)
def test_damaged_files_are_named(folder: Path, name: str, damage: object, message: str) -> None:
    damage(folder / name)
    (folder / X.replace("test", "train")).touch()  # by which the form is known
    with pytest.raises(DataError, match=message) as caught:
        open_layout("pcam-hdf5", folder, "test")
    assert name.rpartition("_")[0] in str(caught.value)


def test_no_image_and_files_that_are_still_packed(folder: Path) -> None:
    written(folder / X, "x", PATCHES[:0])
    written(folder / Y, "y", LABELS[:0])
    with pytest.raises(DataError, match="holds no image"):
        open_layout("pcam-hdf5", folder, "test")
    os.rename(folder / X, folder / f"{X}.gz")
    with pytest.raises(DataError, match=r"no such file, but .*_x\.h5\.gz, which gunzip unpacks"):
        open_layout("pcam-hdf5", folder, "test")


def test_a_block_that_is_damaged_is_an_error_of_its_images_alone(folder: Path) -> None:
    written(folder / X, "x", PATCHES, chunks=(1, 96, 96, 3), fletcher32=True)
    with h5py.File(folder / X) as file:
        place = file["x"].id.get_chunk_info(3).byte_offset
    content = bytearray((folder / X).read_bytes())
    content[place + 1000] ^= 255
    (folder / X).write_bytes(content)
    source = open_layout("pcam-hdf5", folder, "test")
    assert (read(source, 2).image == PATCHES[2]).all()
    with pytest.raises(DataError, match=r"_x\.h5 .*damaged"):
        read(source, 3)


def test_without_h5py_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"diptych\[hdf5\]"):
        open_layout("pcam-hdf5", folder, "test")
