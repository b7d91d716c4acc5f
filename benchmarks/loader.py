"""Training images per second and core: Diptych's loader beside webdataset's own pipeline, on the same tar, in turn.

    python benchmarks/loader.py [--images 400] [--rounds 5]

Draws 500 x 375 JPEGs, then times both in this process on one thread by its processor time: decode, the paper's crop to
224 px, normalise, batches of 50. Webdataset decodes and resizes with Pillow, as OpenCLIP's trainer does.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image

from diptych.data.augment import Augmentation
from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.sources import open_source
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=224)
BATCH = 50


def draw(path: Path, images: int) -> None:
    with tarfile.open(path, "w") as archive:
        for number in range(images):
            coarse_HWC = np.random.default_rng(number).integers(0, 255, (38, 50, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(coarse_HWC).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
            for extension, data in (("jpg", buffer.getvalue()), ("txt", f"image {number}".encode())):
                member = tarfile.TarInfo(f"{number:06}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def by_pillow(image: Image.Image) -> torch.Tensor:
    size = SPEC.size
    width, height = (size * side // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = random.randint(0, width - size), random.randint(0, height - size)
    pixels = torch.from_numpy(np.array(image.crop((left, top, left + size, top + size)))).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    return pixels.float().div_(255).sub_(mean).div_(std)


def with_webdataset(path: Path) -> Iterable:
    dataset = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    return dataset.shuffle(100).decode("pilrgb").to_tuple("jpg", "txt").map_tuple(by_pillow, str).batched(BATCH)


def images_per_second(batches: Iterable, images: int) -> float:
    begin = time.process_time()
    seen = sum(len(batch[0]) for batch in batches)
    if seen != images:
        raise SystemExit(f"{seen} images came of {images}")
    return images / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = options.images // BATCH * BATCH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.tar"
        draw(path, images)
        source = open_source(path)

        def with_diptych(source, augmentation: Augmentation) -> Callable[[], Iterable]:
            loader = Loader(source, SPEC, batch_size=BATCH, augmentation=augmentation, workers=0)
            return lambda: loader.batches(0, images // BATCH)

        held = InMemory(source, side=2 * SPEC.size)
        pipelines = {
            "webdataset": lambda: with_webdataset(path),
            "diptych, paper": with_diptych(source, Augmentation.paper()),
            "diptych, strong": with_diptych(source, Augmentation.strong()),
            "diptych, paper, in memory": with_diptych(held, Augmentation.paper()),
        }
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for _ in range(options.rounds):
            for name, batches in pipelines.items():
                rates[name].append(images_per_second(batches(), images))
    peer = statistics.median(rates["webdataset"])
    print(f"{'pipeline':28}{'images/s per core':>18}{'lowest':>9}{'highest':>9}{'ratio':>8}")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:28}{rate:18.0f}{min(values):9.0f}{max(values):9.0f}{rate / peer:8.2f}")


if __name__ == "__main__":
    main()
