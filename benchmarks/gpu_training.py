"""Training throughput of our step beside OpenCLIP's on one GPU: samples a second, memory, share of the card's peak.

    python benchmarks/gpu_training.py --out gpu_training.json
    python benchmarks/gpu_training.py --tiny                     # a few layers, to try the script on any machine

Both get the same architecture, batch, precision (bf16 under autocast) and AdamW, and pixels and texts that are on the
card already, so that it is the step that is measured: forward, loss, backward, norm, update. They take turns, three
times; the median counts. OpenCLIP's step is that of ``open_clip_train.train.train_one_epoch`` as it is by default, so
without a largest norm: its ``ClipLoss``, its ``zero_grad``, backward, update, clamp. ``full`` has texts as long as the
context, where both do the same work; ``short`` has texts of 8 to 24 tokens, as captions are, of which ours runs no
padding.

Model FLOPs utilisation: the operations of a forward and a backward pass a second, whatever is computed again, over the
card's dense bf16 peak. Needs an environment that has OpenCLIP too (``make parity`` makes one), or ``--only ours``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from open_clip_baseline import import_open_clip

from diptych.checkpoints.open_clip import from_spec
from diptych.data.loader import Batch
from diptych.models.clip import CLIP, create_model, hollow
from diptych.models.flops import flops
from diptych.specs import ModelSpec
from diptych.tokens import Tokens
from diptych.training import recipes
from diptych.training.accelerators import device_name, peak_flops
from diptych.training.engine import Engine
from diptych.training.recipe import Recipe
from diptych.zoo import find

TINY = "tiny "
TURNS = 3
Step = Callable[[], None]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def texts(spec: ModelSpec, batch: int, length: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, L) as long as the context, padded with 0, and lengths (B)."""
    context, random = spec.text.context_length, np.random.default_rng(0)
    lengths_B = np.full(batch, context) if length == "full" else random.integers(8, 25, batch)
    ids_BL = random.integers(1, spec.text.vocabulary_size - 2, (batch, context))
    ids_BL[np.arange(context) >= lengths_B[:, None]] = 0
    ids_BL[np.arange(batch), lengths_B - 1] = spec.text.vocabulary_size - 1
    return torch.from_numpy(ids_BL), torch.from_numpy(lengths_B)


def recipe_of(spec: ModelSpec) -> Recipe:
    return recipes.find(spec.name.removeprefix(TINY))("none")


def our_step(spec: ModelSpec, batch: int, length: str, changes: dict[str, object]) -> Step:
    recipe = dataclasses.replace(recipe_of(spec), model=spec, batch_size=batch, precision="bf16", **changes)
    model = create_model(spec, seed=0).to(device()).train()
    for parameter in model.parameters():
        if parameter.ndim == 4:
            channels_last = torch.empty_like(parameter.data, memory_format=torch.channels_last)
            parameter.data = channels_last.copy_(parameter.data)
    engine, ids = Engine(recipe, model), torch.arange(batch, device=device())
    ids_BL, lengths_B = (tensor.to(device()) for tensor in texts(spec, batch, length))
    pixels = torch.randn(batch, 3, spec.image.image_size, spec.image.image_size, device=device())
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    one = Batch(
        pixels_BCHW=pixels,
        tokens=Tokens(ids_BL, lengths_B),
        image_ids_B=ids,
        text_ids_M=ids,
        captions=("",) * batch,
        keys=("",) * batch,
        position=0,
        epoch=0,
    )

    def step() -> None:
        engine.update(engine.backward(one), 1e-4)

    return step


def open_clip_step(spec: ModelSpec, batch: int, length: str, changes: dict[str, object]) -> Step:
    import_open_clip()
    from open_clip import model as open_clip
    from open_clip.loss import ClipLoss

    model = open_clip.CLIP(**from_spec(spec, own_tokenizer=False)["model_cfg"], output_dict=True).to(device()).train()
    if changes.get("gradient_checkpointing"):
        model.set_grad_checkpointing()
    recipe = recipe_of(spec).optimizer
    named = list(model.named_parameters())
    kept = [p for name, p in named if p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name]
    decayed = [p for _, p in named if all(p is not other for other in kept)]
    groups = [{"params": kept, "weight_decay": 0.0}, {"params": decayed, "weight_decay": recipe.weight_decay}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon)
    loss = ClipLoss()
    ids_BL = texts(spec, batch, length)[0].to(device())
    pixels = torch.randn(batch, 3, spec.image.image_size, spec.image.image_size, device=device())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device().type, torch.bfloat16):
            out = model(pixels, ids_BL)
            value = loss(out["image_features"], out["text_features"], out["logit_scale"])
        value.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        value.item()

    return step


def measure(step: Step, steps: int) -> float:
    """Seconds a step."""
    for _ in range(3):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - start) / steps


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare(spec: ModelSpec, options: argparse.Namespace, length: str, changes: dict[str, object]) -> list[dict]:
    makers = {"ours": our_step, "open_clip": open_clip_step}
    sides = [side for side in makers if options.only in (None, side)]
    times: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    for _ in range(TURNS):
        for side in sides:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            step = makers[side](spec, options.batch, length, changes)
            times[side].append(measure(step, options.steps))
            memory[side] = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
            del step
    cost = flops(hollow(CLIP, spec))
    work = options.batch * (cost.image.both + cost.text(spec.text.context_length).both)
    name = device_name(device())
    peak = options.peak or peak_flops(name, "bf16")
    rows = []
    for side in sides:
        seconds = statistics.median(times[side])
        row = {"device": name, "model": spec.name, "side": side, "texts": length, "batch": options.batch, **changes}
        row |= {"samples_per_second": options.batch / seconds, "seconds": times[side], "gibibytes": memory[side]}
        if peak and length == "full":
            row["utilisation"] = work / seconds / peak
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def tiny(spec: ModelSpec) -> ModelSpec:
    """A few layers of it, to try the script where there is no GPU."""
    image = (
        dataclasses.replace(spec.image, image_size=64, layers=(1, 1, 1, 1), stem_width=8, heads=4)
        if spec.image.kind == "modified_resnet"
        else dataclasses.replace(spec.image, image_size=32, layers=2, width=64, heads=1)
    )
    text = dataclasses.replace(spec.text, layers=2, width=64, heads=1)
    preprocess = dataclasses.replace(spec.preprocess, size=image.image_size)
    return dataclasses.replace(spec, name=f"{TINY}{spec.name}", image=image, text=text, preprocess=preprocess)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["ViT-B/16", "RN50"])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peak", type=float, help="operations a second, for a card that the table has not")
    parser.add_argument("--only", choices=["ours", "open_clip"])
    parser.add_argument("--tiny", action="store_true", help="with a few layers, small batches and few steps")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.tiny:
        options.batch, options.steps = 8, 2
    rows = []
    for name in options.models:
        spec = tiny(find(name)) if options.tiny else find(name)
        for length in ("full", "short"):
            rows += compare(spec, options, length, {})
        rows += compare(spec, options, "full", {"gradient_checkpointing": True})
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
