"""Trains with OpenCLIP's own trainer on a data set for a given time on this machine; `small_data.py` judges it.

    python benchmarks/open_clip_baseline.py ../shared/data/flickr8k --minutes 20 --out runs/open_clip

Runs ``open_clip_train.main`` unchanged, as its users would: webdataset input with workers, first caption (``txt``), its
49,408-entry vocabulary and 77 tokens, its random crops, AdamW, cosine. A first short run measures seconds per step;
the second one gets as many steps as fit, so that the cosine ends at the limit. Both run in processes of their own.
The environment needs ``open_clip_torch``, ``timm``, ``torchvision`` and ``webdataset`` (see benchmarks/README.md).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

MODEL = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "layers": 6, "width": 192, "patch_size": 8, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 4},
}
BATCH = 256
CALIBRATION_STEPS = 16
STARTUP_SECONDS = 15.0  # imports, model and workers, inside the limit as a user's clock would have it
STEP_LINE = re.compile(r"Batch \(t\): ([\d.]+)")


def import_open_clip() -> None:
    """torchvision registers operators that a PyTorch for processors lacks; declaring them lets it import."""
    import torch

    if torch.version.cuda is not None or hasattr(import_open_clip, "library"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import_open_clip.library = library  # it lives as long as the process


def train(arguments: list[str]) -> None:
    import_open_clip()
    import open_clip
    from open_clip_train.main import main

    open_clip.add_model_config(Path(arguments[0]))
    main(arguments[1:])


def run_trainer(name: str, options: argparse.Namespace, *, epochs: int, samples: int) -> Path:
    """Train in a process of its own; the folder of its checkpoints."""
    shards = sorted(options.data.glob("train-*.tar"))
    config = options.out / "small.json"
    config.write_text(json.dumps(MODEL))
    arguments = f"""
        --model small --dataset-type webdataset --train-data {options.data}/train-{{0000..{len(shards) - 1:04d}}}.tar
        --train-num-samples {samples} --epochs {epochs} --batch-size {BATCH} --workers {options.workers}
        --lr 1e-3 --wd 0.2 --warmup 60 --lr-scheduler cosine --precision amp_bf16 --device cpu
        --logs {options.out} --name {name} --seed {options.seed} --log-every-n-steps 1
        --save-frequency {max(1, epochs // options.checkpoints)}
    """.split()
    with open(options.out / f"{name}.txt", "w") as log:
        subprocess.run(
            [sys.executable, __file__, "--train", str(config), *arguments], check=True, stdout=log, stderr=log
        )
    return options.out / name / "checkpoints"


def seconds_per_step(log: str) -> float:
    times = [float(t) for t in STEP_LINE.findall(log)]
    # The log shows running averages, the first steps among them; the mean of the second half follows from two of them.
    half, whole = len(times) // 2, len(times)
    return (times[whole - 1] * whole - times[half - 1] * half) / (whole - half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/open_clip"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=int, default=1, help="how many to save, about")
    parser.add_argument("--seconds-per-step", type=float, help="as an earlier run found, in place of calibration")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    step = options.seconds_per_step
    if step is None:
        run_trainer("calibrate", options, epochs=1, samples=CALIBRATION_STEPS * BATCH)
        step = seconds_per_step((options.out / "calibrate.txt").read_text())
    steps = max(1, int((60 * options.minutes - STARTUP_SECONDS) / step))
    epochs = max(1, round(steps / (len(_keys(options.data)) // BATCH)))
    batches = steps // epochs // options.workers * options.workers or options.workers
    before, started = _processor_seconds(), time.time()
    folder = run_trainer("train", options, epochs=epochs, samples=batches * BATCH)
    seconds = time.time() - started
    saved = sorted(folder.glob("epoch_*.pt"), key=lambda path: int(path.stem.removeprefix("epoch_")))
    result = {
        "seconds": round(seconds, 1),
        "processor_seconds": round(_processor_seconds() - before, 1),
        "seconds_per_step_calibrated": round(step, 3),
        "samples_seen": epochs * batches * BATCH,
        "checkpoints": [[round(path.stat().st_mtime - started), str(path)] for path in saved],
    }
    (options.out / "trained.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _keys(data: Path) -> set[str]:
    import tarfile

    keys = set()
    for shard in data.glob("train-*.tar"):
        with tarfile.open(shard) as tar:
            keys |= {f"{shard.name}/{name}" for name in tar.getnames() if name.endswith(".json")}
    return keys


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2:])
    else:
        main()
