"""Classes that stand for several of ImageNet's: by the files of ObjectNet, ImageNet-Vid and YouTube-BB, and by hand."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from diptych.data.published.layouts import open_layout
from diptych.data.published.superclasses import superclasses
from diptych.data.relabelled import Renamed
from diptych.data.sources import Sample, read
from diptych.errors import DataError
from diptych.evaluation.datasets import find
from diptych.evaluation.groupings import members
from diptych.evaluation.opening import open_dataset


class Classes:
    """A source of so many classes, which may have WordNet numbers."""

    templates = None

    def __init__(self, count: int, ids: tuple[str, ...] | None = None, name: str = "classes") -> None:
        self.name, self.class_names, self.class_ids = name, tuple(f"class {i}" for i in range(count)), ids

    def __len__(self) -> int:
        return 1

    def read(self, i: int, /) -> Sample:
        return Sample(b"", (), 0, "s0")


def png(size: tuple[int, int] = (10, 8), border: int = 2) -> bytes:
    """Grey, with a red border."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((90, 90, 90), (border, border, size[0] - border, size[1] - border))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


# Three of ImageNet's classes, which stand in another order in the list of names than among the 1,000.
OBJECTNET = {
    "mappings/folder_to_objectnet_label.json": {"tv": "TV", "alarm_clock": "Alarm clock", "air_freshener": "Freshener"},
    "mappings/objectnet_to_imagenet_1k.json": {
        "TV": "television, television system", "Alarm clock": "analog clock; digital clock"
    },
    "mappings/imagenet_to_label_2012_v2": "digital clock\ncrane\ntelevision, television system\nanalog clock\ncrane\n",
    "mappings/pytorch_to_imagenet_2012_id.json": {"409": 3, "530": 0, "851": 2, "134": 1, "517": 4},
    "images/alarm_clock/b.png": png(),
    "images/tv/a.png": png(),
    "images/air_freshener/c.png": png(),
}  # fmt: skip
VID = {
    "misc/imagenet_vid_class_index.json": {"0": ["n02691156", "airplane"], "1": ["n02419796", "antelope"]},
    "misc/imagenet_class_index.json": {
        "404": ["n02690373", "airliner"], "352": ["n02422699", "impala"], "351": ["n02422106", "hartebeest"]
    },
    "misc/rev_wnid_map.json": {"n02691156": ["n02690373"], "n02419796": ["n02422699", "n02422106"]},
    "metadata/pmsets.json": {
        "val/v0/000002.JPEG": ["val/v0/000001.JPEG"], "val/v1/000009.JPEG": [], "val/v2/000004.JPEG": []
    },
    "metadata/labels.json": {
        "val/v0/000002.JPEG": [1], "val/v0/000001.JPEG": [1], "val/v1/000009.JPEG": [0, 1], "val/v2/000004.JPEG": [0]
    },
    "val/v0/000002.JPEG": png(),
    "val/v2/000004.JPEG": png(),
}  # fmt: skip
YTBB = {
    "metadata/ytbb_class_index.json": {"0": "person", "1": "potted plant", "2": "none"},
    "metadata/rev_class_idx_map.json": {"0": [983, 981, 982]},
    "potted_plant/a.jpg": png(),
    "person/b.jpg": png(),
}


def test_objectnet_has_the_classes_that_imagenet_has_and_no_border(tmp_path):
    source = open_layout("objectnet", write(tmp_path / "objectnet-1.0", OBJECTNET).parent, "test")
    assert source.class_names == ("Alarm clock", "TV")  # in the order of folders
    assert source.members == ((409, 530), (851,))
    samples = [read(source, i) for i in range(len(source))]
    assert [(sample.key, sample.label) for sample in samples] == [("alarm_clock/b.png", 0), ("tv/a.png", 1)]
    assert samples[0].image.shape == (4, 6, 3)
    assert (samples[0].image == 90).all()
    assert members(source, Classes(1000)) == ((409, 530), (851,))
    with pytest.raises(DataError, match="groups of ImageNet's 1,000, but photographs has 200"):
        members(source, Classes(200, name="photographs"))
    with pytest.raises(DataError, match="groups of ImageNet's 1,000, but all of ImageNet has 21,841"):
        members(source, Classes(21_841, name="all of ImageNet"))


def test_the_row_of_objectnet_opens_it(tmp_path):
    source = open_dataset(find("objectnet"), write(tmp_path, OBJECTNET), "test")
    assert members(source, Classes(1000)) == ((409, 530), (851,))
    assert Renamed(source, ("clock", "television")).members == source.members


def test_vid_has_the_frames_of_one_class_and_tells_of_the_others(tmp_path, capsys):
    source = open_layout("vid-robust", write(tmp_path, VID), "test")
    assert source.class_names == ("airplane", "antelope")
    assert [(read(source, i).key, read(source, i).label) for i in range(len(source))] == [
        ("val/v0/000002.JPEG", 1),
        ("val/v2/000004.JPEG", 0),
    ]
    assert "1 of 3 frames of" in capsys.readouterr().err
    assert members(source, Classes(1000)) == ((404,), (351, 352))


def test_youtube_bb_has_classes_that_imagenet_has_not(tmp_path):
    source = open_layout("grouped-folders", write(tmp_path, YTBB), "test")
    assert source.class_names == ("person", "potted plant", "none")
    assert [(read(source, i).key, read(source, i).label) for i in range(2)] == [
        ("person/b.jpg", 0),
        ("potted_plant/a.jpg", 1),
    ]
    assert members(source, Classes(1000)) == ((981, 982, 983), (), ())
    write(tmp_path, {"pottedplant/a.jpg": png()})
    with pytest.raises(DataError, match=r"folder 'pottedplant'; did you mean 'potted plant'"):
        open_layout("grouped-folders", tmp_path, "test")


