"""Time and memory of ranks both ways, at a size that takes a minute, and what that makes of a larger one.

    python benchmarks/retrieval_memory.py                       # reckons for 100,000 images and 500,000 texts
    python benchmarks/retrieval_memory.py --images 4000 --texts 20000 --width 512 --full 5000 25000

Embeddings are drawn, each text near its image. Memory is the most that NumPy held beyond the embeddings, as tracemalloc
tells it, at the size and at half of it: what grows is by the number of vectors and pairs, not by their product. Times
are processor times, beside that of the matrices' product alone, in the same tiles, and of a pass for each way.
"""

from __future__ import annotations

import argparse
import math
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from diptych.evaluation.ranks import SCORES_AT_ONCE, ranks, ranks_both_ways


def drawn(images: int, texts: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images_NE = generator.standard_normal((images, width), np.float32)
    texts_ME = generator.standard_normal((texts, width), np.float32)
    image_M = np.arange(texts) * images // texts
    for start in range(0, texts, 4096):  # in parts, so that drawing takes less memory than what is measured
        texts_ME[start : start + 4096] += 0.2 * images_NE[image_M[start : start + 4096]]
    for vectors in (images_NE, texts_ME):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return images_NE, texts_ME, np.stack([image_M, np.arange(texts)], axis=1)


def product_alone(images_NE: np.ndarray, texts_ME: np.ndarray) -> None:
    side = math.isqrt(SCORES_AT_ONCE)
    for top in range(0, len(images_NE), side):
        for left in range(0, len(texts_ME), side):
            images_NE[top : top + side] @ texts_ME[left : left + side].T


def seconds(work: Callable[..., object], *arguments: np.ndarray) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def memory_of(images: int, texts: int, width: int) -> float:
    """Megabytes beyond the embeddings."""
    vectors = drawn(images, texts, width)
    tracemalloc.start()
    ranks_both_ways(*vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--full", type=int, nargs=2, default=(100_000, 500_000), metavar=("IMAGES", "TEXTS"))
    options = parser.parse_args()
    images_NE, texts_ME, pairs_P2 = drawn(options.images, options.texts, options.width)
    alone = seconds(product_alone, images_NE, texts_ME)
    both = seconds(ranks_both_ways, images_NE, texts_ME, pairs_P2)
    apart = seconds(ranks, images_NE, texts_ME, pairs_P2) + seconds(ranks, texts_ME, images_NE, pairs_P2[:, ::-1])
    scores = options.images * options.texts
    print(f"{options.images:,} x {options.texts:,}: product alone {alone:.1f} s, both ways {both:.1f} s")
    print(f"both ways / product alone = {both / alone:.2f}; a pass for each way / both ways = {apart / both:.2f}")
    half = (options.images // 2, options.texts // 2)
    whole, less = memory_of(options.images, options.texts, options.width), memory_of(*half, options.width)
    vectors = options.images + options.texts
    growth = (whole - less) / (vectors - sum(half))
    print(
        f"memory beyond the embeddings: {whole:,.0f} MB, {less:,.0f} MB at half; {growth * 2**20:,.0f} bytes a vector"
    )
    full_scores, full_vectors = options.full[0] * options.full[1], sum(options.full)
    print(
        f"{options.full[0]:,} x {options.full[1]:,}: {both / scores * full_scores / 60:,.0f} minutes of processor, "
        f"{whole + growth * (full_vectors - vectors):,.0f} MB beyond the embeddings' "
        f"{full_vectors * options.width * 4 / 2**20:,.0f} MB; "
        f"all scores at once would be {full_scores * 4 / 2**30:,.0f} GB"
    )


if __name__ == "__main__":
    main()
