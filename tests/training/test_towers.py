"""What of a tower learns: gradients of the rest, statistics that stay, rates that fall with depth, and resuming."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.writing import write
from diptych.config import override
from diptych.errors import ConfigError
from diptych.models.clip import CLIP, create_model
from diptych.specs import BagOfWordsSpec, ModelSpec, TimmSpec
from diptych.text.tokenizer import Tokenizer
from diptych.tokens import Tokens
from diptych.training.forward import Embed
from diptych.training.loop import train
from diptych.training.losses import LossSpec
from diptych.training.objectives import contrastive
from diptych.training.optimizer import build_optimizer, set_learning_rate
from diptych.training.recipe import Recipe
from diptych.training.towers import TowerTraining, depths, prepare, rate_factors
from diptych.zoo import MODELS
from tests.models.twins import is_external, pixels, random_twin, redraw, tokens, twin
from tests.training import small
from tests.training.test_resume import assert_same_run, cut_back

WORDS = [f"a {colour} card number {index}" for colour in small.COLOURS for index in range(30)]
TOKENIZER = Tokenizer.train(WORDS, vocabulary_size=600, context_length=16)
ALL, NOTHING, LAST = TowerTraining(), TowerTraining(learns="nothing"), TowerTraining(learns="last 1 block")
KINDS = [name for name, spec in MODELS.items() if not is_external(spec)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def weights_of(name: str, folder: Path) -> tuple[ModelSpec, Path]:
    spec = twin(MODELS[name]).with_vocabulary(TOKENIZER.vocabulary_size, context_length=16)
    model = redraw(create_model(spec, seed=0))
    return spec, write(Bundle(spec, dict(model.state_dict()), TOKENIZER), folder / "weights")


def recipe(data: Path, spec: ModelSpec, weights: Path, *changes: str) -> Recipe:
    plain = dataclasses.replace(small.recipe(data, steps=4, every_steps=2), model=spec)
    return override(plain, [f"vocabulary={TOKENIZER.vocabulary_size}", f"start.weights={weights}", *changes])


def gradients(model: CLIP, micro_batch: int | None = None) -> dict[str, torch.Tensor | None]:
    text: Tokens = tokens(model.spec)
    contrastive(
        Embed(model, torch.float32),
        pixels(model.spec),
        text,
        image_ids_B=torch.arange(3),
        text_ids_M=torch.arange(3),
        loss=LossSpec(),
        micro_batch=micro_batch,
    )
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize(
    ("image", "text", "learning"),
    [
        (NOTHING, ALL, ("text.", "logit_scale")),
        (ALL, NOTHING, ("image.", "logit_scale")),
        (
            LAST,
            TowerTraining(learns="last 0 blocks"),
            ("image.blocks.1.", "image.norm_post", "image.projection", "text.norm_final", "text.projection", "logit_"),
        ),
    ],
)
def test_what_learns_has_the_gradients_of_plain_training_and_the_rest_none(
    image: TowerTraining, text: TowerTraining, learning: tuple[str, ...], micro_batch: int | None
) -> None:
    plain = gradients(random_twin(MODELS["ViT-B/32"]).train(), micro_batch)
    model = random_twin(MODELS["ViT-B/32"]).train()
    prepare(model, image, text, seed=0)
    for name, gradient in gradients(model, micro_batch).items():
        if name.startswith(learning):
            assert gradient is not None
            assert torch.equal(gradient, plain[name]), name
        else:
            assert gradient is None, name


def test_a_locked_tower_keeps_no_activations() -> None:
    model = random_twin(MODELS["ViT-B/32"]).train()
    prepare(model, NOTHING, ALL, seed=0)
    assert model.encode_image(pixels(model.spec)).grad_fn is None
    kept: list[int] = []
    prepare(partly := random_twin(MODELS["ViT-B/32"]).train(), LAST, ALL, seed=0)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        partly.encode_image(pixels(model.spec))
    some = sum(kept)
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        random_twin(MODELS["ViT-B/32"]).train().encode_image(pixels(model.spec))
    assert some < 0.6 * sum(kept)  # of two blocks


@pytest.mark.parametrize("learns", ["nothing", "last 1 block"])
def test_what_is_locked_stays_bit_for_bit_and_the_run_resumes(data: Path, tmp_path: Path, learns: str) -> None:
    """In a ResNet, statistics of batch norms too."""
    spec, weights = weights_of("RN50", tmp_path)
    locked = recipe(data, spec, weights, f"image_tower.learns={learns}", "text_tower.layer_decay=0.5")
    train(locked, tmp_path / "run")
    before, after = read(weights).weights, read(tmp_path / "run" / "model").weights
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    if learns == "nothing":
        assert {name.partition(".")[0] for name in changed} == {"text", "logit_scale"}
    else:
        learning = ("image.stages.3.0.", "image.attention_pool.", "text.", "logit_scale")
        assert all(name.startswith(learning) for name in changed)
        assert {"image.stages.3.0.norm1.running_mean", "image.attention_pool.positional_embedding"} <= changed
    train(locked, cut_back(tmp_path / "run", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "run")


def test_what_is_locked_has_no_statistics_in_the_optimiser() -> None:
    model = random_twin(MODELS["RN50"]).train()
    prepare(model, NOTHING, ALL, seed=0)
    optimizer = build_optimizer(model, small.recipe(Path("x")).optimizer)
    members = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert members == {id(p) for p in [*model.text.parameters(), model.logit_scale]}


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_of_our_towers_has_its_depth(name: str) -> None:
    """Derived once more from what each tower computes after its blocks, and before them."""
    model = create_model(twin(MODELS[name]), seed=0)
    for tower in (model.image, model.text):
        deep = depths(tower)
        assert deep.keys() == dict(tower.named_parameters()).keys()
        blocks = [list(blocks) for path, blocks in tower.named_children() if path in ("blocks", "stages")]
        each = [
            block for stage in blocks[0] for block in (stage if isinstance(stage, torch.nn.Sequential) else [stage])
        ]
        numbers = [{deep[n] for n, p in tower.named_parameters() if any(p is q for q in b.parameters())} for b in each]
        assert numbers == [{depth} for depth in range(len(each), 0, -1)]
        rest = {n.partition(".")[0]: d for n, d in deep.items() if not n.startswith(("blocks.", "stages."))}
        top = {n for n, depth in rest.items() if depth == 0}
        bottom = {n for n, depth in rest.items() if depth == len(each) + 1}
        assert top | bottom == rest.keys()
        assert top <= {"norm_post", "norm_final", "projection", "pool", "attention_pool"}
        assert bottom <= {
            "patch_embedding", "class_embedding", "positional_embedding", "norm_pre", "stem",
            "token_embedding", "segment_embedding", "norm_embedding",
        }  # fmt: skip


def test_the_rate_falls_from_layer_to_layer_and_the_updates_with_it() -> None:
    model = random_twin(MODELS["ViT-B/32"]).train()
    factors = rate_factors(model, TowerTraining(layer_decay=0.5), ALL)
    assert factors["image.projection"] == factors["image.norm_post.weight"] == factors["logit_scale"] == 1
    assert factors["image.blocks.1.mlp.expand.weight"] == 0.5
    assert factors["image.blocks.0.mlp.expand.weight"] == 0.25
    assert factors["image.positional_embedding"] == factors["image.norm_pre.bias"] == 0.125
    assert {factors[name] for name in factors if name.startswith("text.")} == {1}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, small.recipe(Path("x")).optimizer, factors)
    set_learning_rate(optimizer, 1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    optimizer.step()  # Adam's first step is the rate itself
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(before[name] - parameter.detach(), torch.full_like(parameter, 1e-3 * factors[name]),
                                   rtol=2e-2, atol=1e-7, msg=name)  # fmt: skip


def test_checkpoints_without_factors_load(data: Path) -> None:
    """Of versions before there were any: two groups, and these in the order that they have now."""
    model = random_twin(MODELS["ViT-B/32"]).train()
    optimizer = build_optimizer(model, small.recipe(data).optimizer)
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["rate_factor"]
    assert [group["weight_decay"] for group in saved["param_groups"]] == [0.2, 0.0]
    optimizer.load_state_dict(saved)
    set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


BAG = dataclasses.replace(twin(MODELS["ViT-B/32"]), text=BagOfWordsSpec(width=32))
TIMM = dataclasses.replace(twin(MODELS["ViT-B/32"]), image=TimmSpec(name="resnet18", image_size=96, width=512))


@pytest.mark.parametrize(
    ("spec", "change", "said"),
    [
        (None, "image_tower.learns=last block", "'last 2 blocks'"),
        (None, "image_tower.learns=adapters of rank 0", "learns must be"),
        (None, "image_tower.learns=last 3 blocks", "there are 2 blocks"),
        (None, "image_tower.layer_decay=0", "layer_decay"),
        (None, "image_tower.layer_decay=1.1", "layer_decay"),
        (None, "image_tower.adapter_scale=0", "adapter_scale"),
        (None, "ema=1.0", "ema"),
        (None, "half_text_weights=true", "half_text_weights needs"),
        (BAG, "text_tower.learns=adapters of rank 2", "no attention"),
        (TIMM, "image_tower.learns=last 1 block", "another library"),
        (TIMM, "image_tower.layer_decay=0.9", "another library"),
    ],
)
def test_what_cannot_be(data: Path, spec: ModelSpec | None, change: str, said: str) -> None:
    plain = recipe(data, spec or twin(MODELS["ViT-B/32"]), Path("somewhere"))
    more = ["precision=bf16", "optimizer.half_statistics=true", "text_tower.learns=last 1 block"]
    with pytest.raises(ConfigError, match=said):
        override(plain, [change, *(more if change.startswith("half") else [])])


def test_nothing_is_locked_as_it_was_drawn(data: Path) -> None:
    plain = dataclasses.replace(small.recipe(data), model=twin(MODELS["ViT-B/32"]))
    for change in (
        ["text_tower.learns=nothing"],
        ["start.weights=x", "start.towers=image", "text_tower.learns=nothing"],
    ):
        with pytest.raises(ConfigError, match="random weights"):
            override(plain, change)
    with pytest.raises(ConfigError, match="nothing to do"):
        override(plain, ["start.weights=x", "text_tower.learns=nothing", "image_tower.learns=nothing"])


def test_depths_count_from_the_end() -> None:
    model = random_twin(MODELS["RN50"])
    deep = depths(model.image)
    order = ["stem.0.weight", "stages.0.0.conv1.weight", "stages.1.0.conv1.weight", "stages.1.1.conv1.weight"]
    assert [deep[name] for name in order] == [6, 5, 4, 3]
    assert all(a > b for a, b in pairwise(deep[name] for name in [*order, "attention_pool.output.weight"]))
