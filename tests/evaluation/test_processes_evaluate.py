"""Several processes share the images of an evaluation, and find the same as one, to the last digit."""

from pathlib import Path

import numpy as np
from PIL import Image

import diptych
from diptych.encoder.loading import create
from diptych.evaluation import embedding
from diptych.evaluation.runner import Data, Model, run
from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.text.tokenizer import Tokenizer
from tests.training.processes import run_in_processes

SPEC = ModelSpec(
    name="tiny",
    embedding=16,
    image=VisionTransformerSpec(image_size=16, patch_size=8, width=24, layers=1, heads=2),
    text=TextTransformerSpec(width=16, layers=1, heads=2),
    preprocess=PreprocessSpec(size=16),
)


def evaluated(model: Path, data: Path, out: Path | None) -> list[tuple[dict, dict, int]]:
    """Metrics, predictions and samples of each task, with small parts, so that each process has several."""
    embedding.BATCH = embedding.BATCHES = 2
    outcomes = list(run([Model(str(model))], [Data(str(data))], ["zero-shot", "linear-probe"], out))
    assert all(outcome.result for outcome in outcomes), [outcome.problem for outcome in outcomes]
    return [(o.result.metrics, o.result.predictions, o.result.samples) for o in outcomes if o.result]


def test_processes_share_the_images_and_find_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for number, name in enumerate(("red", "green", "blue")):
            for i in range(count):
                pixels = generator.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[..., number] += 100
                file = tmp_path / "data" / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    (tmp_path / "data" / "test" / "red" / "0.png").write_bytes(b"none")
    tokenizer = Tokenizer.train(["red green blue"], vocabulary_size=520, context_length=60)
    create(SPEC, seed=0, tokenizer=tokenizer).save(tmp_path / "model")
    assert diptych.load(tmp_path / "model").spec.name
    arguments = (tmp_path / "model", tmp_path / "data")
    (alone,) = run_in_processes(1, evaluated, *arguments, None, folder=tmp_path)
    for number, out in enumerate((None, tmp_path / "results")):
        folder = tmp_path / f"try-{number}"
        folder.mkdir()
        assert run_in_processes(2, evaluated, *arguments, out, folder=folder) == [alone, alone]
    assert len(list((tmp_path / "results").glob("*.json"))) == 2
    assert alone[0][2] == 14
