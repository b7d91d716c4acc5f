"""The same weights give the same embeddings here and in Transformers, read from its folders and by it from ours."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_open_clip_parity import TEXTS, TOLERANCE, difference, random_weights, twin
from torch import Tensor, nn

from diptych.checkpoints.bundle import Bundle, build, read
from diptych.checkpoints.writing import write
from diptych.data.preprocess import preprocess
from diptych.errors import CheckpointError
from diptych.models.clip import CLIP
from diptych.specs import BertSpec, ModelSpec, SiglipTextSpec, SiglipVisionSpec, TextTransformerSpec
from diptych.text.tokenizer import Tokenizer
from diptych.tokens import Tokens
from diptych.zoo import MODELS

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def small(name: str) -> ModelSpec:
    """A narrow, shallow model with the kinds of towers of the named one."""
    spec = MODELS[name]
    image = dataclasses.replace(spec.image, image_size=2 * spec.image.patch_size, width=96, layers=2, heads=4)
    text = dataclasses.replace(spec.text, vocabulary_size=600, width=64, layers=3, heads=2)
    preprocess = dataclasses.replace(spec.preprocess, size=image.image_size)
    embedding = 96 if isinstance(image, SiglipVisionSpec) else 48
    return dataclasses.replace(spec, name="small", embedding=embedding, image=image, text=text, preprocess=preprocess)


NAMES = ("ViT-B/32", "ViT-B/16-SigLIP", "ViT-B/16-SigLIP2", "Chinese-CLIP-ViT-B/16")
VARIANTS = {
    **{name: small(name) for name in NAMES},
    "GELU": dataclasses.replace(
        small("ViT-B/32"),
        image=dataclasses.replace(small("ViT-B/32").image, activation="gelu", norm_epsilon=1e-3),
        text=dataclasses.replace(small("ViT-B/32").text, activation="gelu_tanh", norm_epsilon=1e-4, mlp_ratio=2.5),
    ),
}
every_variant = pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)


def redraw(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter from a distribution that is neither zero, one nor the initial one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if name in ("logit_scale", "logit_bias"):
                tensor.fill_(2.9 if name == "logit_scale" else -3.1)
            elif tensor.ndim == 1 and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            else:
                tensor.copy_(noise * (0.1 if tensor.ndim == 1 else tensor[0].numel() ** -0.5))
    return model.eval()


def inputs(spec: ModelSpec) -> tuple[Tensor, Tokens]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 3, spec.image.image_size, spec.image.image_size, generator=generator)
    length = spec.text.context_length
    padding = spec.text.padding_id if isinstance(spec.text, SiglipTextSpec) else 0
    ids = torch.randint(2, spec.text.vocabulary_size - 2, (3, length), generator=generator)
    lengths = torch.tensor([4, 9, length])
    for row, end in zip(ids, lengths, strict=True):
        row[end - 1] = spec.text.vocabulary_size - 1
        row[end:] = padding
    return pixels, Tokens(ids, lengths)


@torch.no_grad()
def ours(model: CLIP) -> tuple[Tensor, Tensor]:
    pixels, tokens = inputs(model.spec)
    return F.normalize(model.encode_image(pixels), dim=1), F.normalize(model.encode_text(tokens), dim=1)


@torch.no_grad()
def theirs(model: nn.Module, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    pixels, tokens = inputs(spec)
    options = {}
    if not isinstance(spec.text, SiglipTextSpec):  # SigLIP attends to its padding
        options["attention_mask"] = (torch.arange(tokens.ids_BL.shape[1]) < tokens.lengths_B[:, None]).long()
    images = _pooled(model.get_image_features(pixel_values=pixels))
    texts = _pooled(model.get_text_features(input_ids=tokens.ids_BL, **options))
    return F.normalize(images, dim=1), F.normalize(texts, dim=1)


def _pooled(features: object) -> Tensor:
    return features if isinstance(features, Tensor) else features.pooler_output


def their_model(spec: ModelSpec) -> nn.Module:
    """Transformers' model of a spec, its config written here on its own."""
    image, text = spec.image, spec.text
    acts = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_tanh": "gelu_pytorch_tanh"}

    def common(tower: object) -> dict:
        return {
            "hidden_size": tower.width,
            "intermediate_size": int(tower.width * tower.mlp_ratio),
            "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads,
            "hidden_act": acts[tower.activation],
            "layer_norm_eps": tower.norm_epsilon,
        }

    vision_config = common(image) | {"image_size": image.image_size, "patch_size": image.patch_size}
    text_config = common(text) | {"vocab_size": text.vocabulary_size}
    if isinstance(text, SiglipTextSpec):
        text_config |= {"max_position_embeddings": text.context_length, "projection_size": spec.embedding}
        return transformers.SiglipModel(transformers.SiglipConfig(text_config=text_config, vision_config=vision_config))
    options = {"text_config": text_config, "vision_config": vision_config, "projection_dim": spec.embedding}
    if isinstance(text, BertSpec):
        text_config |= {"max_position_embeddings": text.positions}
        return transformers.ChineseCLIPModel(transformers.ChineseCLIPConfig(**options))
    end = text.vocabulary_size - 1
    text_config |= {"max_position_embeddings": text.context_length, "eos_token_id": end, "bos_token_id": end - 1}
    return transformers.CLIPModel(transformers.CLIPConfig(**options))


