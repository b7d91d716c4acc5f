import json
import multiprocessing
import os
import signal
import time

import fsspec
import numpy as np
import pytest
import torch
from flaky import serving
from fsspec.implementations.http import HTTPFileSystem
from making import jpeg, keys, pairs, tar, tokenize

from diptych.data.cache import ShardCache
from diptych.data.loader import Loader
from diptych.data.order import WINDOW, Walk
from diptych.data.source_spec import CacheSpec
from diptych.data.sources import open_source
from diptych.errors import ConfigError, DataError, MissingExtra, ShardLost, TooManyFailures
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=16)
SHARDS, EACH = 3, 10


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setattr("diptych.data.download._PAUSE", 0.01)


@pytest.fixture
def folder(tmp_path):
    for shard in range(SHARDS):
        tar(tmp_path / "data" / f"{shard}.tar", pairs(shard * EACH, (shard + 1) * EACH))
    (tmp_path / "data" / "sizes.json").write_text(json.dumps({f"{shard}.tar": EACH for shard in range(SHARDS)}))
    return tmp_path / "data"


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


def cache(tmp_path, **values) -> CacheSpec:
    return CacheSpec(folder=str(tmp_path / "shards"), **({"timeout": 2, "attempts": 4} | values))


def batches(source, workers=0, steps=4, **options):
    with Loader(source, SPEC, batch_size=12, tokenizer=tokenize, workers=workers, **options) as loader:
        return list(loader.batches(0, steps)), loader


def same(some, others) -> bool:
    return all(
        a.keys == b.keys and a.captions == b.captions and torch.equal(a.pixels_BCHW, b.pixels_BCHW)
        for a, b in zip(some, others, strict=True)
    )


def cached(tmp_path) -> list[str]:
    return sorted(p.name.partition("-")[2] for p in (tmp_path / "shards").iterdir() if not p.name.startswith("."))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("protocol", ["memory", "file", "http"])
def test_remote_shards_train_as_local_ones(folder, server, tmp_path, protocol, workers):
    expected, _ = batches(open_source(folder))
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        if path.is_file():
            system.pipe(f"/bucket/{path.name}", path.read_bytes())
    root = {"memory": "memory://bucket", "file": f"file://{folder}", "http": server.url}[protocol]
    source = open_source(root + "/{0..2}.tar", cache=cache(tmp_path, timeout=10))
    assert source.shard_sizes == (EACH,) * SHARDS
    assert same(batches(source, workers)[0], expected)
    assert cached(tmp_path) == ["0.tar", "1.tar", "2.tar"]
    if protocol != "http":
        assert len(open_source(root, cache=cache(tmp_path))) == SHARDS * EACH
        assert keys(open_source(f"{root}/*.tar", cache=cache(tmp_path)))[-1] == "s00029"


def test_a_start_reads_sizes_and_nothing_else(server, tmp_path):
    open_source(server.url + "/{0..2}.tar", cache=cache(tmp_path))
    assert dict(server.gets) == {"sizes.json": 1}


def test_sizes_come_from_statistics_or_from_one_scan_which_is_kept(folder, server, tmp_path):
    (folder / "sizes.json").unlink()
    for shard in (0, 1):
        (folder / f"{shard}_stats.json").write_text(json.dumps({"successes": EACH}))
    location = server.url + "/{0..2}.tar"
    assert open_source(location, cache=cache(tmp_path)).shard_sizes == (EACH,) * SHARDS
    assert [server.gets[f"{shard}.tar"] for shard in range(3)] == [0, 0, 1]  # one of them told nobody its size
    before = dict(server.gets)
    assert open_source(location, cache=cache(tmp_path)).shard_sizes == (EACH,) * SHARDS
    assert dict(server.gets) == before | {"sizes.json": before["sizes.json"] + 1}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_fails_now_and_then_changes_nothing(folder, server, tmp_path, workers):
    expected, _ = batches(open_source(folder))
    server.faults = {
        "sizes.json": [503, 200],
        "0.tar": [500, "cut", 200],
        "1.tar": ["stall", 429, 200],
        "2.tar": ["short", 200],
    }
    found, loader = batches(open_source(server.url + "/{0..2}.tar", cache=cache(tmp_path, timeout=1.5)), workers)
    assert same(found, expected)
    assert loader.report() == ""
    assert all(server.gets[name] >= len(faults) for name, faults in server.faults.items())
    assert not [path for path in (tmp_path / "shards").iterdir() if ".try" in path.name or path.suffix == ".part"]


