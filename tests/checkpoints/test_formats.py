"""Files and folders of others: OpenCLIP's, bare state dicts, and what is no checkpoint at all."""

import argparse
import dataclasses
import json
import os
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from test_bundle import equal
from twins import bundle, random_weights, renames, twin

from diptych.checkpoints import open_clip
from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.formats import CHINESE_CLIP, OPEN_CLIP, OPEN_CLIP_OWN_TEXT
from diptych.checkpoints.tensors import expected
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError, DiptychError
from diptych.models.clip import create_model
from diptych.zoo import MODELS
from tests.models.twins import twin as small_twin

SPEC = twin("ViT-B/32")
WEIGHTS = random_weights(SPEC)


def state(format=OPEN_CLIP, spec=SPEC, weights=WEIGHTS):
    names = renames(spec, format)
    return {names[name]: tensor for name, tensor in weights.items()}


def prefixed(prefix):
    return {prefix + name: tensor for name, tensor in state().items()}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        state(),
        state(OPEN_CLIP_OWN_TEXT),
        {"epoch": 3, "name": "run", "state_dict": prefixed("module."), "optimizer": {"state": {}, "groups": [{}]}},
        {"state_dict": prefixed("module._orig_mod.")},
        prefixed("_orig_mod."),
        state() | {"attn_mask": torch.zeros(16, 16)},
        state() | {"logit_scale": WEIGHTS["logit_scale"].reshape(1)},
        {name: torch.nn.Parameter(v, v.is_floating_point() and v.ndim > 1) for name, v in state().items()},
        {name: v.double() if v.is_floating_point() else v for name, v in state().items()},
    ],
    ids=["flat", "text", "training", "compiled", "compiled bare", "mask", "scale", "parameters", "double"],
)
def test_pickles_of_every_wrapping(content, zipped, tmp_path):
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    for options in ({"activation": "quick_gelu"}, {"spec": SPEC}):
        again = read(tmp_path / "model.pt", **options)
        assert dataclasses.replace(again.spec, name="twin") == SPEC
        assert equal(again.weights, WEIGHTS)
        assert not any(tensor.requires_grad for tensor in again.weights.values())
    assert read(tmp_path / "model.pt", activation="gelu").spec.image.activation == "gelu"
    assert read(tmp_path / "model.pt", spec=SPEC).provenance["architecture_from"] == "spec="


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_lower_precision_becomes_fp32(kind, tmp_path):
    low = {name: v.to(kind) if v.is_floating_point() else v for name, v in state().items()}
    save_file(low, tmp_path / "a.safetensors")
    torch.save(low, tmp_path / "a.pt")
    for path in ("a.safetensors", "a.pt"):
        again = read(tmp_path / path, spec=SPEC)
        assert {v.dtype for v in again.weights.values()} == {torch.float32}
        assert equal(again.weights, {name: v.to(kind).float() for name, v in WEIGHTS.items()})


def test_counters_that_old_writers_left_out_are_filled(tmp_path):
    spec = twin("RN50")
    old = {k: v for k, v in state(spec=spec, weights=random_weights(spec)).items() if "num_batches" not in k}
    save_file(old, tmp_path / "a.safetensors")
    assert read(tmp_path / "a.safetensors", spec=spec).weights["image.stem.1.num_batches_tracked"] == 0


def folder(path, files):
    path.mkdir()
    for name, content in files.items():
        if name.endswith(".safetensors"):
            save_file(content, path / name)
        elif name.endswith(".json"):
            (path / name).write_text(json.dumps(content))
        else:
            torch.save(content, path / name)
    return path


def config(**changes):
    sections = {
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 64, "heads": 1, "layers": 2},
    }
    model = {"embed_dim": 48, "quick_gelu": True, **sections}
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        (model[section] if section else model)[key] = value
    return {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "interpolation": "bilinear"}}


