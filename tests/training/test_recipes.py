"""The recipe table: what it says, and that each of its recipes runs."""

import dataclasses
import inspect
import math
from pathlib import Path

import pytest

import diptych
from diptych.config import override
from diptych.errors import ConfigError
from diptych.specs import ModelSpec
from diptych.training import recipes
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.smoke import smoke
from diptych.zoo import MODELS
from tests.training import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"), images=8)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_runs_when_shrunk(name: str, data: Path, tmp_path: Path) -> None:
    run = train(smoke(recipes.find(name)(str(data))), tmp_path / "run")
    assert run.finished
    assert run.steps == 2
    assert diptych.load(tmp_path / "run" / "model").encode_images(data.parent / "0.png").shape[0] == 1


def kinds(model: ModelSpec) -> tuple[object, ...]:
    towers = (model.image, model.text)
    kept = [getattr(tower, field, None) for tower in towers for field in ("kind", "activation", "pooling")]
    return (*kept, model.scores, model.tokenizer, model.preprocess.resize)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_is_shrunk_keeps_what_decides_the_path(name: str) -> None:
    recipe = recipes.find(name)("x")
    shrunk = smoke(recipe)
    assert kinds(shrunk.model) == kinds(recipe.model)
    assert dataclasses.replace(shrunk.optimizer, warmup_steps=recipe.optimizer.warmup_steps) == recipe.optimizer
    assert shrunk.data.augmentation == recipe.data.augmentation
    assert shrunk.data.captions_per_image == recipe.data.captions_per_image
    assert shrunk.loss == recipe.loss
    assert shrunk.precision == recipe.precision


def test_micro_batches_patch_dropout_and_nested_embeddings_are_shrunk_too(data: Path, tmp_path: Path) -> None:
    values = ["micro_batch=512", "patch_dropout=0.5", "loss.nested=[128,512]"]
    shrunk = smoke(override(recipes.vit_b_16(str(data)), values))
    assert (shrunk.micro_batch, shrunk.patch_dropout, shrunk.loss.nested) == (2, 0.5, (16, 32))
    assert train(shrunk, tmp_path / "run").finished


@pytest.mark.parametrize("model", ["Chinese-CLIP-ViT-B/16", "ViT-SO400M/14-SigLIP-384", "RN50x64"])
def test_any_model_of_ours_can_be_shrunk(model: str) -> None:
    recipe = Recipe(name="any", model=MODELS[model], data=recipes.rn50("x").data)
    assert kinds(smoke(recipe).model) == kinds(recipe.model)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_docstrings_hold_a_line_and_a_command_that_is_right(name: str) -> None:
    text = inspect.getdoc(recipes.find(name)) or ""
    assert f"diptych train {name} " in " ".join(text.split())
    assert len(text.splitlines()[0]) <= 100
    assert recipes.summary(name) == text.splitlines()[0].rstrip(".").replace("``", "")


def test_siglips_values() -> None:
    recipe = recipes.siglip_b_16("x")
    assert recipe.model.scores == "sigmoid"
    assert (recipe.optimizer.learning_rate, recipe.optimizer.weight_decay, recipe.optimizer.beta2) == (1e-3, 1e-4, 0.95)
    assert recipe.steps(samples=1) * recipe.batch_size == pytest.approx(40e9, rel=1e-6)
    assert recipe.max_logit_scale > 117  # where the released model's ends


def test_clipas_values() -> None:
    recipe = recipes.clipa_l_16("x")
    assert recipe.model.image.image_size == recipe.model.preprocess.size == 64
    assert (recipe.model.image.image_size // 16) ** 2 + 1 == 17
    assert recipe.model.text.context_length == 16
    assert recipe.batch_size == 8 * 4096
    # The authors say the rate for a batch of 256, from which it goes with the batch.
    assert math.isclose(recipe.optimizer.learning_rate, 8e-6 * recipe.batch_size / 256)


def test_what_a_loss_of_sigmoid_scores_lacks_is_told_with_what_to_type() -> None:
    told = r"loss.caption_contrast is \S+, but \S+ has sigmoid scores.*; --set loss.caption_contrast=0$"
    with pytest.raises(ConfigError, match=told):
        override(recipes.small_drawings("x"), ["model.scores=sigmoid"])
    both = ["model.scores=sigmoid", "loss.label_smoothing=0.1"]
    with pytest.raises(ConfigError, match=r"--set loss.caption_contrast=0 --set loss.label_smoothing=0$"):
        override(recipes.small_drawings("x"), both)
    mended = override(recipes.small_drawings("x"), ["model.scores=sigmoid", "loss.caption_contrast=0"])
    assert mended.loss.caption_contrast == 0
