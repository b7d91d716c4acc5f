"""The forms in which data sets are published, one row each: what tells a form, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diptych.data.files import printable
from diptych.data.folders import subfolders
from diptych.data.published import cifar, mat, videos
from diptych.data.published import image_folders as folders
from diptych.data.published import image_lists as lists
from diptych.data.published.birdsnap import birdsnap
from diptych.data.published.clevr import clevr_counts
from diptych.data.published.fer2013 import fer2013
from diptych.data.published.grouped_folders import grouped_folders
from diptych.data.published.gtsrb import gtsrb
from diptych.data.published.hateful_memes import hateful_memes
from diptych.data.published.hdf5 import patch_camelyon
from diptych.data.published.idx import idx
from diptych.data.published.karpathy import karpathy
from diptych.data.published.kitti import kitti
from diptych.data.published.objectnet import objectnet
from diptych.data.published.stl10 import stl10_binary
from diptych.data.published.vid_robust import vid_robust
from diptych.data.published.voc2007 import voc2007
from diptych.data.sources import Source
from diptych.data.video import EXTENSIONS
from diptych.errors import DataError, nearest


@dataclass(frozen=True)
class Layout:
    """``marks``: paths in the folder of which one must be there, a folder's ending in a slash; patterns may be among
    them. ``splits``: what may be asked for, and what the files call it. ``read``: takes the folder and the latter."""

    marks: tuple[str, ...]
    splits: Mapping[str, str]
    read: Callable[[Path, str], Source]


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_TRAIN_TEST = _same("train", "test")
_TRAIN_VAL_TEST = _same("train", "val", "test")

LAYOUTS: dict[str, Layout] = {
    "cifar10-python": Layout(("batches.meta",), _TRAIN_TEST, cifar.cifar10_python),
    "cifar10-binary": Layout(("batches.meta.txt",), _TRAIN_TEST, cifar.cifar10_binary),
    "cifar100-python": Layout(("meta",), _TRAIN_TEST, cifar.cifar100_python),
    "cifar100-binary": Layout(("fine_label_names.txt",), _TRAIN_TEST, cifar.cifar100_binary),
    "idx": Layout(("t10k-images*", "train-images*"), _TRAIN_TEST, idx),
    "pcam-hdf5": Layout(
        ("camelyonpatch_level_2_split_*_x.h5*",), {"val": "valid", **_same("train", "valid", "test")}, patch_camelyon
    ),
    "stl10-binary": Layout(("test_X.bin", "train_X.bin"), _TRAIN_TEST, stl10_binary),
    "food101": Layout(("meta/classes.txt",), _TRAIN_TEST, lists.food101),
    "dtd": Layout(("labels/test1.txt", "labels/train1.txt"), _TRAIN_VAL_TEST, lists.dtd),
    "sun397": Layout(
        ("ClassName.txt", "Partitions/ClassName.txt"), {"train": "Training", "test": "Testing"}, lists.sun397
    ),
    "pets": Layout(
        ("annotations/trainval.txt", "annotations/test.txt"),
        {"train": "trainval", **_same("trainval", "test")},
        lists.pets,
    ),
    "aircraft": Layout(("variants.txt",), _same("train", "val", "trainval", "test"), lists.aircraft),
    "flowers": Layout(("imagelabels.mat",), {"train": "trnid", "val": "valid", "test": "tstid"}, mat.flowers),
    "cars": Layout(("devkit/cars_meta.mat",), _TRAIN_TEST, mat.cars),
    "gtsrb": Layout(("GT-final_test.csv", "Final_Test/", "Final_Training/", "Training/00000/"), _TRAIN_TEST, gtsrb),
    "birdsnap": Layout(("test_images.txt",), _TRAIN_TEST, birdsnap),
    "kitti": Layout(("training/label_2/",), _TRAIN_VAL_TEST, kitti),
    "voc2007": Layout(("ImageSets/Main/",), _same("train", "val", "trainval", "test"), voc2007),
    "fer2013-csv": Layout(("fer2013.csv",), {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}, fer2013),
    "hateful-memes": Layout(
        ("train.jsonl", "dev.jsonl", "dev_seen.jsonl"),
        {"val": "dev", **_same("train", "dev", "test")},
        hateful_memes,
    ),
    "clevr-scenes": Layout(
        ("scenes/CLEVR_val_scenes.json", "scenes/CLEVR_train_scenes.json"),
        {"test": "val", **_same("train", "val")},
        clevr_counts,
    ),
    "synsets": Layout(
        ("val/n*/", "train/n*/", "n*/"), {"test": "val", **_same("train", "val")}, folders.synset_folders
    ),
    "country-codes": Layout(
        ("test/AD/", "train/AD/"), {"val": "valid", **_same("train", "valid", "test")}, folders.coded_folders
    ),
    "numbered-folders": Layout(("0/",), _same("test"), folders.numbered_folders),
    "objectnet": Layout(("mappings/objectnet_to_imagenet_1k.json",), _same("test"), objectnet),
    "grouped-folders": Layout(
        ("ytbb_class_index.json", "metadata/ytbb_class_index.json"), _same("test"), grouped_folders
    ),
    "vid-robust": Layout(("metadata/pmsets.json",), _same("test"), vid_robust),
    "karpathy": Layout(("dataset_*.json",), _TRAIN_VAL_TEST, karpathy),
    "ucf101": Layout(("classInd.txt", "ucfTrainTestlist/"), _TRAIN_TEST, videos.ucf101),
    "video-folders": Layout(
        tuple(f"*/*/*{extension}" for extension in EXTENSIONS), _TRAIN_VAL_TEST, videos.split_folders
    ),
}

_AROUND = 8  # subfolders of a folder that is looked into for the one in which an archive was unpacked


def found(layout: str, folder: Path) -> Path | None:
    """Where the files of a layout lie: in the folder, or one or two levels down, as archives unpack; else None."""
    for base in _candidates(folder):
        if any(_there(base, mark) for mark in LAYOUTS[layout].marks):
            return base
    return None


def open_layout(layout: str, folder: Path, split: str) -> Source:
    """A split of a data set that is published in this form. Raises DataError where it is not there, or corrupt."""
    form, base = LAYOUTS[layout], found(layout, folder)
    if base is None:
        raise DataError(f"{printable(folder)} has none of {', '.join(form.marks)}, which the form {layout!r} has")
    if split not in form.splits:
        raise DataError(f"{printable(folder)} has no split {split!r}; {nearest(split, form.splits)}")
    return form.read(base, form.splits[split])


def _candidates(folder: Path) -> list[Path]:
    inner = _few(folder)
    return [folder, *inner, *(below for path in inner for below in _few(path))]


def _few(folder: Path) -> list[Path]:
    names = subfolders(folder)
    return [folder / name for name in names] if len(names) <= _AROUND else []


def _there(base: Path, mark: str) -> bool:
    wanted = Path.is_dir if mark.endswith("/") else Path.is_file
    if "*" not in mark:
        return wanted(base / mark)
    return next((True for path in base.glob(mark.rstrip("/")) if wanted(path)), False)
