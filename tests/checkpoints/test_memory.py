"""What reading costs, measured in a process of its own: pages that are neither file nor shared (RssAnon)."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from openai_layout import openai_model, save_archive
from twins import random_weights, renames, twin

from diptych.checkpoints.bundle import Bundle
from diptych.checkpoints.writing import write

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")

OTHERS = ("half", "archive", "half archive")

_READER = """
import json, sys, threading, time
import torch
from diptych.checkpoints.bundle import build, read

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon"))

def watch():
    while not done:
        seen.append(anonymous())
        time.sleep(0.0005)

def measure(path):
    global seen, done
    before, seen, done = anonymous(), [], False
    thread = threading.Thread(target=watch)
    thread.start()
    model = build(read(path, activation="quick_gelu"))
    done = True
    thread.join()
    sum(float(tensor.sum()) for tensor in model.parameters())
    maps = [line.split() for line in open("/proc/self/maps")]
    ranges = [[int(x, 16) for x in line[0].split("-")] for line in maps if line[-1].endswith(path)]
    mapped = all(any(a <= p.data_ptr() < b for a, b in ranges) for p in model.parameters())
    return {"peak": max(seen) - before, "end": anonymous() - before, "mapped": mapped}

for path in sys.argv[1:]:
    print(json.dumps(measure(path)))
"""


def measure(*paths: Path) -> list[dict[str, float]]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back, so that each file is measured anew
    command = [sys.executable, "-c", _READER, *map(str, paths)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def test_fp32_is_mapped_and_other_formats_hold_one_tensor_twice(tmp_path):
    small = twin("ViT-B/32")
    spec = dataclasses.replace(small, text=dataclasses.replace(small.text, width=512, heads=8, layers=6))
    weights, names = random_weights(spec), renames(spec)
    sizes = [tensor.numel() * 4 / 2**20 for tensor in weights.values()]
    total, largest = sum(sizes), max(sizes)

    write(Bundle(spec, weights), tmp_path / "bundle")
    torch.save({names[name]: tensor.half() for name, tensor in weights.items()}, tmp_path / "half.pt")
    save_archive(openai_model(spec, weights), tmp_path / "archive.pt")
    save_archive(openai_model(spec, weights), tmp_path / "half archive.pt", half=True)
    save_archive(openai_model(small, random_weights(small)), tmp_path / "warm.pt")  # what is loaded on first use
    mapped = tmp_path / "bundle" / "open_clip_model.safetensors"
    _, bundle, *others = measure(tmp_path / "warm.pt", mapped, *(tmp_path / f"{n}.pt" for n in OTHERS))
    assert bundle["mapped"]
    assert bundle["peak"] < total / 8
    assert bundle["end"] < total / 8  # after every tensor was read
    for name, measured in zip(OTHERS, others, strict=True):
        assert measured["peak"] < total + 2 * largest + 4, name
        assert measured["peak"] > total / 2, name  # the measurement sees what it should
