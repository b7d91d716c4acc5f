"""Training images per second and core: Diptych's loader beside webdataset's own pipeline, on the same tars, in turn.

    python benchmarks/loader.py [--images 1000] [--rounds 5] [--data TARS]

Draws JPEGs whose longer side is 500 pixels, as detailed as photographs, into two tars (or takes those at ``--data``).
Each pipeline has one worker process: read, decode, crop to 224 px, normalise, batches of 50. What counts is the
processor time of that worker and of the process that takes its batches together. Webdataset decodes and resizes with
Pillow, as OpenCLIP's trainer does. Two crops: the paper's (the short side to 224, then a random square) and
RandomResizedCrop of 0.9 to 1 of the area, OpenCLIP's default.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import resource
import statistics
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image

from diptych.data.augment import Augmentation
from diptych.data.loader import Loader
from diptych.data.locations import expanded
from diptych.data.sources import Source, open_source
from diptych.data.visits import Visits
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=224)
BATCH = 50
SHARDS = 2


def photograph(number: int) -> bytes:
    """A JPEG of about 50 kB: noise of every scale, the coarse ones strongest, as in photographs."""
    generator = np.random.default_rng(number)
    width, height = (500, 375) if number % 3 else (375, 500)
    pixels_HWC = np.full((height, width, 3), 128, np.float32)
    for cells, strength in ((6, 40), (24, 20), (96, 14), (400, 8)):
        noise_HWC = generator.normal(0, strength, (cells * height // 500, cells * width // 500, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(noise_HWC[:, :, channel]).resize((width, height), Image.Resampling.BILINEAR)
            pixels_HWC[:, :, channel] += np.asarray(plane)
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw(folder: Path, images: int) -> list[Path]:
    paths = [folder / f"{shard:05}.tar" for shard in range(SHARDS)]
    for shard, path in enumerate(paths):
        with tarfile.open(path, "w") as archive:
            for number in range(shard, images, SHARDS):
                for extension, data in (("jpg", photograph(number)), ("txt", f"image {number}".encode())):
                    member = tarfile.TarInfo(f"{number:06}.{extension}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return paths


def papers_crop(image: Image.Image) -> Image.Image:
    size = SPEC.size
    width, height = (size * side // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = random.randint(0, width - size), random.randint(0, height - size)
    return image.crop((left, top, left + size, top + size))


def resized_crop(image: Image.Image) -> Image.Image:
    """Torchvision's RandomResizedCrop: up to ten tries for a box that fits, else the whole image."""
    left, top, width, height = 0, 0, *image.size
    for _ in range(10):
        area, ratio = image.width * image.height * random.uniform(0.9, 1), (4 / 3) ** random.uniform(-1, 1)
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if wide <= image.width and high <= image.height:
            width, height = wide, high
            left, top = random.randint(0, image.width - wide), random.randint(0, image.height - high)
            break
    crop = image.crop((left, top, left + width, top + height))
    return crop.resize((SPEC.size, SPEC.size), Image.Resampling.BICUBIC)


def with_webdataset(paths: list[Path], crop: Callable[[Image.Image], Image.Image]) -> Iterable:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))

    def transform(image: Image.Image) -> torch.Tensor:
        pixels_CHW = torch.from_numpy(np.array(crop(image))).permute(2, 0, 1).contiguous()
        return pixels_CHW.float().div_(255).sub_(mean).div_(std)

    dataset = webdataset.WebDataset([str(path) for path in paths], shardshuffle=False, empty_check=False)
    dataset = dataset.shuffle(100).decode("pilrgb").to_tuple("jpg", "txt").map_tuple(transform, str).batched(BATCH)
    return webdataset.WebLoader(dataset, batch_size=None, num_workers=1)


def with_diptych(source: Source, images: int, spec: PreprocessSpec, augmentation: Augmentation) -> Iterable:
    loader = Loader(source, spec, batch_size=BATCH, visits=Visits(augmentation=augmentation), workers=1)
    with closing(loader):
        yield from loader.batches(0, images // BATCH)


def images_per_second(batches: Iterable) -> float:
    """Of processor time; that of workers counts, too, and they have ended when their batches have."""
    begin = _seconds()
    seen = sum(len(batch[0]) for batch in batches)
    return seen / (_seconds() - begin)


def _seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", help="webdataset tars with jpg and txt, such as 'shards/{0000..0009}.tar'")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = expanded(options.data) if options.data else draw(Path(folder), options.images // BATCH * BATCH)
        source = open_source(paths)
        images = len(source) // BATCH * BATCH
        squash, resized = replace(SPEC, resize="squash"), Augmentation(scale=(0.9, 1.0), aspect=4 / 3)
        pipelines: dict[str, Callable[[], Iterable]] = {
            "webdataset, paper's crop": lambda: with_webdataset(paths, papers_crop),
            "diptych, paper's crop": lambda: with_diptych(source, images, SPEC, Augmentation.paper()),
            "webdataset, resized crop": lambda: with_webdataset(paths, resized_crop),
            "diptych, resized crop": lambda: with_diptych(source, images, squash, resized),
            "diptych, strong": lambda: with_diptych(source, images, SPEC, Augmentation.strong()),
        }
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for _ in range(options.rounds):
            for name, batches in pipelines.items():
                rates[name].append(images_per_second(batches()))
    print(f"{'pipeline':26}{'images/s per core':>18}{'lowest':>9}{'highest':>9}{'ratio':>8}")
    for name, values in rates.items():
        if name.startswith("webdataset"):
            peer = statistics.median(values)
        rate = statistics.median(values)
        print(f"{name:26}{rate:18.0f}{min(values):9.0f}{max(values):9.0f}{rate / peer:8.2f}")


if __name__ == "__main__":
    main()
