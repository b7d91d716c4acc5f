"""CLIP_benchmark folders here and elsewhere, and images that show several classes."""

import io

import fsspec
import numpy as np
import pytest
from making import jpeg, tar

from diptych.data.memory import InMemory
from diptych.data.multi_hot import labels_of_npy
from diptych.data.relabelled import Labelled, Renamed
from diptych.data.source_spec import CacheSpec
from diptych.data.sources import Sample, labels_of, open_source, read
from diptych.errors import DataError


def npy(values, kind=np.float32) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(values, kind))
    return buffer.getvalue()


def folder(path, samples, *, split="test", **files):
    """A CLIP_benchmark folder of one tar."""
    tar(path / split / "0.tar", samples)
    (path / split / "nshards.txt").write_text("1\n")
    for name, text in {"classnames": "cat\ndog\ncow\n", **files}.items():
        (path / f"{name}.txt").write_text(text)
    return path


@pytest.fixture
def several(tmp_path):
    hot = {"s0": [1, 0, 1], "s1": [0, 0, 0], "s2": [0, 1, 0]}
    samples = {key: {"webp": jpeg(1), "npy": npy(values)} for key, values in hot.items()}
    return folder(tmp_path / "voc", samples, dataset_type="multilabel\n")


def test_labels_of_a_multilabel_folder(several):
    source = open_source(several, split="test")
    assert source.class_names == ("cat", "dog", "cow")
    assert [read(source, i).labels for i in range(3)] == [(0, 2), (), (1,)]
    assert [labels_of(source, i) for i in range(3)] == [(0, 2), (), (1,)]
    assert {read(source, i).label for i in range(3)} == {None}


def test_the_type_says_where_labels_are(several, tmp_path):
    (several / "dataset_type.txt").unlink()
    source = open_source(several, split="test")
    assert read(source, 0).labels is None  # whatever an .npy is elsewhere
    (several / "dataset_type.txt").write_text("multilable\n")
    with pytest.raises(DataError, match="did you mean 'multilabel'"):
        open_source(several, split="test")


def test_labels_alone_are_those_of_the_samples(tmp_path):
    samples = {f"s{i}": {"cls": str(i % 3).encode(), "jpg": jpeg(i), "txt": b"x"} for i in range(7)}
    samples["s7"] = {"jpg": jpeg(7)}
    samples["s8"] = {"jpg": jpeg(8), "cls": b"two"}
    source = open_source(folder(tmp_path, samples), split="test")
    assert [labels_of(source, i) for i in range(9)] == [(i % 3,) for i in range(7)] + [(), ()]
    plain = open_source(folder(tmp_path / "b", samples), split="test", where="txt")  # without the last two
    assert [labels_of(plain, i) for i in range(len(plain))] == [(i % 3,) for i in range(7)]


def test_a_tar_that_has_become_shorter_is_told(tmp_path):
    samples = {f"s{i}": {"cls": b"1", "jpg": jpeg(i)} for i in range(3)}
    source = open_source(folder(tmp_path, samples), split="test")
    path = tmp_path / "test/0.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="become shorter"):
        read(source, 2)
    assert labels_of(source, 2) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy([1, 0, 1, 0]), "not one number for each of 3 classes"),
        (npy([[1, 0, 1]]), "not one number for each"),
        (npy([1, 0, 2]), "holds 2.0, which neither"),
        (npy([1, 0, np.nan]), "holds nan"),
        (npy([1, 0, 1])[:-1], "but 11 bytes are there"),
        (npy([1, 0, 1]).replace(b"(3,)", b"(9999999999,)")[:128] + b"\0" * 12, "no array of NumPy|bytes are there"),
        (npy([None, 1, 2], object), "bytes are there"),  # a pickle, which is not read
        (b"", "no array of NumPy"),
        (b"\x93NUMPY\x09\x00", "version"),
    ],
)
def test_npy_files_that_are_no_labels(content, message):
    with pytest.raises(DataError, match=message) as caught:
        labels_of_npy("s0", content, 3)
    assert "s0.npy" in str(caught.value)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_npy_labels_of_any_number(kind):
    assert labels_of_npy("s", npy([0, 1, 1], kind), 3) == (1, 2)


def test_labels_survive_memory_names_and_keywords(several):
    source = open_source(several, split="test")
    assert [read(InMemory(source, side=8), i).labels for i in range(3)] == [(0, 2), (), (1,)]
    renamed = Renamed(source, ["a", "b", "c"])
    assert renamed.class_names == ("a", "b", "c")
    assert [read(renamed, i).labels for i in range(3)] == [labels_of(renamed, i) for i in range(3)]
    with pytest.raises(DataError, match="no label"):
        Labelled(source, ["cat", "dog", "cow"]).read(0)


def test_renamed_classes_give_their_captions(tmp_path):
    samples = {
        "s0": {"jpg": jpeg(0), "cls": b"1"},
        "s1": {"jpg": jpeg(0), "cls": b"0", "txt": b"my own"},
        "s2": {"jpg": jpeg(0)},
    }
    source = open_source(folder(tmp_path, samples, zeroshot_classification_templates="a {c}\n"), split="test")
    assert read(source, 0).captions == ("a dog",)
    renamed = Renamed(source, ["Katze", "Hund", "Kuh"])
    assert [read(renamed, i).captions for i in range(3)] == [("a Hund",), ("my own",), ()]
    assert list(renamed.listing()) != list(Renamed(source, ["Katze", "Hund", "Rind"]).listing())
    with pytest.raises(DataError, match="3 classes, but 2 names"):
        Renamed(source, ["Katze", "Hund"])


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setattr("diptych.data.download._PAUSE", 0.01)
    return CacheSpec(folder=str(tmp_path / "shards"), timeout=5, attempts=2)


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_a_folder_elsewhere_reads_as_one_here(several, quick, protocol):
    here = open_source(several, split="test")
    if protocol == "memory":
        system = fsspec.filesystem("memory")
        for path in several.rglob("*"):
            if path.is_file() and ".diptych" not in path.parts:
                system.pipe(f"/voc/{path.relative_to(several)}", path.read_bytes())
    root = {"file": f"file://{several}", "memory": "memory://voc"}[protocol]
    there = open_source(root, split="test", cache=quick)
    assert there.class_names == here.class_names
    assert [read(there, i) for i in range(3)] == [read(here, i) for i in range(3)]
    with pytest.raises(DataError, match=r"no split 'train': there is no train/nshards\.txt"):
        open_source(root, split="train", cache=quick)


@pytest.mark.parametrize("count", ["", "two", "0", "99999999999"])
def test_a_folder_elsewhere_that_tells_no_number_of_tars(several, quick, count):
    (several / "test/nshards.txt").write_text(count)
    with pytest.raises(DataError, match="not the number of tars"):
        open_source(f"file://{several}", split="test", cache=quick)


def test_shards_elsewhere_have_no_splits(several, quick):
    with pytest.raises(DataError, match="name the split's shards"):
        open_source(f"file://{several}/test/0.tar", split="test", cache=quick)


def test_a_sample_without_labels_has_none():
    assert Sample(b"", (), 3, "x").labels is None
    assert Sample(b"", (), None, "x").unjudged == ()
