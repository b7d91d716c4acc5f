"""A corpus of harmful files: each ends in an error of ours, within a second and 100 MB, nothing run or written."""

import _codecs
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")

SECONDS, MEGABYTES, LETTERS = 1.0, 100.0, 1000  # seconds of work, whatever else the machine does
HANGS = 600  # seconds after which all of them together have not ended

_READER = """
import json, sys, threading, time
import diptych.checkpoints.bundle
from diptych.errors import DiptychError
from diptych.text.pretrained import PretrainedTokenizer
from diptych.text.tokenizer import Tokenizer

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon"))

def watch():
    while not done:
        seen.append(anonymous())
        time.sleep(0.001)

def attempt(path):
    if path.endswith(".words"):
        return PretrainedTokenizer.from_files(path, family="sentence_piece", context_length=64)
    if path.endswith(".merges"):
        return Tokenizer.from_files(path)
    return diptych.checkpoints.bundle.read(path, activation="gelu")

for warm in (True, False):
    for path in sys.argv[2:] if not warm else sys.argv[1:2]:
        before, seen, done = anonymous(), [0.0], False
        thread = threading.Thread(target=watch)
        thread.start()
        started = time.process_time()
        try:
            outcome = repr(attempt(path))[:200]
        except DiptychError as error:
            outcome = "refused: " + str(error)
        except BaseException as error:
            outcome = "escaped: " + repr(error)[:300]
        seconds = time.process_time() - started
        done = True
        thread.join()
        if not warm:
            print(json.dumps({"seconds": seconds, "megabytes": max(seen) - before, "outcome": outcome}))
"""


