import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create, load
from diptych.encoder.subject import ImageSubject
from diptych.errors import ConfigError, DataError, TokenizerError
from diptych.specs import ModelSpec, ModifiedResNetSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.text.prompts import fill
from diptych.text.tokenizer import Tokenizer

TEXTS = ["a cat", "a photo of a very big red dog in a garden", "dogs", "a cat", "", "a red cat and a big dog"]
TEXT_TOWER = TextTransformerSpec(width=32, layers=2, heads=2)
PREPROCESS = PreprocessSpec(size=32)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*TEXTS, "a photo of"] * 2, vocabulary_size=560, context_length=16)


@pytest.fixture(scope="module", params=["vision_transformer", "modified_resnet"])
def clip(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Clip:
    image = (
        VisionTransformerSpec(image_size=32, patch_size=8, width=32, layers=2, heads=2)
        if request.param == "vision_transformer"
        else ModifiedResNetSpec(image_size=32, layers=(1, 1, 1, 1), stem_width=4, heads=2)
    )
    spec = ModelSpec(name="tiny", embedding=24, image=image, text=TEXT_TOWER, preprocess=PREPROCESS)
    return create(spec, seed=3, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40, 30 + i, 3), np.uint8)) for i in range(7)]


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() < 2e-6)


def test_every_form_of_an_image_gives_the_same(clip: Clip, images: list[Image.Image], tmp_path: Path) -> None:
    expected = clip.encode_images(images, batch_size=3)
    assert expected.shape == (7, 24)
    assert expected.dtype == np.float32
    assert np.allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)
    path = tmp_path / "first.png"
    images[0].save(path)
    for form in (path, str(path), encoded(images[0]), images[0], np.asarray(images[0])):
        assert close(clip.encode_images(form), expected[:1])
    mixed = clip.encode_images(image for image in [path, *images[1:5], encoded(images[5]), np.asarray(images[6])])
    assert close(mixed, expected)
    stack = np.stack([np.asarray(images[0])] * 3)
    assert close(clip.encode_images(stack), expected[[0, 0, 0]])
    assert clip.encode_images([]).shape == (0, 24)


