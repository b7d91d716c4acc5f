"""A part of a pass over images is read as it was written, with whatever it lacks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from diptych.evaluation.feature_files import Part, read, write

PART = Part(
    places_n=np.array([3, 5, 6]),
    keys=("a/1.png", "größe", "图 3"),
    labels=(None, 0, 7),
    label_sets=((), None, (4, 2)),
    unjudged=((1, 2), (), (3,)),
    captions=(("one", "two"), (), ("",)),
    digests=(b"0" * 32, b"1" * 32, b"2" * 32),
    images=(b"3" * 32, b"4" * 32, b"5" * 32),
    arrays={
        "embeddings": np.arange(6, dtype=np.float32).reshape(3, 2),
        "features": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    },
    failures=((4, "a/2.png is no image"),),
    problems=("0.tar is damaged",),
)


def same(found: Part | None, expected: Part) -> bool:
    assert found is not None
    for field in dataclasses.fields(Part):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "arrays":
            assert one.keys() == other.keys()
            for name, array in one.items():
                assert array.dtype == np.float32
                assert array.shape == other[name].shape
                np.testing.assert_array_equal(array, other[name])
        elif field.name == "places_n":
            assert one.tolist() == other.tolist()
        else:
            assert one == other, field.name
    return True


@pytest.mark.parametrize("widths", [(2, 4), (0, 4), (2, 0)])
@pytest.mark.parametrize("rows", [3, 0])
def test_all_that_is_known_comes_back(widths: tuple[int, int], rows: int, tmp_path: Path) -> None:
    arrays = {n: a[:rows, :width] for (n, a), width in zip(PART.arrays.items(), widths, strict=True)}
    columns = ("places_n", "keys", "labels", "label_sets", "unjudged", "captions", "digests", "images")
    part = dataclasses.replace(PART, arrays=arrays, **{name: getattr(PART, name)[:rows] for name in columns})
    write(part, tmp_path / "0.parquet")
    assert same(read(tmp_path / "0.parquet", ("embeddings", "features")), part)
    assert same(read(tmp_path / "0.parquet", ("features",)), part.of(("features",)))


def test_what_lacks_something_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "0.parquet"
    assert read(file, ("features",)) is None
    assert capsys.readouterr().err == ""
    write(PART.of(("features",)), file)
    assert read(file, ("embeddings",)) is None
    assert "0.parquet is damaged and made again" in capsys.readouterr().err
    write(PART, file)
    table = parquet.read_table(file)
    for other in (table.drop_columns(["features"]), table.drop_columns(["digest"]), table.replace_schema_metadata({})):
        parquet.write_table(other, file)
        assert read(file, ("features",)) is None
        assert "is damaged and made again" in capsys.readouterr().err
