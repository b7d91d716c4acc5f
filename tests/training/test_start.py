"""A run begins from another model's weights, whole or a tower of them, and never asks for them again."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from diptych.checkpoints.bundle import Bundle, fingerprint, read
from diptych.checkpoints.writing import write
from diptych.config import override
from diptych.encoder.loading import load
from diptych.errors import CheckpointError, ConfigError
from diptych.models.clip import CLIP, create_model
from diptych.specs import ModelSpec
from diptych.text.tokenizer import Tokenizer
from diptych.training import recipes
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.start import Beginning, StartSpec, begin
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin
from tests.training import small

WORDS = [f"a {colour} card number {index}" for colour in small.COLOURS for index in range(30)]
TOKENIZER = Tokenizer.train(WORDS, vocabulary_size=600, context_length=16)
OTHER_WORDS = Tokenizer.train(["something else altogether"] * 3, vocabulary_size=520, context_length=16)
SPEC = dataclasses.replace(twin(MODELS["ViT-B/32"]), name="begun-from")
SPEC = SPEC.with_vocabulary(TOKENIZER.vocabulary_size, context_length=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = redraw(create_model(SPEC, seed=0))
    return write(Bundle(SPEC, dict(model.state_dict()), TOKENIZER), tmp_path_factory.mktemp("start") / "model")


def begun(wanted: ModelSpec, start: StartSpec, vocabulary: int | str = TOKENIZER.vocabulary_size) -> Beginning:
    return begin(wanted, start, vocabulary=vocabulary, tokenizer=lambda: OTHER_WORDS, seed=5)


def same(model: CLIP, other: dict[str, torch.Tensor], prefix: str) -> bool:
    return all(torch.equal(t, other[name]) for name, t in model.state_dict().items() if name.startswith(prefix))


def test_both_towers_are_taken_with_temperature_and_tokenizer(weights: Path) -> None:
    start = begun(SPEC, StartSpec(weights=str(weights)))
    assert same(start.model, read(weights).weights, "")
    assert start.tokenizer == TOKENIZER
    origin = start.provenance["started_from"]
    assert (origin["weights"], origin["towers"]) == (str(weights), "both")
    assert origin["fingerprint"] == fingerprint(read(weights).weights)


def test_one_tower_is_taken_and_the_other_is_as_it_would_be_drawn(weights: Path) -> None:
    taken = read(weights).weights
    start = begun(SPEC, StartSpec(weights=str(weights), towers="image"))
    assert same(start.model, taken, "image.")
    plain = begun(SPEC, StartSpec())
    assert start.tokenizer == plain.tokenizer == OTHER_WORDS
    assert same(start.model, dict(plain.model.state_dict()), "text.")
    assert start.model.logit_scale == plain.model.logit_scale != taken["logit_scale"]
    start = begun(SPEC, StartSpec(weights=str(weights), towers="text"))
    assert same(start.model, taken, "text.")
    assert same(start.model, dict(plain.model.state_dict()), "image.")
    assert start.tokenizer == TOKENIZER


def test_positions_are_resized_to_the_recipe_and_nothing_else_changes(weights: Path) -> None:
    larger = dataclasses.replace(SPEC.with_image_size(5 * 32), text=dataclasses.replace(SPEC.text, context_length=20))
    start = begun(larger, StartSpec(weights=str(weights)))
    clip = load(weights, image_size=160, context_length=20)
    assert same(start.model, dict(clip.model.state_dict()), "")
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(start.model.eval().encode_image(pixels), clip.model.encode_image(pixels))
    before = read(weights).weights
    changed = [name for name, t in start.model.state_dict().items() if not torch.equal(t, before[name])]
    assert changed == ["image.positional_embedding", "text.positional_embedding"]
    assert start.tokenizer.context_length == 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": dataclasses.replace(SPEC.image, activation="gelu")}, "image.activation 'quick_gelu'.*'gelu'"),
        ({"image": dataclasses.replace(SPEC.image, layers=3)}, "image.layers 2, .* model.image.layers 3"),
        ({"image": MODELS["RN50"].image, "preprocess": MODELS["RN50"].preprocess}, "image.kind 'vision_transformer'"),
        ({"text": dataclasses.replace(SPEC.text, heads=2)}, "text.heads 1, .* 2"),
        ({"embedding": 32}, "embedding 24, .* 32"),
        ({"preprocess": dataclasses.replace(SPEC.preprocess, resize="squash")}, "preprocess.resize 'shortest'"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(
    weights: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        begun(dataclasses.replace(SPEC, **change), StartSpec(weights=str(weights)))


def test_what_is_not_taken_may_differ(weights: Path) -> None:
    other = dataclasses.replace(SPEC, text=dataclasses.replace(SPEC.text, heads=2))
    assert begun(other, StartSpec(weights=str(weights), towers="image")).model.spec.text.heads == 2


def test_the_vocabulary_agrees_with_the_text_tower(weights: Path, tmp_path: Path) -> None:
    start = StartSpec(weights=str(weights))
    with pytest.raises(ConfigError, match=f"--set vocabulary={TOKENIZER.vocabulary_size}"):
        begun(SPEC, start, vocabulary=4096)
    assert begun(SPEC, start, vocabulary=str(weights)).tokenizer == TOKENIZER
    shuffled = Tokenizer.train(WORDS[::-1] + ["zebra"] * 90, vocabulary_size=TOKENIZER.vocabulary_size)
    other = tmp_path / "other"
    other.mkdir()
    for name, content in shuffled.files().items():
        (other / name).write_bytes(content)
    assert shuffled.vocabulary_size == TOKENIZER.vocabulary_size
    with pytest.raises(ConfigError, match="brings a tokenizer"):
        begun(SPEC, start, vocabulary=str(other))
    bare = write(Bundle(SPEC, dict(read(weights).weights)), tmp_path / "bare")
    with pytest.raises(ConfigError, match="brings no tokenizer"):
        begun(SPEC, StartSpec(weights=str(bare)))
    assert begun(SPEC, StartSpec(weights=str(bare)), vocabulary=str(weights)).tokenizer == TOKENIZER


def test_weights_that_are_not_there_or_still_to_be_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"start\.weights: .*nowhere"):
        begun(SPEC, StartSpec(weights=str(tmp_path / "nowhere")))
    recipe = override(recipes.vit_l_14_336(str(data)), ["batch_size=8", 'data.captions=["caption"]'])
    with pytest.raises(ConfigError, match=r"--set start\.weights=MODEL"):
        train(recipe, tmp_path / "run")


def test_weights_that_do_not_say_their_activation(tmp_path: Path) -> None:
    spec = SPEC.with_vocabulary(49_408, context_length=77)  # the only one that OpenAI's layout has
    taken = dict(create_model(spec, seed=0).half().state_dict())  # which is in fp16
    file = write(
        Bundle(spec, {name: tensor.float() for name, tensor in taken.items()}), tmp_path / "bare", format="openai"
    )
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # PyTorch's, of its own format
        torch.save(torch.jit.load(file / "model.pt").state_dict(), tmp_path / "bare.pt")
    start = StartSpec(weights=str(tmp_path / "bare.pt"), towers="image")
    with pytest.raises(CheckpointError, match=r"Set start\.activation"):
        begun(spec, start)
    assert same(begun(spec, dataclasses.replace(start, activation="quick_gelu")).model, taken, "image.")
    with pytest.raises(ConfigError, match=r"image\.activation"):
        begun(spec, dataclasses.replace(start, activation="gelu"))


def started(data: Path, weights: Path, *changes: str) -> Recipe:
    plain = small.recipe(data, steps=4, every_steps=2)
    image = dataclasses.replace(SPEC.image, image_size=64)
    preprocess = dataclasses.replace(SPEC.preprocess, size=64)
    plain = dataclasses.replace(plain, model=dataclasses.replace(SPEC, image=image, preprocess=preprocess))
    words = f"vocabulary={TOKENIZER.vocabulary_size}"
    return override(plain, [words, f"start.weights={weights}", *changes])


def test_a_run_that_is_resumed_never_asks_for_them_again(data: Path, weights: Path, tmp_path: Path) -> None:
    begun_from = shutil.copytree(weights, tmp_path / "weights")
    recipe = started(data, begun_from)
    train(recipe, tmp_path / "run")
    whole = read(tmp_path / "run" / "model")
    shutil.rmtree(begun_from)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000000004")
    train(recipe, tmp_path / "run", resume=True)
    resumed = read(tmp_path / "run" / "model")
    assert fingerprint(resumed.weights) == fingerprint(whole.weights)
    assert resumed.provenance == whole.provenance
    assert resumed.provenance["started_from"]["weights"] == str(begun_from)
    assert resumed.provenance["started_from"]["provenance"]["image_size_from"] == 96


def test_the_recipes_that_begin_from_weights() -> None:
    recipe = recipes.vit_l_14_336("pairs", start="runs/vit-l-14/model")
    assert recipe.model.image.image_size == recipe.model.preprocess.size == 336
    assert recipe.optimizer.learning_rate == 2e-5
    assert recipe.steps(400_000_000) == round(400e6 / 32_768)
    lit = override(recipes.lit_b_16("pairs"), ["start.weights=runs/vit-b-16/model"])
    assert json.loads(json.dumps(lit.start.towers)) == "image"
    assert lit.image_tower.learns == "nothing"
    assert lit.text_tower.learns == "all"
