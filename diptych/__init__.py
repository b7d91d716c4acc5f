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
    from diptych.encoder.classifier import Classifier, Prediction
    from diptych.encoder.clip import Clip
    from diptych.encoder.loading import create, load
    from diptych.errors import DiptychError
    from diptych.evaluation.result import Result
    from diptych.evaluation.tasks import evaluate
    from diptych.specs import ModelSpec
    from diptych.text.tokenizer import Tokenizer
    from diptych.training import recipes
    from diptych.training.loop import train

__version__ = "0.1.0"

# Each public name and the module it is found in, imported when it is asked for: importing diptych costs nothing.
_PUBLIC = {
    "Classifier": "diptych.encoder.classifier",
    "Clip": "diptych.encoder.clip",
    "DiptychError": "diptych.errors",
    "ModelSpec": "diptych.specs",
    "Prediction": "diptych.encoder.classifier",
    "Result": "diptych.evaluation.result",
    "Tokenizer": "diptych.text.tokenizer",
    "create": "diptych.encoder.loading",
    "evaluate": "diptych.evaluation.tasks",
    "load": "diptych.encoder.loading",
    "train": "diptych.training.loop",
}
_MODULES = {"recipes": "diptych.training.recipes"}

__all__ = [
    "Classifier",
    "Clip",
    "DiptychError",
    "ModelSpec",
    "Prediction",
    "Result",
    "Tokenizer",
    "create",
    "evaluate",
    "load",
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
    return sorted({*globals(), *__all__})
