"""OpenAI's own code opens what is written for it, by the one call its users know."""

import sys
import types
from pathlib import Path

import open_clip
import packaging.version
import pytest
from test_open_clip_parity import TOLERANCE, difference, embeddings
from twins import random_weights, twin

from diptych.checkpoints.bundle import Bundle, build
from diptych.checkpoints.convert import convert

sys.modules.setdefault("pkg_resources", types.ModuleType("pkg_resources"))  # newer setuptools have it no more
sys.modules["pkg_resources"].packaging = packaging  # ty: ignore[unresolved-attribute]
clip = pytest.importorskip("clip")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_clip_load_opens_what_convert_writes(name: str, tmp_path: Path) -> None:
    spec = twin(name, vocabulary=49_408, context=77)
    # Its code takes weights through half precision, also on processors: these are the same there.
    weights = {name: tensor.half().to(tensor.dtype) for name, tensor in random_weights(spec).items()}
    bundle = Bundle(spec, weights)
    convert(bundle, tmp_path / "a", "openai")
    ours = embeddings(build(bundle), spec)
    model, transform = clip.load(str(tmp_path / "a" / "model.pt"), device="cpu")
    assert transform.transforms[0].size == spec.image.image_size
    assert difference(ours, embeddings(model, spec)) <= TOLERANCE
    assert model.logit_scale == weights["logit_scale"]
    also = open_clip.load_openai_model(str(tmp_path / "a" / "model.pt"), device="cpu", precision="fp32")
    assert difference(ours, embeddings(also, spec)) <= TOLERANCE
