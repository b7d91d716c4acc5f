"""The same weights give the same embeddings here and in OpenCLIP, read from its files and by it from ours."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from twins import RELEASED, random_weights, twin

from diptych.checkpoints.bundle import Bundle, build, read
from diptych.checkpoints.open_clip import from_spec, to_spec
from diptych.checkpoints.writing import write
from diptych.data.preprocess import preprocess
from diptych.specs import ModelSpec, ModifiedResNetSpec
from diptych.text.tokenizer import Tokenizer
from diptych.zoo import MODELS, find

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-5
TEXTS = ["a red circle", "Two blue squares &amp; a small green star", "", "x " * 100, "naïve 😀 don't"]
# Embeddings do not depend on these; they are compared directly.
UNSEEN = ("logit_scale", "num_batches_tracked", "attnpool.k_proj.bias")

Embeddings = tuple[Tensor, Tensor]


def plain_config(spec: ModelSpec) -> dict:
    """OpenCLIP's config of a spec, written here on its own."""
    if isinstance(spec.image, ModifiedResNetSpec):
        vision = {"layers": list(spec.image.layers), "width": spec.image.stem_width, "patch_size": None}
    else:
        vision = {"layers": spec.image.layers, "width": spec.image.width, "patch_size": spec.image.patch_size}
    text = {"context_length": spec.text.context_length, "vocab_size": spec.text.vocabulary_size}
    text |= {"width": spec.text.width, "heads": spec.text.heads, "layers": spec.text.layers}
    return {
        "embed_dim": spec.embedding,
        "quick_gelu": True,
        "vision_cfg": {"image_size": spec.image.image_size, **vision},
        "text_cfg": text,
    }


def redraw(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and buffer from a distribution that is neither zero, one nor the initial one."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif name == "logit_scale":
            tensor.fill_(2.9)
        elif tensor.ndim == 1 and name.endswith("weight"):
            tensor.copy_(1 + 0.2 * noise)
        elif tensor.ndim == 1:
            tensor.copy_(0.1 * noise)
        else:
            tensor.copy_(noise * tensor[0].numel() ** -0.5)
    return model.eval()


def inputs(spec: ModelSpec) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 3, spec.image.image_size, spec.image.image_size, generator=generator)
    ids = torch.randint(1, spec.text.vocabulary_size - 2, (3, spec.text.context_length), generator=generator)
    for row, length in enumerate((4, 9, spec.text.context_length)):
        ids[row, length:] = 0
        ids[row, length - 1] = spec.text.vocabulary_size - 1
    return pixels, ids


@torch.no_grad()
def embeddings(model: nn.Module, spec: ModelSpec) -> Embeddings:
    pixels, ids = inputs(spec)
    return F.normalize(model.encode_image(pixels), dim=1), F.normalize(model.encode_text(ids), dim=1)


def difference(a: Embeddings, b: Embeddings) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def spec_of(name: str) -> ModelSpec:
    return MODELS["ViT-B/32"] if name == "full" else twin(name)


@pytest.fixture(scope="module", params=[*RELEASED, "full"])
def theirs(request: pytest.FixtureRequest) -> tuple[ModelSpec, nn.Module]:
    spec = spec_of(request.param)
    return spec, redraw(open_clip.CLIP(**plain_config(spec)))


def test_reads_open_clips_folder(theirs: tuple[ModelSpec, nn.Module], tmp_path: Path) -> None:
    spec, model = theirs
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": plain_config(spec)}))
    bundle = read(tmp_path)
    assert dataclasses.replace(bundle.spec, name=spec.name) == spec
    ours = build(bundle)
    assert difference(embeddings(ours, spec), embeddings(model, spec)) <= TOLERANCE
    assert ours.logit_scale.item() == model.logit_scale.item()


def test_changing_any_one_tensor_shows(theirs: tuple[ModelSpec, nn.Module], tmp_path: Path) -> None:
    spec, model = theirs
    if spec.name == "ViT-B/32":
        pytest.skip("the twins have every kind of tensor")
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}}, tmp_path / "a.pt"
    )
    ours = build(read(tmp_path / "a.pt", activation="quick_gelu"))
    reference = embeddings(ours, spec)
    assert difference(reference, embeddings(model, spec)) <= TOLERANCE
    silent, generator = [], torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        if name.endswith(UNSEEN):
            continue
        before = tensor.clone()
        tensor.add_(0.2 * tensor.std(correction=0).clamp(min=0.2) * torch.randn(tensor.shape, generator=generator))
        if difference(reference, embeddings(model, spec)) <= TOLERANCE:
            silent.append(name)
        tensor.copy_(before)
    assert not silent
    if isinstance(spec.image, ModifiedResNetSpec):
        assert torch.equal(ours.image.attention_pool.key.bias, model.visual.attnpool.k_proj.bias)
        assert torch.equal(ours.image.stages[1][0].norm2.running_var, model.visual.layer2[0].bn2.running_var)


