"""``diptych inspect`` where an extra is missing: all that can be told without it, and which it is."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diptych.checkpoints.bundle import Bundle, outline, read
from diptych.checkpoints.writing import write
from diptych.cli.main import main
from diptych.config import to_dict
from diptych.errors import MissingExtra
from diptych.models.clip import create_model
from diptych.specs import HuggingFaceTextSpec, ModelSpec, PreprocessSpec, TimmSpec
from diptych.zoo import MODELS
from tests.models.twins import twin


@pytest.fixture(autouse=True)
def _no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sentencepiece", "timm", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def siglip(tmp_path: Path) -> Path:
    spec = twin(MODELS["ViT-B/16-SigLIP"])
    write(Bundle(spec, create_model(spec, seed=0).state_dict()), tmp_path / "a", format="huggingface")
    (tmp_path / "a" / "spiece.model").write_bytes(b"pieces that nobody here can read")
    return tmp_path / "a"


def test_a_vocabulary_that_nothing_here_reads(siglip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MissingExtra):
        read(siglip)
    assert main(["inspect", str(siglip), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["missing"] == ["to encode texts, SentencePiece is an extra: pip install 'diptych[sentencepiece]'"]
    assert facts["vocabulary"] == "not read"
    assert min(facts["gigaflops"].values()) > 0
    assert facts["converts_to"]["huggingface"] == "yes"
    assert main(["inspect", str(siglip)]) == 0
    assert re.search(r"missing +to encode texts, SentencePiece is an extra: pip install", capsys.readouterr().out)
    bundle, _ = outline(siglip)
    assert bundle.weights["text.blocks.0.mlp.expand.weight"].shape == (256, 64)


EXTERNAL = ModelSpec(
    name="external",
    embedding=24,
    image=TimmSpec(name="resnet18", image_size=64, width=512),
    text=HuggingFaceTextSpec(architecture="bert", context_length=12, vocabulary_size=90, width=32, options={}),
    preprocess=PreprocessSpec(size=64),
    tokenizer="sentence_piece",
)


@pytest.fixture
def external(tmp_path: Path) -> Path:
    description = {"format": 1, "spec": to_dict(EXTERNAL), "provenance": {"licence": "MIT"}}
    (tmp_path / "diptych.json").write_text(json.dumps(description))
    (tmp_path / "spiece.model").write_bytes(b"")
    tensors = {"image.trunk.a": torch.ones(3, 4), "text.trunk.b": torch.ones(5), "logit_scale": torch.ones(())}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def test_towers_that_nothing_here_makes(external: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MissingExtra):
        read(external)
    assert main(["inspect", str(external), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == {"image": 12, "text": 5, "total": 18}
    assert (facts["gigaflops"], facts["weights_as_written"], facts["licence"]) == (None, "not known", "MIT")
    assert [line.partition(":")[2].split("' (")[0] for line in facts["missing"]] == [
        " pip install 'diptych[timm]",
        " pip install 'diptych[sentencepiece]'",
    ]
    assert all(answer != "yes" for answer in facts["converts_to"].values())
    assert main(["inspect", str(external)]) == 0
    shown = capsys.readouterr().out
    assert "image tower, timm" in shown
    assert "12 parameters, operations not counted" in shown
    assert re.search(r"missing +to run the model, timm is an extra: pip install 'diptych\[timm\]'", shown)


def test_names_in_a_file_are_no_commands_to_a_terminal(external: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = external / "diptych.json"
    description = json.loads(path.read_text())
    description["provenance"] = {"licence": "\x1b[2Jfree\r\nof all\x07", "\x1b]0;x\x07": 1}
    description["spec"]["name"] = "\x1b[31mred"
    path.write_text(json.dumps(description))
    assert main(["inspect", str(external)]) == 0
    shown = capsys.readouterr().out
    assert r"\x1b[2Jfree\r\nof all\x07" in shown
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
