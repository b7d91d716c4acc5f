"""Tables of labels: one class an image or several, by number or by name."""

import json
import pickle
from pathlib import Path

import pyarrow
import pytest
from making import jpeg
from pyarrow import parquet

from diptych.data.fingerprint import fingerprint
from diptych.data.label_tables import LabelTable
from diptych.data.sources import labels_of, open_source, read
from diptych.errors import DataError, UnknownClass
from diptych.evaluation.datasets import find
from diptych.evaluation.own_datasets import read_rows
from diptych.evaluation.splits import open_splits

SHOWN = [(0,), (0, 1), (), (2,)]
NAMES = ("cat", "dog, wild", "owl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
    return tmp_path


def write(folder: Path, kind: str, cells: list, column: str = "labels") -> Path:
    path = folder / f"ml.{kind}"
    rows = [{"image": f"{i}.jpg", column: cell} for i, cell in enumerate(cells)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(f"image\t{column}\n" + "".join(f"{i}.jpg\t{cell}\n" for i, cell in enumerate(cells)))
    return path


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("jsonl", [[0], [1, 0], [], [2]]),
        ("jsonl", [["cat"], ["dog, wild", "cat"], [], ["owl"]]),
        ("parquet", [[0], [0, 1], [], [2]]),
        ("parquet", [["cat"], ["dog, wild", "cat"], [], ["owl"]]),
        ("tsv", ["0", "0,1", "", "2"]),
        ("tsv", ["0", "1|0", "", "2"]),
        ("tsv", ["cat", "cat | dog, wild", "", "owl"]),
        ("tsv", ["[0]", '["cat", "dog, wild"]', "[]", "owl"]),
    ],
)
def test_several_classes_an_image(folder: Path, kind: str, cells: list) -> None:
    path = write(folder, kind, cells)
    (folder / "classnames.txt").write_text("\n".join(NAMES))
    source = open_source(path)
    assert isinstance(source, LabelTable)
    assert (source.class_names, source.multilabel) == (NAMES, True)
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert [labels_of(one, i) for i in range(4)] == SHOWN
        samples = [read(one, i) for i in range(4)]
        assert [(sample.labels, sample.label, sample.captions) for sample in samples] == [(s, None, ()) for s in SHOWN]
        assert samples[3].image == folder / "3.jpg"


def test_one_class_an_image_by_name(folder: Path) -> None:
    (folder / "zeroshot_classification_templates.txt").write_text("a drawn {c}\n")
    source = open_source(write(folder, "jsonl", ["owl", "cat", "cat", "owl"], "label"))
    assert (source.class_names, source.templates) == (("cat", "owl"), ("a drawn {c}",))
    assert [read(source, i).label for i in range(4)] == [1, 0, 0, 1]
    assert read(source, 0).captions == ("a drawn owl",)
    assert open_splits(str(folder / "ml.jsonl")).test.class_names == ("cat", "owl")


def test_names_and_numbers_beside_one_another_are_names(folder: Path) -> None:
    source = open_source(write(folder, "jsonl", [7, "cat", " cat ", "7"], "label"))
    assert source.class_names == ("7", "cat")
    assert [read(source, i).label for i in range(4)] == [0, 1, 1, 0]
    write(folder, "jsonl", ["cat", "", "cat", "cat"], "label")
    source = open_source(folder / "ml.jsonl")
    assert (len(source), source.class_names) == (3, ("cat",))
    assert "row 2 has in its column 'label' ''" in source.problems[0]


def test_a_name_of_several_classes_is_the_first_of_them(folder: Path) -> None:
    (folder / "classnames.txt").write_text("dog\ncrane\ncrane\n")
    source = open_source(write(folder, "jsonl", ["crane", "dog", "crane", 2], "label"))
    assert [read(source, i).label for i in range(4)] == [1, 0, 1, 2]


def test_a_table_with_both_columns_shows_several(folder: Path) -> None:
    path = folder / "both.csv"
    path.write_text("image,label,labels\n0.jpg,0,0|1\n1.jpg,1,1\n")
    source = open_source(path)
    assert [labels_of(source, i) for i in range(2)] == [(0, 1), (1,)]


def test_names_and_templates_beside_a_table_count(folder: Path) -> None:
    path, known = write(folder, "jsonl", [0, 1, 2, 0], "label"), []
    for file, content in (
        ("none.txt", ""),
        ("classnames.txt", "cat\ndog\nowl\n"),
        ("classnames.txt", "cat\ndog\nfox\n"),
        ("zeroshot_classification_templates.txt", "a drawn {c}\n"),
    ):
        (folder / file).write_text(content)
        known.append(fingerprint(open_source(path)))
    assert len(set(known)) == 4


def test_rows_of_one_image_show_all_their_classes(folder: Path) -> None:
    path = folder / "a.csv"
    path.write_text("image,labels\n0.jpg,cat\n0.jpg,owl\n1.jpg,owl\n")
    assert [labels_of(open_source(path), i) for i in range(2)] == [(0, 1), (1,)]
    path.write_text("image,label\n0.jpg,cat\n0.jpg,owl\n")
    with pytest.raises(DataError, match=r"0\.jpg is in rows of 2 classes; several are in a column 'labels'"):
        open_source(path)


