"""Small files of every kind that sources read, made for tests."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.tokens import Tokens


def jpeg(number: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """A smooth image that differs from number to number."""
    corners = np.random.default_rng(number).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def tar(path: Path, samples: dict[str, dict[str, bytes]], kind: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for key, fields in samples.items():
            for extension, data in fields.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def pairs(first: int, stop: int) -> dict[str, dict[str, bytes]]:
    """Samples ``s00003`` and so on, with a caption in ``txt`` and several in ``json``."""
    return {
        f"s{i:05}": {
            "jpg": jpeg(i),
            "txt": f"image {i}".encode(),
            "json": json.dumps({"captions": {"en": [f"a {i}", f"b {i}"]}, "even": i % 2 == 0, "tag": "x"}).encode(),
        }
        for i in range(first, stop)
    }


def tokenize(texts) -> Tokens:
    """A stand-in tokenizer: letters by their code, between a start and an end token."""
    import torch

    rows = [[1, *(ord(letter) % 90 + 2 for letter in text), 99] for text in texts]
    ids_BL = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, ids in enumerate(rows):
        ids_BL[row, : len(ids)] = torch.tensor(ids)
    return Tokens(ids_BL, torch.tensor([len(row) for row in rows]))


def keys(source) -> list[str]:
    """The key of every sample of a source, in its order."""
    return [source.read(i).key for i in range(len(source))]
