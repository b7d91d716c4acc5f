"""What a run is told reaches what it is for: the model, the data, and each of several tasks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SPEC

from diptych.encoder.loading import create
from diptych.errors import TooManyFailures
from diptych.evaluation.runner import Data, Model, run
from diptych.text.tokenizer import Tokenizer

# Of a handful of images any strength of the penalty may be the best.
pytestmark = pytest.mark.filterwarnings("ignore:the best strength", "ignore:.*did not reach the tolerance")
TEXT = "a photo of a red green blue"


@pytest.fixture
def model(tmp_path: Path) -> str:
    tokenizer = Tokenizer.train([TEXT], vocabulary_size=530, context_length=60)
    create(SPEC, seed=0, tokenizer=tokenizer).save(tmp_path / "clip")
    return str(tmp_path / "clip")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Three images a class to learn from, two to measure."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("red", "green", "blue")):
            for i in range(count):
                pixels = generator.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[..., number] += 100
                file = tmp_path / "colours" / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return tmp_path / "colours"


def test_a_model_is_loaded_as_it_is_asked_for(model: str, tmp_path: Path) -> None:
    shifted = TEXT.translate(str.maketrans("abdefghlnoprtu", "bcefghimopqsuv"))  # as many tokens, other words
    other = create(SPEC, seed=0, tokenizer=Tokenizer.train([shifted], vocabulary_size=530, context_length=60))
    other.save(tmp_path / "other")
    loaded = Model(model, tokenizer=str(tmp_path / "other"), precision="fast").load()
    assert loaded.precision == "fast"
    assert loaded.require_tokenizer().fingerprint == other.require_tokenizer().fingerprint
    plain = Model(model).load()
    assert plain.precision == "fp32"
    assert plain.require_tokenizer().fingerprint != other.require_tokenizer().fingerprint


def test_data_are_opened_as_they_are_asked_for(model: str, tmp_path: Path) -> None:
    rows = [{"image": f"{i}.png", "en": f"word {i}", "de": f"Wort {i}", "fine": i % 2} for i in range(4)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for i in range(4):
        Image.new("RGB", (16, 16), (i * 60, 9, 9)).save(tmp_path / f"{i}.png")
    data = Data(str(tmp_path / "texts.jsonl"), captions=("{language}",), where="fine", language="de")
    source = data.open().test
    assert [source.read(i).captions for i in range(len(source))] == [("Wort 1",), ("Wort 3",)]
    (outcome,) = run([Model(model)], [data], ["retrieval"], None)
    assert outcome.result is not None
    assert (outcome.result.language, outcome.result.samples) == ("de", 2)


def test_each_of_several_tasks_is_told_what_it_takes(model: str, colours: Path) -> None:
    data = Data(str(colours), shifted_from=Data(str(colours)))
    tasks = ["zero-shot", "nearest-neighbours"]
    first, second = run([Model(model)], [data], tasks, None, seed=3, templates="{}")
    assert first.result is not None, first.problem
    assert second.result is not None, second.problem
    assert first.result.options == {"templates": "{}", "shifted_from": "colours"}
    assert second.result.options == {"seed": 3}
    assert (first.task, second.task) == tuple(tasks)
    assert first.result.pretrained == model


def test_failures_that_are_not_allowed_now_were_allowed_then(model: str, colours: Path, tmp_path: Path) -> None:
    (colours / "test" / "red" / "1.png").write_bytes(b"none")

    def outcome(allowed: float) -> tuple[bool, bool, bool]:
        told = {"allowed_failures": allowed}
        (found,) = run([Model(model)], [Data(str(colours))], ["zero-shot"], tmp_path / "out", **told)
        return found.result is not None, found.made, isinstance(found.problem, TooManyFailures)

    assert outcome(0.5) == (True, True, False)
    assert outcome(0.1) == (False, False, True)
    assert outcome(0.5) == (True, False, False)
