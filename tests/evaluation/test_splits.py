"""Which parts of a data set are measured, learned from and chosen by: none of them twice."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from diptych.data.fingerprint import stamp
from diptych.data.published.image_folders import COUNTRIES
from diptych.data.published.layouts import LAYOUTS
from diptych.data.sources import Source, open_source
from diptych.errors import DataError
from diptych.evaluation.datasets import Row, find
from diptych.evaluation.plan import Splits
from diptych.evaluation.splits import distinct, open_splits
from tests.data.making import jpeg, tar

THING = {"jpg": jpeg(0), "cls": b"1"}


def images(folder: Path, classes: Sequence[str], count: int, shade: int) -> None:
    """``count`` images a class, other ones for each shade."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (2, 2), (number % 256, i, shade)).save(folder / name / f"{i}.png")


def read_by(source: Source | None) -> set[str]:
    assert source is not None
    return {str(source.read(i).image) for i in range(len(source))}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """ImageNet as it is published, with two images a class to learn from."""
    synsets = [f"n{number:08}" for number in range(1000)]
    for split, count in (("train", 2), ("val", 1)):
        for synset in synsets:
            (tmp_path / split / synset).mkdir(parents=True)
            for i in range(count):
                (tmp_path / split / synset / f"{split}{i}.JPEG").write_bytes(b"")
    (tmp_path / "words.txt").write_text("".join(f"{synset} class {synset}\n" for synset in synsets))
    return tmp_path


