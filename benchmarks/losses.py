"""The contrastive loss and its gradient beside OpenCLIP's: time at one batch, in turn, and extra memory at several.

    python benchmarks/losses.py                               # on the processor
    python benchmarks/losses.py --device cuda --sizes 4096 32768 65536

Needs an environment with Diptych and OpenCLIP (`make parity` makes one). Memory is that beyond the embeddings and is
measured in a process of its own for each; OpenCLIP's grows with the square of the batch, so it is left out where it
would not fit (``--largest``).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip_baseline import import_open_clip
from torch import Tensor

from diptych.training.losses import LossSpec, Pairs, contrastive_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(images_BE: Tensor, texts_BE: Tensor, scale: Tensor) -> Tensor:
    ids_B = torch.arange(len(images_BE), device=images_BE.device)
    pairs = Pairs(images_BE=images_BE, texts_ME=texts_BE, scale=scale, image_ids_B=ids_B, text_ids_M=ids_B)
    return contrastive_loss(pairs, LossSpec())[0]


def open_clips() -> Loss:
    import_open_clip()
    from open_clip.loss import ClipLoss

    return ClipLoss()


def embeddings(batch: int, dimension: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [F.normalize(torch.randn(batch, dimension, generator=generator), dim=1).to(device) for _ in range(2)]
    return made[0].requires_grad_(), made[1].requires_grad_(), torch.tensor(50.0, device=device, requires_grad=True)


def run(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """Seconds of loss and gradient."""
    started = time.perf_counter()
    torch.autograd.grad(loss(*inputs), inputs)
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def extra_megabytes(loss: Loss, batch: int, dimension: int, device: str) -> float:
    run(loss, embeddings(64, dimension, device))
    inputs = embeddings(batch, dimension, device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, inputs)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before, seen, done = anonymous_megabytes(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(loss, inputs)
    done.set()
    watcher.join()
    return max(seen) - before


def anonymous_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4096, help="for time")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 16_384, 32_768], help="for memory")
    parser.add_argument(
        "--largest", type=int, default=16_384, help="batch at which OpenCLIP's memory is still measured"
    )
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    losses = {"Diptych": lambda: ours, "OpenCLIP": open_clips}
    if options.memory_of:
        print(extra_megabytes(losses[options.memory_of](), options.batch, options.dimension, options.device))
        return
    made = {name: make() for name, make in losses.items()}
    inputs = embeddings(options.batch, options.dimension, options.device)
    values = {name: loss(*inputs).item() for name, loss in made.items()}
    print(f"the losses: {', '.join(f'{name} {value:.6f}' for name, value in values.items())}")
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(options.rounds + 1):
        for name, loss in made.items():
            seconds[name].append(run(loss, inputs))
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(f"time at {options.batch}: Diptych / OpenCLIP = {medians['Diptych'] / medians['OpenCLIP']:.2f} {medians}")
    for size in options.sizes:
        for name in made:
            if name == "Diptych" or size <= options.largest:
                command = [sys.executable, __file__, "--memory-of", name, "--batch", str(size)]
                command += ["--dimension", str(options.dimension), "--device", options.device]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"extra memory at {size}, {name}: {float(told):,.0f} MB")


if __name__ == "__main__":
    main()