def test_an_unreadable_image_is_named(clip: Clip, images: list[Image.Image]) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        clip.encode_images([*images, "nowhere.jpg"], batch_size=2)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (None, "NoneType is neither"),
        (7, "int is neither"),
        (io.BytesIO(b"lines"), "its path, or the bytes"),
        ([io.BytesIO(b"lines")], "BytesIO is not an image"),
        (".", "is a folder"),
        (["."], "is a folder"),
    ],
)
def test_what_is_no_image_is_said(clip: Clip, images: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        clip.encode_images(images)
    with pytest.raises(DataError, match=told):
        ImageSubject.of(clip).features(images)


@pytest.mark.parametrize("texts", [None, 7, b"a cat", [None], [["a cat"]]])
def test_what_is_no_text_is_said(clip: Clip, texts: object) -> None:
    with pytest.raises(DataError, match="a text must be a string, not"):
        clip.encode_texts(texts)


@pytest.mark.parametrize("size", [0, -1, 2.5, None])
def test_a_batch_holds_at_least_one(clip: Clip, images: list[Image.Image], size: object) -> None:
    for encode in (
        lambda: clip.encode_images(images, batch_size=size),
        lambda: clip.encode_texts(TEXTS, batch_size=size),
        lambda: ImageSubject.of(clip).features(images, batch_size=size),
    ):
        with pytest.raises(ConfigError, match="batch_size must be a whole number, at least 1"):
            encode()
    assert clip.encode_images(images, batch_size=np.int64(2)).shape == (7, 24)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (torch.zeros(1, 3, 33, 32), r"shape \(n, 3, 32, 32\)"),
        (torch.zeros(3, 32, 32), r"not torch.float32 of shape \(3, 32, 32\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "floats"),
        (np.zeros((1, 3, 32, 32), np.float32), "ndarray is none"),
    ],
)
def test_pixels_are_those_the_model_was_made_for(clip: Clip, pixels: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        clip.encode_pixels(pixels)
    with pytest.raises(DataError, match=told):
        ImageSubject.of(clip).features_of_pixels(pixels)


def test_pixels_of_any_float_are_taken(clip: Clip) -> None:
    pixels_BCHW = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    assert close(clip.encode_pixels(pixels_BCHW.double()), clip.encode_pixels(pixels_BCHW))


def test_features_of_no_image_are_an_error(clip: Clip) -> None:
    with pytest.raises(DataError, match="no image was given"):
        ImageSubject.of(clip).features([])


def test_texts_keep_their_order_and_equals_are_encoded_once(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    encode = clip.model.encode_text
    alone = np.concatenate([clip.encode_texts(text) for text in TEXTS])
    monkeypatch.setattr(
        clip.model,
        "encode_text",
        lambda tokens: seen.append(tuple(tokens.ids_BL.shape)) or encode(tokens),
        raising=True,
    )
    together = clip.encode_texts(TEXTS, batch_size=2)
    assert close(together, alone)
    assert sum(count for count, _ in seen) == len(set(TEXTS))
    lengths = [length for _, length in seen]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    assert clip.encode_texts([]).shape == (0, 24)


def test_many_texts_go_in_parts(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = clip.encode_texts(TEXTS)
    weights = clip.classifier(TEXTS, ["{}", "a {}"]).weights_CE
    monkeypatch.setattr("diptych.encoder.clip.TEXTS_AT_ONCE", 4)
    assert close(clip.encode_texts(TEXTS), whole)
    assert close(clip.classifier(TEXTS, ["{}", "a {}"]).weights_CE, weights)


def test_cut_texts_are_reported(clip: Clip) -> None:
    with pytest.warns(UserWarning, match="2 of 3 texts were cut to 16 tokens"):
        clip.encode_texts(["a cat " * 20, "dogs", "big red " * 20])


def test_an_ensemble_is_the_average_of_its_embeddings(clip: Clip) -> None:
    labels, templates = ["cat", "big dog", "cat"], ["a photo of a {}.", "{c}", "a red {}"]
    classifier = clip.classifier(labels, templates)
    for label, weights_E in zip(labels, classifier.weights_CE, strict=True):
        mean_E = np.mean([clip.encode_texts(fill(template, label))[0] for template in templates], axis=0)
        assert np.allclose(weights_E, mean_E / np.linalg.norm(mean_E), atol=2e-6)


def test_probabilities_are_the_softmax_of_scaled_similarities(clip: Clip, images: list[Image.Image]) -> None:
    classifier = clip.classifier(["cat", "dog", "red"], "photo")
    probabilities = classifier.predict_proba(images)
    logits = torch.tensor(clip.encode_images(images) @ classifier.weights_CE.T) * clip.model.logit_scale.exp()
    assert np.allclose(probabilities, logits.softmax(dim=1).detach().numpy(), atol=1e-5)
    predictions = classifier.rank(images)
    assert classifier.predict(images) == [prediction.label for prediction in predictions]
    assert [prediction.label for prediction in predictions] == [classifier.labels[i] for i in probabilities.argmax(1)]
    one = clip.classify(images[0], ["cat", "dog", "red"])
    assert one.labels == predictions[0].labels
    assert list(one.probabilities) == sorted(one.probabilities, reverse=True)
    assert sum(probability for _, probability in one) == pytest.approx(1)
    assert str(one).splitlines()[0].endswith(one.label)
    assert f"{one.probability:.2%}" in str(one)


def test_one_image_is_classified_and_several_are_not(clip: Clip, images: list[Image.Image]) -> None:
    for several in (images, images[:1], iter(images), np.zeros((2, 8, 8, 3), np.uint8), None):
        with pytest.raises(DataError, match=r"one image.*classifier\(labels\)\.rank\(images\)"):
            clip.classify(several, ["cat", "dog"])
    assert clip.classify(np.zeros((8, 8, 3), np.uint8), iter(["cat", "dog"])).label in ("cat", "dog")


@pytest.mark.parametrize("labels", ["cat", [], None, 3, [1, 2]])
def test_labels_are_a_sequence_of_names(clip: Clip, labels: object) -> None:
    with pytest.raises(ConfigError, match="labels must be"):
        clip.classifier(labels)


def test_without_a_tokenizer_images_encode_and_texts_say_what_to_pass(clip: Clip, images: list[Image.Image]) -> None:
    mute = Clip(clip.model)
    assert close(mute.encode_images(images), clip.encode_images(images))
    with pytest.raises(TokenizerError, match=r"Pass tokenizer= \(--tokenizer\)"):
        mute.encode_texts("a cat")
    with pytest.raises(TokenizerError, match="came without a tokenizer"):
        mute.classify(images[0], ["cat"])


def test_another_models_tokenizer_is_refused(clip: Clip) -> None:
    other = Tokenizer.train(["something else"], vocabulary_size=520, context_length=16)
    with pytest.raises(TokenizerError, match="token embeddings"):
        Clip(clip.model, other)


def test_the_models_mode_is_left_alone(clip: Clip, images: list[Image.Image]) -> None:
    expected = clip.encode_images(images)
    clip.model.train()
    frozen = clip.model.text.norm_final.eval()
    before = {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}
    assert close(clip.encode_images(images), expected)
    assert clip.model.training
    assert not frozen.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in clip.model.state_dict().items())
    clip.model.eval()


def test_saved_and_loaded_it_is_the_same(clip: Clip, images: list[Image.Image], tmp_path: Path) -> None:
    clip.save(tmp_path / "saved", format="diptych")
    again = load(tmp_path / "saved")
    assert again.tokenizer == clip.tokenizer
    assert again.spec == clip.spec
    assert close(again.encode_images(images), clip.encode_images(images))
    assert close(again.encode_texts(TEXTS), clip.encode_texts(TEXTS))
    mine, theirs = clip.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in mine.items())
    other = load(tmp_path / "saved", tokenizer=clip.tokenizer, image_size=64)
    assert other.encode_images(images[0]).shape == (1, 24)


def test_fast_is_bf16_and_near(clip: Clip, images: list[Image.Image], tmp_path: Path) -> None:
    clip.save(tmp_path / "saved", format="diptych")
    halved = load(tmp_path / "saved", precision="fast")
    assert halved.precision == "fast"
    assert any(parameter.dtype == torch.bfloat16 for parameter in halved.model.parameters())
    with pytest.raises(ConfigError, match="precision='fp32'"):
        halved.save(tmp_path / "rounded")
    for fast in (halved, Clip(clip.model, clip.tokenizer, precision="fast")):
        for mine, exact in (
            (fast.encode_images(images), clip.encode_images(images)),
            (fast.encode_texts(TEXTS), clip.encode_texts(TEXTS)),
        ):
            assert mine.dtype == np.float32
            assert not np.array_equal(mine, exact)
            assert ((mine * exact).sum(axis=1) > 0.995).all()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "vulkan"])