@pytest.mark.parametrize("name", [*RELEASED, "full"])
def test_open_clip_opens_our_bundle(name: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary_size=600, context_length=16)
    spec = spec_of(name).with_vocabulary(tokenizer.vocabulary_size, 16)
    bundle = Bundle(spec, random_weights(spec), tokenizer)
    check_opens(bundle, tmp_path / "bundle")


def variants() -> dict[str, ModelSpec]:
    spec = twin("ViT-B/32", context=20)
    gelu = {"activation": "gelu"}
    return {
        "gelu": replaced(spec, image=gelu, text=gelu),
        "mlp ratio": replaced(spec, image={"mlp_ratio": 2.5}, text={"mlp_ratio": 3.0}),
        "average": replaced(spec, image={"pooling": "average"}),
        "heads": replaced(spec, image={"width": 96, "heads": 4}, text={"width": 96, "heads": 3}),
        "squash": replaced(spec, preprocess={"resize": "squash", "interpolation": "bilinear"}),
        "means": replaced(spec, preprocess={"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}),
        "ResNet heads": replaced(twin("RN50x4"), image={"heads": 8}, text=gelu),
    }


def replaced(spec: ModelSpec, **parts: dict) -> ModelSpec:
    return dataclasses.replace(
        spec, **{part: dataclasses.replace(getattr(spec, part), **values) for part, values in parts.items()}
    )


@pytest.mark.parametrize("variant", variants())
def test_open_clip_opens_every_value_of_a_spec(variant: str, tmp_path: Path) -> None:
    spec = variants()[variant]
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary_size=600, context_length=spec.text.context_length)
    spec = spec.with_vocabulary(tokenizer.vocabulary_size)
    check_opens(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "bundle")


def check_opens(bundle: Bundle, folder: Path) -> None:
    spec = bundle.spec
    write(bundle, folder, format="open_clip")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    ours = bundle.tokenizer(TEXTS).ids_BL
    assert torch.equal(ids, F.pad(ours, (0, spec.text.context_length - ours.shape[1])))
    again = read(folder)
    assert (again.spec, again.tokenizer) == (spec, bundle.tokenizer)
    assert difference(embeddings(build(again), spec), embeddings(model.eval(), spec)) <= TOLERANCE
    (folder / "diptych.json").unlink()  # as OpenCLIP sees it
    assert dataclasses.replace(read(folder).spec, name=spec.name) == spec
    noise = np.random.default_rng(0).integers(0, 256, (91, 67, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC)
    torch.testing.assert_close(preprocess(photo, spec.preprocess), transform(photo), atol=1e-5, rtol=0)


def test_released_vocabulary_through_open_clips_loader(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_merges(shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz")
    spec = twin("ViT-B/32", vocabulary=49_408, context=77)
    check_opens(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "bundle")
    bare = Bundle(spec, random_weights(spec))
    write(bare, tmp_path / "bare")
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'bare'}")(TEXTS)
    assert torch.equal(ids, tokenizer(TEXTS).ids_BL)  # the longest text fills the context


@pytest.mark.parametrize("name", RELEASED)
def test_configs_of_the_released_models(name: str) -> None:
    short = name.replace("/", "-").replace("@336px", "-336")
    config = open_clip.get_model_config(f"{short}-quickgelu")
    assert to_spec({"model_cfg": config}, name, "config") == MODELS[name]
    assert find(short) == MODELS[name]
    ours = from_spec(MODELS[name], own_tokenizer=False)["model_cfg"]
    for section, kind in (("vision_cfg", open_clip.CLIPVisionCfg), ("text_cfg", open_clip.CLIPTextCfg)):
        theirs = kind(**config[section])
        if name.startswith("RN") and section == "vision_cfg":
            theirs.patch_size = kind().patch_size  # a ResNet has none
        assert kind(**ours[section]) == theirs


def test_another_resolution(tmp_path: Path) -> None:
    spec = twin("ViT-B/32")
    write(Bundle(spec, random_weights(spec)), tmp_path / "bundle")
    ours = build(read(tmp_path / "bundle", image_size=160))
    model = open_clip.create_model(f"local-dir:{tmp_path / 'bundle'}", force_image_size=160).eval()
    assert difference(embeddings(ours, ours.spec), embeddings(model, ours.spec)) <= TOLERANCE


@pytest.mark.parametrize("name", ["RN50x4", "ViT-L/14"])
def test_text_tower_of_its_own(name: str, tmp_path: Path) -> None:
    spec = twin(name)
    model = redraw(open_clip.CustomTextCLIP(**plain_config(spec)))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    ours = build(read(tmp_path / "model.pt", activation="quick_gelu"))
    assert difference(embeddings(ours, spec), embeddings(model, spec)) <= TOLERANCE


@pytest.mark.parametrize("name", RELEASED)
def test_reads_open_clips_archives(name: str, tmp_path: Path) -> None:
    spec = twin(name)
    model = redraw(open_clip.CLIP(**plain_config(spec)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace_module(model, {"forward": inputs(spec)}, check_trace=False).save(str(tmp_path / "model.pt"))
    ours = build(read(tmp_path / "model.pt"))
    assert difference(embeddings(ours, spec), embeddings(model, spec)) <= TOLERANCE
