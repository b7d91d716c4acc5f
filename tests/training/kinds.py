"""The models of the table that need no other library. Their twins differ in numbers alone within a kind, so that the
default tests run the first of each, and the long ones the others."""

import pytest

from diptych.specs import ModelSpec
from diptych.zoo import MODELS
from tests.models.twins import is_external

NAMES = [name for name, spec in MODELS.items() if not is_external(spec)]


def _kind(spec: ModelSpec) -> tuple[object, ...]:
    return spec.image.kind, getattr(spec.image, "pooling", None), spec.text.kind, spec.scores


_FIRST = {_kind(MODELS[name]): name for name in reversed(NAMES)}.values()
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _FIRST else pytest.mark.long) for name in NAMES]
)