def test_open_clips_folders(tmp_path):
    expected = dataclasses.replace(
        SPEC, preprocess=dataclasses.replace(SPEC.preprocess, mean=(0.5, 0.5, 0.5), interpolation="bilinear")
    )
    for i, (name, content) in enumerate(
        {
            "open_clip_model.safetensors": state(),
            "open_clip_pytorch_model.bin": state(OPEN_CLIP_OWN_TEXT),
            "model.pth": {"state_dict": prefixed("module.")},
        }.items()
    ):
        path = folder(tmp_path / str(i), {"open_clip_config.json": config(), name: content})
        for location in (path, path / name, str(path)):
            again = read(location)
            assert dataclasses.replace(again.spec, name="twin") == expected
            assert equal(again.weights, WEIGHTS)
        assert again.provenance["activation_from"] == "open_clip_config.json"
        with pytest.raises(CheckpointError, match="contradicts"):
            read(path, activation="gelu")
    both = {
        "open_clip_config.json": config(),
        "open_clip_model.safetensors": state(),
        "open_clip_pytorch_model.bin": {},
    }
    assert equal(read(folder(tmp_path / "both", both)).weights, WEIGHTS)
    without = folder(tmp_path / "gelu", {"open_clip_config.json": config(quick_gelu=False), "a.pt": state()})
    assert read(without).spec.text.activation == "gelu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_cfg__timm_model_name": "vit_base"}, "timm_model_name"),
        ({"text_cfg__hf_model_name": "roberta"}, "hf_model_name"),
        ({"text_cfg__pool_type": "last"}, "pool_type"),
        ({"vision_cfg__pool_type": "none"}, "pooling"),
        ({"vision_cfg__pos_embed_type": "sin_cos_2d"}, "pos_embed_type"),
        ({"vision_cfg__ls_init_value": 0.1}, "ls_init_value"),
        ({"init_logit_bias": -10}, "missing logit_bias"),
        ({"vision_cfg__image_size": [64, 32]}, "square"),
        ({"vision_cfg__width": "wide"}, r"vision_cfg\.width is 'wide'"),
        ({"vision_cfg__head_width": 0}, "zero"),
        ({"vision_cfg": []}, "vision_cfg"),
        ({"embed_dim": None}, "embed_dim"),
        ({"vision_cfg__layers": 3}, r"missing visual\.transformer\.resblocks\.2\.ln_1\.weight"),
        ({"text_cfg__width": 128}, r"wrong shape.* must be"),
    ],
)
def test_configs_that_we_cannot_build_are_refused_by_name(changes, message, tmp_path):
    path = folder(tmp_path / "a", {"open_clip_config.json": config(**changes), "model.safetensors": state()})
    with pytest.raises(CheckpointError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vision_cfg__width": 192}, r"image\.width being 192 by that and 128 by the weights"),
        ({"vision_cfg__layers": 3}, r"image\.layers being 3 by that and 2 by the weights"),
        ({"vision_cfg__image_size": 96}, r"image\.image_size being 96 by that and 64 by the weights"),
        ({"vision_cfg__patch_size": 16}, r"image\.patch_size being 16 by that and 32 by the weights"),
        ({"vision_cfg__mlp_ratio": 2.0}, r"image\.mlp width being 256 by that and 512 by the weights"),
        ({"vision_cfg__layers": [1, 1, 1, 1]}, "image.kind being modified_resnet by that and vision_transformer by"),
        ({"text_cfg__width": 128}, r"text\.width being 128 by that and 64 by the weights"),
        ({"text_cfg__layers": 1}, r"text\.layers being 1 by that and 2 by the weights"),
        ({"text_cfg__vocab_size": 601}, r"text\.vocabulary_size being 601 by that and 600 by the weights"),
        ({"text_cfg__context_length": 77}, r"text\.context_length being 77 by that and 16 by the weights"),
        ({"embed_dim": 64}, r"embedding being 64 by that and 48 by the weights"),
        ({"init_logit_bias": -10}, "scores being sigmoid by that and softmax by the weights"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_named_beside_them(changes, told, tmp_path):
    path = folder(tmp_path / "a", {"open_clip_config.json": config(**changes), "model.safetensors": state()})
    with pytest.raises(CheckpointError, match=told) as caught:
        read(path)
    assert f"{path / 'model.safetensors'} does not hold the weights of the model that" in str(caught.value)
    assert str(path / "open_clip_config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vision_cfg__head_width": 60}, r"head_width \(60\) does not divide the width \(128\)"),
        ({"vision_cfg__head_width": 256}, r"head_width \(256\) does not divide"),
        ({"text_cfg__heads": 3}, r"heads \(3\) must divide width \(64\)"),
    ],
)
def test_heads_that_cannot_be(changes, told, tmp_path):
    path = folder(tmp_path / "a", {"open_clip_config.json": config(**changes), "model.safetensors": state()})
    with pytest.raises(CheckpointError, match=told):
        read(path)