def test_imagenet_is_not_chosen_by_what_is_measured(imagenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = find("imagenet1k")
    data = open_splits(str(imagenet), row, training=True)
    assert data.validation is None  # so that a part of train is held out
    assert read_by(data.test) == {str(file) for file in imagenet.glob("val/*/*")}
    assert read_by(data.train) == {str(file) for file in imagenet.glob("train/*/*")}
    assert "no split" not in capsys.readouterr().err
    with pytest.raises(DataError, match="no split 'train' beside the one that is measured"):
        open_splits(str(imagenet), row, split="train", training=True)


def test_folders_of_synsets_without_splits_have_nothing_to_learn_from(tmp_path: Path) -> None:
    images(tmp_path / "r", [f"n{number:08}" for number in range(200)], 1, 0)
    (tmp_path / "r" / "classnames.txt").write_text("\n".join(f"class {number}" for number in range(200)))
    row = find("imagenet-r")
    assert len(open_splits(str(tmp_path / "r"), row).test) == 200
    with pytest.raises(DataError, match="train: no such folder"):
        open_splits(str(tmp_path / "r"), row, training=True)


@pytest.mark.parametrize(("split", "chosen_by"), [(None, "valid"), ("test", "valid"), ("val", None), ("valid", None)])
def test_two_names_of_a_split_are_one(split: str | None, chosen_by: str | None, tmp_path: Path) -> None:
    for shade, name in enumerate(("train", "valid", "test")):
        images(tmp_path / name, COUNTRIES, 2 if name == "train" else 1, shade)
    data = open_splits(str(tmp_path), find("country211"), split=split, training=True)
    measured = tmp_path / ("test" if split in (None, "test") else "valid")
    assert read_by(data.test) == {str(file) for file in measured.glob("*/*")}
    if chosen_by is None:
        assert data.validation is None
    else:
        assert read_by(data.validation) == {str(file) for file in (tmp_path / chosen_by).glob("*/*")}


def test_hateful_memes_are_measured_on_dev_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for split in ("train", "dev"):
        rows = [{"img": f"img/{split}{i}.png", "label": i % 2} for i in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for split in (None, "val", "dev"):
        data = open_splits(str(tmp_path), find("hateful_memes"), split=split, training=True)
        assert data.validation is None
        assert data.train is not None
    with pytest.raises(DataError, match="no split 'train' beside"):
        open_splits(str(tmp_path), find("hateful_memes"), split="train", training=True)


def test_a_split_that_holds_another_is_not_measured_by_it(tmp_path: Path) -> None:
    """The published trainval of VOC and FGVC Aircraft is train and val together."""
    lists = tmp_path / "images"
    lists.mkdir()
    for split, numbers in (("train", (0, 1, 6)), ("val", (2, 3)), ("trainval", (0, 1, 2, 3, 6)), ("test", (4, 5))):
        lines = [f"{number} plane {number % 2}\n" for number in numbers]
        (tmp_path / f"images_variant_{split}.txt").write_text("".join(lines))
        for number in numbers:
            Image.new("RGB", (2, 30), (number, 0, 0)).save(lists / f"{number}.jpg")
    (tmp_path / "variants.txt").write_text("plane 0\nplane 1\n")
    assert "trainval" in LAYOUTS["aircraft"].splits
    row = dataclasses.replace(find("fgvc_aircraft"), classes=None)  # two suffice here
    assert open_splits(str(tmp_path), row, training=True).validation is not None
    assert open_splits(str(tmp_path), row, split="val", training=True).validation is None
    with pytest.raises(DataError, match="'train' of fgvc_aircraft is, or shares samples with, the split 'trainval'"):
        open_splits(str(tmp_path), row, split="trainval", training=True)


def test_copies_and_links_of_what_is_measured_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shade, split in enumerate(("train", "test")):
        images(tmp_path / split, ("cat", "dog"), 3, shade)
    (tmp_path / "val").symlink_to(tmp_path / "test")
    data = open_splits(str(tmp_path), training=True)
    assert data.validation is None
    assert "shares samples with, what is measured, so it is not used" in capsys.readouterr().err
    (tmp_path / "val").unlink()
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    assert open_splits(str(tmp_path), training=True).validation is None
    assert "what is learned from" in capsys.readouterr().err
    images(tmp_path / "val", ("cat", "dog"), 3, 7)
    assert open_splits(str(tmp_path), training=True).validation is not None
    shutil.rmtree(tmp_path / "train")
    shutil.copytree(tmp_path / "test", tmp_path / "train")
    with pytest.raises(DataError, match=r"'train' of .* is, or shares samples with, the split 'test'"):
        open_splits(str(tmp_path), training=True)


def test_splits_put_together_by_hand_are_held_to_it(tmp_path: Path) -> None:
    for shade, split in enumerate(("train", "test")):
        images(tmp_path / split, ("cat", "dog"), 3, shade)
    test, train = (open_source(tmp_path / split) for split in ("test", "train"))
    assert distinct(Splits(test, train, open_source(tmp_path / "test"))) == Splits(test, train)
    with pytest.raises(DataError, match="the data that would be measured"):
        distinct(Splits(test, test))


def test_a_class_to_learn_that_is_not_measured_is_told_of_splits(tmp_path: Path) -> None:
    images(tmp_path / "train", ("cat", "dog", "grey"), 2, 0)
    images(tmp_path / "test", ("cat", "dog"), 2, 1)
    with pytest.raises(DataError, match=r"give 'test' the class 'grey', which only 'train' has: .* an empty folder"):
        open_splits(str(tmp_path), training=True)
    (tmp_path / "test" / "grey").mkdir()
    assert open_splits(str(tmp_path), training=True).test.class_names == ("cat", "dog", "grey")


def test_names_that_are_given_hide_no_class_that_is_not_measured(tmp_path: Path) -> None:
    images(tmp_path / "train", ("black", "blue", "red"), 2, 0)
    images(tmp_path / "test", ("blue", "grey", "red"), 2, 1)
    told = (
        (("blue", "grey", "red"), r"split 'train' of d: .* class 'blue' is number 2, .* 'blue' is number 1"),
        (("sea", "fog", "fire"), "give 'test' the class 'black', which only 'train' has"),
    )
    for names, message in told:
        row = Row(name="d", title="d", location=str(tmp_path), class_names=tuple((name,) for name in names))
        assert open_splits(row.location, row).test.class_names == names
        with pytest.raises(DataError, match=message):
            open_splits(row.location, row, training=True)
    (tmp_path / "train" / "black").rename(tmp_path / "train" / "grey")
    data = open_splits(row.location, row, training=True)
    assert data.train is not None
    assert data.train.class_names == ("sea", "fog", "fire")


def test_classes_in_another_order_are_not_named_by_their_places(tmp_path: Path) -> None:
    for split, names in (("train", "cat\ndog\n"), ("test", "dog\ncat\n")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "t.csv").write_text(f"image,label\n{split}1.jpg,cat\n{split}2.jpg,dog\n{split}3.jpg,cat\n")
        (tmp_path / split / "classnames.txt").write_text(names)
    row = Row(name="d", title="d", location=str(tmp_path), class_names=(("Katze",), ("Hund",)))
    with pytest.raises(DataError, match="the class 'cat' would be 'Katze' in 'train' and 'Hund' in 'test'"):
        open_splits(row.location, row, training=True)


def test_one_example_a_class_is_too_few_to_choose_by(tmp_path: Path) -> None:
    images(tmp_path / "train", ("cat", "dog"), 1, 0)
    images(tmp_path / "test", ("cat", "dog"), 2, 1)
    with pytest.raises(DataError, match=r"no class of the split 'train' of .* has two samples"):
        open_splits(str(tmp_path), training=True)
    images(tmp_path / "val", ("cat", "dog"), 1, 2)
    assert open_splits(str(tmp_path), training=True).validation is not None


def test_a_damaged_validation_split_is_no_missing_one(tmp_path: Path) -> None:
    for shade, split in enumerate(("train", "test")):
        images(tmp_path / split, ("cat", "dog"), 2, shade)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="val is no source"):
        open_splits(str(tmp_path), training=True)


def test_splits_elsewhere_of_as_many_samples_are_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells remote shards apart is where they are: their names and sizes are equal."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = fsspec.filesystem("memory")
    for shade, split in enumerate(("train", "val", "test")):
        pair = {f"{label}": {"jpg": jpeg(shade), "cls": str(label).encode()} for label in range(2)}
        files.pipe(f"/even/{split}/nshards.txt", b"1")
        files.pipe(f"/even/{split}/0.tar", tar(tmp_path / split / "0.tar", pair).read_bytes())
    files.pipe("/even/classnames.txt", b"cat\ndog\n")
    row = Row(name="even", title="Even", sizes={"clip_benchmark": {"train": 2, "val": 2, "test": 2}})
    data = open_splits("memory://even", row, training=True)
    assert data.validation is not None
    assert data.train is not None
    assert len({stamp(source) for source in (data.test, data.train, data.validation)}) == 3
    assert data.test.read(0).image != data.train.read(0).image


def test_filters_and_fields_hold_for_data_sets_with_a_row(tmp_path: Path) -> None:
    tar(
        tmp_path / "things" / "test" / "0.tar", {f"s{i}": THING | {"json": b'{"base": %d}' % (i < 2)} for i in range(6)}
    )
    (tmp_path / "things" / "classnames.txt").write_text("cat\ndog\n")
    images(tmp_path / "folders", ("cat", "dog"), 2, 0)
    images(tmp_path / "published", [str(number) for number in range(1000)], 1, 0)
    things = Row(name="things", title="Things", location=str(tmp_path / "things"))
    assert len(open_splits(things.location, things).test) == 6
    assert len(open_splits(things.location, things, where="json.base").test) == 2
    with pytest.raises(DataError, match=r"no sample of things passes where='json\.nonsense'"):
        open_splits(things.location, things, where="json.nonsense")
    with pytest.raises(DataError, match="the first sample of things has no nosuch"):
        open_splits(things.location, things, captions=["nosuch"])
    with pytest.raises(DataError, match=r"where= \(--where\) does not apply to folders"):
        open_splits(str(tmp_path / "folders"), things, where="json.base")
    for option in ("where", "captions"):
        with pytest.raises(DataError, match=rf"{option}= .* does not apply to ImageNetV2 as published"):
            open_splits(str(tmp_path / "published"), find("imagenetv2"), **{option: "json.base"})


def test_a_row_has_no_splits_where_the_data_have_none(tmp_path: Path) -> None:
    """Not even one that also comes in a published form, which these folders are not."""
    images(tmp_path / "pets", [f"breed {number}" for number in range(37)], 1, 0)
    assert open_splits(str(tmp_path / "pets"), find("pets")).name == ""


def test_what_is_measured_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "lists/labels").mkdir(parents=True)
    lines = "banded/1.jpg\n" * 3 + "banded/2.jpg\ndotted/1.jpg\ndotted/1.jpg\n"
    (tmp_path / "lists/labels/test1.txt").write_text(lines)
    images(tmp_path / "lists/images", ("banded", "dotted"), 3, 0)
    row = dataclasses.replace(find("dtd"), classes=2)
    twice = open_splits(str(tmp_path / "lists"), row)
    assert len(twice.test) == 6
    assert "DTD names 3 files again" in twice.note
    assert twice.note.startswith("not the paper's split")
    for shard in range(3):
        tar(tmp_path / f"tars/test/{shard}.tar", {f"s{i}": THING | {"txt": b"%d" % (shard % 2)} for i in range(2)})
    (tmp_path / "tars/classnames.txt").write_text("cat\ndog\n")
    said = open_splits(str(tmp_path / "tars")).note
    assert "tars names 1 file again" in said
    assert "2.tar first" in said
    (tmp_path / "tars/test/2.tar").unlink()
    images(tmp_path / "folders", ("cat", "dog"), 3, 0)
    for whole in ("tars", "folders"):
        assert open_splits(str(tmp_path / whole)).note == ""
