"""Rows of the table opened wherever their data lie, verdicts on their splits, and data sets of one's own."""

import dataclasses
import importlib
import io
import json
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from diptych.data.source_spec import CacheSpec
from diptych.data.sources import Sample, labels_of, open_source, read
from diptych.errors import ConfigError, DataError
from diptych.evaluation.datasets import DATASETS, Row, find
from diptych.evaluation.opening import check, names_of, open_dataset, remote_location, templates_of
from diptych.evaluation.own_datasets import read_rows
from diptych.evaluation.splits import named, open_splits


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def tar(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, fields in samples.items():
            for extension, data in fields.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


class Numbers:
    """A source of so many samples, of classes in turn."""

    templates = None

    def __init__(self, samples: int, classes: int, labels=None, name="numbers") -> None:
        self.name, self.class_names = name, tuple(f"class {i}" for i in range(classes))
        self.labels = labels or [i % classes for i in range(samples)]

    def __len__(self) -> int:
        return len(self.labels)

    def labels_of(self, i: int) -> tuple[int, ...]:
        return (self.labels[i],)

    def read(self, i: int) -> Sample:
        return Sample(b"", (), self.labels[i], f"s{i}")


def benchmark(path: Path, split: str = "test", classes: str = "0\n1\n2\n", **extra: str) -> Path:
    samples = {f"s{i}": {"jpg": jpeg(i), "cls": str(i % 3).encode()} for i in range(4)}
    tar(path / split / "0.tar", samples)
    (path / split / "nshards.txt").write_text("1")
    (path / "classnames.txt").write_text(classes)
    (path / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    return path


def class_folders(path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (path / name).mkdir(parents=True)
        (path / name / "x.jpg").write_bytes(jpeg(number))
    return path


def test_the_papers_split_has_nothing_to_note():
    verdict = check(find("stl10"), Numbers(8000, 10), "test")
    assert (verdict.layouts, verdict.note) == (("paper", "clip_benchmark", "published"), "")


@pytest.mark.parametrize(
    ("name", "samples", "classes", "split", "layouts", "note"),
    [
        (
            "stl10", 5000, 10, "train", ("clip_benchmark", "published"),
            "not the paper's split: STL-10 train has 5,000 images here, as in CLIP_benchmark's copy and as published; "
            "the paper's has 1,000",
        ),
        (
            "stl10", 7999, 10, "test", (),
            "not the paper's split: STL-10 test has 7,999 images here; the paper's has 8,000",
        ),
        (
            "fer2013", 7178, 7, "test", ("clip_benchmark",),
            "not the paper's split: Facial Emotion Recognition 2013 test has 7,178 images here of 7 classes, as in "
            "CLIP_benchmark's copy; the paper's has 3,574 of 8 classes",
        ),
        # As many images as the paper's, but of seven classes.
        (
            "fer2013", 3574, 7, "test", (),
            "not the paper's split: Facial Emotion Recognition 2013 test has 3,574 images here of 7 classes; the "
            "paper's has 3,574 of 8 classes",
        ),
        (
            "dtd", 1880, 47, "val", ("clip_benchmark", "published"),
            "not the paper's split: Describable Textures val has 1,880 images here, as in CLIP_benchmark's copy and as "
            "published; the paper has train and test alone",
        ),
        (
            "eurosat", 27000, 10, None, ("published",),
            "not the paper's split: EuroSAT has 27,000 images here, as published; the paper has train and test alone",
        ),
        ("imagenet-a", 7500, 200, "test", ("clip_benchmark", "published"), ""),
        (
            "imagenet-a", 7000, 200, "test", (),
            "not a split that is known: ImageNet-A test has 7,000 images here; it has 7,500 as in CLIP_benchmark's "
            "copy, 7,500 as published",
        ),
        ("youtube_bb", 100, 24, "test", (), ""),  # of which no size is known
    ],
)  # fmt: skip
def test_whose_split_it_is(name, samples, classes, split, layouts, note):
    verdict = check(find(name), Numbers(samples, classes), split)
    assert (verdict.layouts, verdict.note) == (layouts, note)


def test_the_split_that_is_evaluated_is_the_papers_test():
    verdict = check(dataclasses.replace(find("hateful_memes"), kind="binary"), Numbers(500, 2), "val")
    assert verdict.layouts == ("paper", "published")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("stl10", Numbers(0, 10), "no samples in the split 'test'"),
        ("stl10", Numbers(20, 9), "9 classes, but STL-10 has 10"),
        ("fer2013", Numbers(20, 6), "6 classes, but Facial Emotion Recognition 2013 has 7 or 8"),
        (
            "stl10",
            Numbers(20, 10, [1, 10]),
            "go from 1 to 10, but there are 10 classes, from 0 on: 1 of 2 are none of them, first sample 2; .* from 1",
        ),
        ("stl10", Numbers(20, 10, [0, -1, 4]), "go from -1 to 4"),
        ("voc2007_multilabel", Numbers(20, 20), "one label an image, but Pascal VOC 2007 is multi-label"),
        ("flickr8k", Numbers(20, 20), "no caption, which Flickr8k is about"),
    ],
)
def test_what_no_evaluation_should_begin_with(name, source, message):
    with pytest.raises(DataError, match=message):
        check(find(name), source, "test")


def test_labels_that_are_missing_altogether(tmp_path):
    folder = tmp_path / "images"
    tar(folder / "test/0.tar", {"s0": {"jpg": jpeg(0)}})
    (folder / "test/nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join("abcdefghij"))
    with pytest.raises(DataError, match="no sample of images has a label"):
        check(find("stl10"), open_source(folder, split="test"), "test")


def test_a_label_that_is_out_of_range_in_a_tar_is_found(tmp_path):
    """In the data it is one of many samples; counted from 1, all others would be wrong too."""
    folder = tmp_path / "stl"
    tar(folder / "test/0.tar", {f"s{i}": {"jpg": jpeg(i), "cls": str(i + 1).encode()} for i in range(10)})
    (folder / "test/nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join("abcdefghij"))
    with pytest.raises(DataError, match="numbered from 1"):
        check(find("stl10"), open_dataset(find("stl10"), folder, "test"), "test")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test/0.tar", None, r"no source: no tars"),
        ("test/0.tar", b"", r"0\.tar is not a tar archive: the file ends at byte 0"),
        ("test/0.tar", slice(600), r"0\.tar is not a tar archive: the file ends at byte 600, inside a member"),
        ("test/0.tar", slice(3000), r"0\.tar holds no samples; .*0\.tar.* 3,000"),
        ("test/0.tar", slice(9000), r"MNIST test is damaged, so its numbers would be of a part: .*0\.tar"),
        ("test/nshards.txt", b"3", r"test/1\.tar: no such file"),
        ("test/nshards.txt", b"x", r"nshards\.txt holds 'x'"),
        ("classnames.txt", b"a\nb\n", "has 2 classes, but MNIST has 3"),
        ("classnames.txt", b"a\n\nc\n", r"classnames\.txt: line 2 is blank"),
        ("classnames.txt", b"", "has no class names"),
    ],
)
def test_a_clip_benchmark_folder_with_a_fault_is_not_measured_on(file, content, message, tmp_path):
    row, folder = dataclasses.replace(find("mnist"), classes=3), benchmark(tmp_path / "copy")
    assert check(row, open_dataset(row, folder, "test"), "test").layouts == ()
    if content is None:
        (folder / file).unlink()
    else:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[content] if isinstance(content, slice) else content)
    with pytest.raises(DataError, match=message):
        check(row, open_dataset(row, folder, "test"), "test")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([b"0", b"3"], "go from 0 to 3, but there are 3 classes, from 0 on: 1 of 2 are none of them, first sample 2"),
        ([b"zero", b"one"], r"no sample of copy has a label; of the first: s0\.cls is b'zero'"),
    ],
)
def test_labels_of_a_clip_benchmark_folder_that_are_none(labels, message, tmp_path):
    row, folder = dataclasses.replace(find("mnist"), classes=3), benchmark(tmp_path / "copy")
    tar(folder / "test/0.tar", {f"s{i}": {"jpg": jpeg(i), "cls": label} for i, label in enumerate(labels)})
    with pytest.raises(DataError, match=message):
        check(row, open_dataset(row, folder, "test"), "test")