def test_a_config_that_contradicts_the_activation_that_the_weights_show(tmp_path):
    numbers = {
        "input_resolution": torch.tensor(64),
        "context_length": torch.tensor(16),
        "vocab_size": torch.tensor(600),
    }
    files = {"model.safetensors": state() | numbers}
    right = folder(tmp_path / "right", files | {"open_clip_config.json": config()})
    assert read(right).spec.text.activation == "quick_gelu"
    wrong = folder(tmp_path / "wrong", files | {"open_clip_config.json": config(quick_gelu=False)})
    with pytest.raises(
        CheckpointError, match=r"wrong/model\.safetensors is quick_gelu .*config\.json, which says gelu"
    ):
        read(wrong)


def test_a_clip_with_sigmoid_scores_has_a_bias(tmp_path):
    spec = dataclasses.replace(SPEC, scores="sigmoid")
    sigmoid = Bundle(spec, random_weights(spec))
    write(sigmoid, tmp_path / "a", format="open_clip")
    (tmp_path / "a" / "diptych.json").unlink()  # by OpenCLIP's config alone
    again = read(tmp_path / "a")
    assert (again.spec.scores, again.weights["logit_bias"]) == ("sigmoid", sigmoid.weights["logit_bias"])
    torch.save(state(spec=spec, weights=sigmoid.weights), tmp_path / "a.pt")
    assert read(tmp_path / "a.pt", activation="quick_gelu").spec.scores == "sigmoid"


def changed(**tensors):
    return {name: tensor for name, tensor in (state() | tensors).items() if tensor is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(text_projection=None), "text_projection"),
        (changed(**{"visual.ln_pre.weight": None}), r"missing visual\.ln_pre\.weight"),
        (changed(**{"visual.ln_prre.weight": torch.ones(1)}), r"not part of this model: visual\.ln_prre\.weight"),
        (changed(logit_shift=torch.zeros(())), "logit_shift"),
        (changed(**{"visual.ln_pre.weight": torch.ones(7)}), r"visual\.ln_pre\.weight is \(7,\), must be \(128,\)"),
        (changed(**{"visual.ln_pre.weight": torch.ones(128, dtype=torch.int8)}), "not floating point"),
        (changed(**{"visual.positional_embedding": torch.ones(7, 128)}), "square grid"),
        (changed(**{"ln_final.weight": torch.ones(60)}), "no multiple of 64"),
        (changed(**{"visual.conv1.weight": torch.ones(128)}), "cannot be told"),
        (changed(**{"module.logit_scale": torch.ones(())}), "two tensors are called 'logit_scale'"),
        ({"a": torch.ones(3)}, "not a CLIP"),
        ({}, "holds nothing"),
        ({"model": state(), "step": 3}, r"model \(dict\).*state_dict"),
        ([torch.ones(3)], "holds a list"),
        (changed(text_projection=torch.ones(64, 48).to_sparse()), "not a plain tensor"),
        (changed(text_projection=torch.ones(64, 48, device="meta")), "not a plain tensor"),
    ],
)
def test_wrong_tensors_are_named(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "a.pt", activation="quick_gelu")


