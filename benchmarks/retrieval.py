"""Recall at 1, 5, 10 both ways on the `val` split of a data set, for any pair of encoders.

Images and texts are bipartite: a text may be right for several images (two vendors draw one name) and an image may
have several texts (five captions). A query counts as found at k when its best right answer is among the first k;
ties count against it.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def read_pairs(folder: Path, split: str) -> tuple[list[Image.Image], list[str], np.ndarray]:
    """Images, distinct texts, and which belong together: ``right`` (images, texts) of bool.

    Emoji: only base emoji, each English name once. Otherwise: every English caption, each distinct text once.
    """
    images, texts_of, texts = [], [], {}
    for shard in sorted(folder.glob(f"{split}-*.tar")):
        for sample in _samples(shard):
            about = json.loads(sample["json"])
            if not about.get("base", True):
                continue
            names = about["captions"]["en"] if "captions" in about else [sample["txt"].decode()]
            image = Image.open(io.BytesIO(sample.get("jpg") or sample["webp"]))
            images.append(image.convert("RGB"))
            texts_of.append([texts.setdefault(" ".join(name.split()), len(texts)) for name in names])
    right = np.zeros((len(images), len(texts)), dtype=bool)
    for i, columns in enumerate(texts_of):
        right[i, columns] = True
    return images, list(texts), right


def _samples(shard: Path) -> list[dict[str, bytes]]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key, extension = member.name.rsplit(".", 1)
            content = tar.extractfile(member)
            if content is not None:
                samples.setdefault(key, {})[extension] = content.read()
    return list(samples.values())


def recalls(images_IE: np.ndarray, texts_TE: np.ndarray, right_IT: np.ndarray) -> dict[str, float]:
    """Recall at 1, 5, 10 of unit-norm embeddings, images to texts and texts to images, in percent."""
    similarity_IT = images_IE.astype(np.float64) @ texts_TE.T.astype(np.float64)
    found = {}
    for way, scores, right in (
        ("image_to_text", similarity_IT, right_IT),
        ("text_to_image", similarity_IT.T, right_IT.T),
    ):
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        ahead = ((scores >= best) & ~right).sum(axis=1)
        found |= {f"{way}_recall@{k}": round(100 * float((ahead < k).mean()), 2) for k in (1, 5, 10)}
    return found | {"mean": round(sum(found.values()) / len(found), 2)}
