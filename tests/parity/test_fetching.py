"""Folders and specs that would have timm or Transformers fetch weights or run code: refused, nothing looked up."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diptych.checkpoints.bundle import read
from diptych.encoder.subject import ImageSubject
from diptych.errors import CheckpointError, ConfigError

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SPEC = {
    **{"name": "x", "embedding": 8, "preprocess": {"size": 64}},
    "image": {
        **{"kind": "vision_transformer", "image_size": 64, "patch_size": 32},
        **{"width": 64, "layers": 1, "heads": 1},
    },
    "text": {"kind": "text_transformer", "width": 64, "layers": 1, "heads": 1},
}
BERT = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was looked for in a network, were it only a name."""
    addresses: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        addresses.append(arguments)
        raise OSError("no network in tests")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return addresses


def timm_tower(name: object) -> dict:
    return {"image": {"kind": "timm", "name": name, "image_size": 64, "width": 64}}


def text_tower(architecture: str = "bert", /, **options: object) -> dict:
    sizes = {"context_length": 16, "vocabulary_size": 100, "width": 64}
    return {"text": {"kind": "huggingface_text", "architecture": architecture, **sizes, "options": BERT | options}}


def image_tower(architecture: str, /, **options: object) -> dict:
    tower = {"kind": "huggingface_image", "architecture": architecture, "image_size": 64, "width": 64}
    return {"image": tower | {"options": options}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (timm_tower("hf-hub:evil/model"), "timm has no 'hf-hub:evil/model'"),
        (timm_tower("hf_hub:evil/model"), "timm has no"),
        (timm_tower("local-dir:x"), "timm has no"),
        (timm_tower("resnet18.no_such_tag"), "resnet18"),
        (text_tower(_attn_implementation="kernels-community/evil"), "_attn_implementation"),
        (text_tower(attn_implementation="kernels-community/evil"), "attn_implementation"),
        (text_tower(auto_map={"AutoModel": "evil/repo--m.C"}), "auto_map"),
        (text_tower(num_hidden_layers="x"), "num_hidden_layers"),
        (text_tower(num_attention_heads=0), "cannot make"),
        (text_tower("timm_wrapper"), "kind timm"),
        (image_tower("timm_wrapper", architecture="hf-hub:evil/m"), "kind timm"),
        (image_tower("timm_backbone", backbone="resnet18", use_pretrained_backbone=True), "kind timm"),
        (image_tower("dpt", backbone="evil/repo", use_pretrained_backbone=True), "backbone"),
        (image_tower("upernet", backbone="evil/repo", use_pretrained_backbone=True), "backbone"),
        (image_tower("detr", backbone_config={"model_type": "timm_backbone", "backbone": "resnet18"}), "backbone"),
        (image_tower("nonesuch"), "nonesuch"),
    ],
)
def test_a_description_fetches_nothing(change: dict, told: str, asked: list[object], tmp_path: Path) -> None:
    (tmp_path / "diptych.json").write_text(json.dumps({"format": 1, "spec": SPEC | change, "provenance": {}}))
    save_file({"image.a": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises((CheckpointError, ConfigError), match=told):
        read(tmp_path)
    assert asked == []


VIT = transformers.ViTConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64, image_size=32, patch_size=16
)
SQUARE = {"size": {"height": 32, "width": 32}}
Make = Callable[..., Path]


@pytest.fixture
def subject(tmp_path: Path) -> Make:
    """A folder with a config, the weights of the model that it is really of, and an image processor."""

    def make(config: dict, preprocessor: dict | None = None, **files: bytes) -> Path:
        model = timm.create_model("test_resnet", num_classes=0) if "architecture" in config else None
        model = model or transformers.AutoModel.from_config(VIT)
        save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / "config.json").write_text(json.dumps(config))
        if preprocessor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        for name, content in files.items():
            (tmp_path / name.replace("__", ".")).write_bytes(content)
        return tmp_path

    return make


