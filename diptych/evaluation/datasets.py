"""The data sets of the paper, one literal row each, and those that CLIP_benchmark's users compare with.

Sizes belong to a pair of data set and layout: ``paper`` (its section A.1; train there is all that may be trained on),
``clip_benchmark`` (the copies that it downloads or keeps as tars), ``published`` (as their authors give them out, where
``all`` is a set without splits). What is not known for certain is left out.

Above each row stands where sizes other than the paper's were looked up. D: DataComp's list of tasks; F: the catalogue
of TensorFlow Datasets; H: the hub's pages of the tars, which round; K: Karpathy's lists, as those who use them count;
P: what its authors say; T: torchvision's documentation; V: the splits that VTAB (task_adaptation) makes of F's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diptych.errors import ConfigError, nearest

Metric = Literal[
    "acc1", "mean_per_class_recall", "map11", "roc_auc", "mean_acc1_acc5", "image_retrieval_recall@1"
]  # fmt: skip
Kind = Literal["single label", "multi-label", "binary", "retrieval"]
LAYOUTS = ("paper", "clip_benchmark", "published")
_FIVE = 5  # of mean_acc1_acc5


@dataclass(frozen=True, kw_only=True)
class Row:
    """A data set to evaluate on.

    name:        CLIP_benchmark's where it has one; ``aliases`` are other names that `find` takes.
    title:       the name that people print.
    metric:      the one number that the paper reports; ``kind``: what labels are like.
    classes:     how many; None for retrieval, and where it is not known. ``classes_in``: layouts that have others.
    prompts:     a prompt set of `diptych.text.prompts`; "" for the prompts that the data bring, else a photo.
    sizes:       samples by layout and split.
    published:   the forms of `diptych.data.published` that it comes in; else it is in class folders.
    hub:         the repository of huggingface.co/clip-benchmark that holds it, if any.
    names:       class names that come with Diptych, for layouts that only number classes.
    classes_of:  the data set of whose classes it has all or some, or has groups.
    split:       the one that is evaluated, called ``test`` in ``sizes`` of the paper.
    location, templates, class_names: of a data set of one's own; several names of one class are a tuple.
    """

    name: str
    title: str
    metric: Metric = "acc1"
    kind: Kind = "single label"
    classes: int | None = None
    classes_in: Mapping[str, int] = field(default_factory=dict)
    prompts: str = "photo-ensemble"
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    hub: str = ""
    names: str = ""
    classes_of: str = ""
    split: str = "test"
    location: str = ""
    templates: tuple[str, ...] = ()
    class_names: tuple[tuple[str, ...], ...] = ()


def metric_misfit(metric: Metric, classes: int) -> str:
    """Empty, or why a metric says nothing of so many classes."""
    if metric == "mean_acc1_acc5" and classes < _FIVE:
        return f"of {classes} classes all are among the first five, so {metric} means nothing; a metric for it is acc1"
    if metric == "roc_auc" and classes != 2:
        return (
            f"{metric} is of two classes, not {classes}; a metric for it is acc1, or map11 of several labels an image"
        )
    return ""


def _two(train: int, test: int) -> dict[str, int]:
    return {"train": train, "test": test}


def _all(**splits: int) -> dict[str, dict[str, int]]:
    return {"clip_benchmark": splits, "published": splits}


# fmt: off
_PAPER = (
    # D: test; train is the paper's
    Row(name="food101", title="Food-101", classes=101, prompts="food", published=("food101",), hub="wds_food101",
        sizes={"paper": _two(75_750, 25_250)} | _all(train=75_750, test=25_250), aliases=("vtab/food101",)),
    # V: 90 % of the training images; D; H
    Row(name="cifar10", title="CIFAR-10", classes=10, prompts="tiny-photo", hub="wds_vtab-cifar10",
        published=("cifar10-python", "cifar10-binary"), aliases=("vtab/cifar10",),
        sizes={"paper": _two(50_000, 10_000), "clip_benchmark": _two(45_000, 10_000),
               "published": _two(50_000, 10_000)}),
    # V: 90 % of the training images; D; H
    Row(name="cifar100", title="CIFAR-100", classes=100, prompts="tiny-photo", hub="wds_vtab-cifar100",
        published=("cifar100-python", "cifar100-binary"), aliases=("vtab/cifar100",),
        sizes={"paper": _two(50_000, 10_000), "clip_benchmark": _two(45_000, 10_000),
               "published": _two(50_000, 10_000)}),
    # photographs have gone from where they were published, so what is there varies
    Row(name="birdsnap", title="Birdsnap", classes=500, prompts="birds", published=("birdsnap",),
        sizes={"paper": _two(42_283, 2_149), "published": _two(47_386, 2_443)}),
    # D and H: all images; published: the first partition
    Row(name="sun397", title="SUN397", classes=397, prompts="scenes", published=("sun397",), hub="wds_sun397",
        sizes={"paper": _two(19_850, 19_850), "clip_benchmark": {"test": 108_754}, "published": _two(19_850, 19_850)},
        aliases=("vtab/sun397",)),
    # T
    Row(name="cars", title="Stanford Cars", classes=196, prompts="cars", published=("cars",),
        hub="wds_cars", aliases=("stanford_cars", "vtab/cars"),
        sizes={"paper": _two(8_144, 8_041)} | _all(train=8_144, test=8_041)),
    # D: test; P: halves of what the paper trains on
    Row(name="fgvc_aircraft", title="FGVC Aircraft", metric="mean_per_class_recall", classes=100, prompts="aircraft",
        published=("aircraft",), hub="wds_fgvc_aircraft", aliases=("aircraft",),
        sizes={"paper": _two(6_667, 3_333)} | _all(train=3_334, val=3_333, trainval=6_667, test=3_333)),
    # H: train without val; P
    Row(name="voc2007_multilabel", title="Pascal VOC 2007", metric="map11", kind="multi-label", classes=20,
        prompts="several-objects", published=("voc2007",), hub="wds_voc2007_multilabel", aliases=("pascal_voc_2007",),
        sizes={"paper": _two(5_011, 4_952), "clip_benchmark": _two(2_501, 4_952),
               "published": {"train": 2_501, "val": 2_510, "trainval": 5_011, "test": 4_952}}),
    # D; the paper trains on train and val
    Row(name="dtd", title="Describable Textures", classes=47, prompts="textures", published=("dtd",),
        hub="wds_vtab-dtd", aliases=("vtab/dtd", "describable_textures"),
        sizes={"paper": _two(3_760, 1_880)} | _all(train=1_880, val=1_880, test=1_880)),
    # H: V's 80 % of trainval; D
    Row(name="pets", title="Oxford-IIIT Pets", metric="mean_per_class_recall", classes=37, prompts="pets",
        published=("pets",), hub="wds_vtab-pets", aliases=("vtab/pets", "oxford_pets", "oxford_iiit_pet"),
        sizes={"paper": _two(3_680, 3_669), "clip_benchmark": {"train": 2_944, "trainval": 3_680, "test": 3_669},
               "published": {"train": 3_680, "trainval": 3_680, "test": 3_669}}),
    # V: 90 % of 3,060; D; H; F: all, the background among them
    Row(name="caltech101", title="Caltech-101", metric="mean_per_class_recall", classes=102, prompts="objects",
        hub="wds_vtab-caltech101", aliases=("vtab/caltech101",),
        sizes={"paper": _two(3_060, 6_085), "clip_benchmark": _two(2_754, 6_085), "published": {"all": 9_144}}),
    # F; D; the paper trains on train and val
    Row(name="flowers", title="Oxford Flowers 102", metric="mean_per_class_recall", classes=102, prompts="flowers",
        published=("flowers",), hub="wds_vtab-flowers", names="flowers102",
        aliases=("vtab/flowers", "flowers102", "oxford_flowers"),
        sizes={"paper": _two(2_040, 6_149)} | _all(train=1_020, val=1_020, test=6_149)),
    # D; H
    Row(name="mnist", title="MNIST", classes=10, prompts="digits", published=("idx",), hub="wds_mnist", names="mnist",
        sizes={"paper": _two(60_000, 10_000)} | _all(train=60_000, test=10_000)),
    # H: test is both tests of P
    Row(name="fer2013", title="Facial Emotion Recognition 2013", classes=8, prompts="emotions", names="fer2013",
        published=("fer2013-csv",), hub="wds_fer2013", classes_in={"clip_benchmark": 7, "published": 7},
        sizes={"paper": _two(32_140, 3_574), "clip_benchmark": _two(28_709, 7_178),
               "published": {"train": 28_709, "val": 3_589, "test": 3_589}}),
    # D: test; F
    Row(name="stl10", title="STL-10", classes=10, prompts="tiny-photo", published=("stl10-binary",), hub="wds_stl10",
        sizes={"paper": _two(1_000, 8_000)} | _all(train=5_000, test=8_000)),
    # V: 60 % and 20 % of all; D; H; P
    Row(name="eurosat", title="EuroSAT", classes=10, prompts="satellite", hub="wds_vtab-eurosat", names="eurosat",
        sizes={"paper": _two(10_000, 5_000), "clip_benchmark": _two(16_200, 5_400), "published": {"all": 27_000}},
        aliases=("vtab/eurosat",)),
    # V: 60 % and 20 % of all; D; H; P
    Row(name="resisc45", title="RESISC45", classes=45, prompts="aerial", hub="wds_vtab-resisc45",
        sizes={"paper": _two(3_150, 25_200), "clip_benchmark": _two(18_900, 6_300), "published": {"all": 31_500}},
        aliases=("vtab/resisc45",)),
    # D: test; P: its final training images are more than those that the paper and T train on
    Row(name="gtsrb", title="GTSRB", classes=43, prompts="traffic-signs", published=("gtsrb",), hub="wds_gtsrb",
        names="gtsrb", aliases=("german_traffic_signs",),
        sizes={"paper": _two(26_640, 12_630), "clip_benchmark": _two(26_640, 12_630),
               "published": _two(39_209, 12_630)}),
    # F, P: train without the 423 that the paper trains on too; D
    Row(name="kitti_closest_vehicle_distance", title="KITTI Distance", classes=4, prompts="distance",
        hub="wds_vtab-kitti_closest_vehicle_distance", published=("kitti",), names="kitti-distance",
        sizes={"paper": _two(6_770, 711), "clip_benchmark": _two(6_347, 711),
               "published": {"train": 6_347, "val": 423, "test": 711}},
        aliases=("vtab/kitti_closest_vehicle_distance", "kitti", "kitti_distance")),
    # P: 150, 50 and 100 images a country
    Row(name="country211", title="Country211", classes=211, prompts="countries", published=("country-codes",),
        hub="wds_country211", names="country211",
        sizes={"paper": _two(43_200, 21_100)} | _all(train=31_650, valid=10_550, test=21_100)),
    # H: train without what is chosen by; D; T
    Row(name="pcam", title="PatchCamelyon", classes=2, prompts="lymph-nodes", hub="wds_vtab-pcam",
        published=("pcam-hdf5",), names="patch-camelyon", aliases=("vtab/pcam", "patch_camelyon"),
        sizes={"paper": _two(294_912, 32_768), "clip_benchmark": _two(262_144, 32_768),
               "published": {"train": 262_144, "val": 32_768, "test": 32_768}}),
    # P: the first partition of 13,320 videos
    Row(name="ucf101", title="UCF101", classes=101, prompts="actions", published=("ucf101",),
        sizes={"paper": _two(9_537, 1_794), "published": _two(9_537, 3_783)}),
    # videos have gone from where they were published, so what is there varies
    Row(name="kinetics700", title="Kinetics700", metric="mean_acc1_acc5", classes=700, prompts="actions",
        published=("video-folders",), split="val", sizes={"paper": _two(494_801, 31_669)}, aliases=("k700",)),
    # V: 90 % of 70,000; D: the published val
    Row(name="clevr_count_all", title="CLEVR Counts", classes=8, prompts="counts", hub="wds_vtab-clevr_count_all",
        published=("clevr-scenes",), names="clevr-count", aliases=("vtab/clevr_count_all", "clevr", "clevr_counts"),
        sizes={"paper": _two(2_000, 500), "clip_benchmark": _two(63_000, 15_000),
               "published": {"train": 70_000, "val": 15_000, "test": 15_000}}),
    # P: dev_seen and test_seen
    Row(name="hateful_memes", title="Hateful Memes", metric="roc_auc", kind="binary", classes=2, prompts="memes",
        published=("hateful-memes",), names="hateful-memes", split="val",
        sizes={"paper": _two(8_500, 500), "published": {"train": 8_500, "val": 500, "test": 1_000}}),
    # T; H, without val
    Row(name="renderedsst2", title="Rendered SST2", classes=2, prompts="sentiment", hub="wds_renderedsst2",
        aliases=("rendered_sst2", "sst2"),
        sizes={"paper": _two(7_792, 1_821), "clip_benchmark": {"train": 6_920, "val": 872, "test": 1_821},
               "published": {"train": 6_920, "valid": 872, "test": 1_821}}),
    # D; P
    Row(name="imagenet1k", title="ImageNet", classes=1000, published=("synsets",), hub="wds_imagenet1k",
        aliases=("imagenet", "imagenet1k-unverified"),
        sizes={"paper": _two(1_281_167, 50_000), "clip_benchmark": {"test": 50_000},
               "published": {"train": 1_281_167, "val": 50_000, "test": 50_000}}),
)

_ROBUSTNESS = (
    # D: the matched-frequency images
    Row(name="imagenetv2", title="ImageNetV2", classes=1000, classes_of="imagenet1k", published=("numbered-folders",),
        hub="wds_imagenetv2", sizes=_all(test=10_000), aliases=("imagenet_v2",)),
    # D
    Row(name="imagenet-r", title="ImageNet-R", classes=200, classes_of="imagenet1k", published=("synsets",),
        hub="wds_imagenet-r", sizes=_all(test=30_000), aliases=("imagenet_rendition",)),
    # D
    Row(name="imagenet-a", title="ImageNet-A", classes=200, classes_of="imagenet1k", published=("synsets",),
        hub="wds_imagenet-a", sizes=_all(test=7_500), aliases=("imagenet_adversarial",)),
    # D
    Row(name="imagenet_sketch", title="ImageNet Sketch", classes=1000, classes_of="imagenet1k", published=("synsets",),
        hub="wds_imagenet_sketch", sizes=_all(test=50_889)),
    # D: the classes that ImageNet has too, of 313
    Row(name="objectnet", title="ObjectNet", classes=113, classes_of="imagenet1k", hub="wds_objectnet",
        published=("objectnet",), sizes=_all(test=18_574)),
    # P: the frames that metadata/pmsets.json lists others around
    Row(name="imagenet_vid", title="ImageNet-Vid", classes=30, classes_of="imagenet1k", published=("vid-robust",),
        sizes={"published": {"test": 1_109}}, aliases=("imagenet_vid_robust",)),
    # P: ytbb_class_index.json names 23 things and none
    Row(name="youtube_bb", title="YouTube-BB", classes=24, classes_of="imagenet1k", published=("grouped-folders",),
        aliases=("ytbb", "ytbb_robust")),
)

_RETRIEVAL = (
    # K; H, without val
    Row(name="flickr8k", title="Flickr8k", metric="image_retrieval_recall@1", kind="retrieval",
        published=("karpathy",), hub="wds_flickr8k", sizes=_all(train=6_000, val=1_000, test=1_000)),
    # K; H, without val
    Row(name="flickr30k", title="Flickr30k", metric="image_retrieval_recall@1", kind="retrieval",
        published=("karpathy",), hub="wds_flickr30k", sizes=_all(train=29_000, val=1_014, test=1_000)),
    # K; H: test
    Row(name="mscoco_captions", title="MS COCO", metric="image_retrieval_recall@1", kind="retrieval",
        published=("karpathy",), hub="wds_mscoco_captions", aliases=("coco", "mscoco", "coco_captions"),
        sizes={"clip_benchmark": {"val": 5_000, "test": 5_000},
               "published": {"train": 113_287, "val": 5_000, "test": 5_000}}),
)

# Not the paper's: the single objects cut out of Pascal VOC's photographs, which CLIP_benchmark calls by its name.
_OTHERS = (
    # D; H
    Row(name="voc2007", title="Pascal VOC 2007, cut out", classes=20, prompts="objects", hub="wds_voc2007",
        sizes={"clip_benchmark": _two(7_844, 14_976)}),
)
# fmt: on

# One row a data set.
DATASETS: dict[str, Row] = {row.name: row for row in (*_PAPER, *_ROBUSTNESS, *_RETRIEVAL, *_OTHERS)}

# The names of those in the paper's tables, of those that ImageNet is shifted to, and of those with captions.
PAPER, ROBUSTNESS, RETRIEVAL = (tuple(row.name for row in rows) for rows in (_PAPER, _ROBUSTNESS, _RETRIEVAL))


def find(name: str) -> Row:
    """The row of a name, a title or an alias, CLIP_benchmark's among them (``wds/vtab-flowers``, ``wds_imagenet-r``).

    Case and signs do not matter. Raises ConfigError with the nearest name.

    >>> find("hf:clip-benchmark/wds_vtab-flowers").title
    'Oxford Flowers 102'
    """
    known = {called: row for row in DATASETS.values() for called in _called(row)}
    wanted = re.sub(r"^(hf-)?(clip-benchmark-)?(wds-)?", "", _plain(name))
    if wanted not in known:
        raise ConfigError(
            f"there is no data set {name!r}; {nearest(wanted, [*DATASETS, *(k for k in known if k not in DATASETS)])}"
        )
    return known[wanted]


def _called(row: Row) -> set[str]:
    return {_plain(name) for name in (row.title, *row.aliases, row.name)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
