"""Transformers' configs without Transformers: what is read, what is refused. (Parity: tests/parity.)"""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
from twins import random_weights, twin

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.huggingface import from_spec, to_spec
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError
from diptych.specs import ModelSpec
from diptych.zoo import MODELS

WRITABLE = ("ViT-B/32", "ViT-L/14@336px", "ViT-B/16-SigLIP", "ViT-SO400M/14-SigLIP-384", "ViT-B/16-SigLIP2")


@pytest.mark.parametrize("name", [*WRITABLE, "Chinese-CLIP-ViT-B/16"])
def test_a_config_says_all_of_a_spec(name: str) -> None:
    spec = MODELS[name]
    config, preprocessor = from_spec(spec, start_id=None, end_id=None)
    assert to_spec(json.loads(json.dumps(config)), json.loads(json.dumps(preprocessor)), name, "config.json") == spec


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_what_a_config_leaves_out_is_as_released(family: str) -> None:
    """Older folders hold only what differs from the defaults of their time."""
    config = {"model_type": family, "text_config": None, "vision_config": {}}
    spec = MODELS["ViT-B/32" if family == "clip" else "ViT-B/16-SigLIP"]
    assert to_spec(config, None, spec.name, "config.json") == spec


def test_siglip_2_of_any_resolution_is_read_at_that_of_its_positions() -> None:
    config = {"model_type": "siglip2", "text_config": {"vocab_size": 256_000}, "vision_config": {"num_patches": 196}}
    ours = MODELS["ViT-B/16-SigLIP2"]
    told = {"patch_size": 16, "max_num_patches": 256, "resample": 3, "image_processor_type": "Siglip2ImageProcessor"}
    assert to_spec(config, told, ours.name, "config.json") == ours
    # What the file leaves out is as its image processor has it.
    bare = to_spec(config, {"image_mean": [0.4, 0.5, 0.6]}, ours.name, "config.json").preprocess
    assert (bare.interpolation, bare.mean, bare.resize) == ("bilinear", (0.4, 0.5, 0.6), "squash")
    with pytest.raises(CheckpointError, match="rescale_factor"):
        to_spec(config, {"rescale_factor": 1 / 127.5}, ours.name, "config.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_type", "clap", "did you mean 'clip'"),
        ("model_type", ["clip"], "model"),
        ("vision_config", 3, "vision_config is 3"),
        ("vision_config.hidden_act", "relu", "hidden_act 'relu'"),
        ("vision_config.hidden_act", ["relu"], "hidden_act"),
        ("vision_config.num_channels", 4, "3 channels"),
        ("vision_config.patch_size", [16, 16], "patch_size"),
        ("vision_config.hidden_size", "768", "must be a whole number"),
        ("text_config.layer_norm_eps", "1e-5", "must be a number"),
        ("text_config.eos_token_id", 7, "eos_token_id is 7; CLIP's end token is its last"),
        ("text_config.eos_token_id", [49_407], "eos_token_id is"),
        ("vision_config.patch_size", 32.0, "patch_size is 32.0, but must be a whole number"),
        ("vision_config.hidden_size", 0, "cannot build"),
        ("text_config.num_attention_heads", 7, "heads"),
        ("text_config.vocab_size", -1, "vocabulary_size must be positive"),
        ("projection_dim", None, "embedding"),
        ("preprocessor.do_normalize", False, "leaves out a step: do_normalize"),
        ("preprocessor.crop_size", {"height": 200, "width": 200}, "224 px"),
        ("preprocessor.size", {"shortest_edge": 200}, "resize_to"),
        ("preprocessor.resample", 0, "interpolation"),
        ("preprocessor.size", "large", "'large'}; they must be square"),
        ("preprocessor.size", {"longest_edge": 224}, "must be square"),
        ("preprocessor.size", {"max_height": 224, "max_width": 224}, "must be square"),
        ("preprocessor.size", {"height": 224, "width": 256}, "must be square"),
        ("preprocessor.size", {"shortest_edge": [224]}, "must be square"),
        ("preprocessor.size", {"shortest_edge": True}, "must be square"),
        ("preprocessor.rescale_factor", 1 / 127.5, "rescale_factor 0.0078"),
        ("preprocessor.rescale_factor", "1/255", "rescale_factor"),
        ("preprocessor.do_pad", True, "do_pad"),
        ("preprocessor.image_processor_type", "ViltImageProcessor", "'ViltImageProcessor'; known are"),
        ("preprocessor.resample", [3], "cannot build"),
        ("vision_config.hidden_size", float("inf"), "whole number"),
        ("text_config.intermediate_size", float("nan"), "whole number"),
        ("text_config.intermediate_size", 0, "mlp_ratio must be positive"),
        ("text_config.layer_norm_eps", float("nan"), "norm_epsilon must be positive"),
        ("text_config_dict", 3, "must be an object"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(path: str, value: object, message: str) -> None:
    config, preprocessor = copy.deepcopy(from_spec(MODELS["ViT-B/32"], start_id=None, end_id=None))
    holder, _, key = path.rpartition(".")
    {"": config, "preprocessor": preprocessor}.get(holder, config.get(holder, {}))[key] = value
    with pytest.raises(CheckpointError, match=message):
        to_spec(config, preprocessor, "x", "config.json")


@pytest.mark.parametrize("key", ["model_type", "hidden_act"])
def test_what_is_long_is_not_repeated(key: str) -> None:
    config = {"model_type": "clip", "text_config": {}} | ({"model_type": "x" * 10**6} if key == "model_type" else {})
    config["text_config"] = {"hidden_act": "x" * 10**6}
    with pytest.raises(CheckpointError) as error:
        to_spec(config, None, "x", "config.json")
    assert len(str(error.value)) < 500


def test_a_section_that_is_there_twice_counts_as_transformers_has_it() -> None:
    """Parity: tests/parity/test_transformers_parity.py."""
    config = {"model_type": "clip", "text_config": {"num_hidden_layers": 3}, "text_config_dict": {"hidden_act": "gelu"}}
    text = to_spec(config, None, "x", "config.json").text
    assert (text.activation, text.layers) == ("gelu", 12)
    assert to_spec(config | {"text_config_dict": None}, None, "x", "config.json").text.layers == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = twin("ViT-B/32")
    return write(Bundle(spec, random_weights(spec)), tmp_path / "a", format="huggingface")


def test_an_image_processor_is_read_where_transformers_5_writes_it(folder: Path) -> None:
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text()) | {"image_mean": [0.5, 0.4, 0.3]}
    whole = {"processor_class": "CLIPProcessor", "image_processor": preprocessor | {"do_pad": None}}
    (folder / "processor_config.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match=r"processor_config\.json of .* disagree about image_mean"):
        read(folder)
    (folder / "preprocessor_config.json").unlink()
    assert read(folder).spec.preprocess.mean == (0.5, 0.4, 0.3)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": [1]}))
    with pytest.raises(CheckpointError, match="image_processor is"):
        read(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert read(folder).spec == dataclasses.replace(twin("ViT-B/32"), name="a")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (twin("RN50"), "modified_resnet"),
        (dataclasses.replace(twin("ViT-B/32"), scores="sigmoid"), "scores by sigmoid"),
        (
            dataclasses.replace(twin("ViT-B/32"), image=dataclasses.replace(twin("ViT-B/32").image, pooling="average")),
            "pools the class token",
        ),
    ],
)
def test_what_transformers_has_not_is_not_written(spec: ModelSpec, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        write(Bundle(spec, random_weights(spec)), tmp_path / "a", format="huggingface")
    assert not (tmp_path / "a").exists()


def test_weights_without_their_config_ask_for_the_folder(tmp_path: Path) -> None:
    spec = twin("ViT-B/32")
    write(Bundle(spec, random_weights(spec)), tmp_path / "a", format="huggingface")
    assert read(tmp_path / "a" / "model.safetensors").spec.image == spec.image
    alone = (tmp_path / "a" / "model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="without its config beside it; pass the folder"):
        read(alone)
