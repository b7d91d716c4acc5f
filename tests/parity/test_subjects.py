"""Folders of timm and Transformers as subjects: their own features of their own preprocessing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diptych.encoder.subject import ImageSubject
from diptych.errors import CheckpointError

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    return Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_models_of_timm(name: str, told: bool, image: Image.Image, tmp_path: Path) -> None:
    """The file tells which weights are the head's, or does not."""
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=7).eval()
    known = {key: value for key, value in whole.pretrained_cfg.items() if told or key != "classifier"}
    config = {"architecture": name, "num_classes": 7, "pretrained_cfg": known}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    subject = ImageSubject.load(tmp_path)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(whole), is_training=False)
    with torch.no_grad():
        pixels = transform(image)[None]
        expected = whole.forward_head(whole.forward_features(pixels), pre_logits=True)
    np.testing.assert_allclose(subject.features_of_pixels(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(subject.features(image), expected, atol=2e-2)  # pixels are rounded at another place
    state = whole.state_dict()
    del state[next(iter(state))]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not the weights of"):
        ImageSubject.load(tmp_path)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
VIT, DINO = transformers.ViTConfig(**SMALL), transformers.Dinov2Config(**SMALL)
SWIN = transformers.SwinConfig(embed_dim=16, depths=[1, 1], num_heads=[2, 2], image_size=64, window_size=4)
CONVNEXT = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=64)


@pytest.mark.parametrize(
    ("config", "processor", "pooled"),
    [
        (VIT, transformers.ViTImageProcessor(size={"height": 64, "width": 64}), lambda last: last[:, 0]),
        (
            DINO,
            transformers.BitImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}),
            lambda last: last[:, 0],
        ),
        (SWIN, transformers.ViTImageProcessor(size={"height": 64, "width": 64}), lambda last: last.mean(dim=1)),
        (CONVNEXT, transformers.ConvNextImageProcessor(size={"shortest_edge": 64}), lambda last: last.mean(dim=(2, 3))),
    ],
    ids=["vit", "dinov2", "swin", "convnext"],
)
def test_models_of_transformers(config, processor, pooled, image: Image.Image, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    subject = ImageSubject.load(tmp_path)
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = pooled(model(pixels).last_hidden_state)
    np.testing.assert_allclose(subject.features_of_pixels(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(subject.features(image), expected, atol=5e-2)  # pixels are rounded at another place