class Call:
    """What a pickle has called when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def Bomb(marker: Path) -> Call:
    return Call(os.mkdir, str(marker))


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def saved(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def npy(shape: tuple[int, ...], data: bytes, descr: object = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


def folder_of(**files: bytes) -> dict[str, bytes]:
    return {name.replace("__", "."): content for name, content in files.items()}


WEIGHTS = safetensors({"visual.conv1.weight": tensor([2], [0, 8])}, bytes(8))
TRANSFORMERS = safetensors({"vision_model.a": tensor([2], [0, 8])}, bytes(8))
DEEP = b"[" * 100_000 + b"]" * 100_000
ZEROS = bytes(300 << 20)  # squeezed, a file of 300 kB
_LISTS = b"[]," * (4 << 20)
_MANY_LETTERS = "".join(map(chr, range(0x4E00, 0x9FFF))) * 6

# A name to bytes, or to the files of a folder; made when asked for, given a path that nothing may create.
CORPUS: dict[str, Callable[[Path], bytes | dict[str, bytes]]] = {
    "pickle runs code.pt": lambda marker: saved({"visual.a": torch.ones(1), "x": Bomb(marker)}),
    "old pickle runs code.pt": lambda marker: saved({"x": Bomb(marker)}, zipped=False),
    "bare pickle runs code.bin": lambda marker: pickle.dumps(Bomb(marker)),
    "protocol 4 runs code.bin": lambda marker: pickle.dumps(Bomb(marker), protocol=4),
    "state dict runs code.pt": lambda marker: saved({"state_dict": {"visual.a": Bomb(marker)}}),
    "archive runs code.pt": lambda marker: archive(
        {"m/data.pkl": pickle.dumps(Bomb(marker), protocol=2), "m/constants.pkl": pickle.dumps(())}
    ),
    "array runs code.npz": lambda marker: archive({"params/t.npy": _pickled_array(marker)}),
    "gigabytes by a call.pt": lambda _: saved({"state_dict": {}, "x": Call(bytearray, 1 << 30)}),
    "gigabytes by an old call.pt": lambda _: saved({"x": Call(bytearray, 1 << 30)}, zipped=False),
    "gigabytes by a bare call.bin": lambda _: pickle.dumps(Call(bytearray, 1 << 30), protocol=2),
    "minutes by a call.pt": lambda _: saved({"x": Call(_codecs.encode, _MANY_LETTERS, "punycode")}),
    "endless instructions.bin": lambda _: b"\x80\x02" + b"N0" * (4 << 20) + b"N.",
    "endless instructions.pt": lambda _: archive(
        {"m/data.pkl": b"\x80\x02" + b"N0" * (4 << 20) + b"N.", "m/version": b"3"}
    ),
    "endless instructions of an archive.pt": lambda _: archive(
        {"m/data.pkl": b"\x80\x02" + b"N0" * (4 << 20) + b"N.", "m/constants.pkl": b""}
    ),
    "another pickle by another case.pt": lambda marker: archive(
        {
            "m/DATA.PKL": pickle.dumps(Call(bytearray, 1 << 30), protocol=2),
            "m/data.pkl": b"\x80\x02}.",
            "m/version": b"3",
        }
    ),
    "pickle bomb.bin": lambda _: b"\x80\x02" + b"]q\x00" + b"h\x00" * 50 + b"e" * 50 + b".",
    "memo bomb.pt": lambda _: archive({"m/data.pkl": b"\x80\x02K\x01r\xff\xff\xff\x7f.", "m/constants.pkl": b""}),
    "zip bomb.pt": lambda _: archive({"m/data.pkl": ZEROS, "m/constants.pkl": b""}, zipfile.ZIP_DEFLATED),
    "zip bomb of a pickle.pt": lambda _: archive({"m/data.pkl": ZEROS, "m/version": b"3"}, zipfile.ZIP_DEFLATED),
    "zip bomb.npz": lambda _: archive({"img/t.npy": npy((len(ZEROS) // 4,), ZEROS)}, zipfile.ZIP_DEFLATED),
    "overlapping zip.pt": lambda _: _overlapping(),
    "paths out of an archive.pt": lambda _: archive({"../../etc/data.pkl": b"x", "/etc/constants.pkl": b"x"}),
    "lying array.npz": lambda _: archive({"img/t.npy": npy((2**40, 2**20), bytes(8))}),
    "negative array.npz": lambda _: archive({"img/t.npy": npy((-1, 4), bytes(8))}),
    "endless loop.npz": lambda _: archive({"params/img/encoderblock/x.npy": npy((10**9, 0), b"")}),
    "loop of a scalar.npz": lambda _: archive({"params/img/encoderblock/x.npy": npy((), bytes(4))}),
    "deep loop.npz": lambda _: archive({"params/img/encoderblock/x.npy": npy((10**6, 1), bytes(4 * 10**6))}),
    "text.npz": lambda _: archive({"params/img/x.npy": npy((2,), bytes(8), "<U1")}),
    "nothing.npz": lambda _: archive({"params/img/x.npy": npy((2**40,), b"", "|V0")}),
    "records.npz": lambda _: archive({"params/img/x.npy": npy((2,), bytes(8), [("a", "<f4")])}),
    "long doubles.npz": lambda _: archive({"params/img/x.npy": npy((1,), bytes(16), "<f16")}),
    "expanded tensor.pt": lambda _: saved({"visual.conv1.weight": torch.zeros(1, 1).expand(10**9, 64)}),
    "one storage a thousand times.pt": lambda _: saved(dict.fromkeys(map(str, range(1000)), torch.zeros(10**5))),
    "many members.pt": lambda _: _members(400_000),
    "many members.npz": lambda _: _members(60_000),
    "shape of no whole number.pt": lambda _: _of_shape(b"G" + struct.pack(">d", 1.0) + b"\x85"),
    "shape of true.pt": lambda _: _of_shape(b"\x88\x85"),
    "modules in one another.pt": lambda _: archive({"m/data.pkl": _cyclic(b"a"), "m/constants.pkl": b"\x80\x02)."}),
    "modules of long names.pt": lambda _: archive(
        {"m/data.pkl": _cyclic(b"a" * 10_000), "m/constants.pkl": b"\x80\x02)."}
    ),
    "endless header.safetensors": lambda _: safetensors({}, length=2**63),
    "long header.safetensors": lambda _: safetensors({}, length=90 << 20),
    "lying shape.safetensors": lambda _: safetensors({"visual.a": tensor([2**40], [0, 8])}, bytes(8)),
    "lying offsets.safetensors": lambda _: safetensors({"visual.a": tensor([2], [2**50, 2**50 + 8])}, bytes(8)),
    "overlapping.safetensors": lambda _: safetensors(
        {"visual.a": tensor([2], [0, 8]), "visual.b": tensor([2], [4, 12])}, bytes(12)
    ),
    "truncated.safetensors": lambda _: safetensors({"visual.a": tensor([4], [0, 16])}, bytes(8)),
    "deep header.safetensors": lambda _: safetensors(b'{"a":' + DEEP + b"}"),
    "many tensors.safetensors": lambda _: safetensors({f"visual.{i}": tensor([0], [0, 0]) for i in range(60_000)}),
    "many of nothing.safetensors": lambda _: safetensors({f"visual.{i}": tensor([0], [0, 0]) for i in range(300_000)}),
    "long names.safetensors": lambda _: safetensors({"visual." + "x" * (3 << 20): tensor([2], [0, 8])}, bytes(8)),
    "long names.pt": lambda _: saved({"visual." + "x" * (3 << 20): torch.ones(2)}),
    "long names of nothing.pt": lambda _: saved({"visual." + "x" * (3 << 20): 3}),
    "a billion layers": lambda _: folder_of(open_clip_model__safetensors=WEIGHTS, diptych__json=_described(10**9)),
    "deep config": lambda _: folder_of(open_clip_model__safetensors=WEIGHTS, open_clip_config__json=DEEP),
    "huge config": lambda _: folder_of(
        open_clip_model__safetensors=WEIGHTS, open_clip_config__json=b'{"model_cfg": "' + b"x" * (200 << 20) + b'"}'
    ),
    "deep transformers config": lambda _: folder_of(model__safetensors=TRANSFORMERS, config__json=DEEP),
    "huge transformers config": lambda _: folder_of(
        model__safetensors=TRANSFORMERS,
        config__json=b'{"model_type": "clip", "vision_config": {"image_size": 1' + b"0" * 5000 + b"}}",
    ),
    "wide transformers": lambda _: folder_of(
        model__safetensors=TRANSFORMERS,
        config__json=b'{"model_type": "clip", "text_config": {"hidden_size": 1000000000, "num_attention_heads": 1}}',
    ),
    "no name of a tower": lambda _: folder_of(
        open_clip_model__safetensors=WEIGHTS, diptych__json=_described(1).replace(b'"vision_transformer"', b"[]")
    ),
    "long name of an activation": lambda _: folder_of(
        model__safetensors=TRANSFORMERS,
        config__json=b'{"model_type": "clip", "text_config": {"hidden_act": "' + b"x" * (3 << 20) + b'"}}',
    ),
    "config of empty lists": lambda _: folder_of(
        open_clip_model__safetensors=WEIGHTS, open_clip_config__json=b'{"model_cfg": [' + _LISTS[:4_000_000] + b"[]]}"
    ),
    "expression without end.words": lambda _: {
        "tokenizer.json": json.dumps({"model": {}, "pre_tokenizer": {"pattern": {"Regex": "(a+)+b"}}}).encode()
    },
    "tokenizer of empty lists.words": lambda _: {"tokenizer.json": b'{"model": {"merges": [' + _LISTS + b"[]]}}"},
    "config of a tokenizer.words": lambda _: {
        "vocab.txt": b"[CLS]\n[SEP]\n[PAD]\n[UNK]\n",
        "tokenizer_config.json": b'{"a": [' + _LISTS[:3_000_000] + b"[]]}",
    },
    "merges of empty lists.merges": lambda _: {"tokenizer.json": b'{"model": {"merges": [' + _LISTS + b"[]]}}"},
    "piece without end.words": lambda _: {
        "tokenizer.json": b'{"model": {"type": "Unigram", "vocab": [["' + b"a" * (4 << 20) + b'", 0.0]]}}'
    },
    "deep tokenizer.words": lambda _: {"tokenizer.json": DEEP},
    "huge tokenizer.words": lambda _: {"tokenizer.json": b'{"a": "' + b"x" * (300 << 20) + b'"}'},
    "tokenizer of nonsense.words": lambda _: {
        "tokenizer.json": b'{"model": {"type": "BPE", "vocab": {}, "merges": 3}}'
    },
    "endless vocabulary.words": lambda _: {"vocab.txt": b"x" * (300 << 20)},
    "deep merges.merges": lambda _: {"tokenizer.json": DEEP},
    "packed merges.merges": lambda _: {
        "merges.txt": gzip.compress(b"#version: 0.2\n" + (b"a" * 2000 + b" " + b"b" * 2000 + b"\n") * 40_000, 1)
    },
    "endless lines.words": lambda _: {"vocab.txt": b"a\n" * (8 << 20)},
    "large lines.words": lambda _: {"vocab.txt": b"a\n" * (30 << 20)},
    "texts without end": lambda _: folder_of(
        model__safetensors=safetensors({"image.a": tensor([2], [0, 8])}, bytes(8)), diptych__json=_described(1, BAG)
    ),
    "merges bomb.merges": lambda _: {"merges.txt": b"#version: 0.2\n" + b"a" * (300 << 20)},
}


def _members(count: int) -> bytes:
    """A zip whose directory names one file over and over."""
    whole = archive({"a.npy": b"x"})
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    directory = whole[start:end] * count
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, 2**32 - 1, 2**32 - 1, 0)
    return whole[:start] + directory + large + locator + last


def _of_shape(shape: bytes) -> bytes:
    """An archive of one tensor of one number, whose shape is this piece of a pickle."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    arguments = b"(" + storage + b"K\x00" + shape + b"K\x01\x85\x89}t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    module = b"\x80\x02c__torch__\nM\n)\x81}(X\x0b\x00\x00\x00logit_scale" + tensor + b"ub."
    return archive({"m/data.pkl": module, "m/constants.pkl": b"", "m/data/0": bytes(4)})


