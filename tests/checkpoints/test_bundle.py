import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from twins import RELEASED, bundle, random_weights, renames, twin

from diptych.checkpoints import writing
from diptych.checkpoints.bundle import Bundle, as_written, build, fingerprint, read
from diptych.checkpoints.folder import replaced, sweep
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError, ConfigError, TokenizerError
from diptych.models.clip import create_model
from diptych.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
HERE, THERE = "two blue squares and a red circle", "eleven golden mountains in foggy weather"


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", RELEASED)
def test_what_is_written_is_read(name, tmp_path):
    original = dataclasses.replace(bundle(name), provenance={"recipe": {"name": "test"}, "licence": "CC0-1.0"})
    write(original, tmp_path / "a")
    again = read(tmp_path / "a")
    assert again.spec == original.spec
    assert equal(again.weights, original.weights)
    assert again.provenance["recipe"] == {"name": "test"}
    assert again.provenance["hashes"]["weights"] == fingerprint(original.weights)
    write(again, tmp_path / "b")
    assert equal(read(tmp_path / "b" / "open_clip_model.safetensors").weights, original.weights)


def test_a_built_model_is_the_bundles_tensors():
    original = bundle("RN50")
    model = build(original)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == original.weights[name].data_ptr()


def test_the_tokenizer_travels(tmp_path):
    tokenizer = Tokenizer.train(["a red circle", "two blue squares"], vocabulary_size=530, context_length=16)
    spec = twin("ViT-B/32", vocabulary=tokenizer.vocabulary_size)
    write(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "a")
    assert read(tmp_path / "a").tokenizer == tokenizer
    assert read(tmp_path / "a" / "open_clip_model.safetensors").tokenizer == tokenizer
    write(Bundle(spec, random_weights(spec)), tmp_path / "bare")
    assert read(tmp_path / "bare").tokenizer is None
    for given in (tmp_path / "a", tmp_path / "a" / "tokenizer.json"):
        assert read(tmp_path / "bare", tokenizer=given).tokenizer == tokenizer
    other = twin("ViT-B/32", vocabulary=700)
    write(Bundle(other, random_weights(other)), tmp_path / "other")
    with pytest.raises(CheckpointError, match="700"):
        read(tmp_path / "other", tokenizer=tmp_path / "a")


def test_another_resolution_resizes_positions_and_spec(tmp_path):
    for name, size, rows in (("ViT-B/32", 128, 17), ("RN50", 96, 10)):
        write(bundle(name), tmp_path / "a")
        larger = read(tmp_path / "a", image_size=size)
        assert larger.spec.image.image_size == larger.spec.preprocess.size == size
        [positions] = [v for k, v in larger.weights.items() if k.startswith("image.") and "positional" in k]
        assert len(positions) == rows
        assert "hashes" not in larger.provenance
        pixels = torch.randn(1, 3, size, size)
        assert build(larger).encode_image(pixels).shape == (1, 48)
    write(bundle("ViT-B/32"), tmp_path / "a")
    with pytest.raises(ValueError, match="patch_size"):
        read(tmp_path / "a", image_size=100)


