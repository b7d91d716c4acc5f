"""What OpenCLIP's own trainer learns from a data set in a given time on this machine.

    python benchmarks/open_clip_baseline.py ../shared/data/flickr8k --minutes 20

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
STARTUP_SECONDS = 15.0  # imports, model and workers, inside the limit as a user's clock would have it
STEP_LINE = re.compile(r"Batch \(t\): ([\d.]+)")


def import_open_clip() -> None:
    """torchvision registers operators that a CPU torch lacks; declaring them lets it import."""
    import torch

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


def run_trainer(work: Path, name: str, options: argparse.Namespace, epochs: int, samples: int) -> tuple[float, Path]:
    """Train in a process of its own; seconds of wall-clock time and the checkpoint."""
    shards = sorted(options.data.glob("train-*.tar"))
    last = f"{len(shards) - 1:04d}"
    config = work / "small.json"
    config.write_text(json.dumps(MODEL))
    arguments = f"""
        --model small --dataset-type webdataset --train-data {options.data}/train-{{0000..{last}}}.tar
        --train-num-samples {samples} --epochs {epochs} --batch-size {BATCH} --workers {options.workers}
        --lr 1e-3 --wd 0.2 --warmup 60 --lr-scheduler cosine --precision amp_bf16 --device cpu
        --logs {work} --name {name} --seed {options.seed} --log-every-n-steps 1 --save-frequency 0
    """.split()
    started = time.monotonic()
    with open(work / f"{name}.txt", "w") as log:
        subprocess.run(
            [sys.executable, __file__, "--train", str(config), *arguments], check=True, stdout=log, stderr=log
        )
    return time.monotonic() - started, work / name / "checkpoints" / f"epoch_{epochs}.pt"


def seconds_per_step(work: Path, options: argparse.Namespace) -> float:
    run_trainer(work, "calibrate", options, 1, options.calibration_steps * BATCH)
    text = (work / "calibrate.txt").read_text()
    times = [float(t) for t in STEP_LINE.findall(text)]
    # The log shows running averages, the first steps among them; the mean of the second half follows from two of them.
    half, whole = len(times) // 2, len(times)
    return (times[whole - 1] * whole - times[half - 1] * half) / (whole - half)


def evaluate(checkpoint: Path, config: Path, data: Path) -> dict[str, float]:
    import_open_clip()
    import open_clip
    import torch
    from retrieval import read_pairs, recalls

    open_clip.add_model_config(config)
    model, _, preprocess = open_clip.create_model_and_transforms("small")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict(state)
    model.eval()
    images, texts, right = read_pairs(data, "val")
    tokenize = open_clip.get_tokenizer("small")
    with torch.no_grad():
        image_parts = [
            model.encode_image(torch.stack([preprocess(image) for image in images[i : i + 250]]), normalize=True)
            for i in range(0, len(images), 250)
        ]
        text_parts = [
            model.encode_text(tokenize(texts[i : i + 250]), normalize=True) for i in range(0, len(texts), 250)
        ]
    return recalls(torch.cat(image_parts).numpy(), torch.cat(text_parts).numpy(), right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/open_clip"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibration-steps", type=int, default=16)
    parser.add_argument("--seconds-per-step", type=float, help="skip the calibration")
    options = parser.parse_args()
    work = options.out / f"{options.data.name}-{options.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    work.mkdir(parents=True)
    step = options.seconds_per_step or seconds_per_step(work, options)
    steps = max(1, int((60 * options.minutes - STARTUP_SECONDS) / step))
    per_epoch = sum(1 for _ in _keys(options.data)) // BATCH
    epochs = max(1, round(steps / per_epoch))
    batches = steps // epochs // options.workers * options.workers or options.workers
    before = _processor_seconds()
    seconds, checkpoint = run_trainer(work, "train", options, epochs, batches * BATCH)
    result = {
        "data": options.data.name,
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "processor_seconds": round(_processor_seconds() - before, 1),
        "seconds_per_step_calibrated": round(step, 3),
        "steps": epochs * batches,
        "epochs": epochs,
        "samples_seen": epochs * batches * BATCH,
        **evaluate(checkpoint, work / "small.json", options.data),
    }
    (work / "result.json").write_text(json.dumps(result, indent=1))
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