def _pickled_array(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


BAG = {"kind": "bag_of_words", "width": 64, "context_length": 10**12}


def _described(layers: int, text: dict | None = None) -> bytes:
    text = text or {"kind": "text_transformer", "width": 64, "layers": layers, "heads": 1}
    image = {"kind": "vision_transformer", "image_size": 64, "patch_size": 32, "width": 64, "layers": 1, "heads": 1}
    spec = {"name": "x", "embedding": 8, "image": image, "text": text, "preprocess": {"size": 64}}
    return json.dumps({"format": 1, "spec": spec, "provenance": {}}).encode()


def _cyclic(name: bytes) -> bytes:
    """A pickle of a module that is an attribute of itself."""
    attribute = b"X" + struct.pack("<I", len(name)) + name
    return b"\x80\x02c__torch__\nM\n)\x81q\x01}q\x02" + attribute + b"h\x01sb."


def _overlapping() -> bytes:
    """Two members of the directory that point at one place."""
    whole = bytearray(archive({"m/data.pkl": b"\x80\x02N.", "m/constants.pkl": b"\x80\x02)."}))
    second = whole.rindex(b"PK\x01\x02")
    whole[second + 42 : second + 46] = bytes(4)
    return bytes(whole)


def test_nothing_in_the_corpus_does_harm(tmp_path: Path) -> None:
    marker, paths = tmp_path / "ran", [_written(tmp_path / "warm.safetensors", WEIGHTS)]
    (tmp_path / "corpus").mkdir()
    for name, make in CORPUS.items():
        paths.append(_written(tmp_path / "corpus" / name, make(marker)))
    before = sorted((tmp_path / "corpus").rglob("*"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _READER, *map(str, paths)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=HANGS)
    assert told.returncode == 0, told.stderr
    results = dict(zip(CORPUS, map(json.loads, told.stdout.splitlines()), strict=True))
    problems = {
        name: result
        for name, result in results.items()
        if not result["outcome"].startswith("refused: ")
        or len(result["outcome"]) > LETTERS
        or result["seconds"] > SECONDS
        or result["megabytes"] > MEGABYTES
    }
    assert problems == {}
    assert not marker.exists()
    assert sorted((tmp_path / "corpus").rglob("*")) == before


def _written(path: Path, content: bytes | dict[str, bytes]) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    path.mkdir()
    for name, part in content.items():
        (path / name).write_bytes(part)
    return path