def test_classes_that_are_none(folder: Path) -> None:
    path = write(folder, "jsonl", [1, 2, 3, 3], "label")
    with pytest.raises(DataError, match=r"ml only numbers its classes; put their names into classnames\.txt"):
        open_splits(str(path))
    (folder / "classnames.txt").write_text("\n".join(NAMES))
    with pytest.raises(DataError, match="go from 1 to 3, but there are 3 classes"):
        open_splits(str(path))
    with pytest.raises(UnknownClass, match=r"2\.jpg is of class 3, but there are 3 classes, from 0 on; are they num"):
        read(open_source(path), 2)
    write(folder, "jsonl", ["cat", "dgo, wild", "owl", "owl"], "label")
    with pytest.raises(DataError, match=r"1\.jpg of ml is of class 'dgo, wild', .* did you mean 'dog, wild'"):
        open_source(path)
    write(folder, "jsonl", [0, True, None, 0.5], "label")
    source = open_source(path)
    assert len(source) == 1
    assert "row 2 has in its column 'label' True" in source.problems[0]


@pytest.mark.parametrize(
    ("cells", "odd"),
    [(["0.0", "1.0", "2.0", "0.0"], "0.0"), (["-1", "0", "1", "0"], "-1"), (["nan", "0", "1", "1"], "nan")],
)
def test_labels_that_are_no_numbers_of_classes_are_not_their_names(folder: Path, cells: list, odd: str) -> None:
    path = write(folder, "tsv", cells, "label")
    with pytest.raises(
        DataError, match=rf"ml has the label '{odd}' in its column 'label', which neither .* from 0 with"
    ):
        open_source(path)
    write(folder, "tsv", [*cells[:3], "cat"], "label")
    assert len(open_source(path).class_names or ()) == 4  # a name among them: so may others be
    write(folder, "tsv", ["0.5", "1.5", "1.5", "0.5"], "label")
    (folder / "classnames.txt").write_text("0.5\n1.5\n")
    assert [labels_of(open_source(path), i) for i in range(4)] == [(0,), (1,), (1,), (0,)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_row_without_labels_does_not_show_nothing(folder: Path, kind: str) -> None:
    source = open_source(write(folder, kind, [["cat"], None, [], ["cat", "owl"]]))
    assert [labels_of(source, i) for i in range(len(source))] == [(0,), (), (0, 1)]
    assert "row 2 has nothing in its column 'labels'; an empty list" in source.problems[0]
    assert source.rows_lost == 1


def test_a_table_of_a_header_alone_has_no_rows(folder: Path) -> None:
    for name, header in (("a.csv", "image,label\n"), ("a.tsv", "\n\nimage\tlabels\n")):
        (folder / name).write_text(header)
        with pytest.raises(DataError, match=rf"{name} has no usable rows"):
            open_source(folder / name)
    (folder / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"a\.csv has no usable rows"):
        open_source(folder / "a.csv")


def test_captions_beside_labels(folder: Path) -> None:
    """A source has captions where a table has; a data set of classes has its labels."""
    path = folder / "both.csv"
    path.write_text("image,caption,label\n0.jpg,a cat,cat\n1.jpg,an owl,owl\n2.jpg,a cat,cat\n")
    assert read(open_source(path), 0).captions == ("a cat",)
    (folder / "own.toml").write_text('[[dataset]]\nname = "both"\nlocation = "both.csv"\n')
    (row,) = read_rows(folder / "own.toml")
    data = open_splits(row.location, row)
    assert data.test.class_names == ("cat", "owl")
    path.write_text("image,caption\n0.jpg,a cat\n")
    with pytest.raises(DataError, match=r"both\.csv has no column 'label' or 'labels', and both is single label"):
        open_splits(row.location, row)


def test_a_table_is_a_data_set_by_its_row_and_by_its_name(folder: Path) -> None:
    path = write(folder, "tsv", ["0", "0,1", "", "2"])
    (folder / "own.toml").write_text(
        '[[dataset]]\nname = "ours"\nlocation = "ml.tsv"\nmetric = "map11"\nclasses = ["cat", "dog", "owl"]\n'
    )
    (row,) = read_rows(folder / "own.toml")
    data = open_splits(row.location, row)
    assert (data.test.class_names, getattr(data.test, "multilabel", None)) == (("cat", "dog", "owl"), True)
    assert [labels_of(data.test, i) for i in range(4)] == SHOWN
    (folder / "classnames.txt").write_text("\n".join(f"thing {i}" for i in range(20)))
    data = open_splits(str(path), find("voc2007_multilabel"))
    assert data.test.class_names is not None
    assert len(data.test.class_names) == 20
    (folder / "classnames.txt").write_text("no\nyes\n")
    with pytest.raises(DataError, match="has several labels an image, but Rendered SST2 is single label"):
        open_splits(str(path), find("renderedsst2"))


def test_tables_of_splits(folder: Path) -> None:
    (folder / "classnames.txt").write_text("\n".join(NAMES))
    for split, numbers in (("train", (0, 1)), ("test", (2, 3))):
        (folder / "ours" / split).mkdir(parents=True)
        for i in numbers:
            (folder / f"{i}.jpg").rename(folder / "ours" / split / f"{i}.jpg")
        rows = "".join(f"{i}.jpg,cat\n" for i in numbers)
        (folder / "ours" / split / "a.csv").write_text(f"image,label\n{rows}")
    (folder / "classnames.txt").rename(folder / "ours" / "classnames.txt")
    data = open_splits(str(folder / "ours"), training=True)
    assert data.train is not None
    assert (data.name, data.test.class_names, data.train.class_names) == ("test", NAMES, NAMES)
    assert [labels_of(data.train, i) for i in range(2)] == [(0,), (0,)]
