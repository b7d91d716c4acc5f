import csv
import json
import os
import pickle
from pathlib import Path

import pyarrow
import pytest
from making import jpeg, tar
from pyarrow import parquet

from diptych.data.loader import Loader
from diptych.data.preprocess import decode_image
from diptych.data.sources import open_source, read
from diptych.errors import DataError
from diptych.specs import PreprocessSpec


def rows(count: int) -> list[dict[str, str]]:
    return [{"filepath": f"images/{i // 2}.jpg", "title": f"caption {i}"} for i in range(count)]


def write_table(path: Path, table: list[dict[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(table), path, row_group_size=3)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, table[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_join_the_captions_of_an_image(tmp_path, kind):
    path = write_table(tmp_path / f"table.{kind}", rows(8))
    source = open_source(path)
    assert len(source) == 4
    assert source.read(1).captions == ("caption 2", "caption 3")
    assert source.read(1).image == tmp_path / "images" / "1.jpg"
    assert open_source(path, captions=["title"]).read(0) == source.read(0)
    with pytest.raises(DataError, match="did you mean 'title'"):
        open_source(path, captions=["titel"])
    assert len(open_source([path, path])) == 4
    assert source.shard_sizes == (4,)
    assert pickle.loads(pickle.dumps(source)).read(3) == source.read(3)


def test_a_table_without_the_columns_says_what_it_has(tmp_path):
    path = write_table(tmp_path / "a.csv", [{"picture": "a.jpg", "caption": "b"}])
    with pytest.raises(DataError, match=r"no image column .* it has picture, caption"):
        open_source(path)
    path = write_table(tmp_path / "b.csv", [{"image": "a.jpg", "words": "b"}])
    with pytest.raises(DataError, match="no caption column"):
        open_source(path)
    assert open_source(path, captions=["words"]).read(0).captions == ("b",)


def test_bad_rows_and_cells_do_not_spoil_the_others(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"image": "a.jpg", "caption": ["x", "y "]}\n{"image": \n{"caption": "z"}\n7\n\n{"image": "b.jpg"}\n'
    )
    source = open_source(tmp_path / "a.jsonl")
    assert [source.read(i).captions for i in range(len(source))] == [("x", "y"), ()]
    assert len(source.problems) == 3
    assert "row 2" in source.problems[0]
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfimage,caption\na.jpg,caf\xe9\nb.jpg,caf\xc3\xa9\nc.jpg\n,nothing\n")
    source = open_source(tmp_path / "b.csv")
    with pytest.raises(DataError, match="utf-8"):
        read(source, 0)
    assert source.read(1).captions == ("café",)
    assert source.read(2).captions == ()
    assert "row 4" in source.problems[0]


def test_parquet_may_hold_the_images_themselves(tmp_path):
    table = [{"image": {"bytes": jpeg(i), "path": None}, "caption": f"c {i}"} for i in range(7)]
    source = open_source(write_table(tmp_path / "a.parquet", table))
    assert len(source) == 7
    assert (source.read(5).image, source.read(5).captions) == (jpeg(5), ("c 5",))
    assert source.shard_sizes == (3, 3, 1)  # row groups, so that few of them are read at a time
    table = [{"image": jpeg(i), "caption": f"c {i}"} for i in range(2)]
    assert open_source(write_table(tmp_path / "b.parquet", table)).read(1).image == jpeg(1)


def test_odd_rows_do_not_spoil_a_table(tmp_path):
    (tmp_path / "a.png").write_bytes(jpeg(0))
    (tmp_path / "deep.jsonl").write_text("[" * 100_000 + '\n{"image": "a.png", "caption": "one"}\n')
    assert open_source(tmp_path / "deep.jsonl").read(0).captions == ("one",)
    (tmp_path / "utf16.csv").write_text("image,caption\na.png,one\n", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        open_source(tmp_path / "utf16.csv")
    (tmp_path / "latin.csv").write_text("image,caption\na.png,café\n", encoding="latin-1")
    with pytest.raises(DataError, match="caption is not UTF-8"):
        read(open_source(tmp_path / "latin.csv"), 0)


def test_a_row_with_more_cells_than_the_header_is_listed(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\n0.png,a dog, running fast\n1.png,a cat\n2.png,a fish,,\n")
    source = open_source(tmp_path / "a.csv")
    assert [source.read(i).captions for i in range(len(source))] == [("a cat",), ("a fish",)]
    assert len(source.problems) == 1
    assert "row 1 is wider than the header, 3 cells to 2" in source.problems[0]


def test_a_quote_that_is_not_closed_takes_no_other_row_with_it(tmp_path):
    table = ["image,caption", '0.png,"a dog', '1.png,"a cat, or', 'two"', '2.png,"said ""so"""', '3.png,"x" y']
    (tmp_path / "a.csv").write_text("\n".join([*table, '4.png,"a fish', "5.png,z\n"]))
    source = open_source(tmp_path / "a.csv")
    captions = {Path(source.read(i).image).name: source.read(i).captions for i in range(len(source))}
    assert captions == {"1.png": ("a cat, or\ntwo",), "2.png": ('said "so"',), "5.png": ("z",)}
    assert [problem.partition(", row ")[2][:14] for problem in source.problems] == [
        "1 is malformed", "4 is malformed", "5 is malformed",
    ]  # fmt: skip
    (tmp_path / "b.csv").write_text('"image,caption\n0.png,a\n')
    with pytest.raises(DataError, match=r"b\.csv is not a table"):
        open_source(tmp_path / "b.csv")


def test_a_tsv_without_quoting_keeps_its_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('image\tcaption\n0.png\t"Sunset" by Monet\n1.png\t"inch\n2.png\tplain\n')
    source = open_source(tmp_path / "a.tsv")
    assert [source.read(i).captions for i in range(3)] == [('"Sunset" by Monet',), ('"inch',), ("plain",)]
    assert source.problems == ()


@pytest.mark.parametrize("caption", ["x" * 200_000, '"' + "x" * 200_000 + '"', '"' + "line\n" * 40_000 + '"'])
def test_a_caption_beyond_all_bounds_costs_one_row(tmp_path, caption):
    (tmp_path / "a.csv").write_text(f"image,caption\n0.png,a\n1.png,{caption}\n2.png,b\n")
    source = open_source(tmp_path / "a.csv")
    captions = {Path(source.read(i).image).name: source.read(i).captions for i in range(len(source))}
    assert captions["0.png"] == ("a",)
    assert captions["2.png"] == ("b",)
    assert "1.png" not in captions
    assert "row 2 is malformed (field larger" in source.problems[0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_there_twice_is_refused_where_it_is_read(tmp_path, kind):
    def table(*columns: str) -> Path:
        path = tmp_path / f"{'-'.join(columns)}.{kind}"
        if kind == "csv":
            path.write_text(f"{','.join(columns)}\n" + ",".join("abcd"[: len(columns)]) + "\n")
        else:
            parquet.write_table(pyarrow.Table.from_arrays([["a"]] * len(columns), names=columns), path)
        return path

    for columns in (("image", "caption", "caption"), ("image", "image", "caption")):
        with pytest.raises(DataError, match="2 columns called"):
            open_source(table(*columns))
    assert len(open_source(table("image", "caption", "score", "score"))) == 1
    with pytest.raises(DataError, match="2 columns called 'score'"):
        open_source(table("image", "caption", "score", "score"), captions=["score"])


def test_a_parquet_cell_that_is_not_utf8_costs_one_row(tmp_path):
    captions = pyarrow.array([b"one", b"caf\xe9", b"three"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"image": ["0.png", "1.png", "2.png"], "caption": captions, "other": captions})
    parquet.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert [source.read(i).captions for i in range(len(source))] == [("one",), ("three",)]
    assert "row 2 is not UTF-8" in source.problems[0]
    parquet.write_table(table.set_column(1, "caption", [["x", "y", "z"]]), tmp_path / "b.parquet")
    assert len(open_source(tmp_path / "b.parquet")) == 3  # columns that are not asked for are not read


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_parquet_paths_may_be_text_of_any_kind(tmp_path, kind):
    paths = pyarrow.array(["0.png", "1.png", "0.png"])
    paths = paths.dictionary_encode() if kind == "dictionary" else paths.cast(kind)
    parquet.write_table(pyarrow.table({"image": paths, "caption": ["a", "b", "c"]}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.read(0).image == tmp_path / "0.png"
    assert source.read(0).captions == ("a", "c")


def test_a_parquet_file_that_is_spoiled_inside_gives_its_other_rows(tmp_path):
    path = write_table(tmp_path / "a.parquet", rows(12))
    column = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    source = open_source(path)
    assert [source.read(i).captions[0] for i in range(len(source))][:2] == ["caption 0", "caption 2"]
    assert len(source.problems) == 3
    assert "row 4 is lost: " in source.problems[0]


@pytest.mark.parametrize("name", ["0\\u0000.png", "0\\ud800.png", "pipe.png", ".", "x" * 300])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_path_that_leads_to_no_file_is_that_samples_failure(tmp_path, name, workers):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(jpeg(i))
    os.mkfifo(tmp_path / "pipe.png")
    table = "".join(f'{{"image": "{image}", "caption": "c"}}\n' for image in ("0.png", "1.png", name, "2.png"))
    (tmp_path / "a.jsonl").write_text(table)
    source = open_source(tmp_path / "a.jsonl")
    assert source.read(2).key.encode()
    options = {"batch_size": 8, "workers": workers, "max_failures": 0.5}
    with Loader(source, PreprocessSpec(size=8), **options) as loader:
        next(loader.batches())
    assert list(loader.failures.reasons) == [2]
    assert loader.report().encode()
    with pytest.raises(DataError, match=r"cannot be decoded|empty"):
        decode_image(source.read(2).image)


def test_rows_are_taken_where_a_column_is_true_or_has_a_value(tmp_path):
    rows = [("0.png", "true", "a"), ("1.png", "False", "b"), ("2.png", "0", "a"), ("3.png", "1", "b")]
    table = "\n".join(["image,good,kind,caption", *(f"{image},{good},{kind},c" for image, good, kind in rows)])
    (tmp_path / "t.csv").write_text(table)
    lines = [{"image": i, "about": {"good": g == "true", "kind": k}, "caption": "c"} for i, g, k in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def taken(name, where):
        source = open_source(tmp_path / name, where=where)
        return [Path(source.read(i).image).name for i in range(len(source))]

    assert taken("t.csv", "good") == ["0.png", "3.png"]
    assert taken("t.csv", "kind=b") == ["1.png", "3.png"]
    assert taken("t.jsonl", "about.good") == ["0.png"]
    assert taken("t.jsonl", "about.kind=a") == ["0.png", "2.png"]
    with pytest.raises(DataError, match="no column 'god'; did you mean 'good'"):
        open_source(tmp_path / "t.csv", where="god")
    with pytest.raises(DataError, match="no usable rows among those that pass where='kind=z'"):
        open_source(tmp_path / "t.csv", where="kind=z")
    with pytest.raises(DataError, match=r"several kinds, \.csv, \.jsonl"):
        open_source(tmp_path)


def test_a_filter_that_no_sample_passes_names_the_fields_there_are(tmp_path):
    tar(tmp_path / "a.tar", {"0": {"jpg": jpeg(0), "json": b'{"base": true}'}})
    with pytest.raises(DataError, match=r"passes where='json\.bsae'.*the first has jpg, json, json\.base"):
        open_source(tmp_path / "a.tar", where="json.bsae")


def test_a_parquet_column_filters_too(tmp_path):
    columns = {"image": ["0.png", "1.png"], "caption": ["a", "b"], "good": [False, True]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet", where="good")
    assert [source.read(i).captions for i in range(len(source))] == [("b",)]
