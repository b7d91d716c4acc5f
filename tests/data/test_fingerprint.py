"""The same data are known again wherever they lie; others are told from them, though they are as many."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow
import pytest
from making import jpeg, pairs, tar
from pyarrow import parquet

from diptych.data.fingerprint import GLANCES, fingerprint, some, stamp
from diptych.data.scenes import Scenes
from diptych.data.sources import open_source

SAMPLES = 6


def write_csv(folder: Path, captions: Mapping[int, str] | None = None, *, images: int = 0) -> None:
    texts = captions or {i: f"image {i}" for i in range(SAMPLES)}
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("image,caption\n" + "".join(f"{i}.jpg,{text}\n" for i, text in texts.items()))
    for i in range(SAMPLES):
        (folder / f"{i}.jpg").write_bytes(jpeg(i + images))


def write_parquet(folder: Path, captions: Mapping[int, str] | None = None, *, images: int = 0) -> None:
    texts = captions or {i: f"image {i}" for i in range(SAMPLES)}
    rows = [{"image": jpeg(i + images), "caption": text} for i, text in texts.items()]
    folder.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")


def write_tars(folder: Path, captions: Mapping[int, str] | None = None, *, images: int = 0, cut: int = 3) -> None:
    """Captions of any length leave the size of a tar as it is, since members are padded."""
    samples = pairs(0, SAMPLES)
    ordered = {f"s{i:05}": samples[f"s{i:05}"] | {"jpg": jpeg(i + images)} for i in captions or range(SAMPLES)}
    for i, text in (captions or {}).items():
        ordered[f"s{i:05}"]["txt"] = text.encode()
    for shard, keys in enumerate((list(ordered)[:cut], list(ordered)[cut:])):
        tar(folder / f"{shard}.tar", {key: ordered[key] for key in keys})


def write_pairs(folder: Path, captions: Mapping[int, str] | None = None, *, images: int = 0) -> None:
    folder.mkdir(parents=True)
    for place, (i, text) in enumerate((captions or {i: f"image {i}" for i in range(SAMPLES)}).items()):
        (folder / f"{place}.jpg").write_bytes(jpeg(i + images))
        (folder / f"{place}.txt").write_text(text)


def write_classes(folder: Path, captions: Mapping[int, str] | None = None, *, images: int = 0) -> None:
    for i, text in (captions or {i: f"image {i}" for i in range(SAMPLES)}).items():
        (folder / text).mkdir(parents=True, exist_ok=True)
        (folder / text / f"{i}.jpg").write_bytes(jpeg(i + images))


WRITERS: dict[str, Callable[..., None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "tars": write_tars,
    "pairs": write_pairs,
    "classes": write_classes,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_data_that_were_moved_copied_and_touched_are_the_same(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "data")
    before = fingerprint(open_source(tmp_path / "a" / "data"))
    assert len(before) == 64
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").rglob("*"):
        os.utime(file, (1, 1))
    shutil.rmtree(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert fingerprint(open_source("data")) == before
    monkeypatch.chdir("data")
    assert fingerprint(open_source(".")) == before


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_as_many_other_samples_are_told_apart(write: Callable[..., None], tmp_path: Path) -> None:
    rows = {i: f"image {i}" for i in range(SAMPLES)}
    write(tmp_path / "first", rows)
    write(tmp_path / "captions", {i: f"images {i}" for i in rows})
    write(tmp_path / "shifted", dict(zip(rows, [*list(rows.values())[1:], rows[0]], strict=True)))
    write(tmp_path / "images", rows, images=100)
    folders = ["first", "captions", "shifted", "images"]
    if write is not write_classes:  # a folder has no order
        write(tmp_path / "reversed", dict(reversed(rows.items())))
        folders.append("reversed")
    if write is write_tars:
        write(tmp_path / "sharded", rows, cut=4)
        folders.append("sharded")
    sources = [open_source(tmp_path / folder) for folder in folders]
    assert {len(source) for source in sources} == {SAMPLES}
    assert len({fingerprint(source) for source in sources}) == len(sources)


def test_keywords_and_fields_count(tmp_path: Path) -> None:
    write_tars(tmp_path / "a")
    opened = [
        open_source(tmp_path / "a"),
        open_source(tmp_path / "a", captions=["json.captions.en"]),
        open_source(tmp_path / "a", keywords=["json.tag"]),
        open_source(tmp_path / "a", keywords=["json.captions.en"]),
    ]
    assert len({fingerprint(source) for source in opened}) == len(opened)


def test_names_that_are_not_utf8_and_files_that_are_gone_have_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"image,caption\ncaf\xe9.png,one\n0.png,caf\xe9\n")
    assert fingerprint(open_source(tmp_path / "a.csv"))
    rows = ('{"image": "a\\u0000b.png", "caption": "one"}', '{"image": "\\ud800.png", "caption": "\\ud800"}')
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert fingerprint(open_source(tmp_path / "a.jsonl"))
    tar(tmp_path / "0.tar", pairs(0, 2))
    (tmp_path / "sizes.json").write_text(json.dumps({"0.tar": 2, "1.tar": 2}))
    before = fingerprint(open_source([tmp_path / "0.tar", tar(tmp_path / "1.tar", pairs(2, 4))]))
    source = open_source([tmp_path / "0.tar", tmp_path / "1.tar"])
    (tmp_path / "1.tar").unlink()
    assert fingerprint(source) not in ("", before)


def test_of_a_source_that_lists_nothing_nothing_is_known() -> None:
    assert fingerprint(Scenes("train", count=3, size=16)) == ""


@pytest.mark.parametrize("count", [0, 1, GLANCES - 1, GLANCES, GLANCES + 1, 10 * GLANCES + 3, 10**7])
def test_glances_are_few_and_spread(count: int) -> None:
    places = list(some(count))
    assert len(places) <= GLANCES
    assert len(places) >= min(count, GLANCES // 2)
    assert all(0 <= place < count for place in places)
    assert not places or count - places[-1] <= 2 * count / len(places) + 1


def test_a_file_that_was_written_again_is_told_though_its_size_and_time_are_the_same(tmp_path: Path) -> None:
    """Of a file that is not glanced at; cp -p and rsync -t set back the time."""
    for i in range(GLANCES + 1):
        (tmp_path / "data" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "cat" / f"{i:03}.jpg").write_bytes(jpeg(0))
    source, file = open_source(tmp_path / "data"), tmp_path / "data" / "cat" / "001.jpg"
    before, known, state = stamp(source), fingerprint(source), file.stat()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint(source) == known
    assert stamp(source) != before