def test_an_activation_that_nothing_tells_must_be_passed(tmp_path):
    torch.save(state(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"activation= \(--activation\): quick_gelu .* gelu .* --pairs"):
        read(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="did you mean 'quick_gelu'"):
        read(tmp_path / "a.pt", activation="quickgelu")
    with pytest.raises(CheckpointError, match="contradicts spec="):
        read(tmp_path / "a.pt", activation="gelu", spec=SPEC)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_want_to_run_code_run_nothing(zipped, tmp_path):
    marker = tmp_path / "ran"
    torch.save(state() | {"x": Bomb(marker)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"posix\.mkdir|nt\.mkdir"):
        read(tmp_path / "a.pt", spec=SPEC)
    assert not marker.exists()


def test_numbers_that_fp32_is_not_made_of_are_refused(tmp_path):
    """Scales of others' quantisation, which PyTorch counts among floating-point types."""
    low = {"visual.ln_pre.weight": torch.ones(128).to(torch.float8_e8m0fnu)}
    save_file(state() | low, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"not floating point: visual\.ln_pre\.weight \(torch\.float8_e8m0fnu\)"):
        read(tmp_path / "a.safetensors", spec=SPEC)
    fp8 = {"visual.ln_pre.weight": torch.ones(128).to(torch.float8_e4m3fn)}
    save_file(state() | fp8, tmp_path / "b.safetensors")
    assert (read(tmp_path / "b.safetensors", spec=SPEC).weights["image.norm_pre.weight"] == 1).all()


def test_a_zip_that_two_readers_would_read_differently_is_refused(tmp_path):
    torch.save(state(), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("a/DATA.pkl", b"")
    with pytest.raises(CheckpointError, match="two files of one name"):
        read(tmp_path / "a.pt", spec=SPEC)


def test_training_files_with_python_objects_say_which(tmp_path):
    torch.save({"state_dict": state(), "arguments": argparse.Namespace(lr=1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*state_dict\(\)"):
        read(tmp_path / "a.pt", spec=SPEC)


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "model.pt").touch()
    with pytest.raises(CheckpointError, match=r"did you mean 'model\.pt'"):
        read(tmp_path / "modle.pt")
    for content in (
        b"",
        b"GIF89a...",
        b"\x80",
        b"\x80\x02}q\x00.",
        b"version https://git-lfs",
        b"PK\x03\x04",
        bytes(64),
    ):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            read(tmp_path / "model.pt", activation="gelu")
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        read(tmp_path / "model.pt", activation="gelu")
    for files, message in (
        ({}, "it is empty"),
        ({"config.json": {}}, "no weights"),
        ({"config.json": {}, "model.safetensors": state()}, "does not tell its activation"),
        ({"a.pt": state(), "b.pt": state()}, "several files of weights: a.pt, b.pt"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read(folder(tmp_path / message.split()[0].strip(), files))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_cut_off_files_are_refused(name, tmp_path):
    path = tmp_path / name
    save_file(state(), path) if name.endswith("safetensors") else torch.save(state(), path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 12, 40, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=name):
            read(path, spec=SPEC)


def test_random_damage_never_escapes(tmp_path):
    """Bytes changed in the header of a file give weights or an error of ours."""
    generator = torch.Generator().manual_seed(0)

    def random(limit):
        return int(torch.randint(0, limit, (), generator=generator))

    small = {"logit_scale": torch.ones(()), "text_projection": torch.ones(2, 3)}
    for name in ("a.safetensors", "a.pt"):
        path = tmp_path / name
        save_file(small, path) if name.endswith("safetensors") else torch.save(small, path)
        whole = path.read_bytes()
        for _ in range(40):
            bad = bytearray(whole)
            bad[random(min(len(bad), 600))] = random(256)
            path.write_bytes(bad)
            with pytest.raises(DiptychError):
                read(path, spec=SPEC)


def test_open_clips_layouts_of_our_own_weights_are_the_same_model(tmp_path):
    original = bundle("RN50x4")
    write(original, tmp_path / "a")
    torch.save(state(OPEN_CLIP_OWN_TEXT, original.spec, original.weights), tmp_path / "b.pt")
    assert equal(read(tmp_path / "a").weights, read(tmp_path / "b.pt", spec=original.spec).weights)
    assert isinstance(read(tmp_path / "a"), Bundle)


@pytest.mark.parametrize("size", [2**40, 2**63, 2.0**63])
def test_sizes_that_no_tensor_can_have(size):
    text = dataclasses.replace(SPEC.text, vocabulary_size=size, width=size, heads=1)
    with pytest.raises(CheckpointError, match="no model with the sizes of twin") as caught:
        expected(dataclasses.replace(SPEC, text=text))
    assert "\n" not in str(caught.value)


def test_a_zip_with_a_name_that_is_no_text(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("é/data.pkl", b"")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content.replace("é".encode(), b"\xc3("))
    with pytest.raises(CheckpointError, match="cut off or damaged"):
        read(tmp_path / "a.pt")


def siglip_config(changes):
    spec = MODELS["ViT-B/16-SigLIP"]
    image = dataclasses.replace(spec.image, activation="gelu")  # as timm has it at this size
    config = open_clip.from_spec(dataclasses.replace(spec, image=image), own_tokenizer=False)
    for path, value in changes.items():
        *parents, key = path.split(".")
        node = config["model_cfg"]
        for parent in parents:
            node = node[parent]
        node[key] = value
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quick_gelu": True}, "quick_gelu is true"),
        ({"quick_gelu": "true"}, "must be true or false"),
        ({"text_cfg.final_ln_after_pool": True}, "final_ln_after_pool is True, which"),
        ({"text_cfg.embed_cls": True}, "embed_cls is True, which"),
        ({"vision_cfg.timm_proj_bias": True}, "timm_proj_bias is True, which"),
        ({"text_cfg.act_kwargs": "tanh"}, "act_kwargs is 'tanh', but must be an object"),
        ({"text_cfg.act_kwargs": {"approximate": "erf"}}, "act_kwargs is"),
        ({"text_cfg.norm_kwargs": [1]}, "norm_kwargs is .*, but must be an object"),
        ({"text_cfg.norm_kwargs": {"elementwise_affine": False}}, "norm_kwargs is"),
        ({"text_cfg.pool_type": "argmax"}, "pool_type is 'argmax'"),
        ({"vision_cfg.timm_model_name": f"vit_base_patch{'9' * 5000}_siglip_224"}, "cannot build"),
    ],
)
def test_switches_that_siglip_has_not_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        open_clip.to_spec(siglip_config(changes), "x", "config")


def test_siglip_of_open_clip_is_read_with_what_its_config_may_leave_out():
    text = open_clip.to_spec(siglip_config({}), "x", "config").text
    assert (text.activation, text.norm_epsilon) == ("gelu_tanh", 1e-6)
    exact = siglip_config({"text_cfg.act_kwargs": {"approximate": "none"}, "text_cfg.norm_kwargs": None})
    text = open_clip.to_spec(exact, "x", "config").text
    assert (text.activation, text.norm_epsilon, text.heads) == ("gelu", 1e-5, 12)


def test_heads_of_chinese_clip_that_nothing_tells_are_asked_for(tmp_path):
    spec = small_twin(MODELS["Chinese-CLIP-ViT-B/16"])
    spec = dataclasses.replace(spec, text=dataclasses.replace(spec.text, width=96, heads=3))
    stored = {}
    for name, tensor in create_model(spec, seed=0).state_dict().items():
        stored |= CHINESE_CLIP.places(spec)[name].split(tensor)
    torch.save(stored, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"the text tower is 96 wide.*spec=ModelSpec"):
        read(tmp_path / "a.pt")
    assert read(tmp_path / "a.pt", spec=spec).spec.text.heads == 3
