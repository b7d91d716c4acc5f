import json
import os
import pickle
from pathlib import Path

import pytest
from making import jpeg, keys

from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.preprocess import decode_image
from diptych.data.sources import Sample, naming, open_source
from diptych.errors import DataError
from diptych.specs import PreprocessSpec


def test_class_folders_with_and_without_splits(tmp_path):
    for split in ("train", "test"):
        for name in ("hot_dog", "cat"):
            (tmp_path / split / name / "deep").mkdir(parents=True)
            (tmp_path / split / name / "1.jpg").write_bytes(jpeg(1))
            (tmp_path / split / name / "deep" / "2.PNG").write_bytes(jpeg(2))
            (tmp_path / split / name / "notes.md").write_text("no image")
    with pytest.raises(DataError, match="splits test, train; say which"):
        open_source(tmp_path)
    source = open_source(tmp_path, split="train")
    assert source.class_names == ("cat", "hot dog")
    assert len(source) == len(open_source(tmp_path / "train")) == 4
    sample = source.read(3)
    assert (sample.label, sample.captions, sample.key) == (1, ("hot dog",), "hot_dog/deep/2.PNG")
    assert Path(sample.image).read_bytes() == jpeg(2)
    assert keys(pickle.loads(pickle.dumps(source))) == keys(source)


def test_images_with_captions_beside_them(tmp_path):
    (tmp_path / "00000").mkdir()
    for i in range(3):
        (tmp_path / "00000" / f"{i}.jpg").write_bytes(jpeg(i))
        (tmp_path / "00000" / f"{i}.txt").write_text(f"caption {i}")
        (tmp_path / "00000" / f"{i}.json").write_text(json.dumps({"alt": [f"alt {i}"]}))
    source = open_source(tmp_path)
    assert source.read(1).captions == ("caption 1",)
    assert source.read(1).key == "00000/1"
    assert open_source(tmp_path, captions=["json.alt"]).read(2).captions == ("alt 2",)


def images(folder: Path, *names: str) -> None:
    """Images, and for every other ending a file that says its own name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(1)) if path.suffix in (".jpg", ".png") else path.write_text(f'{{"alt": "{name}"}}')


def test_pairs_are_known_by_most_of_their_images_not_by_the_first(tmp_path):
    images(tmp_path / "deep", *(f"0000{i % 2}/{i}.{kind}" for i in range(6) for kind in ("png", "txt")))
    images(tmp_path / "flat", *(f"{i}.{kind}" for i in range(6) for kind in ("png", "txt")))
    for folder, first in ((tmp_path / "deep", "00000/0"), (tmp_path / "flat", "0")):
        (folder / f"{first}.txt").unlink()
        for source in (open_source(folder), open_source(folder, captions=["txt"])):
            assert source.class_names is None
            assert source.read(0) == Sample(folder / f"{first}.png", (), None, first)
            assert all(len(source.read(i).captions) == 1 for i in range(1, 6))
    with pytest.raises(DataError, match=r"has no json\.alt; it has txt"):
        open_source(tmp_path / "deep", captions=["json.alt"])


def test_a_stray_file_does_not_make_pairs_of_classes(tmp_path):
    images(tmp_path, *(f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(3)), "cat/0.json")
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert source.read(0).captions == ("cat",)
    images(tmp_path, "dog/1.txt")
    with pytest.raises(DataError, match=r"1 of its 6 images have a \.txt beside them \(dog/1\.jpg"):
        open_source(tmp_path)
    assert open_source(tmp_path, captions=["txt"]).class_names is None
    images(tmp_path, *(f"{name}/more{i}.jpg" for name in ("cat", "dog") for i in range(50)))
    assert open_source(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("folder", ["00000/", ""])
def test_images_with_other_files_than_captions_beside_them_ask_for_the_field(tmp_path, folder):
    images(tmp_path, *(f"{folder}{i}.{kind}" for i in range(4) for kind in ("jpg", "json")))
    with pytest.raises(DataError, match=r"4 of its 4 images have \.json .* name the fields with captions="):
        open_source(tmp_path)
    assert open_source(tmp_path, captions=["json.alt"]).read(2).captions == (f"{folder}2.json",)
    with pytest.raises(DataError, match=r"no json\.text; it has json, json\.alt"):
        open_source(tmp_path, captions=["json.text"])


@pytest.mark.parametrize("kinds", [("jpg",), ("jpg", "txt")])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_pipe_among_images_is_that_samples_failure(tmp_path, kinds, workers):
    images(tmp_path, *(f"cat/{i}.{kind}" for i in range(4) for kind in kinds))
    (tmp_path / "cat" / "2.jpg").unlink()
    os.mkfifo(tmp_path / "cat" / "2.jpg")
    source = open_source(tmp_path)
    with pytest.raises(DataError, match=r"2\.jpg is empty"):
        decode_image(source.read(2).image)
    with pytest.raises(DataError, match=r"2\.jpg is no regular file"):
        InMemory(source, side=8).read(2)
    options = {"batch_size": 8, "workers": workers, "max_failures": 0.5}
    with Loader(source, PreprocessSpec(size=8), **options) as loader:
        next(loader.batches())
    assert list(loader.failures.reasons) == [2]
    assert "2.jpg is no regular file" in loader.report()


def test_files_that_are_not_called_in_utf8_can_be_named(tmp_path):
    images(tmp_path / "cat", "a.jpg")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg")
    Path(odd).write_bytes(b"junk")
    source = open_source(tmp_path)
    assert keys(source) == ["cat/a.jpg", "cat/caf\\udce9.jpg"]
    with pytest.raises(DataError) as caught, naming(source.read(1)):
        decode_image(source.read(1).image)
    assert str(caught.value).encode()
    os.rename(tmp_path / "cat", os.fsdecode(os.fsencode(tmp_path) + b"/k\xe4tze"))
    with pytest.raises(DataError, match="cannot name a class"):
        open_source(tmp_path)


def test_classes_that_link_to_each_other_are_read_once_each(tmp_path):
    images(tmp_path, "cat/c.jpg", "dog/d.jpg")
    (tmp_path / "dog" / "x").symlink_to("../cat")
    (tmp_path / "cat" / "y").symlink_to("../dog")
    (tmp_path / "all").symlink_to(".")
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert keys(source) == ["cat/c.jpg", "cat/y/d.jpg", "dog/d.jpg", "dog/x/c.jpg"]


def test_a_link_to_everything_is_no_split(tmp_path):
    images(tmp_path, "train/cat/a.jpg", "val/cat/b.jpg")
    (tmp_path / "all").symlink_to(".")
    assert keys(open_source(tmp_path, split="val")) == ["cat/b.jpg"]
    with pytest.raises(DataError, match="train, val; say which"):
        open_source(tmp_path)


def test_links_that_lead_upwards_are_not_followed(tmp_path):
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "set" / "cat" / "up").symlink_to("../../set")
    (tmp_path / "set" / "cat" / "self").symlink_to("self")
    assert len(open_source(tmp_path / "set")) == 1