@every_variant
def test_reads_their_folder(spec: ModelSpec, tmp_path: Path) -> None:
    model = redraw(their_model(spec))
    model.save_pretrained(tmp_path)
    bundle = read(tmp_path)
    assert dataclasses.replace(bundle.spec, name=spec.name, preprocess=spec.preprocess) == expected_of(spec)
    padded = dataclasses.replace(bundle.spec.text, **padding_of(spec))
    bundle = dataclasses.replace(bundle, spec=dataclasses.replace(bundle.spec, text=padded))
    assert difference(ours(build(bundle)), theirs(model, spec)) <= TOLERANCE
    assert bundle.weights["logit_scale"] == model.logit_scale
    if spec.scores == "sigmoid":
        assert bundle.weights["logit_bias"] == model.logit_bias


def padding_of(spec: ModelSpec) -> dict[str, int]:
    return {"padding_id": spec.text.padding_id} if isinstance(spec.text, SiglipTextSpec) else {}


def expected_of(spec: ModelSpec) -> ModelSpec:
    """Their configs do not tell how SigLIP's texts are padded: a small vocabulary is taken for the first SigLIP's."""
    if not isinstance(spec.text, SiglipTextSpec):
        return spec
    return dataclasses.replace(spec, text=dataclasses.replace(spec.text, padding_id=1))


@every_variant
def test_they_read_ours_and_changing_any_one_tensor_shows(spec: ModelSpec, tmp_path: Path) -> None:
    weights = random_weights(spec)
    write(Bundle(spec, weights), tmp_path / "theirs", format="huggingface")
    model = transformers.AutoModel.from_pretrained(tmp_path / "theirs").eval()
    reference = ours(build(Bundle(spec, weights)))
    assert difference(reference, theirs(model, spec)) <= TOLERANCE
    assert (tmp_path / "theirs" / "diptych.json").exists() is False
    again = read(tmp_path / "theirs")
    assert all(torch.equal(again.weights[name], weights[name]) for name in weights)
    generator, silent = torch.Generator().manual_seed(2), []
    for name, tensor in weights.items():
        if name in ("logit_scale", "logit_bias"):
            continue
        before = tensor.clone()
        tensor.add_(0.2 * tensor.std(correction=0).clamp(min=0.2) * torch.randn(tensor.shape, generator=generator))
        if difference(ours(build(Bundle(spec, weights))), theirs(model, spec)) <= TOLERANCE:
            silent.append(name)
        tensor.copy_(before)
    assert not silent


