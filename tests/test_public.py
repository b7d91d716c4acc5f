"""The public surface: names and parameters that others build on. Change it on purpose, with the changelog."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import diptych

NAMES = [
    *("CheckpointError", "Classifier", "Clip", "ConfigError", "DataError", "DiptychError", "ImageSubject", "ModelSpec"),
    *("Prediction", "Recipe", "Result", "Tokenizer", "TokenizerError", "TrainingError"),
    *("create", "evaluate", "load", "open_source", "override", "recipes", "train"),
]
PARAMETERS = {
    "load": "location, *, precision, tokenizer, image_size, context_length, activation, device",
    "create": "name_or_spec, *, seed, tokenizer",
    "open_source": "location, *, split, captions, keywords, where, cache",
    "override": "value, assignments",
    "ImageSubject.load": "location, *, precision",
    "ImageSubject.of": "clip",
    "ImageSubject.features": "self, images, *, batch_size",
    "evaluate": "subject, source, task, *, shifted_from, language, allowed_failures, folder, options",
    "Clip": "model, tokenizer, provenance, precision",
    "Clip.encode_images": "self, images, *, batch_size",
    "Clip.encode_pixels": "self, pixels_BCHW",
    "Clip.encode_texts": "self, texts, *, batch_size",
    "Clip.classify": "self, image, labels, templates",
    "Clip.classifier": "self, labels, templates",
    "Clip.save": "self, folder, format",
    "Classifier.predict": "self, images",
    "Classifier.predict_proba": "self, images",
    "Classifier.rank": "self, images",
    "Tokenizer": "merges, *, context_length",
    "Tokenizer.train": "texts, *, vocabulary_size, context_length",
    "Tokenizer.from_merges": "path, *, context_length",
    "Tokenizer.from_files": "folder, context_length",
    "Result.save": "self, path",
    "Result.load": "path",
}


def test_public_names() -> None:
    assert diptych.__all__ == NAMES
    assert [name for name in dir(diptych) if not name.startswith("__")] == NAMES
    assert "__version__" in dir(diptych)


def test_what_train_and_evaluate_ask_for_is_public() -> None:
    recipe = diptych.override(diptych.recipes.vit_b_32("pairs"), ["batch_size=8"])
    assert isinstance(recipe, diptych.Recipe)
    assert recipe.batch_size == 8
    with pytest.raises(diptych.DataError, match="nowhere"):
        diptych.open_source("nowhere")
    assert issubclass(diptych.TrainingError, diptych.DiptychError)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there(name: str) -> None:
    module = {"recipes": "diptych.training.recipes", "train": "diptych.training.loop"}.get(name, "diptych")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    assert getattr(diptych, name).__doc__


def written(signature: inspect.Signature) -> str:
    parts, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        parts.append(parameter.name)
    return ", ".join(parts)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    value = diptych
    for part in name.split("."):
        value = getattr(value, part)
    assert written(inspect.signature(value)) == PARAMETERS[name]


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = diptych.lode


def test_importing_costs_nothing() -> None:
    program = "import sys, diptych; print(sorted({'torch', 'numpy', 'PIL', 'tokenizers'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
