"""Sources whose labels are told otherwise, whether they are several, and whether two sources share data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import jpeg

from diptych.data.fingerprint import fingerprint
from diptych.data.overlap import overlap
from diptych.data.relabelled import Labelled, Renamed, class_rows, shows_several
from diptych.data.sources import Sample, damage_of, open_source
from diptych.errors import DataError, UnknownClass


class Listed:
    """Samples in memory; None where one cannot be read."""

    templates = None

    def __init__(self, samples: list[Sample | None], class_names: tuple[str, ...] | None = ("cat", "dog")) -> None:
        self.name, self.samples, self.class_names = "listed", samples, class_names

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, i: int, /) -> Sample:
        if (sample := self.samples[i]) is None:
            raise DataError(f"sample {i} cannot be read")
        return sample


class Told(Listed):
    """It also tells what it lists, its files, what is wrong with them, and its shards."""

    shard_sizes = (1, 2)

    def listing(self) -> Iterator[str]:
        yield from (sample.key for sample in self.samples if sample)

    def files(self) -> Iterator[Path]:
        yield Path("a.tar")

    def damage(self) -> tuple[str, ...]:
        return ("a.tar is cut off",)


def sample(label: int | None, key: str = "one", **more: Any) -> Sample:
    return Sample(b"", (), label, key, **more)


def test_all_that_the_source_tells_is_told() -> None:
    source = Told([sample(0, "a"), sample(1, "b"), sample(0, "c")])
    for wrapped in (Renamed(source, ("tom", "rex")), Labelled(source, ("dog", "cat"))):
        assert list(wrapped.files()) == [Path("a.tar")]
        assert damage_of(wrapped) == ("a.tar is cut off",)
        assert wrapped.shard_sizes == (1, 2)
        assert len(wrapped) == 3
    others = Told([sample(0, "a"), sample(1, "b"), sample(0, "d")])
    known = {fingerprint(Renamed(one, names)) for one in (source, others) for names in (("tom", "rex"), ("a", "b"))}
    assert len(known) == 4
    assert Renamed(Listed([sample(0)]), ("tom", "rex")).shard_sizes == (1,)


def test_names_are_as_many_as_there_are_classes() -> None:
    for names in (("tom",), ("tom", "rex", "tweety")):
        with pytest.raises(DataError, match=f"listed has 2 classes, but {len(names)} names are given"):
            Renamed(Listed([sample(0)]), names)
    for label in (2, -1):
        with pytest.raises(UnknownClass, match=f"one is of class {label}, but there are 2 classes"):
            Renamed(Listed([sample(label)]), ("tom", "rex")).read(0)


def test_names_of_several_classes_are_refused_on_either_side() -> None:
    one, twice = Listed([], ("cat", "dog")), Listed([], ("cat", "cat", "dog"))
    assert class_rows(one, ("dog", "cat")) == (1, 0)
    assert class_rows(twice, ("cat", "cat", "dog")) == (0, 1, 2)  # equal lists stand as they are
    for source, classes in ((one, ("dog", "cat", "cat")), (twice, ("dog", "cat"))):
        with pytest.raises(DataError, match=r"1 names of listed are those of several classes.*'cat'"):
            class_rows(source, classes)


def test_whether_labels_are_several_is_told_by_the_first_sample_that_has_some() -> None:
    several, single = sample(None, labels=(0, 1)), sample(1)
    assert shows_several(Listed([None, sample(None), several, single]))
    assert not shows_several(Listed([None, sample(None), single, several]))
    assert shows_several(Listed([sample(None, labels=())]))
    assert not shows_several(Listed([None]))
    told = Listed([several])
    told.multilabel = False
    assert not shows_several(told)


def images(folder: Path, *numbers: int) -> Path:
    for number in numbers:
        (folder / "cat").mkdir(parents=True, exist_ok=True)
        (folder / "cat" / f"{number}.jpg").write_bytes(jpeg(number))
    return folder


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_image_that_both_read_is_an_overlap_by_whatever_name(link: Any, tmp_path: Path) -> None:
    one, two = images(tmp_path / "one", 1, 2, 3), images(tmp_path / "two", 4, 5)
    assert not overlap(open_source(one), open_source(two))
    link(one / "cat" / "2.jpg", two / "cat" / "other.jpg")
    assert overlap(open_source(one), open_source(two))
    assert overlap(open_source(two), open_source(one))


def test_of_sources_that_tell_nothing_nothing_is_known() -> None:
    one, two = Listed([sample(0, "a")]), Listed([sample(0, "a")])
    assert overlap(one, one)
    assert not overlap(one, two)
