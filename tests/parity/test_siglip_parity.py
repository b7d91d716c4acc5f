"""SigLIP of the smallest published size: the same embeddings as OpenCLIP's, from its files, big_vision's and ours."""

import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.convert import load_big_vision_weights
from safetensors.torch import save_file
from test_open_clip_parity import TOLERANCE, difference
from test_transformers_parity import inputs, ours, redraw
from torch import nn

from diptych.checkpoints.bundle import build, read
from diptych.checkpoints.writing import write
from diptych.specs import ModelSpec

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return redraw(open_clip.create_model("ViT-B-16-SigLIP"))


@torch.no_grad()
def theirs(model: nn.Module, spec: ModelSpec) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, tokens = inputs(spec)
    return model.encode_image(pixels, normalize=True), model.encode_text(tokens.ids_BL, normalize=True)


def test_reads_open_clips_folder_and_it_reads_ours(model: nn.Module, tmp_path: Path) -> None:
    import json

    (tmp_path / "a").mkdir()
    config = {"model_cfg": open_clip.get_model_config("ViT-B-16-SigLIP"), "preprocess_cfg": {}}
    config["preprocess_cfg"] = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    (tmp_path / "a" / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), tmp_path / "a" / "open_clip_model.safetensors")
    bundle = read(tmp_path / "a")
    assert (bundle.spec.scores, bundle.spec.image.activation, bundle.spec.text.activation) == (
        "sigmoid",
        "gelu",
        "gelu",
    )
    assert difference(ours(build(bundle)), theirs(model, bundle.spec)) <= TOLERANCE
    assert bundle.weights["logit_bias"] == model.logit_bias
    write(bundle, tmp_path / "b", format="open_clip")
    again = open_clip.create_model(f"local-dir:{tmp_path / 'b'}").eval()
    state = again.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert difference(theirs(again, bundle.spec), theirs(model, bundle.spec)) <= 1e-7


@pytest.mark.parametrize("looped", [False, True], ids=["a layer each", "layers of a loop"])
def test_reads_big_visions_file_as_open_clip_does(model: nn.Module, looped: bool, tmp_path: Path) -> None:
    path = tmp_path / "siglip.npz"
    np.savez(path, **big_vision_arrays(looped))
    load_big_vision_weights(model, str(path))
    bundle = read(path, activation="gelu")  # as OpenCLIP's tower has it
    assert bundle.spec.image.heads == bundle.spec.text.heads == 12
    assert difference(ours(build(bundle)), theirs(model, bundle.spec)) <= TOLERANCE
    assert bundle.weights["logit_bias"] == model.logit_bias
    assert bundle.weights["logit_scale"] == model.logit_scale
    tanh = read(path)
    assert dataclasses.replace(tanh.spec.image, activation="gelu") == bundle.spec.image
    assert tanh.spec.name == "ViT-B/16-SigLIP"


def big_vision_arrays(looped: bool) -> dict[str, np.ndarray]:
    """Random arrays under big_vision's names: kernels are (in, out), those of attention have an axis for heads."""
    random = np.random.default_rng(0)
    width, heads, hidden = 768, 12, 3072

    def draw(*shape: int) -> np.ndarray:
        scale = 0.1 if len(shape) == 1 else np.prod(shape[:-1]) ** -0.5
        return (scale * random.standard_normal(shape)).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}/scale": 1 + draw(width), f"{name}/bias": draw(width)}

    def attention(name: str) -> dict[str, np.ndarray]:
        arrays = {f"{name}/out/kernel": draw(heads, width // heads, width) * 3, f"{name}/out/bias": draw(width)}
        for part in ("query", "key", "value"):
            arrays[f"{name}/{part}/kernel"] = draw(width, heads, width // heads) / 3
            arrays[f"{name}/{part}/bias"] = draw(heads, width // heads)
        return arrays

    def mlp(name: str) -> dict[str, np.ndarray]:
        return {
            f"{name}/Dense_0/kernel": draw(width, hidden),
            f"{name}/Dense_0/bias": draw(hidden),
            f"{name}/Dense_1/kernel": draw(hidden, width),
            f"{name}/Dense_1/bias": draw(width),
        }

    def block() -> dict[str, np.ndarray]:
        return {
            **norm("LayerNorm_0"),
            **norm("LayerNorm_1"),
            **attention("MultiHeadDotProductAttention_0"),
            **mlp("MlpBlock_0"),
        }

    def encoder(name: str) -> dict[str, np.ndarray]:
        layers = [block() for _ in range(12)]
        if looped:
            arrays = {f"{name}/encoderblock/{key}": np.stack([layer[key] for layer in layers]) for key in layers[0]}
        else:
            arrays = {f"{name}/encoderblock_{i}/{key}": v for i, layer in enumerate(layers) for key, v in layer.items()}
        return arrays | norm(f"{name}/encoder_norm")

    arrays = {
        "img/embedding/kernel": draw(16, 16, 3, width),
        "img/embedding/bias": draw(width),
        "img/pos_embedding": draw(1, 196, width),
        **encoder("img/Transformer"),
        "img/MAPHead_0/probe": draw(1, 1, width) * 28,
        **attention("img/MAPHead_0/MultiHeadDotProductAttention_0"),
        **norm("img/MAPHead_0/LayerNorm_0"),
        **mlp("img/MAPHead_0/MlpBlock_0"),
        "txt/Embed_0/embedding": draw(32_000, width) * 100,
        "txt/pos_embedding": draw(1, 64, width),
        **encoder("txt/Encoder_0"),
        "txt/head/kernel": draw(width, width),
        "txt/head/bias": draw(width),
        "t": np.array([2.3], np.float32),
        "b": np.array([-9.5], np.float32),
    }
    return {f"params/{name}": array for name, array in arrays.items()}
