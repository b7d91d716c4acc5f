"""Several processes share the images of an evaluation, and find the same as one, to the last digit."""

from pathlib import Path

import numpy as np
from PIL import Image
from tiny import SPEC

import diptych
from diptych.encoder.loading import create
from diptych.evaluation import embedding
from diptych.evaluation.runner import Data, Model, run
from diptych.text.tokenizer import Tokenizer
from tests.training.processes import run_in_processes


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


def outcomes(model: Path, data: Path) -> list[str]:
    """What each of several evaluations ended in, the first two of them on the main process or in one's own part."""
    embedding.BATCH = embedding.BATCHES = 2
    places = [Data(str(data / name)) for name in ("unmatched", "broken", "sound")]
    found = list(run([Model(str(model))], places, ["linear-probe"], data / "results"))
    return [type(outcome.problem).__name__ if outcome.problem else outcome.task for outcome in found]


def test_what_fails_fails_on_all_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("unmatched", "broken", "sound"):
        for split in ("train", "test"):
            for number, colour in enumerate(("red", "green")):
                for i in range(4):
                    file = tmp_path / name / split / colour / f"{i}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (16, 16), (200 * (1 - number), 200 * number, 30 * i)).save(file)
    (tmp_path / "unmatched" / "train" / "red").rename(tmp_path / "unmatched" / "train" / "blue")  # no class of test
    for i in range(2):  # in the part of one process
        (tmp_path / "broken" / "test" / "green" / f"{i}.png").write_bytes(b"none")
    create(SPEC, seed=0).save(tmp_path / "model", format="diptych")
    expected = ["DataError", "TooManyFailures", "linear-probe"]
    assert run_in_processes(2, outcomes, tmp_path / "model", tmp_path, folder=tmp_path) == [expected, expected]