def test_class_folders_without_an_image_or_a_class(tmp_path):
    row = dataclasses.replace(find("eurosat"), classes=2)
    for name in ("test/AnnualCrop", "test/Forest"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match="test is no source"):
        open_dataset(row, tmp_path, "test")
    with pytest.raises(DataError, match="no split 'train'"):
        open_dataset(row, tmp_path, "train")
    (tmp_path / "test/AnnualCrop/x.jpg").write_bytes(jpeg(0))
    with pytest.raises(DataError, match="has 2 classes, but EuroSAT has 10"):
        check(find("eurosat"), open_dataset(find("eurosat"), tmp_path, "test"), "test")


def test_a_clip_benchmark_folder_keeps_its_names(tmp_path):
    source = open_dataset(find("mnist"), benchmark(tmp_path), "test")
    assert source.class_names == ("0", "1", "2")
    assert read(source, 1).captions == ("a 1",)
    assert names_of(find("mnist"), source)[:2] == (("0", "zero"), ("1", "one"))


def test_a_published_form_is_found_and_named(tmp_path):
    (tmp_path / "raw").mkdir()
    header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28])
    (tmp_path / "raw/t10k-images-idx3-ubyte").write_bytes(header + bytes(2 * 28 * 28))
    (tmp_path / "raw/t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 0]))
    source = open_dataset(find("mnist"), tmp_path, "test")
    assert source.class_names == tuple("0123456789")
    assert read(source, 0).captions == ("7",)
    assert labels_of(source, 1) == (0,)
    with pytest.raises(DataError, match="say which with split="):
        open_dataset(find("mnist"), tmp_path, None)


def test_captions_are_found_in_their_published_form(tmp_path):
    images = [
        {"filename": f"{split}.jpg", "split": split, "sentences": [{"raw": "one"}, {"raw": "two"}]}
        for split in ("train", "val", "test")
    ]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    (tmp_path / "test.jpg").write_bytes(jpeg(0))
    splits = open_splits(*named(f"flickr8k={tmp_path}"))
    assert (splits.name, len(splits.test)) == ("test", 1)
    assert read(splits.test, 0).captions == ("one", "two")
    assert splits.note.startswith("not a split that is known: Flickr8k test has 1 images here; it has 1,000")
    assert read(open_splits(str(tmp_path), find("flickr8k"), split="val").test, 0).key == "val.jpg"
    with pytest.raises(DataError, match="no split 'tset'; did you mean 'test'"):
        open_splits(str(tmp_path), find("flickr8k"), split="tset")


def test_class_folders_are_named_as_people_would(tmp_path):
    folder = class_folders(tmp_path / "2750", "AnnualCrop", "Forest", "SeaLake")
    source = open_dataset(find("eurosat"), folder, None)
    assert source.class_names == ("annual crop", "forest", "sea lake")
    assert read(source, 2).captions == ("sea lake",)
    assert read(source, 2).label == 2
    signs = open_dataset(find("gtsrb"), class_folders(tmp_path / "signs", "00002", "00014"), None)
    assert signs.class_names == ("speed limit 50 km/h", "stop")
    counts = open_dataset(find("clevr"), class_folders(tmp_path / "counts", "10", "3"), None)
    assert counts.class_names == ("ten", "three")


def test_numbers_without_names_are_an_error(tmp_path):
    folder = class_folders(tmp_path / "v2", "0", "1")
    source = open_dataset(find("imagenetv2"), folder, "test")
    with pytest.raises(DataError, match=r"put them into classnames\.txt"):
        check(find("imagenetv2"), source, "test")


def test_what_lies_nowhere_is_told_with_the_forms(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(find("mnist"), tmp_path / "nowhere", "test")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match="is no source; give a folder"):
        open_dataset(find("mnist"), tmp_path / "x.txt", None)
    with pytest.raises(DataError, match=r"nor is it MNIST in its published form, idx \(t10k-images"):
        open_dataset(find("mnist"), tmp_path, None)
    with pytest.raises(DataError, match="no split 'train'"):
        open_dataset(find("mnist"), benchmark(tmp_path / "b"), "train")


class StandIn(MemoryFileSystem):
    """The Hub, without a network."""

    protocol = ("hf",)
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("hf://").strip("/")


def test_a_copy_on_the_hub_is_read_by_its_short_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "hf", StandIn)
    here = benchmark(tmp_path / "here")
    for path in here.rglob("*"):
        if path.is_file() and ".diptych" not in path.parts:
            StandIn().pipe(f"/datasets/clip-benchmark/wds_mnist/{path.relative_to(here)}", path.read_bytes())
    cache = CacheSpec(folder=str(tmp_path / "shards"), timeout=5, attempts=2)
    there = open_dataset(find("mnist"), "hf:clip-benchmark/wds_mnist", "test", cache=cache)
    assert there.class_names == ("0", "1", "2")
    assert [read(there, i).label for i in range(4)] == [0, 1, 2, 0]


