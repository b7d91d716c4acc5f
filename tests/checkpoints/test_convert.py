"""Converting proves itself: what came through is measured, what did not is named, and nothing is left behind."""

import dataclasses
from pathlib import Path

import pytest
import torch
from twins import bundle, random_weights, twin

from diptych.checkpoints import convert as conversion
from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.convert import compare, convert
from diptych.errors import CheckpointError
from diptych.text.tokenizer import Tokenizer


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32"])
@pytest.mark.parametrize("format", ["diptych", "open_clip", "openai"])
def test_what_can_be_expressed_comes_through(name: str, format: str, tmp_path: Path) -> None:
    source = bundle(name, vocabulary=49_408, context=77)
    proof = convert(source, tmp_path / "a", format)
    assert proof.largest <= 1e-7


def test_the_tokenizer_comes_too(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["a cat", "a dog"] * 3, vocabulary_size=540, context_length=16)
    spec = twin("ViT-B/32").with_vocabulary(tokenizer.vocabulary_size)
    convert(Bundle(spec, random_weights(spec), tokenizer), tmp_path / "a", "huggingface")
    assert read(tmp_path / "a").tokenizer == tokenizer


def test_a_difference_is_an_error_that_names_the_layer_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bundle("ViT-B/32")

    def damaged(location: Path) -> Bundle:
        back = read(location)
        back.weights["text.blocks.1.mlp.expand.weight"] += 0.01
        return back

    monkeypatch.setattr(conversion, "read", damaged)
    with pytest.raises(CheckpointError, match=r"embeddings differ by .*text\.blocks\.1\.mlp\.expand"):
        convert(source, tmp_path / "a", "open_clip")
    assert list(tmp_path.iterdir()) == []


def test_every_layer_can_be_named() -> None:
    source = bundle("ViT-B/32")
    for name in ("image.patch_embedding", "image.blocks.0.attention.output", "text.norm_final"):
        weights = {key: tensor.clone() for key, tensor in source.weights.items()}
        weights[f"{name}.weight"] += 0.02 * torch.randn(weights[f"{name}.weight"].shape)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            compare(source, Bundle(source.spec, weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": {"activation": "gelu"}}, "no gelu in the text tower"),
        ({"image": {"heads": 4}}, "no image heads that are not 64 wide"),
        ({"image": {"pooling": "average"}}, "no average pooling"),
        ({"image": {"mlp_ratio": 2.0}}, "mlp_ratio"),
        ({"text": {"vocabulary_size": 700}}, "no vocabulary of one's own"),
    ],
)
def test_openais_layout_refuses_what_its_loader_would_get_wrong(change: dict, message: str, tmp_path: Path) -> None:
    spec = twin("ViT-B/32", vocabulary=49_408)
    for part, values in change.items():
        spec = dataclasses.replace(spec, **{part: dataclasses.replace(getattr(spec, part), **values)})
    with pytest.raises(CheckpointError, match=message):
        convert(Bundle(spec, random_weights(spec)), tmp_path / "a", "openai")
    assert not (tmp_path / "a").exists()
