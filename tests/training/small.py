"""A run small enough to be killed and repeated."""

from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.augment import Augmentation
from diptych.specs import ModelSpec, ModifiedResNetSpec, PreprocessSpec, TextTransformerSpec
from diptych.training.loop import Run, train
from diptych.training.optimizer import OptimizerSpec
from diptych.training.recipe import CheckpointSpec, DataSpec, Recipe

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220), "grey": (128, 128, 128)}


def make_data(folder: Path, images: int = 24) -> Path:
    """A TSV of little one-colour images with two captions each, told apart by colour and brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = ["image\tcaption"]
    for index in range(images):
        name = list(COLOURS)[index % len(COLOURS)]
        noise = random.normal(0, 12, (40, 48, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        rows.append(f"{index}.png\ta {name} card number {index}")
    path = folder / "pairs.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def recipe(
    data: Path, *, workers: int = 0, steps: int = 12, every_steps: int = 1000, precision: str = "fp32"
) -> Recipe:
    """Batch normalisation, augmentation, a learned vocabulary: everything whose state a resume could lose.

    A checkpoint takes as long as four steps, so that there is none but the last where nobody asks for more.
    """
    model = ModelSpec(
        name="small",
        embedding=16,
        image=ModifiedResNetSpec(image_size=32, layers=(1, 1, 1, 1), stem_width=4, heads=4),
        text=TextTransformerSpec(context_length=16, width=32, layers=1, heads=2),
        preprocess=PreprocessSpec(size=32),
    )
    return Recipe(
        name="small",
        model=model,
        data=DataSpec(source=str(data), captions=("caption",), augmentation=Augmentation.paper(), workers=workers),
        vocabulary=600,
        duration=f"{steps} steps",
        batch_size=8,
        optimizer=OptimizerSpec(learning_rate=1e-3, warmup_steps=2),
        precision="bf16" if precision == "bf16" else "fp32",
        checkpoints=CheckpointSpec(every_steps=every_steps, keep=2),
        evaluate_every=5,
    )


def run(data: Path, out: Path, *, workers: int = 0, every_steps: int = 1000) -> Run:
    return train(recipe(data, workers=workers, every_steps=every_steps), out, resume=True)