def test_locations_elsewhere():
    assert remote_location("hf:clip-benchmark/wds_mnist/") == "hf://datasets/clip-benchmark/wds_mnist"
    for other in ("hf://datasets/a/b", "s3://a/b", "data/mnist"):
        assert remote_location(other) == other


def own(tmp_path: Path, text: str) -> tuple[Row, ...]:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_rows(path)


def test_a_data_set_of_ones_own(tmp_path):
    class_folders(tmp_path / "cats/test", "puss", "tom")
    (tmp_path / "names.txt").write_text("puss|kitty\ntom\n")
    rows = own(
        tmp_path,
        """
        [[dataset]]
        name = "our-cats"
        location = "cats"
        classes = ["puss|kitty", "tom|tomcat"]
        templates = ["a cat called {}."]
        classes_of = "pets"
        metric = "mean_per_class_recall"
        [[dataset]]
        name = "more-cats"
        location = "s3://bucket/cats"
        classes = "names.txt"
        templates = "pets"
        classes_of = "our-cats"
        [[dataset]]
        name = "plain"
        location = "cats"
        """,
    )
    cats, more, plain = rows
    assert (cats.metric, cats.kind, cats.classes, cats.split) == ("mean_per_class_recall", "single label", 2, "test")
    assert templates_of(cats) == ("a cat called {}.",)
    assert (more.name, more.location, more.class_names) == (
        "more-cats",
        "s3://bucket/cats",
        (("puss", "kitty"), ("tom",)),
    )
    assert len(templates_of(more)) > 4
    source = open_dataset(cats, cats.location, cats.split)
    assert source.class_names == ("puss", "tom")
    assert names_of(cats, source) == (("puss", "kitty"), ("tom", "tomcat"))
    assert check(cats, source, "test").note == ""
    assert templates_of(plain, source) == ("a photo of a {}.",)  # as of the folder without a row
    bringing = benchmark(tmp_path / "bringing")
    assert templates_of(plain, open_dataset(plain, bringing, "test")) == ("a {c}",)
    assert templates_of(cats, open_source(bringing)) == ("a cat called {}.",)
    assert len(templates_of(DATASETS["imagenet1k"], open_source(bringing))) > 4
    assert check(plain, open_dataset(plain, plain.location, "test"), "test").layouts == ()