def test_a_device_that_is_not_there_is_told(clip: Clip, device: str, tmp_path: Path) -> None:
    clip.save(tmp_path / "saved", format="diptych")
    with pytest.raises(ConfigError, match=f"device='{device}' cannot be used here"):
        load(tmp_path / "saved", device=device)
    assert next(load(tmp_path / "saved", device="cpu").model.parameters()).device.type == "cpu"


def test_a_size_of_nothing_is_no_size(clip: Clip, tmp_path: Path) -> None:
    clip.save(tmp_path / "saved", format="diptych")
    with pytest.raises(ConfigError, match="image_size must be positive"):
        load(tmp_path / "saved", image_size=0)
    with pytest.raises(ConfigError, match="context_length must be positive"):
        load(tmp_path / "saved", context_length=0)


def test_what_is_no_tokenizer_or_no_model_is_said(clip: Clip, tmp_path: Path) -> None:
    clip.save(tmp_path / "saved", format="diptych")
    for make in (
        lambda: load(tmp_path / "saved", tokenizer=5),
        lambda: create("RN-micro", seed=0, tokenizer="a folder"),
        lambda: Clip(clip.model, "a folder"),
    ):
        with pytest.raises(TokenizerError, match="is no tokenizer of diptych"):
            make()
    with pytest.raises(ConfigError, match="name of an architecture"):
        create(5, seed=0)


def test_precision_is_one_of_two(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="did you mean 'fp32'"):
        Clip(clip.model, precision="fp23")


def test_create_by_name_takes_the_tokenizers_vocabulary(tokenizer: Tokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = diptych.create("rn-50", seed=0, tokenizer=tokenizer)
    assert made.spec.text.vocabulary_size == tokenizer.vocabulary_size
    assert made.spec.text.context_length == 16
    assert made.provenance == {"weights_from": "random, seed 0"}
    with pytest.raises(ConfigError, match="no model is called"):
        diptych.create("vit-b-31x", seed=0)
