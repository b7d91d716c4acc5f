"""Towers of timm and Transformers give what those libraries give, travel in bundles, and train."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.checkpoints.bundle import Bundle, build, read
from diptych.checkpoints.writing import write
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError
from diptych.models.clip import CLIP, create_model
from diptych.specs import HuggingFaceImageSpec, HuggingFaceTextSpec, ModelSpec, PreprocessSpec, TimmSpec
from diptych.tokens import Tokens
from diptych.zoo import MODELS

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

TEXT = HuggingFaceTextSpec(
    architecture="bert",
    context_length=12,
    vocabulary_size=90,
    width=32,
    options={"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    pooling="max",
    projection="mlp",
)
SPEC = ModelSpec(
    name="small",
    embedding=24,
    image=TimmSpec(name="test_resnet", image_size=64, width=96, projection="mlp"),
    text=TEXT,
    preprocess=PreprocessSpec(size=64),
    tokenizer="word_piece",
)


DINO = HuggingFaceImageSpec(
    architecture="dinov2",
    image_size=64,
    width=32,
    options={"num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16, "image_size": 64},
)
RESNET = HuggingFaceImageSpec(
    architecture="resnet",
    image_size=64,
    width=48,
    options={"embedding_size": 8, "hidden_sizes": [8, 48], "depths": [1, 1], "layer_type": "basic"},
    pooling="mean",
)


def inputs() -> tuple[torch.Tensor, Tokens]:
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(1, 90, (3, 12), generator=generator)
    lengths_B = torch.tensor([4, 12, 7])
    ids_BL[torch.arange(12) >= lengths_B[:, None]] = 0
    return torch.randn(3, 3, 64, 64, generator=generator), Tokens(ids_BL, lengths_B)


@pytest.fixture
def model() -> CLIP:
    return create_model(SPEC, seed=0).eval()


@torch.no_grad()
def test_towers_are_the_libraries_own(model: CLIP) -> None:
    pixels, tokens = inputs()
    trunk = timm.create_model("test_resnet", pretrained=False, num_classes=0).eval()
    trunk.load_state_dict(model.image.trunk.state_dict())
    _, kept = model.image(pixels, keep=["features"])
    torch.testing.assert_close(kept["features"], trunk(pixels))
    _, kept = model.text(tokens, keep=["tokens", "features"])
    mask = (torch.arange(12) < tokens.lengths_B[:, None]).long()
    hidden = model.text.trunk(input_ids=tokens.ids_BL, attention_mask=mask).last_hidden_state
    for row, length in enumerate(tokens.lengths_B):
        torch.testing.assert_close(kept["features"][row], hidden[row, :length].amax(dim=0))


def test_a_bundle_brings_them_back(model: CLIP, tmp_path: Path) -> None:
    pixels, tokens = inputs()
    write(Bundle(SPEC, dict(model.state_dict())), tmp_path / "a")
    bundle = read(tmp_path / "a")
    assert bundle.spec == SPEC
    again = build(bundle)
    with torch.no_grad():
        assert torch.equal(again.encode_image(pixels), model.encode_image(pixels))
        assert torch.equal(again.encode_text(tokens), model.encode_text(tokens))


@pytest.mark.parametrize("image", [DINO, RESNET], ids=["dinov2", "resnet"])
def test_image_encoders_of_transformers(image: HuggingFaceImageSpec, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, image=image)
    model = create_model(spec, seed=0).eval()
    pixels, _ = inputs()
    with torch.no_grad():
        embedding, kept = model.image(pixels, keep=["features"])
        hidden = model.image.trunk(pixel_values=pixels).last_hidden_state
        expected = hidden[:, 0] if image is DINO else hidden.mean(dim=(2, 3))
        torch.testing.assert_close(kept["features"], expected)
        torch.testing.assert_close(model.image.projection(expected), embedding)
        write(Bundle(spec, dict(model.state_dict())), tmp_path / "a")
        assert torch.equal(build(read(tmp_path / "a")).encode_image(pixels), embedding)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_any_tower_of_timm_gives_its_own_features(name: str) -> None:
    size = 224 if name.startswith("swin") else 64
    sized = {"img_size": size} if name == "test_vit" else {}
    trunk = timm.create_model(name, num_classes=0, **sized).eval()
    image = TimmSpec(name=name, image_size=size, width=trunk.head_hidden_size)
    model = create_model(dataclasses.replace(SPEC, image=image, preprocess=PreprocessSpec(size=size)), seed=0).eval()
    trunk.load_state_dict(model.image.trunk.state_dict())
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model.image(pixels, keep=["features"])[1]["features"], trunk(pixels))


def test_the_seed_decides_their_weights_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    first, after = create_model(SPEC, seed=1).state_dict(), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
    again, other = create_model(SPEC, seed=1).state_dict(), create_model(SPEC, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_gradients_reach_every_parameter(model: CLIP) -> None:
    images_BE, texts_BE = model.train()(*inputs())
    (images_BE @ texts_BE.T * model.logit_scale).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_an_encoder_of_images_only(model: CLIP) -> None:
    assert Clip(model).encode_images(np.zeros((9, 7, 3), np.uint8)).shape == (1, 24)


@pytest.mark.parametrize("name", ["ALIGN", "ConVIRT"])
def test_the_papers_models_have_the_widths_that_their_specs_say(name: str) -> None:
    with torch.device("meta"):
        model = CLIP(MODELS[name])
    assert sum(p.numel() for p in model.parameters()) > 100e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": dataclasses.replace(SPEC.image, name="resnet_of_dreams")}, "resnet_of_dreams"),
        ({"image": dataclasses.replace(SPEC.image, width=7)}, "width 96"),
        ({"text": dataclasses.replace(TEXT, architecture="brt")}, "brt"),
        ({"text": dataclasses.replace(TEXT, options={"num_hidden_layer": 1})}, "mean 'num_hidden_layers'"),
        ({"text": dataclasses.replace(TEXT, context_length=600)}, "512 positions"),
    ],
)
def test_a_tower_that_there_is_not(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_model(dataclasses.replace(SPEC, **change), seed=0)
