"""Diptych: CLIP as software. Two panels on one hinge, an image tower and a text tower in one embedding space.

>>> import diptych
>>> clip = diptych.create("ViT-B-32", seed=0)
>>> clip.spec.embedding
512
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.config import override
    from diptych.data.sources import open_source
    from diptych.encoder.classifier import Classifier, Prediction
    from diptych.encoder.clip import Clip
    from diptych.encoder.loading import create, load
    from diptych.encoder.subject import ImageSubject
    from diptych.errors import CheckpointError, ConfigError, DataError, DiptychError, TokenizerError, TrainingError
    from diptych.evaluation.result import Result
    from diptych.evaluation.tasks import evaluate
    from diptych.specs import ModelSpec
    from diptych.text.tokenizer import Tokenizer
    from diptych.training import recipes
    from diptych.training.loop import train
    from diptych.training.recipe import Recipe

__version__ = "0.1.0"

# Each public name and the module it is found in, imported when it is asked for: importing diptych costs nothing.
_PUBLIC = {
    "CheckpointError": "diptych.errors",
    "Classifier": "diptych.encoder.classifier",
    "Clip": "diptych.encoder.clip",
    "ConfigError": "diptych.errors",
    "DataError": "diptych.errors",
    "DiptychError": "diptych.errors",
    "ImageSubject": "diptych.encoder.subject",
    "ModelSpec": "diptych.specs",
    "Prediction": "diptych.encoder.classifier",
    "Recipe": "diptych.training.recipe",
    "Result": "diptych.evaluation.result",
    "Tokenizer": "diptych.text.tokenizer",
    "TokenizerError": "diptych.errors",
    "TrainingError": "diptych.errors",
    "create": "diptych.encoder.loading",
    "evaluate": "diptych.evaluation.tasks",
    "load": "diptych.encoder.loading",
    "open_source": "diptych.data.sources",
    "override": "diptych.config",
    "train": "diptych.training.loop",
}
_MODULES = {"recipes": "diptych.training.recipes"}

__all__ = [
    "CheckpointError",
    "Classifier",
    "Clip",
    "ConfigError",
    "DataError",
    "DiptychError",
    "ImageSubject",
    "ModelSpec",
    "Prediction",
    "Recipe",
    "Result",
    "Tokenizer",
    "TokenizerError",
    "TrainingError",
    "create",
    "evaluate",
    "load",
    "open_source",
    "override",
    "recipes",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'diptych' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