def test_names_of_ones_own_are_given_to_the_classes_of_that_name(tmp_path):
    class_folders(tmp_path / "things", "bird", "gnat", "tower_crane")
    text = "[[dataset]]\nname = 'x'\nlocation = 'things'\nclasses = ['crane|tower crane', 'gnat|fly', 'crane|bird']"
    (row,) = own(tmp_path, text)
    source = open_dataset(row, row.location, None)
    assert source.class_names == ("crane", "gnat", "crane")
    assert names_of(row, source) == (("crane", "bird"), ("gnat", "fly"), ("crane", "tower crane"))
    (row,) = own(tmp_path, text.replace("crane|bird", "thing"))
    with pytest.raises(DataError, match=r"the row of x: the class 'tower crane' is number 3, .* is number 1"):
        open_dataset(row, row.location, None)


@pytest.mark.parametrize(("metric", "classes"), [("mean_acc1_acc5", "abcd"), ("roc_auc", "abc"), ("roc_auc", "a")])
def test_a_metric_that_says_nothing_of_so_many_classes(metric, classes, tmp_path):
    class_folders(tmp_path / "things/test", *classes)
    (row,) = own(tmp_path, f"[[dataset]]\nname = 'x'\nlocation = 'things'\nmetric = '{metric}'")
    with pytest.raises(
        DataError, match=rf"things, which is measured on as x: .*{len(classes)}.* a metric for it is acc1"
    ):
        open_splits(row.location, row)


def test_templates_of_the_data_that_are_none_name_their_file(tmp_path):
    (benchmark(tmp_path / "tars") / "zeroshot_classification_templates.txt").write_text("a photo\n")
    (row,) = own(tmp_path, "[[dataset]]\nname = 'x'\nlocation = 'tars'")
    with pytest.raises(DataError, match=r"zeroshot_classification_templates\.txt of tars: .*has no '{}'"):
        templates_of(row, open_splits(row.location, row).test)


