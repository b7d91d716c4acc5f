"""AdamW beside Muon in equal time: a small model on Flickr8k, one thread, the cost in processor seconds.

    python benchmarks/optimizers.py FLICKR8K --algorithm muon --rate 3e-3 --steps 142 [--seed 0] [--resnet] [--out DIR]

One run a call, so that several may be made in turn; ``--steps`` is what makes their time equal, so begin with a few
steps of each to see what one costs. Prints a line of JSON: the median cost of a step, the loss over the last 20, and
the mean of recall at 1, 5 and 10 both ways on ``val``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from diptych.config import override
from diptych.data.loader import Batch
from diptych.data.sources import open_source
from diptych.evaluation.tasks import evaluate
from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.recipes import small_photographs
from diptych.training.session import Session
from diptych.zoo import find

VIT = ModelSpec(
    name="ViT of 4 x 128",
    embedding=256,
    image=VisionTransformerSpec(image_size=48, patch_size=8, width=128, layers=4, heads=2),
    text=TextTransformerSpec(context_length=48, width=128, layers=2, heads=4),
    preprocess=PreprocessSpec(size=48),
)
CAPTIONS = ("json.captions.en",)


class Timed:
    """Notes what each step costs this process."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.losses: list[float] = []
        advance = Session.advance

        def timed(session: Session, batch: Batch, steps: int) -> dict[str, float]:
            begun = time.process_time()
            metrics = advance(session, batch, steps)
            self.steps.append(time.process_time() - begun)
            self.losses.append(metrics["loss"])
            return metrics

        Session.advance = timed  # ty: ignore[invalid-assignment]


def recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe for photographs with the model, algorithm, rate and length told."""
    plain = small_photographs(arguments.data)
    data = replace(plain.data, split="train", captions=CAPTIONS)
    plain = replace(plain, data=data, model=find("RN-micro") if arguments.resnet else VIT)
    steps = arguments.steps
    told = [f"duration={steps} steps", f"optimizer.warmup_steps={max(1, steps // 20)}", f"evaluate_every={steps}"]
    told += [f"optimizer.algorithm={arguments.algorithm}", f"optimizer.learning_rate={arguments.rate}"]
    told += [f"seed={arguments.seed}", f"checkpoints.every_steps={steps}", "checkpoints.every_minutes=60"]
    return override(plain, told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--algorithm", choices=["adamw", "muon"], required=True)
    parser.add_argument("--rate", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resnet", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    timed = Timed()
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe(arguments), arguments.out or Path(folder) / "run")
    cost = time.process_time() - begun
    found = evaluate(run.clip, open_source(arguments.data, split="val", captions=CAPTIONS), distinct_captions=True)
    recalls = [value for name, value in found.metrics.items() if "recall" in name]
    line = {"model": run.clip.spec.name, "algorithm": arguments.algorithm, "rate": arguments.rate}
    line |= {"seed": arguments.seed, "steps": arguments.steps, "seconds": round(cost)}
    line |= {"seconds_a_step": round(statistics.median(timed.steps), 3)}
    line |= {"loss": round(statistics.mean(timed.losses[-20:]), 3), "recall": round(100 * statistics.mean(recalls), 2)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