def test_where_no_file_lies_nothing_is_grouped(tmp_path):
    assert superclasses(tmp_path) == {}
    assert members(Classes(3), Classes(1000)) is None
    assert members(Classes(1, ("n00000001",)), Classes(1000)) is None


@pytest.mark.parametrize(
    ("files", "name", "content", "message"),
    [
        (OBJECTNET, "mappings/pytorch_to_imagenet_2012_id.json", None, "no such file"),
        (OBJECTNET, "mappings/pytorch_to_imagenet_2012_id.json", '{"0": 1', "is no JSON: .* cut off"),
        (OBJECTNET, "mappings/pytorch_to_imagenet_2012_id.json", [1], "holds list, not an object"),
        (OBJECTNET, "mappings/pytorch_to_imagenet_2012_id.json", {"1000": 2}, "none of ImageNet's 1,000"),
        (OBJECTNET, "mappings/imagenet_to_label_2012_v2", None, "no such file"),
        (OBJECTNET, "mappings/imagenet_to_label_2012_v2", "analog clock\n", "'TV' stands for 'television, .* no line"),
        (OBJECTNET, "mappings/objectnet_to_imagenet_1k.json", {"TV": "crane"}, "'crane', of which .* has 2 lines"),
        (OBJECTNET, "mappings/objectnet_to_imagenet_1k.json", {}, "groups no class"),
        (
            OBJECTNET, "mappings/objectnet_to_imagenet_1k.json", {"TV": "analog clock", "Alarm clock": "analog clock"},
            "'TV' and 'Alarm clock' both stand for class 409",
        ),
        (VID, "misc/imagenet_class_index.json", {"404": ["n02690373"]}, "'404' is .* not 2 texts"),
        (
            VID, "misc/imagenet_class_index.json", {"404": ["n02690373", "airliner"]},
            "'antelope' stands for n02422699, which is none",
        ),
        (
            VID, "misc/rev_wnid_map.json", {"n02691156": "n02690373"},
            "'airplane' stands for 'n02690373', which is no list",
        ),
        (YTBB, "metadata/rev_class_idx_map.json", {"0": [-1]}, "'person' stands for -1, which is none"),
        (YTBB, "metadata/rev_class_idx_map.json", {"0": 981}, "'person' stands for 981, which is no list"),
        (YTBB, "metadata/rev_class_idx_map.json", {"0": [1], "1": [1]}, "both stand for class 1"),
        (YTBB, "metadata/ytbb_class_index.json", None, "no such file"),
    ],
)  # fmt: skip
def test_damaged_files_of_groups(files, name, content, message, tmp_path):
    write(tmp_path, files)
    if content is None:
        (tmp_path / name).unlink()
    else:
        write(tmp_path, {name: content})
    with pytest.raises(DataError, match=message) as caught:
        superclasses(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata/labels.json", None, "no such file"),
        ("metadata/labels.json", {}, "has no classes of val/v0/000002.JPEG"),
        ("metadata/labels.json", {"val/v0/000002.JPEG": [2]}, "is of class 2, not from 0 to 1"),
        ("metadata/labels.json", {"val/v0/000002.JPEG": ["1"]}, "is of class '1'"),
        ("metadata/pmsets.json", {}, "lists no image"),
        ("metadata/pmsets.json", "{", "no JSON"),
        ("misc/imagenet_vid_class_index.json", {"1": ["n02691156", "airplane"]}, "does not number its classes from 0"),
    ],
)
def test_damaged_lists_of_vid(name, content, message, tmp_path):
    write(tmp_path, VID)
    if content is None:
        (tmp_path / name).unlink()
    else:
        write(tmp_path, {name: content})
    with pytest.raises(DataError, match=message) as caught:
        open_layout("vid-robust", tmp_path, "test")
    assert str(tmp_path) in str(caught.value)


def test_objectnets_folders_and_images(tmp_path):
    write(tmp_path, OBJECTNET | {"mappings/folder_to_objectnet_label.json": {"tv": "TV", "clock": "Alarm clocks"}})
    with pytest.raises(DataError, match=r"no folder of 'Alarm clock'; did you mean 'Alarm clocks'"):
        open_layout("objectnet", tmp_path, "test")
    source = open_layout("objectnet", write(tmp_path, OBJECTNET | {"images/tv/a.png": png((4, 9), 1)}), "test")
    with pytest.raises(DataError, match=r"tv/a\.png has 4 x 9 pixels"):
        read(source, 1)


def test_classes_are_found_by_their_wordnet_numbers(tmp_path):
    """ImageNet-A and -R, whatever their classes are called."""
    write(
        tmp_path,
        {"n01443537/a.JPEG": png(), "n02012849/b.JPEG": png(), "README.txt": "n01443537 goldfish\nn02012849 crane\n"},
    )
    shifted = open_layout("synsets", tmp_path, "test")
    assert shifted.class_ids == ("n01443537", "n02012849")
    source = Classes(4, ("n01440764", "n01443537", "n02012849", "n03126707"))
    assert members(shifted, source) == ((1,), (2,))
    assert members(Classes(2, ("n03126707", "n01440764")), source) == ((3,), (0,))  # in the order of their own
    with pytest.raises(DataError, match=r"1 of the 2 classes of .* are none of the 2 of classes: n02012849"):
        members(shifted, Classes(2, ("n01440764", "n01443537")))
