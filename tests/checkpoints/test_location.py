"""Where a checkpoint is looked for, and what is said where there is none."""

import os

import pytest
from twins import bundle

from diptych.checkpoints.bundle import read
from diptych.checkpoints.contents import find_contents
from diptych.checkpoints.json_files import read_json
from diptych.checkpoints.location import find
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with two models and much else."""
    write(bundle(), tmp_path / "mine")
    write(bundle(), tmp_path / "runs-a" / "model")
    (tmp_path / "epoch_1.pt").touch()
    for name in ("notes.txt", "cat.jpg", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(location):
    with pytest.raises(CheckpointError) as error:
        find(location)
    return str(error.value)


def test_only_what_may_be_a_checkpoint_is_listed(here):
    assert said("nosuch") == "there is no file or folder nosuch; valid: epoch_1.pt, mine, runs-a"
    assert "did you mean 'mine'?" in said("mime")
    assert said("pictures/nosuch") == "there is no file or folder pictures/nosuch"


@pytest.mark.parametrize("name", ["ViT-B/32", "vit-b-32", "RN50"])
def test_the_name_of_an_architecture_is_no_checkpoint(name, here):
    assert "is an architecture" in said(name)
    assert "hf:" in said(name)
    assert "diptych.create" in said(name)


@pytest.mark.parametrize("name", ["resnet18", "vit_base_patch16_224"])
def test_a_model_of_timm_is_recognised(name, here):
    assert said(name).endswith(f"if it is a model of timm, write hf:timm/{name}.TAG, as hf:timm/resnet50.a1_in1k is")
    assert said("resnet18.a1_in1k").endswith("write hf:timm/resnet18.a1_in1k")


def test_a_repository_without_its_prefix_is_recognised(here):
    assert said("laion/CLIP-ViT-B-32").endswith("write hf:laion/CLIP-ViT-B-32")
    assert said("runs/model.pt") == "there is no file or folder runs/model.pt"


@pytest.mark.parametrize(
    ("location", "told"), [("", "no location"), (None, "no location"), (5, "5 was"), (b"a", "b'a'")]
)
def test_a_location_is_a_path_or_a_name(location, told):
    assert told in said(location)
    with pytest.raises(CheckpointError, match="pass a folder, a file or hf:org/name"):
        read(location)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_pipes_devices_and_folders_beside_weights_are_not_opened(here):
    weights = (here / "mine" / "open_clip_model.safetensors").rename(here / "pictures" / "model.safetensors")
    for beside in (lambda path: os.mkfifo(path), lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")):
        description = weights.with_name("diptych.json")
        beside(description)
        assert find(weights)[1].description is None
        assert read(weights).spec.image.width == 128
        with pytest.raises(CheckpointError, match=r"cannot read .*diptych\.json"):
            read_json(description)
        description.rmdir() if description.is_dir() else description.unlink()


def test_what_says_more_of_an_image_processor_or_a_tokenizer_belongs_to_a_checkpoint():
    """These are the files that are fetched from a hub."""
    names = ["config.json", "processor_config.json", "tokenizer_config.json", "vocab.json", "model.safetensors", "x.md"]
    contents = find_contents(names, "here")
    assert contents.configs == ("config.json", "processor_config.json")
    assert contents.tokenizer == ()  # these two are none by themselves
    whole = find_contents([*names, "merges.txt"], "here")
    assert whole.tokenizer == ("merges.txt", "tokenizer_config.json", "vocab.json")