@pytest.mark.parametrize("legacy", [False, True])
def test_both_conventions_of_the_end_token(legacy: bool, tmp_path: Path) -> None:
    spec = VARIANTS["ViT-B/32"]
    model = redraw(their_model(spec))
    if legacy:
        model.config.text_config.eos_token_id = model.text_model.eos_token_id = 2
    model.save_pretrained(tmp_path)
    assert difference(ours(build(read(tmp_path))), theirs(model, spec)) <= TOLERANCE


def test_their_tokenizer_and_image_processor_agree(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary_size=600, context_length=77)
    spec = small("ViT-B/32").with_vocabulary(tokenizer.vocabulary_size)
    write(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "a", format="huggingface")
    texts = [text for text in TEXTS if "&" not in text]  # unescaping HTML cannot be written in their format
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")(
        texts, padding=True, truncation=True, return_tensors="pt"
    ).input_ids
    assert torch.equal(ids, tokenizer(texts).ids_BL)
    assert read(tmp_path / "a").tokenizer == tokenizer
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "a", use_fast=False)
    noise = np.random.default_rng(0).integers(0, 256, (91, 67, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC)
    pixels = processor(photo, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(preprocess(photo, spec.preprocess), pixels, atol=1e-5, rtol=0)


def test_a_folder_saved_by_their_model_and_processor_alone(tmp_path: Path) -> None:
    """Transformers 5 writes how images are to be made into ``processor_config.json``."""
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary_size=600, context_length=77)
    spec = small("ViT-B/32").with_vocabulary(tokenizer.vocabulary_size)
    write(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "a", format="huggingface")
    size = spec.image.image_size
    images = transformers.CLIPImageProcessor(
        image_mean=[0.5] * 3, size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    processor = transformers.CLIPProcessor(images, transformers.AutoTokenizer.from_pretrained(tmp_path / "a"))
    transformers.CLIPModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    processor.save_pretrained(tmp_path / "b")
    assert not (tmp_path / "b" / "preprocessor_config.json").exists()
    again = read(tmp_path / "b")
    assert again.spec.preprocess == dataclasses.replace(spec.preprocess, mean=(0.5, 0.5, 0.5))
    assert again.tokenizer == tokenizer


def test_a_section_that_is_there_twice_counts_as_they_have_it(tmp_path: Path) -> None:
    spec = VARIANTS["ViT-B/32"]
    redraw(their_model(spec)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for section in ("text_config", "vision_config"):
        config[f"{section}_dict"] = config[section] | {"hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    assert model.config.text_config.hidden_act == "gelu"
    assert difference(ours(build(read(tmp_path))), theirs(model, spec)) <= TOLERANCE


def test_released_defaults_that_a_config_leaves_out(tmp_path: Path) -> None:
    """Older folders hold only what differs from the defaults of their time."""
    for family, name in (("clip", "ViT-B/32"), ("siglip", "ViT-B/16-SigLIP")):
        config = {"model_type": family, "text_config": {}, "vision_config": {}}
        spec = MODELS[name]
        folder = tmp_path / family
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        from diptych.checkpoints.huggingface import to_spec

        assert to_spec(config, None, name, "config") == spec


@pytest.mark.parametrize("name", ["RN50", "bag"])
def test_what_they_cannot_express_is_refused(name: str, tmp_path: Path) -> None:
    spec = twin("RN50" if name == "RN50" else "ViT-B/32")
    if name == "bag":
        spec = dataclasses.replace(spec, image=dataclasses.replace(spec.image, pooling="average"))
    with pytest.raises(CheckpointError, match=r"modified_resnet|average"):
        write(Bundle(spec, random_weights(spec)), tmp_path / "a", format="huggingface")
    assert not (tmp_path / "a").exists()
    assert isinstance(twin("ViT-B/32").text, TextTransformerSpec)