@pytest.mark.parametrize("fault", [404, 500, "stall", "short"])
def test_a_dead_shard_is_refilled_and_reported_once_and_counts_by_its_samples(server, tmp_path, fault):
    server.faults["1.tar"] = [fault]
    if fault == 404:
        (server.folder / "1.tar").unlink()
    location = server.url + "/{0..2}.tar"
    for shard in (0, 2):  # the healthy ones are here before patience is short
        ShardCache(cache(tmp_path, timeout=20)).fetch(f"{server.url}/{shard}.tar")
    spec = cache(tmp_path, attempts=2, timeout=1.5 if fault == "stall" else 10)
    found, loader = batches(open_source(location, cache=spec), 2, steps=6, max_failures=0.34)
    assert not {i for batch in found for i in batch.image_ids_B.tolist()} & set(range(EACH, 2 * EACH))
    assert all(len(batch.keys) == 12 for batch in found)
    assert list(loader.failures.reasons) == [EACH]
    report = loader.report()
    assert report.count("\n") == 0
    assert report.startswith(f"10 sample(s) failed: all 10 samples of {server.url}/1.tar cannot be had: ")
    assert server.gets["1.tar"] <= (1 if fault == 404 else 2)  # whatever the number of workers
    if fault == "stall":  # each further run would wait for it anew
        return
    again, _ = batches(open_source(location, cache=spec), steps=6, max_failures=0.34)
    assert same(found, again)
    with pytest.raises(TooManyFailures, match=r"10 of the 30 samples failed, more than the 30\.0%"):
        batches(open_source(location, cache=spec), steps=6, max_failures=0.3)