def test_classes_are_no_captions_to_retrieve_by(tmp_path):
    class_folders(tmp_path / "things/test", "cat", "dog")
    benchmark(tmp_path / "tars")
    for location in ("things", "tars"):
        text = f"[[dataset]]\nname = 'x'\nlocation = '{location}'\nmetric = 'image_retrieval_recall@1'"
        (row,) = own(tmp_path, text)
        with pytest.raises(DataError, match=r"has [23] classes and no captions, .*; a metric for classes is acc1"):
            open_splits(row.location, row)
    samples = {"s": {"jpg": jpeg(0), "cls": b"0", "txt": b"a cat on a mat"}}
    tar(tmp_path / "tars/test/0.tar", samples)
    assert read(open_splits(row.location, row).test, 0).captions == ("a cat on a mat",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("dataset = 3", "has no rows"),
        ("[[datasets]]\n", "no 'datasets' at its top; did you mean 'dataset'"),
        ("[[dataset]]\nnam = 'x'", r"row 1: there is no key 'nam'; did you mean 'name'"),
        ("[[dataset]]\nname = 'x'", "row 1: location must be a text and be there"),
        ("[[dataset]]\nname = 3\nlocation = 'a'", "name must be a text"),
        ("[[dataset]]\nname = 'mnist'\nlocation = 'a'", "is known; take another"),
        (
            "[[dataset]]\nname = 'x'\nlocation = 'a'\nmetric = 'acc'",
            r"row 1 \(x\): there is no metric 'acc'; did you mean",
        ),
        (
            "[[dataset]]\nname = 'x'\nlocation = 'a'\nkind = 'binary'",
            r"row 1: there is no key 'kind'",
        ),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\nclasses = []", "classes must be a file or a list"),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\nclasses = ['a', '']", "classes: number 2: '' has a blank name"),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\nclasses = 'no.txt'", "cannot read the class names"),
        ('[[dataset]]\nname = "x"\nlocation = "a"\nclasses = "\\u0000"', "cannot read the class names"),
        ('[[dataset]]\nname = "x"\nlocation = "a"\ntemplates = "\\u0000"', "neither a set of templates"),
        ('[[dataset]]\nname = "x\\u0000"\nlocation = "a"', r"name is 'x\\x00', with the control character '\\x00'"),
        ('[[dataset]]\nname = "x"\nlocation = "a\\u001b"', "location is .* with the control character"),
        (
            "[[dataset]]\nname = 'x'\nlocation = 'a'\nmetric = 'mean_acc1_acc5'\nclasses = ['a', 'b', 'c', 'd']",
            r"row 1 \(x\): of 4 classes all are among the first five, .* a metric for it is acc1",
        ),
        (
            "[[dataset]]\nname = 'x'\nlocation = 'a'\nmetric = 'roc_auc'\nclasses = ['a', 'b', 'c']",
            r"row 1 \(x\): roc_auc is of two classes, not 3",
        ),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\ntemplates = ['a']", "templates: .* has no '{}'"),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\ntemplates = 'pest'", "did you mean 'pets'"),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\ntemplates = 3", "templates must be"),
        ("[[dataset]]\nname = 'x'\nlocation = 'a'\nclasses_of = 'pest'", "no data set 'pest' .*did you mean 'pets'"),
        ("[[dataset]]\nname='x'\nlocation='a'\n[[dataset]]\nname='x'\nlocation='b'", "two rows are called 'x'"),
        ("[[dataset]\n", "cannot read"),
    ],
)
def test_mistakes_in_a_file_of_rows(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        own(tmp_path, text)
    assert "mine.toml" in str(caught.value)


def test_a_file_of_rows_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_rows(tmp_path / "nowhere.toml")


def test_caltech101_here_is_clip_benchmarks_copy_in_form_alone(shared_data):
    source = open_dataset(find("caltech101"), shared_data / "caltech101", "test")
    row = dataclasses.replace(find("caltech101"), classes_in={"here": len(source.class_names)})
    verdict = check(row, source, "test")
    assert verdict.layouts == ()
    assert verdict.note.startswith("not the paper's split: Caltech-101 test has 2,804 images here")
    assert np.isin([labels_of(source, i)[0] for i in range(0, 2804, 100)], range(102)).all()
