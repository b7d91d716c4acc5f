"""What a cache folder, a lost shard and a shard that is none must not do to whoever trains from remote tars."""

import json
import os
import time
from pathlib import Path

import pytest
from flaky import Flaky, serving
from making import pairs, tar, tokenize

from diptych.data.cache import ShardCache
from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.mixture import Mixture
from diptych.data.source_spec import CacheSpec
from diptych.data.sources import Source, open_source
from diptych.errors import ConfigError, DataError, ShardLost, TooManyFailures
from diptych.specs import PreprocessSpec

EACH = 10


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setattr("diptych.data.download._PAUSE", 0.01)


@pytest.fixture
def server(tmp_path):
    for shard in range(3):
        tar(tmp_path / "data" / f"{shard}.tar", pairs(shard * EACH, (shard + 1) * EACH))
    (tmp_path / "data" / "sizes.json").write_text(json.dumps({f"{shard}.tar": EACH for shard in range(3)}))
    with serving(tmp_path / "data") as server:
        yield server


def cache(tmp_path: Path, **values) -> CacheSpec:
    return CacheSpec(folder=str(tmp_path / "shards"), timeout=5, attempts=2, **values)


def opened(server: Flaky, tmp_path: Path) -> Source:
    return open_source(server.url + "/{0..2}.tar", cache=cache(tmp_path))


def test_other_files_in_the_folder_of_a_cache_stay_and_take_no_room(server: Flaky, tmp_path: Path):
    size = (server.folder / "0.tar").stat().st_size
    folder = tmp_path / "shards"
    folder.mkdir()
    others = ["thesis.pdf", "0.tar", ".film.part", "0123-notes.tar", "letters.part"]
    for name in others:
        (folder / name).write_bytes(bytes(4 * size))
        os.utime(folder / name, (0, 0))  # used longest ago
    shards = ShardCache(cache(tmp_path, gigabytes=1.5 * size / 1e9))
    for shard in range(3):
        os.close(shards.open(f"{server.url}/{shard}.tar"))
    assert all((folder / name).stat().st_size == 4 * size for name in others)
    assert [path for path in folder.iterdir() if path.name.endswith("-2.tar")] == [
        path for path in folder.iterdir() if path.name[16:17] == "-"
    ]


def test_a_shard_that_will_never_fit_is_refused_at_once(server: Flaky, tmp_path: Path):
    size = (server.folder / "0.tar").stat().st_size
    shards, began = ShardCache(cache(tmp_path, gigabytes=0.5 * size / 1e9)), time.monotonic()
    with pytest.raises(ConfigError, match=rf"{size:,} bytes is larger than .*data\.cache\.gigabytes"):
        shards.open(f"{server.url}/0.tar")
    assert time.monotonic() - began < 5  # 30 s are for others to let go of theirs


@pytest.mark.parametrize("mixed", [False, True])
def test_a_lost_shard_of_a_source_in_memory_is_named_once_with_all_its_samples(
    server: Flaky, tmp_path: Path, mixed: bool
):
    (server.folder / "1.tar").unlink()
    held: Source = InMemory(opened(server, tmp_path), side=16)
    with pytest.raises(ShardLost, match=r"1\.tar cannot be had"):
        held.read(EACH + 3)
    if mixed:
        held = Mixture([InMemory(open_source(server.folder / "0.tar"), side=16), held], [1, 1], batch_size=12)
    first = 2 * EACH if mixed else EACH
    with Loader(
        held, PreprocessSpec(size=16), batch_size=12, tokenizer=tokenize, workers=0, max_failures=0.4
    ) as loader:
        for _ in loader.batches(0, 6):
            pass
    assert list(loader.failures.reasons) == [first]
    assert loader.report().startswith(f"10 sample(s) failed: all 10 samples of {server.url}/1.tar cannot be had: ")
    assert server.gets["1.tar"] <= 1


def test_what_an_error_has_told_is_not_told_again(server: Flaky, tmp_path: Path):
    (server.folder / "1.tar").unlink()
    held = InMemory(opened(server, tmp_path), side=16)
    with Loader(held, PreprocessSpec(size=16), batch_size=12, tokenizer=tokenize, workers=0) as loader:
        with pytest.raises(TooManyFailures, match="10 of the 30 samples failed") as raised:
            list(loader.batches(0, 6))
        assert str(raised.value).count("cannot be had") == 1
        assert loader.report() == ""
        assert list(loader.failures.reasons) == [EACH]  # for the list


def test_what_cannot_be_counted_says_what_to_do(server: Flaky, tmp_path: Path):
    (server.folder / "sizes.json").unlink()
    (server.folder / "1.tar").write_bytes(b"<html>Sign in</html>" * 100)
    with pytest.raises(DataError, match=rf"{server.url}/1\.tar is not a tar") as raised:
        opened(server, tmp_path)
    said = str(raised.value)
    assert "Leave it out of the braces" in said
    assert f"{server.url}/sizes.json" in said
    assert str(tmp_path) not in said


def test_a_damaged_shard_is_called_by_its_location(server: Flaky, tmp_path: Path):
    whole = (server.folder / "1.tar").read_bytes()
    (server.folder / "1.tar").write_bytes(whole[: len(whole) // 2 + 100])
    source = opened(server, tmp_path)
    with Loader(source, PreprocessSpec(size=16), batch_size=12, workers=0, max_failures=0.5) as loader:
        list(loader.batches(0, 3))
    [problem] = getattr(source, "problems", ())
    assert problem.startswith(f"{server.url}/1.tar is damaged after ")