def of_timm(**change: object) -> dict:
    return {"architecture": "test_resnet"} | change


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (of_timm(model_args={"pretrained": True}), "pretrained"),
        (of_timm(model_args={"checkpoint_path": "x.pth"}), "checkpoint_path"),
        (of_timm(model_args={"pretrained_cfg": {"url": "http://evil.example/x.pth"}}), "pretrained_cfg"),
        (of_timm(model_args=[1]), "options are an object"),
        (of_timm(model_args={"kwargs_filter": ["x"]}), "test_resnet of timm has no option 'kwargs_filter'"),
        (of_timm(model_args={"pruned": True}), "has no option 'pruned'"),
        (of_timm(model_args={"act_layer": "evil/repo"}), "single words"),
        (of_timm(architecture="test_vit", model_args={"embed_dim": 64_000}), "numbers is described, but the weights"),
        (of_timm(architecture="hf-hub:evil/m"), "timm has no"),
        (of_timm(architecture=5), "timm has no 5"),
        (of_timm(architecture=["a"]), "timm has no"),
        (of_timm(crop_pct=1e-320), "cannot build"),
        (of_timm(crop_pct="a"), "cannot build"),
        (of_timm(crop_pct=float("nan")), "crop_pct"),
        (of_timm(input_size=[1, 32, 32]), "input_size"),
        (of_timm(input_size=[3, "32", "32"]), "cannot build"),
        (of_timm(input_size=[3, 10**8, 10**8]), "8,192"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:evil/m"}, "timm has no"),
        ({"model_type": ["vit"]}, "cannot"),
        ({"model_type": "dpt", "backbone": "evil/repo", "use_pretrained_backbone": True}, "backbone"),
        ({"model_type": "vit", "attn_implementation": "evil/repo"}, "attn_implementation"),
        ({"model_type": "vit", "hidden_act": "evil/repo"}, "single words"),
        (
            {"model_type": "vit", "hidden_size": 64_000, "num_attention_heads": 1},
            "numbers is described, but the weights",
        ),
        ({"model_type": "vit", "auto_map": {"AutoModel": "evil/repo--m.C"}}, "auto_map"),
        ({"model_type": "evil", "auto_map": {"AutoModel": "code.Evil"}}, "auto_map"),
    ],
)
def test_a_folder_fetches_nothing(config: dict, told: str, asked: list[object], subject: Make) -> None:
    whole = VIT.to_dict() | config if config.get("model_type") == "vit" else config
    with pytest.raises(CheckpointError, match=told):
        ImageSubject.load(subject(whole, SQUARE))
    assert asked == []


@pytest.mark.parametrize(
    ("preprocessor", "told"),
    [
        (None, "no preprocessor_config.json"),
        ({"size": {"height": 64, "width": 64}}, "doesn't match"),
        ({"size": [32, 32]}, "square"),
        ({"size": {"height": [1], "width": [1]}}, "square"),
        ({"size": {"longest_edge": 32}}, "square"),
        ({"size": 32, "crop_pct": "x"}, "cannot build"),
        ({"size": 32, "resample": [1]}, "cannot build"),
        ({"size": 32, "rescale_factor": 1.0}, "rescale_factor"),
        ({"size": 32, "do_pad": True}, "do_pad"),
        ({"size": 2 * 10**9}, "8,192"),
    ],
)
def test_a_preprocessing_that_does_not_fit_is_told_on_loading(
    preprocessor: dict | None, told: str, subject: Make
) -> None:
    with pytest.raises(CheckpointError, match=told):
        ImageSubject.load(subject(VIT.to_dict(), preprocessor))


def test_weights_that_are_missing_are_told_whatever_the_classifier_is_called(subject: Make) -> None:
    folder = subject(of_timm(pretrained_cfg={"classifier": ""}))
    assert ImageSubject.load(folder).features(np.zeros((9, 9, 3), np.uint8)).shape[0] == 1
    save_file({"stem.conv1.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="not the weights of"):
        ImageSubject.load(folder)
    whole = timm.create_model("test_resnet").state_dict()
    kept = {name: tensor for name, tensor in whole.items() if not name.startswith("layer1")}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="layer1"):
        ImageSubject.load(folder)


def test_a_classifier_of_several_layers_is_left_out(subject: Make) -> None:
    folder = subject(of_timm(model_args={"num_classes": 3}, pretrained_cfg={"classifier": ["fc", "other"]}))
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(state | {"other.weight": torch.zeros(2)}, folder / "model.safetensors")
    assert ImageSubject.load(folder).name == folder.name


def test_what_published_configs_say_besides_is_left_out(subject: Make) -> None:
    """Names of classes, versions, and keys of other versions and models, as Microsoft's Swin has."""
    notes = {
        "_name_or_path": "google/vit",
        "id2label": {"0": "tench, Tinca tinca"},
        "transformers_version": "4.30.0.dev0",
    }
    folder = subject(VIT.to_dict() | notes | {"path_norm": True, "torch_dtype": "float32", "license": "a/b"}, SQUARE)
    assert ImageSubject.load(folder).features(np.zeros((9, 9, 3), np.uint8)).shape == (1, 32)


def test_options_of_published_models_of_timm_are_read(tmp_path: Path) -> None:
    """As those of pathology's UNI and Virchow say them."""
    options = {"img_size": 64, "init_values": 1e-5, "num_classes": 0, "reg_tokens": 2, "no_embed_class": True}
    options |= {"dynamic_img_size": True, "mlp_ratio": 3.0, "global_pool": "token", "depth": 2}
    model = timm.create_model("test_vit", **options)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = of_timm(architecture="test_vit", model_args=options, pretrained_cfg={"input_size": [3, 64, 64]})
    (tmp_path / "config.json").write_text(json.dumps(config))
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        np.testing.assert_allclose(
            ImageSubject.load(tmp_path).features_of_pixels(pixels), model.eval()(pixels), atol=1e-5
        )


def test_an_adapter_beside_is_not_looked_at(asked: list[object], subject: Make) -> None:
    adapter = {"base_model_name_or_path": "evil/base", "peft_type": "LORA"}
    ImageSubject.load(subject(VIT.to_dict(), SQUARE, adapter_config__json=json.dumps(adapter).encode()))
    assert asked == []
