import contextlib
import io
import json
import os
import pickle
import re
import tarfile

import numpy as np
import pytest
from making import jpeg, keys, pairs, tar

from diptych.data.order import WINDOW
from diptych.data.shard_index import scan
from diptych.data.sources import open_source, read
from diptych.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_tars_by_range_pattern_list_and_folder_are_one_sequence(tmp_path):
    for shard in range(3):
        tar(tmp_path / f"{shard:03}.tar", pairs(shard * 4, shard * 4 + 4))
    expected = [f"s{i:05}" for i in range(12)]
    for location in (
        tmp_path,
        str(tmp_path / "{000..002}.tar"),
        f"{tmp_path}/*.tar",
        f"{tmp_path}/{{000,001,002}}.tar",
        [tmp_path / "000.tar", f"{tmp_path}/{{001..002}}.tar"],
    ):
        source = open_source(location)
        assert keys(source) == expected
        assert source.shard_sizes == (4, 4, 4)
    sample = source.read(5)
    assert sample.image == jpeg(5)
    assert sample.captions == ("image 5",)
    assert sample.label is None


def test_captions_come_from_the_fields_asked_for(tmp_path):
    path = tar(tmp_path / "a.tar", pairs(0, 3))
    assert open_source(path, captions=["json.captions.en"]).read(2).captions == ("a 2", "b 2")
    assert open_source(path, captions=["txt", "json.captions.en", "json.tag"]).read(1).captions == (
        "image 1", "a 1", "b 1", "x",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"json\.caption\.en; it has .*json\.captions\.en"):
        open_source(path, captions=["json.caption.en"])


def test_a_text_field_holds_a_caption_a_line_and_repeats_count_once(tmp_path):
    path = tar(tmp_path / "a.tar", {"a": {"jpg": jpeg(0), "txt": "ein Hund\r\n\n 狗 \nein Hund".encode()}})
    assert open_source(path).read(0).captions == ("ein Hund", "狗")


def test_filters_keep_what_is_true_or_equal(tmp_path):
    for shard in range(2):
        tar(tmp_path / f"{shard}.tar", pairs(shard * 5, shard * 5 + 5))
    source = open_source(tmp_path, where="json.even")
    assert keys(source) == ["s00000", "s00002", "s00004", "s00006", "s00008"]
    assert source.shard_sizes == (3, 2)
    assert len(open_source(tmp_path, where="json.tag=x")) == 10
    with pytest.raises(DataError, match=r"json\.tag=y"):
        open_source(tmp_path, where="json.tag=y")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_tar_dialect(tmp_path, kind):
    names = ["plain", "folder/" * 9 + "x" * 60, "y" * 90] + (["ü" * 120] if kind != tarfile.USTAR_FORMAT else [])
    path = tar(tmp_path / "a.tar", {name: {"jpg": jpeg(0), "TXT": b"t"} for name in names}, kind)
    assert keys(open_source(path)) == names


def test_a_truncated_tar_gives_what_is_whole_and_says_so(tmp_path):
    path = tar(tmp_path / "a.tar", pairs(0, 6))
    data = path.read_bytes()
    with tarfile.open(path) as archive:
        cut = archive.getmember("s00004.txt").offset_data + 2
    path.write_bytes(data[:cut])
    source = open_source(path)
    assert len(source) == 4
    assert "damaged after 4 whole samples" in source.problems[0]
    assert keys(source)[-1] == "s00003"


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 100, b"\x1f\x8b" + b"x" * 2000, b"\0" * 10240])
def test_what_is_no_tar_is_named(tmp_path, content):
    path = tmp_path / "broken.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.tar"):
        open_source(path)


@pytest.mark.parametrize("blocks", [512, 2048, 16_384])
def test_a_tar_may_be_filled_up_to_a_large_record(tmp_path, blocks):
    path = tar(tmp_path / "a.tar", {f"s{i}": {"jpg": jpeg(i)} for i in range(3)})
    os.truncate(path, 512 * blocks)  # as tar -b does
    source = open_source(path)
    assert (len(source), source.problems) == (3, ())


def test_a_hole_in_a_tar_is_found(tmp_path):
    path = tar(tmp_path / "a.tar", {f"s{i}": {"jpg": jpeg(0), "bin": bytes(30_000)} for i in range(9)})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    source = open_source(path)
    assert len(source) == 4
    assert "damaged after" in source.problems[0]
    way_out = re.search(r"'truncate -s (\d+)' of it takes them away", source.problems[0])
    assert way_out
    os.truncate(path, int(way_out[1]))
    assert (len(open_source(path)), open_source(path).problems) == (5, ())


