"""Converting proves itself: what came through is measured, what did not is named, and nothing is left behind."""

import dataclasses
from pathlib import Path

import pytest
import torch
from twins import bundle, random_weights, twin

from diptych.checkpoints import convert as conversion
from diptych.checkpoints import writing
from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.convert import compare, convert
from diptych.checkpoints.writing import inexpressible
from diptych.errors import CheckpointError
from diptych.specs import HuggingFaceTextSpec
from diptych.text.tokenizer import Tokenizer
from diptych.text.tokenizer_files import BYTES, RELEASED_MERGES


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
        ({"text": {"activation": "gelu"}}, "no gelu in the text tower, as twin has. Write it in the format diptych"),
        ({"image": {"heads": 4}}, "no image heads of another width than 64"),
        ({"image": {"pooling": "average"}}, "no average pooling"),
        ({"image": {"mlp_ratio": 2.0}}, "no mlp_ratio of 2 in the image tower"),
        ({"text": {"vocabulary_size": 700}, "image": {"heads": 4}}, "no image heads .* 64, no vocabulary of one's own"),
        ({"preprocess": {"mean": (0.5, 0.5, 0.5)}}, "no preprocessing other than CLIP's"),
        ({"preprocess": {"resize": "squash"}}, "no preprocessing other than CLIP's"),
    ],
)
def test_openais_layout_refuses_what_its_loader_would_get_wrong(change: dict, message: str, tmp_path: Path) -> None:
    spec = twin("ViT-B/32", vocabulary=49_408)
    for part, values in change.items():
        spec = dataclasses.replace(spec, **{part: dataclasses.replace(getattr(spec, part), **values)})
    with pytest.raises(CheckpointError, match=message):
        convert(Bundle(spec, random_weights(spec)), tmp_path / "a", "openai")
    assert not (tmp_path / "a").exists()


def test_what_no_other_format_has_is_said_in_a_sentence() -> None:
    text = HuggingFaceTextSpec(
        architecture="bert", context_length=16, vocabulary_size=600, width=64, options={"num_hidden_layers": 1}
    )
    spec = dataclasses.replace(twin("ViT-B/32"), text=text)
    problems = inexpressible(Bundle(spec, {}))
    assert problems["openai"] == (
        "OpenAI's code has no towers vision_transformer and huggingface_text, as twin has. "
        "Write it in the format diptych"
    )
    assert all(problem.endswith("Write it in the format diptych") for problem in problems.values())


def test_openais_layout_has_no_vocabulary_of_released_size_but_ones_own(tmp_path: Path) -> None:
    """Its ``clip.load`` would take the released merges instead, whatever was beside."""
    merges = [(byte, other) for byte in BYTES for other in BYTES][:RELEASED_MERGES]
    tokenizer = Tokenizer(merges)
    source = bundle("ViT-B/32", vocabulary=49_408, context=77)
    assert tokenizer.vocabulary_size == source.spec.text.vocabulary_size
    with pytest.raises(CheckpointError, match="no vocabulary of one's own"):
        convert(dataclasses.replace(source, tokenizer=tokenizer), tmp_path / "a", "openai")
    assert list(tmp_path.iterdir()) == []


def test_the_released_vocabulary_is_known(shared_data: Path, tmp_path: Path) -> None:
    released = Tokenizer.from_merges(shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz")
    assert released.is_released
    source = dataclasses.replace(bundle("ViT-B/32", vocabulary=49_408, context=77), tokenizer=released)
    convert(source, tmp_path / "a", "openai")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.pt"]
    back = read(tmp_path / "a" / "model.pt")
    assert back.provenance["weights_format"] == "openai, TorchScript archive"
    assert back.spec.image.activation == "quick_gelu"


@pytest.mark.parametrize("tensor", ["text.norm_final.weight", "image.projection", "logit_scale"])
def test_weights_that_are_no_numbers_are_not_converted(tensor: str, tmp_path: Path) -> None:
    source = bundle("ViT-B/32")
    source.weights[tensor].view(-1)[0] = float("nan")
    with pytest.raises(CheckpointError, match=f"{tensor} hold NaN"):
        convert(source, tmp_path / "a", "open_clip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["open_clip", "huggingface", "openai"])
def test_what_no_embedding_of_the_probes_shows_is_compared(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bundle("ViT-B/32", vocabulary=49_408 if format == "openai" else 600)
    save = writing._save
    written: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(writing, "_save", lambda tensors, *rest: [written.update(tensors), save(tensors, *rest)])
    convert(source, tmp_path / "a", format)
    rows = next(name for name in written if "token_embedding" in name)
    for name, value in (("logit_scale", 1.0), ("logit_scale", float("nan")), (rows, 1.0)):
        altered = written[name].clone()
        altered.view(-1)[altered.numel() // 3] += value  # of a token that is in no probe
        monkeypatch.setattr(
            writing, "_save", lambda tensors, *rest, name=name, altered=altered: save(tensors | {name: altered}, *rest)
        )
        with pytest.raises(CheckpointError, match=r"(logit_scale|token_embedding\.weight) did not come through"):
            convert(source, tmp_path / "b", format)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_preprocessing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(location: Path) -> Bundle:
        back = read(location)
        preprocess = dataclasses.replace(back.spec.preprocess, interpolation="bilinear")
        return dataclasses.replace(back, spec=dataclasses.replace(back.spec, preprocess=preprocess))

    monkeypatch.setattr(conversion, "read", other)
    with pytest.raises(CheckpointError, match="preprocess did not come through"):
        convert(bundle("ViT-B/32"), tmp_path / "a", "huggingface")


@pytest.mark.parametrize("format", ["open_clip", "huggingface", "diptych"])
def test_tensors_that_are_one_are_written_each(format: str, tmp_path: Path) -> None:
    source = bundle("ViT-B/32")
    source.weights["text.blocks.1.norm_mlp.weight"] = source.weights["text.blocks.0.norm_mlp.weight"]
    convert(source, tmp_path / "a", format)
    back = read(tmp_path / "a").weights
    assert torch.equal(back["text.blocks.1.norm_mlp.weight"], source.weights["text.blocks.0.norm_mlp.weight"])
