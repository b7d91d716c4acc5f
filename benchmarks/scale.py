"""What 400 million pairs in 41,455 remote shards ask of a training run before and while it reads them.

    python benchmarks/scale.py [--shards 41455] [--samples 9650] [--rate 10000] [--kilobytes 40]

Writes a ``sizes.json`` for so many shards of which none exists, opens them, and measures start-up, memory and the
order; the rest is arithmetic with ``--rate`` images per second of ``--kilobytes`` each.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np

from diptych.data.fingerprint import fingerprint
from diptych.data.order import WINDOW, Walk
from diptych.data.pool import CHUNK
from diptych.data.source_spec import CacheSpec
from diptych.data.sources import open_source


def private_megabytes() -> float:
    """Memory of this process that no other shares."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def work(walk: Walk, positions: int, told: multiprocessing.Queue) -> None:
    """A worker that visits places all over three epochs, as far as the order is concerned."""
    before = private_megabytes()
    chunks = np.linspace(0, 3 * positions - CHUNK, 300, dtype=np.int64)
    walk.visited(chunks[:1])
    begin = time.process_time()
    for start in chunks.tolist():
        walk.visited(start + np.arange(CHUNK))
    told.put((private_megabytes() - before, (time.process_time() - begin) / (len(chunks) * CHUNK)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=41_455)
    parser.add_argument("--samples", type=int, default=9_650)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--kilobytes", type=float, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{shard:05}.tar" for shard in range(options.shards)]
        (Path(folder) / "sizes.json").write_text(json.dumps(dict.fromkeys(names, options.samples)), encoding="utf-8")
        importlib.import_module("fsspec")  # so that its import is not counted

        before, begin = private_megabytes(), time.perf_counter()
        location = f"file://{folder}/{{00000..{options.shards - 1:05}}}.tar"
        source = open_source(location, cache=CacheSpec(folder=f"{folder}/cache"))
        opened = time.perf_counter() - begin
        fingerprint(source)
        walk = Walk(source.shard_sizes, seed=0)
        walk.visited(np.arange(CHUNK))
        begun = time.perf_counter() - begin
        memory = private_megabytes() - before
        context = multiprocessing.get_context("fork")
        told = context.Queue()
        worker = context.Process(target=work, args=(walk, len(source), told))
        worker.start()
        added, seconds = told.get()
        worker.join()
    shard_bytes = options.samples * options.kilobytes * 1e3
    lines = {
        "pairs": f"{len(source):,} in {options.shards:,} shards",
        "to open the source": f"{opened:.2f} s",
        "and to fingerprint it and find the first chunk": f"{begun:.2f} s",
        "memory of source and order": f"{memory:.1f} MB",
        "pickled source": f"{len(pickle.dumps(source)) / 1e6:.1f} MB",
        "memory a worker adds in three epochs": f"{added:.1f} MB",
        "indices of shards a worker holds": f"{2 * WINDOW * 8 * options.samples / 1e6:.1f} MB",
        "order, each sample": f"{seconds * 1e6:.0f} us",
        "bytes read": f"{options.rate * options.kilobytes / 1e3:,.0f} MB/s",
        "a shard": f"{shard_bytes / 1e6:,.0f} MB, one each {options.samples / options.rate:.2f} s",
        "requests (size and bytes of each shard)": f"{2 * options.rate / options.samples:.2f} a second",
        "requests, were every sample one": f"{options.rate:,.0f} a second",
        "a window": f"{WINDOW} shards, {WINDOW * shard_bytes / 1e9:.1f} GB, {WINDOW * options.samples:,} samples mixed",
        "cache for two windows": f"{2 * WINDOW * shard_bytes / 1e9:.1f} GB",
        "the first batch waits at most for a window": f"{WINDOW * shard_bytes / 1e9 / 1.25:.1f} s at 10 Gbit/s",
    }
    for name, value in lines.items():
        print(f"{name:48}{value}")


if __name__ == "__main__":
    main()