def test_replacements_are_drawn_from_the_shards_that_are_read_anyway():
    walk = Walk([7] * (5 * WINDOW), seed=1)
    for position in (0, 200, 500, 7 * 5 * WINDOW + 3):
        window = set(walk.window(position).tolist())
        draws = np.arange(1000, dtype=np.uint64) * np.uint64(2654435761)
        assert {int(index) // 7 for index in walk.near(position, draws)} == window
        assert set((walk.visited(np.array([position])) // 7).tolist()) <= window


def test_what_is_no_tar_is_a_dead_shard(folder, server, tmp_path):
    (folder / "0.tar").write_bytes(b"<html>Sign in</html>" * 100)
    _, loader = batches(open_source(server.url + "/{0..2}.tar", cache=cache(tmp_path)), max_failures=0.5)
    assert "0.tar is not a tar archive" in loader.report()
    assert cached(tmp_path) == ["1.tar", "2.tar"]


def test_the_cache_keeps_its_budget_and_what_is_in_use(server, tmp_path):
    size = (server.folder / "0.tar").stat().st_size
    shards = ShardCache(cache(tmp_path, gigabytes=2.5 * size / 1e9))
    first = shards.open(f"{server.url}/0.tar")
    os.close(shards.open(f"{server.url}/1.tar"))
    os.close(shards.open(f"{server.url}/2.tar"))  # 0 was used before 1, but is in use
    assert cached(tmp_path) == ["0.tar", "2.tar"]
    os.close(first)
    os.close(shards.open(f"{server.url}/2.tar"))
    os.close(shards.open(f"{server.url}/1.tar"))
    assert cached(tmp_path) == ["1.tar", "2.tar"]
    assert not [path.name for path in (tmp_path / "shards" / ".diptych").iterdir() if "0.tar" in path.name]
    assert server.gets["2.tar"] == 1


def test_what_was_read_before_training_may_leave_the_cache(server, tmp_path):
    source = open_source(server.url + "/{0..1}.tar", captions=["json.tag"], keywords=["txt"], cache=cache(tmp_path))
    size = (server.folder / "0.tar").stat().st_size
    assert len(keys(source)) == 20
    with Loader(source, SPEC, batch_size=4, workers=0):
        tight = ShardCache(cache(tmp_path, gigabytes=1.5 * size / 1e9))
        os.close(tight.open(f"{server.url}/2.tar"))
    assert cached(tmp_path) == ["2.tar"]


def test_a_budget_that_holds_too_little_is_said(server, tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.data.cache._ROOM_WITHIN", 0.2)
    size = (server.folder / "0.tar").stat().st_size
    shards = ShardCache(cache(tmp_path, gigabytes=1.5 * size / 1e9))
    first = shards.open(f"{server.url}/0.tar")
    assert shards.fetch(f"{server.url}/1.tar", patient=False) is False
    with pytest.raises(ConfigError, match=rf"has no room .* take {size:,} of .*data\.cache\.gigabytes"):
        shards.open(f"{server.url}/1.tar")
    os.close(first)
    os.close(shards.open(f"{server.url}/1.tar"))


def _fetch(spec, url, done) -> None:
    os.close(ShardCache(spec).open(url))
    done.put(os.getpid())


def test_one_process_fetches_while_others_wait_and_a_killed_one_leaves_nothing(server, tmp_path):
    context = multiprocessing.get_context("fork")
    done, url, spec = context.Queue(), f"{server.url}/0.tar", cache(tmp_path, timeout=20)
    server.faults["0.tar"] = ["stall", 200]
    processes = [context.Process(target=_fetch, args=(spec, url, done)) for _ in range(4)]
    for process in processes:
        process.start()
        time.sleep(0.1)
    deadline = time.monotonic() + 10
    while not any(p.stat().st_size > 1000 for p in (tmp_path / "shards").glob(".*.try-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(processes[0].pid or 0, signal.SIGKILL)
    assert {done.get(timeout=10) for _ in range(3)} == {process.pid for process in processes[1:]}
    for process in processes:
        process.join(10)
    assert server.gets["0.tar"] == 2
    [path] = [path for path in (tmp_path / "shards").iterdir() if not path.name.startswith(".")]
    assert path.read_bytes() == (server.folder / "0.tar").read_bytes()
    os.close(ShardCache(cache(tmp_path)).open(f"{server.url}/1.tar"))  # which sweeps
    assert not list((tmp_path / "shards").glob(".*.part"))


def test_the_next_window_is_fetched_ahead_and_no_more(tmp_path):
    shards = 4 * WINDOW
    for shard in range(shards):
        tar(tmp_path / "data" / f"{shard:02}.tar", {f"s{shard}": {"jpg": jpeg(shard), "txt": b"x"}})
    (tmp_path / "data" / "sizes.json").write_text(json.dumps({f"{shard:02}.tar": 1 for shard in range(shards)}))
    source = open_source(f"file://{tmp_path}/data", cache=cache(tmp_path))
    walk = Walk(source.shard_sizes, 0)
    expected = {f"{shard:02}.tar" for ahead in (0, 1) for shard in walk.window(0, ahead)}
    with Loader(source, SPEC, batch_size=4, workers=0) as loader:
        next(loader.batches())
        deadline = time.monotonic() + 20
        while set(cached(tmp_path)) != expected:
            assert time.monotonic() < deadline
            assert set(cached(tmp_path)) <= expected
            next(loader.batches())
            time.sleep(0.02)


def test_failures_of_an_earlier_run_do_not_count(server, tmp_path):
    server.faults["0.tar"] = [500, 200]
    with pytest.raises(ShardLost, match="500"):
        ShardCache(cache(tmp_path, attempts=1)).open(f"{server.url}/0.tar")
    time.sleep(0.01)
    os.close(ShardCache(cache(tmp_path, attempts=1)).open(f"{server.url}/0.tar"))


def test_a_full_disk_ends_a_run_and_is_no_bad_sample(server, tmp_path, monkeypatch):
    async def full(*_, **__):
        raise OSError(28, "No space left on device")

    HTTPFileSystem.clear_instance_cache()  # those of earlier tests have their methods bound
    monkeypatch.setattr(HTTPFileSystem, "_get_file", full)
    source = open_source(server.url + "/{0..2}.tar", cache=cache(tmp_path))
    with pytest.raises(ConfigError, match=r"disk of .*shards is full"):
        batches(source)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("s3://bucket/0.tar", MissingExtra, r"s3:// needs .*fsspec\[s3\]"),
        ("htp://bucket/0.tar", DataError, "did you mean 'http'"),
        (["memory://x/0.tar", "here.tar"], DataError, "give one kind"),
        ("memory://nothing/*.tar", DataError, "names no tars"),
    ],
)
def test_locations_that_cannot_be_opened_say_why(tmp_path, location, error, message):
    with pytest.raises(error, match=message):
        open_source(location, cache=cache(tmp_path))
    with pytest.raises(DataError, match="name the split's shards"):
        open_source("memory://bucket/0.tar", split="train")
