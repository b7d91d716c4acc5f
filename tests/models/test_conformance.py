"""One suite over every row of the model table, each as a shallow, narrow twin."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.models.clip import CLIP, create_model
from diptych.specs import BagOfWordsSpec, ModelSpec
from diptych.tokens import Tokens
from diptych.zoo import MODELS
from tests.models.twins import is_external, pixels, random_twin, tokens, twin

B32 = MODELS["ViT-B/32"]
# What no row of the table uses: average pooling, and GELU.
UNUSED = dataclasses.replace(
    B32,
    image=dataclasses.replace(B32.image, pooling="average", activation="gelu"),
    text=dataclasses.replace(B32.text, activation="gelu"),
)
BAG = dataclasses.replace(B32, text=BagOfWordsSpec(width=512))
# Towers of other libraries are tested where those are installed, in tests/parity.
OWN = {name: spec for name, spec in MODELS.items() if not is_external(spec)}
SPECS = {**OWN, "ViT-B/32, average pooling, GELU": UNUSED, "ViT-B/32 and a bag of words": BAG}
every_model = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


@every_model
def test_embeddings_have_the_shape_of_the_joint_space(spec: ModelSpec) -> None:
    model = random_twin(spec)
    images_BE, texts_BE = model(pixels(model.spec), tokens(model.spec))
    assert images_BE.shape == texts_BE.shape == (3, model.spec.embedding)
    assert torch.isfinite(images_BE).all()
    assert torch.isfinite(texts_BE).all()


@every_model
def test_a_sample_does_not_depend_on_its_batch(spec: ModelSpec) -> None:
    model = random_twin(spec)
    images, texts = pixels(model.spec), tokens(model.spec)
    with torch.no_grad():
        together = model.encode_image(images), model.encode_text(texts)
        alone = model.encode_image(images[1:2]), model.encode_text(Tokens(texts.ids_BL[1:2], texts.lengths_B[1:2]))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-5, atol=1e-5)


@every_model
def test_running_to_the_longest_caption_equals_running_to_the_full_context(spec: ModelSpec) -> None:
    model = random_twin(spec)
    short = tokens(model.spec, lengths=(5, 12, 2))
    with_long = tokens(model.spec, lengths=(5, 12, 2, model.spec.text.context_length))
    assert torch.equal(short.ids_BL, with_long.ids_BL[:3])
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(short), model.encode_text(with_long)[:3], rtol=1e-5, atol=1e-5)


@every_model
def test_the_forward_pass_gives_each_towers_embeddings_in_order(spec: ModelSpec) -> None:
    model = random_twin(spec)
    images, texts = pixels(model.spec), tokens(model.spec, lengths=(9, 3, 12, 2, 7, 5, 4))
    with torch.no_grad():
        images_BE, texts_BE = model(images, texts)
        torch.testing.assert_close(images_BE, model.encode_image(images), rtol=0, atol=0)
        torch.testing.assert_close(texts_BE, model.encode_text(texts), rtol=1e-5, atol=1e-5)


def test_the_order_of_a_bag_of_words_does_not_matter_and_padding_is_not_in_it() -> None:
    model = random_twin(BAG)
    texts = tokens(model.spec, lengths=(6,))
    mixed = texts.ids_BL.clone()
    mixed[0, 1:5] = texts.ids_BL[0, [3, 1, 4, 2]]
    with torch.no_grad():
        a, b = model.encode_text(texts), model.encode_text(Tokens(mixed, texts.lengths_B))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_siglip_starts_with_its_own_scale_and_bias() -> None:
    model = create_model(twin(MODELS["ViT-B/16-SigLIP"]), seed=0)
    assert model.logit_scale.exp().item() == pytest.approx(10)
    assert model.logit_bias.item() == -10


def test_short_texts_do_not_run_to_the_length_of_long_ones() -> None:
    model = random_twin(SPECS["ViT-B/32"])
    seen: list[tuple[int, ...]] = []
    model.text.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[:2])))
    model(pixels(model.spec), tokens(model.spec, lengths=(9, 3, 12, 2, 7, 5)))
    assert sorted(seen) == [(3, 5), (3, 12)]


@every_model
def test_what_follows_the_end_token_does_not_matter(spec: ModelSpec) -> None:
    model = random_twin(spec)
    texts = tokens(model.spec)
    noisy = texts.ids_BL.clone()
    for row, length in zip(noisy, texts.lengths_B, strict=True):
        row[length:] = 7
    with torch.no_grad():
        before, after = model.encode_text(texts), model.encode_text(Tokens(noisy, texts.lengths_B))
    torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)


@every_model
def test_bare_ids_are_pooled_at_the_highest_id(spec: ModelSpec) -> None:
    model = random_twin(spec)
    texts = tokens(model.spec)
    with torch.no_grad():
        assert torch.equal(model.encode_text(texts.ids_BL), model.encode_text(texts))


@every_model
def test_every_tensor_matters_to_the_output(spec: ModelSpec) -> None:
    model = random_twin(spec)
    images, texts = pixels(model.spec), tokens(model.spec)
    with torch.no_grad():
        before = torch.cat(model(images, texts))
        for name, tensor in model.state_dict().items():
            if name in ("logit_scale", "logit_bias") or not tensor.is_floating_point():
                continue
            saved = tensor.clone()
            # Uneven, since a constant added to what attention sees cancels in the softmax; positive, for variances.
            tensor += torch.rand(tensor.shape, generator=torch.Generator().manual_seed(5))
            after = torch.cat(model(images, texts))
            tensor.copy_(saved)
            # Only the bias of the keys truly cannot matter: it shifts every score of a query alike.
            if not name.endswith("key.bias"):
                assert (before - after).abs().max() > 1e-4, f"{name} does not matter"


@every_model
def test_gradients_reach_every_parameter_and_training_lowers_the_loss(spec: ModelSpec) -> None:
    model = create_model(twin(spec), seed=0).train()
    images, texts = pixels(model.spec, batch=3), tokens(model.spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(24):
        images_BE, texts_BE = model(images, texts)
        logits = model.logit_scale.exp() * F.normalize(images_BE) @ F.normalize(texts_BE).T
        if model.spec.scores == "sigmoid":
            logits = logits + model.logit_bias
        loss = F.cross_entropy(logits, torch.arange(3)) + F.cross_entropy(logits.T, torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        if step:  # a fresh ResNet's blocks are their shortcuts: only their last gain has a gradient
            assert [name for name, p in model.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@every_model
def test_half_precision_stays_near(spec: ModelSpec) -> None:
    model = random_twin(spec)
    images, texts = pixels(model.spec), tokens(model.spec)
    with torch.no_grad():
        exact = model(images, texts)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(images, texts)
    for a, b in zip(exact, near, strict=True):
        assert F.cosine_similarity(a, b.float()).min() > 0.99


@every_model
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(spec: ModelSpec) -> None:
    torch.manual_seed(3)
    first = create_model(twin(spec), seed=1).state_dict()
    after_creating = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after_creating, torch.rand(1))
    again, other = create_model(twin(spec), seed=1).state_dict(), create_model(twin(spec), seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(torch.isfinite(tensor).all() for tensor in first.values())


@every_model
def test_named_intermediates(spec: ModelSpec) -> None:
    model = random_twin(spec)
    with torch.no_grad():
        for tower, inputs in ((model.image, pixels(model.spec)), (model.text, tokens(model.spec))):
            embedding, nothing = tower(inputs)
            same, kept = tower(inputs, keep=tower.intermediates)
            assert nothing == {}
            assert set(kept) == set(tower.intermediates)
            assert torch.equal(embedding, same)
            projection = getattr(tower, "projection", None)
            if isinstance(projection, nn.Linear):
                torch.testing.assert_close(projection(kept["features"]), embedding)
            elif projection is not None:
                torch.testing.assert_close(kept["features"] @ projection, embedding)
            else:
                assert torch.equal(kept["features"], embedding)
    with pytest.raises(ConfigError, match="did you mean 'features'"):
        model.image(pixels(model.spec), keep=["feature"])


def test_initialisation_follows_the_paper() -> None:
    spec = MODELS["ViT-B/32"]
    model = create_model(spec, seed=0)
    width, layers = spec.text.width, spec.text.layers
    block = next(model.text.blocks.each())
    expected = {
        model.text.token_embedding.weight: 0.02,
        model.text.positional_embedding: 0.01,
        model.text.projection: width**-0.5,
        block.attention.query_key_value.weight: width**-0.5,
        block.attention.output.weight: (width * 2 * layers) ** -0.5,
        block.mlp.expand.weight: (2 * width) ** -0.5,
        block.mlp.contract.weight: (width * 2 * layers) ** -0.5,
        model.image.projection: spec.image.width**-0.5,
        model.image.positional_embedding: spec.image.width**-0.5,
    }
    check_spread(expected)
    check_spread({model.image.class_embedding: spec.image.width**-0.5}, within=0.1)  # 768 numbers only
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))


def test_initialisation_of_a_resnet_follows_the_paper() -> None:
    spec = MODELS["RN50"]
    pool = create_model(spec, seed=0).image.attention_pool
    linears = [linear.weight for linear in (pool.query, pool.key, pool.value, pool.output)]
    check_spread(dict.fromkeys([pool.positional_embedding, *linears], spec.image.width**-0.5))


def check_spread(expected: dict[torch.Tensor, float], within: float = 0.02) -> None:
    for tensor, std in expected.items():
        assert tensor.std().item() == pytest.approx(std, rel=within)
        assert tensor.mean().item() == pytest.approx(0, abs=std * within)


def test_a_fresh_resnet_block_is_its_shortcut() -> None:
    model = create_model(twin(MODELS["RN50"]), seed=0)
    gains = [p for name, p in model.image.named_parameters() if name.endswith("norm3.weight")]
    assert gains
    assert all(bool((gain == 0).all()) for gain in gains)


def test_a_model_on_the_meta_device_costs_nothing() -> None:
    with torch.device("meta"):
        model = CLIP(MODELS["RN50x64"])
    assert all(tensor.is_meta for tensor in model.state_dict().values())