def test_nshards_that_are_not_the_tars_there_are_told(tmp_path, capsys):
    for shard in range(2):
        tar(tmp_path / f"test/{shard}.tar", {f"s{shard}": {"jpg": jpeg(shard)}})
    (tmp_path / "test/nshards.txt").write_text("1\n")
    assert keys(open_source(tmp_path)) == ["s0"]
    assert "nshards.txt says 1, but there are 2 tars; 1.tar is not read" in capsys.readouterr().err
    (tmp_path / "test/nshards.txt").write_text("0\n")
    with pytest.raises(DataError, match=r"nshards\.txt holds '0', but 0\.tar is there"):
        open_source(tmp_path)
    (tmp_path / "test/nshards.txt").write_text("2\n")
    assert keys(open_source(tmp_path)) == ["s0", "s1"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_spoiled_tars_never_hang_nor_raise_anything_else(tmp_path, kind):
    name = "ü" * 120
    path = tar(tmp_path / "a.tar", {f"{name}{i}": {"txt": b"x" * 10} for i in range(3)}, kind)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        spoiled = bytearray(data)
        for place in random.integers(0, 6000, 4):
            spoiled[place] = random.choice([0, 45, 48, 49, 255])
        path.write_bytes(spoiled)
        with contextlib.suppress(DataError):
            scan(path)


def test_a_member_that_is_there_twice_spoils_its_sample(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (("a.jpg", jpeg(0)), ("a.txt", b"x"), ("a.TXT", b"y"), ("b.jpg", jpeg(1)), ("b.txt", b"z")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    source = open_source(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"holds a\.txt twice"):
        source.read(0)
    assert source.read(1).captions == ("z",)
    assert len(open_source(tmp_path / "a.tar", captions=["txt"], where="txt")) == 2


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "folder/" * 9])
def test_hard_links_in_a_tar_are_the_files_they_lead_to(tmp_path, kind, folder):
    long = folder + ("x" * 120 if kind != tarfile.USTAR_FORMAT else "x" * 20)
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as archive:

        def add(name: str, data: bytes = b"", link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if link:
                member.type, member.linkname = tarfile.LNKTYPE, link
            archive.addfile(member, io.BytesIO(data))

        add(f"{long}.jpg", jpeg(0))
        add(f"{long}.txt", b"one")
        add("b.jpg", link=f"{long}.jpg")
        add("b.txt", b"two")
        add("c.jpg", link="gone.jpg")
        add("c.txt", b"three")
        add("d.jpg", link=f"{long}.jpg")
        add("d.txt", link="b.txt")
    for source in (open_source(tmp_path / "a.tar"), open_source(tmp_path / "a.tar")):  # the second from the kept index
        assert [source.read(i).key for i in (0, 1, 3)] == [long, "b", "d"]
        assert source.read(1)[:2] == (jpeg(0), ("two",))
        assert source.read(3)[:2] == (jpeg(0), ("two",))
        with pytest.raises(DataError, match=r"c\.jpg is a link to gone\.jpg, which is not there"):
            source.read(2)


def test_promised_sizes_are_believed_until_read(tmp_path):
    first, second = tar(tmp_path / "0.tar", pairs(0, 3)), tar(tmp_path / "1.tar", pairs(3, 6))
    (tmp_path / "sizes.json").write_text(json.dumps({"0.tar": 3}))
    (tmp_path / "1_stats.json").write_text(json.dumps({"successes": 5}))
    source = open_source([first, second])
    assert source.shard_sizes == (3, 5)
    assert source.read(5).key == "s00005"
    with pytest.raises(DataError, match="3 whole samples of the 5"):
        source.read(6)


def test_many_shards_cost_one_list_of_sizes_and_hold_little(tmp_path, monkeypatch):
    for shard in range(50):
        tar(tmp_path / f"{shard:02}.tar", {f"s{shard}": {"jpg": b"", "txt": b"x"}})
    (tmp_path / "sizes.json").write_text(json.dumps({f"{shard:02}.tar": 1 for shard in range(50)}))
    asked = []
    monkeypatch.setattr("diptych.data.shards.read_bytes", lambda path: asked.append(path) or path.read_bytes())
    source = open_source(tmp_path)
    assert asked == [tmp_path / "sizes.json"]
    assert keys(source) == [f"s{shard}" for shard in range(50)]
    assert len(source.shards._indices) == 2 * WINDOW
    assert len(source.shards._open) == WINDOW


def test_the_scan_is_kept_beside_the_data_and_renewed_when_they_change(tmp_path, monkeypatch):
    path = tar(tmp_path / "a.tar", pairs(0, 3))
    open_source(path)
    assert (tmp_path / ".diptych" / "a.tar.npz").is_file()
    monkeypatch.setattr("diptych.data.shard_index.scan", lambda path: pytest.fail("scanned twice"))
    assert len(open_source(path)) == 3
    monkeypatch.undo()
    tar(path, pairs(0, 5))
    assert len(open_source(path)) == 5
    (tmp_path / ".diptych" / "a.tar.npz").write_bytes(b"PK\x03\x04 spoiled")
    assert len(open_source(path)) == 5


def test_read_only_data_are_left_alone(tmp_path, monkeypatch):
    path = tar(tmp_path / "data" / "a.tar", pairs(0, 3))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.parent.chmod(0o555)
    try:
        assert len(open_source(path)) == 3
        assert [entry.name for entry in path.parent.iterdir()] == ["a.tar"]
        assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1
    finally:
        path.parent.chmod(0o755)


def test_a_tar_that_shrinks_while_in_use_is_an_error(tmp_path):
    path = tar(tmp_path / "a.tar", pairs(0, 6))
    source = open_source(path)
    source.read(0)
    os.truncate(path, 3000)
    with pytest.raises(DataError, match="shorter"):
        source.read(5)


def test_sources_pickle_small(tmp_path):
    source = open_source(tar(tmp_path / "a.tar", pairs(0, 300)), where="json.even")
    source.read(7)
    copy = pickle.dumps(source)
    assert len(copy) < 4000
    assert pickle.loads(copy).read(7) == source.read(7)


def test_a_clip_benchmark_folder_describes_itself(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\nhot dog\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n{c}\n")
    for shard in range(11):
        samples = {f"s{shard}": {"jpg": jpeg(shard), "cls": str(shard % 2).encode()}}
        tar(tmp_path / "test" / f"{shard}.tar", samples)
    (tmp_path / "test" / "nshards.txt").write_text("11\n")
    for source in (open_source(tmp_path), open_source(tmp_path, split="test"), open_source(tmp_path / "test")):
        assert source.class_names == ("cat", "hot dog")
        assert source.templates == ("a photo of a {c}.", "{c}")
        assert keys(source) == [f"s{i}" for i in range(11)]
        assert source.read(1).label == 1
        assert source.read(1).captions == ("a photo of a hot dog.", "hot dog")
    with pytest.raises(DataError, match="no split 'train'"):
        open_source(tmp_path, split="train")
    (tmp_path / "test" / "nshards.txt").write_text("12\n")
    with pytest.raises(DataError, match=r"11\.tar"):
        open_source(tmp_path)


def test_a_label_outside_the_classes_is_an_error(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\n")
    tar(tmp_path / "test" / "0.tar", {"a": {"jpg": jpeg(0), "cls": b"1"}, "b": {"jpg": jpeg(0), "cls": b"cat"}})
    source = open_source(tmp_path)
    for i in (0, 1):
        with pytest.raises(DataError, match="cls"):
            source.read(i)


def test_mixed_splits_in_one_folder_must_be_chosen(tmp_path):
    for name in ("train-0000", "train-0001", "val-0000"):
        tar(tmp_path / f"{name}.tar", pairs(0, 2))
    assert len(open_source(tmp_path, split="train")) == 4
    with pytest.raises(DataError, match="train, val; say which"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="did you mean 'train'"):
        open_source(tmp_path, split="trian")


def test_places_that_are_no_source_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    for location, message in (
        (tmp_path / "empty", "empty is no source"),
        (tmp_path / "a.txt", "is no source"),
        (tmp_path / "missing", "missing: no such file"),
        (f"{tmp_path}/{{00..03}}.tar", r"00\.tar: no such file"),
        (f"{tmp_path}/*.tar", "no such file"),
        ([], "no location"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(location)


def test_text_that_is_not_utf8_is_a_data_error(tmp_path):
    source = open_source(tar(tmp_path / "a.tar", {"a": {"jpg": jpeg(0), "txt": b"caf\xe9"}, "b": {"txt": b"x"}}))
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8"):
        read(source, 0)
    with pytest.raises(DataError, match="b has no image; its fields are txt"):
        read(source, 1)
    half = tar(tmp_path / "b.tar", {"a": {"jpg": jpeg(0), "json": b'{"c": ["half a pair \\ud83d"]}'}})
    with pytest.raises(DataError, match="utf-8"):
        read(open_source(half, captions=["json.c"]), 0)


def test_the_real_data_open(shared_data):
    flickr = open_source(shared_data / "flickr8k", split="train", captions=["json.captions.en"])
    assert len(flickr) == 6000
    assert 1 <= len(flickr.read(5999).captions) <= 5
    emoji = open_source(shared_data / "emoji", split="val", captions=["txt", "json.keywords.en"], where="json.base")
    assert 100 < len(emoji) < 576
    caltech = open_source(shared_data / "caltech101", split="test")
    assert len(caltech) == 2804
    assert caltech.class_names is not None
    assert max(caltech.read(i).label or 0 for i in range(0, 2804, 9)) < len(caltech.class_names)
    assert len(open_source(shared_data / "cc12m_sample")) == 32


def test_scanning_agrees_with_tarfile(shared_data):
    path = shared_data / "flickr8k" / "val-0000.tar"
    with tarfile.open(path) as archive:
        begins = [member.offset for member in archive if member.name.endswith(".jpg")]
    assert np.array_equal(scan(path).starts[:-1], begins)


def test_captions_are_looked_for_beyond_a_first_sample_that_is_odd(tmp_path):
    odd = {"a": {"jpg": jpeg(0), "json": b"not json"}, "b": {"jpg": jpeg(0)}}
    tar(tmp_path / "a.tar", odd | pairs(0, 3))
    source = open_source(tmp_path / "a.tar", captions=["json.tag"])
    assert source.read(4).captions == ("x",)
    with pytest.raises(DataError, match=r"no json\.words; it has jpg, json"):
        open_source(tmp_path / "a.tar", captions=["json.words"])


@pytest.mark.parametrize("name", ["x.tar", "x.csv", "x.jsonl", "x.parquet"])
def test_a_pipe_is_no_source(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for location in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match="no regular file"):
            open_source(location)


def test_one_of_several_caption_fields_that_is_nowhere_is_told(tmp_path, capsys):
    samples = {"x": {"jpg": jpeg(0), "a": b"one"}, "y": {"jpg": jpeg(1), "a": b"two", "b": b"three"}}
    shard = tar(tmp_path / "a.tar", samples)
    assert len(open_source(shard, captions=["a", "b"])) == 2
    assert not capsys.readouterr().err
    open_source(shard, captions=["a", "bee"])
    assert "warning: none of the first 2 samples of a has bee" in capsys.readouterr().err


def test_a_pipe_among_what_describes_tars_is_passed_over(tmp_path):
    tar(tmp_path / "a.tar", pairs(0, 3))
    os.mkfifo(tmp_path / "sizes.json")
    assert len(open_source(tmp_path)) == 3


def test_lists_of_classes_that_are_odd(tmp_path):
    samples = {f"s{label}": {"jpg": jpeg(label), "cls": str(label).encode()} for label in range(3)}
    tar(tmp_path / "test" / "0.tar", samples)
    for content, message in (
        ("Hund\nKatze\nKäfer\n".encode("latin-1"), r"classnames\.txt is not UTF-8"),
        (b"dog\n\ncat\nbug\n", "line 2 is blank"),
    ):
        (tmp_path / "classnames.txt").write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_source(tmp_path)
    (tmp_path / "classnames.txt").write_bytes("\ufeffdog\r\nca\u2028t\r\nbug\r\n\r\n".encode())
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c}\n\nthe {c}\n")
    source = open_source(tmp_path)
    assert source.class_names == ("dog", "ca\u2028t", "bug")
    assert source.read(2).captions == ("a bug", "the bug")
    (tmp_path / "test" / "nshards.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="nshards"):
        open_source(tmp_path)


@pytest.mark.parametrize(("location", "message"), [("", "no location"), ("{9..1}.tar", "backwards")])
def test_locations_that_mean_nothing(location, message):
    with pytest.raises(DataError, match=message):
        open_source(location)