@pytest.mark.parametrize("length", [31, 8])
def test_another_context_length_interpolates_positions(length, tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    whole, other = read(tmp_path / "a"), read(tmp_path / "a", context_length=length)
    old_LD, new_LD = (b.weights["text.positional_embedding"] for b in (whole, other))
    assert other.spec.text.context_length == len(new_LD) == length
    torch.testing.assert_close(new_LD[[0, -1]], old_LD[[0, -1]])
    if length == 31:  # twice as many steps between 16 places: every other one is an old one
        torch.testing.assert_close(new_LD[::2], old_LD)
        torch.testing.assert_close(new_LD[1], (old_LD[0] + old_LD[1]) / 2)
    assert "hashes" not in other.provenance
    ids = torch.randint(1, 500, (2, length))
    assert build(other).encode_text(ids).shape == (2, 48)


@pytest.mark.parametrize("format", ["diptych", "huggingface", "openai"])
def test_weights_may_be_read_by_whom_the_umask_allows(format, tmp_path):
    original = bundle("ViT-B/32", vocabulary=49_408)
    before = os.umask(0o027)
    try:
        write(original, tmp_path / "a", format=format)
        (tmp_path / "file").touch()
    finally:
        os.umask(before)
    assert {path.stat().st_mode for path in (tmp_path / "a").iterdir()} == {(tmp_path / "file").stat().st_mode}


def test_towers_with_different_activations_are_ours_only(tmp_path):
    original = bundle("ViT-B/32")
    image = dataclasses.replace(original.spec.image, activation="gelu")
    mixed = dataclasses.replace(original, spec=dataclasses.replace(original.spec, image=image))
    with pytest.raises(CheckpointError, match="one activation for both towers"):
        write(mixed, tmp_path / "a", format="open_clip")
    assert not (tmp_path / "a").exists()
    write(mixed, tmp_path / "a")
    assert not (tmp_path / "a" / "open_clip_config.json").exists()
    assert read(tmp_path / "a").spec == mixed.spec


def test_writing_replaces_a_bundle_and_nothing_else(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    write(bundle("ViT-B/16"), tmp_path / "a")
    assert read(tmp_path / "a").spec == twin("ViT-B/16")
    (tmp_path / "a" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"thesis\.txt"):
        write(bundle("ViT-B/32"), tmp_path / "a")
    assert read(tmp_path / "a").spec == twin("ViT-B/16")
    with pytest.raises(CheckpointError, match="is a file"):
        write(bundle("ViT-B/32"), tmp_path / "a" / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_the_old_bundle(tmp_path, monkeypatch):
    write(bundle("ViT-B/32"), tmp_path / "a")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        write(bundle("ViT-B/16"), tmp_path / "a")
    assert read(tmp_path / "a").spec == twin("ViT-B/32")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


_WRITER = """
import sys, itertools
sys.path.insert(0, sys.argv[2])
from twins import RELEASED, bundle
from diptych.checkpoints.writing import write
bundles = [bundle("ViT-B/32"), bundle("RN50")]
print("ready", flush=True)
for i in itertools.count():
    write(bundles[i % 2], sys.argv[1])
"""


def test_killed_while_writing_there_is_a_whole_bundle_or_none(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    target = tmp_path / "a"
    command = [sys.executable, "-c", _WRITER, str(target), str(Path(__file__).parent)]
    whole = {spec.image: fingerprint(random_weights(spec)) for spec in (twin("ViT-B/32"), twin("RN50"))}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        found, deadline = 0, time.monotonic() + 60
        while found < 20 and time.monotonic() < deadline:  # a reader meets the same rule as a crash
            process.send_signal(signal.SIGSTOP)
            if target.exists():
                now = read(target)
                assert fingerprint(now.weights) == whole[now.spec.image]
                found += 1
            process.send_signal(signal.SIGCONT)
            time.sleep(0.013)
        process.kill()
    assert found == 20


def test_the_weights_of_another_model_are_not_written(tmp_path):
    with pytest.raises(CheckpointError, match="not those of"):
        write(Bundle(twin("RN50"), random_weights(twin("ViT-B/32"))), tmp_path / "a")
    with pytest.raises(CheckpointError, match="not those of"):
        build(Bundle(twin("RN50"), random_weights(twin("ViT-B/32"))))
    with pytest.raises(CheckpointError, match="did you mean 'diptych'"):
        write(bundle("RN50"), tmp_path / "a", format="dyptich")  # ty: ignore[invalid-argument-type]


def test_what_is_too_large_for_fp32_is_refused(tmp_path):
    whole = bundle("ViT-B/32")
    names = renames(whole.spec)
    doubles = {names[name]: tensor.double() for name, tensor in whole.weights.items()}
    torch.save(doubles, tmp_path / "a.pt")
    assert fingerprint(read(tmp_path / "a.pt", activation="gelu").weights) == fingerprint(whole.weights)
    doubles["text_projection"][3, 4] = 1e300
    torch.save(doubles, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="text_projection holds numbers that are too large for fp32"):
        read(tmp_path / "b.pt", activation="gelu")


@pytest.mark.parametrize(
    ("asked", "told"), [({"image_size": 64_000}, "at most 8,192 px"), ({"context_length": 10**8}, "at most 65,536")]
)
def test_a_size_beyond_any_model_is_refused(asked, told, tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    with pytest.raises(ConfigError, match=told):
        read(tmp_path / "a", **asked)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_what_is_passed_as_a_tokenizer_and_is_none(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    os.mkfifo(tmp_path / "pipe.json")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(400 << 20)
    for name, told in (("pipe.json", "regular"), ("pipe.txt", "regular"), ("bytes.json", "utf-8"), ("huge.json", "MB")):
        with pytest.raises(TokenizerError, match=told):
            read(tmp_path / "a", tokenizer=tmp_path / name)


def unnoted(path):
    """The weights as another writer would leave them: without the description inside."""
    tensors = load_file(path)
    path.unlink()
    save_file(tensors, path)


def test_a_description_that_is_wrong_says_where(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    unnoted(tmp_path / "a" / "open_clip_model.safetensors")
    path = tmp_path / "a" / "diptych.json"
    good = json.loads(path.read_text())
    for change, message in (
        (lambda d: d.update(format=9), "has format 9"),
        (lambda d: d["spec"]["image"].update(widht=3), "did you mean 'width'"),
        (lambda d: d["spec"]["image"].update(layers=3), "missing visual.transformer.resblocks.2"),
        (lambda d: d.pop("provenance"), "provenance"),
        (lambda d: d.pop("spec"), "spec"),
    ):
        bad = json.loads(json.dumps(good))
        change(bad)
        path.write_text(json.dumps(bad))
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / "a")
    path.write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        read(tmp_path / "a")


def test_a_description_that_contradicts_the_weights_own_is_refused(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    path = tmp_path / "a" / "diptych.json"
    description = json.loads(path.read_text())
    description["provenance"]["licence"], description["spec"]["name"] = "MIT", "renamed"
    path.write_text(json.dumps(description))
    assert read(tmp_path / "a").provenance["licence"] == "MIT"
    description["spec"]["text"]["activation"] = "gelu"
    path.write_text(json.dumps(description))
    told = "open_clip_model.safetensors says of itself: text.activation is 'gelu' in one and 'quick_gelu' in the other"
    with pytest.raises(CheckpointError, match=told):
        read(tmp_path / "a")


def test_a_file_alone_tells_its_model(tmp_path):
    spec = twin("ViT-B/32")
    heads = dataclasses.replace(spec, text=dataclasses.replace(spec.text, heads=4, activation="gelu"))
    write(Bundle(heads, random_weights(heads)), tmp_path / "a")
    alone = next((tmp_path / "a").glob("*.safetensors")).rename(tmp_path / "alone.safetensors")
    assert read(alone).spec == heads
    with pytest.raises(CheckpointError, match="contradicts"):
        read(alone, activation="quick_gelu")


def test_fingerprints_tell_any_change():
    weights = random_weights(twin("RN50"))
    before = fingerprint(weights)
    assert before == fingerprint(dict(reversed(weights.items())))
    assert before != fingerprint(create_model(twin("RN50"), seed=0).state_dict())
    weights["image.stem.1.bias"] = weights["image.stem.1.bias"] + 1e-6
    assert before != fingerprint(weights)


def test_a_flipped_bit_is_noticed_by_whoever_asks(tmp_path):
    write(bundle("RN50"), tmp_path / "a")
    assert as_written(read(tmp_path / "a"))
    assert as_written(bundle("RN50")) is None
    half = {name: t.half() if t.is_floating_point() else t for name, t in bundle("RN50").weights.items()}
    write(Bundle(twin("RN50"), half), tmp_path / "half")
    assert as_written(read(tmp_path / "half"))
    path = tmp_path / "a" / "open_clip_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    damaged = read(tmp_path / "a")
    assert as_written(damaged) is False


def test_another_tokenizer_than_the_one_written_is_refused(tmp_path):
    """As many entries and other merges: every text would get wrong ids."""
    spec = twin("ViT-B/32").with_vocabulary(530)
    ours, other = (Tokenizer.train([text] * 9, vocabulary_size=530, context_length=16) for text in (HERE, THERE))
    original = Bundle(spec, random_weights(spec), ours)
    write(original, tmp_path / "a")
    assert read(tmp_path / "a").tokenizer == ours
    for name, content in other.files().items():
        (tmp_path / "a" / name).write_bytes(content)
    for options in ({}, {"image_size": 128}):
        with pytest.raises(CheckpointError, match="the tokenizer is not the one that was written"):
            read(tmp_path / "a", **options)
    write(Bundle(spec, original.weights, other), tmp_path / "b")
    assert read(tmp_path / "a", tokenizer=tmp_path / "b").tokenizer == other
    assert read(tmp_path / "b", context_length=30).tokenizer.context_length == 30
    short = Tokenizer.train([HERE] * 9, vocabulary_size=530, context_length=8)  # cuts texts before the model has to
    write(Bundle(spec, original.weights, short), tmp_path / "c")
    assert read(tmp_path / "c").tokenizer == ours


@pytest.mark.parametrize("format", ["huggingface", "openai"])
def test_a_described_model_is_not_replaced_by_what_describes_less(format, tmp_path):
    original = bundle("ViT-B/32", vocabulary=49_408)
    write(original, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"its diptych\.json, which would be lost"):
        write(original, tmp_path / "a", format=format)
    assert as_written(read(tmp_path / "a"))
    write(original, tmp_path / "b", format=format)
    write(original, tmp_path / "b", format=format)


def test_a_link_stays_one(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("later")
    for name in ("link", "dangling"):
        write(bundle("ViT-B/16"), tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert read(tmp_path / name).spec == twin("ViT-B/16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "later", "link", "real"]


@pytest.mark.parametrize("name", [".", "", "..", "../here"])
def test_the_folder_one_stands_in_is_not_replaced(name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match="is the folder that this runs in"):
        write(bundle("ViT-B/32"), name)
    write(bundle("ViT-B/32"), "new")
    assert [path.name for path in Path.cwd().iterdir()] == ["new"]


def test_writing_sweeps_what_no_living_process_writes(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    for name in (".a.new-0123abcd", ".a.old-0123abcd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with replaced(tmp_path / "a", set(os.listdir(tmp_path / "a"))) as new:
        write(bundle("ViT-B/16"), tmp_path / "a")
        assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "a"]
        (new / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert os.listdir(tmp_path / "a") == ["file"]


def test_the_only_copy_is_not_swept(tmp_path, monkeypatch):
    """A kill between the two renames leaves the old folder under its hidden name alone."""
    write(bundle("ViT-B/32"), tmp_path / ".a.old-0123abcd")
    monkeypatch.setattr(writing, "save_file", lambda *_, **__: (_ for _ in ()).throw(SafetensorError("full")))
    with pytest.raises(CheckpointError, match="full"):
        write(bundle("ViT-B/16"), tmp_path / "a")
    assert read(tmp_path / ".a.old-0123abcd").spec == twin("ViT-B/32")


def test_what_a_killed_writer_left_can_be_swept(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "a")
    ours, others = [".a.new-0123abcd", ".a.old-0123abcd"], [".b.new-0123abcd", ".a.new-mine", "a.new-0123abcd"]
    for name in (*ours, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    sweep(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a", *others])


def test_a_recipe_over_a_path_that_is_not_utf8_is_written(tmp_path):
    recipe = {"source": "caf\udce9/图.csv"}
    write(dataclasses.replace(bundle("ViT-B/32"), provenance={"recipe": recipe}), tmp_path / "a")
    assert read(tmp_path / "a").provenance["recipe"] == recipe
    assert "图" in (tmp_path / "a" / "diptych.json").read_text(encoding="utf-8")
    alone = next((tmp_path / "a").glob("*.safetensors")).rename(tmp_path / "alone.safetensors")
    assert read(alone).provenance["recipe"] == recipe


def test_a_folder_above_bundles_says_where_they_are(tmp_path):
    write(bundle("ViT-B/32"), tmp_path / "run" / "model")
    with pytest.raises(CheckpointError, match="run/model"):
        read(tmp_path / "run")


@pytest.mark.parametrize(("tower", "layers"), [("text", 10**9), ("image", 10**9)])
def test_a_description_with_a_billion_layers_is_refused_at_once(tmp_path, tower, layers):
    write(bundle("ViT-B/32"), tmp_path / "a")
    unnoted(tmp_path / "a" / "open_clip_model.safetensors")
    path = tmp_path / "a" / "diptych.json"
    description = json.loads(path.read_text())
    description["spec"][tower]["layers"] = layers
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"1,000,000,\d+ layers"):
        read(tmp_path / "a")


def test_a_full_disk_is_a_checkpoint_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(writing, "save_file", full)
    with pytest.raises(CheckpointError, match="cannot be written: No space left"):
        write(bundle("ViT-B/32"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_activation_contradicts_only_towers_that_have_one(tmp_path):
    write(bundle("RN50"), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"says quick_gelu; leave activation= \(--activation\) out"):
        read(tmp_path / "a", activation="gelu")
