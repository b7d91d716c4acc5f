"""Low-rank adapters: nothing at first, an ordinary model in every bundle, and two thin matrices in between."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.checkpoints.bundle import Bundle, build, read
from diptych.checkpoints.writing import write
from diptych.config import override
from diptych.encoder.loading import load
from diptych.models.clip import create_model
from diptych.text.tokenizer import Tokenizer
from diptych.training import adapters, state
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.training.towers import TowerTraining, prepare
from diptych.zoo import MODELS
from tests.models.twins import is_external, pixels, random_twin, redraw, tokens, twin
from tests.training import small
from tests.training.test_resume import assert_same_run, cut_back

RANK = TowerTraining(learns="adapters of rank 4", adapter_scale=2.0)
TOKENIZER = Tokenizer.train(
    [f"a {colour} card" for colour in small.COLOURS] * 9, vocabulary_size=560, context_length=16
)
KINDS = [name for name, spec in MODELS.items() if not is_external(spec)]


def embeddings(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(model(pixels(model.spec), tokens(model.spec)))


@pytest.mark.parametrize("name", KINDS)
def test_they_begin_as_the_model_and_merge_into_one(name: str) -> None:
    plain = random_twin(MODELS[name])
    # PyTorch takes other kernels for weights that are locked, which round otherwise.
    before = embeddings(copy.deepcopy(plain).requires_grad_(False))
    model = copy.deepcopy(plain).train()
    prepare(model, RANK, RANK, seed=0)
    assert torch.equal(embeddings(model.eval()), before)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.rpartition(".")[2] for n in learning} <= {"up", "down", "logit_scale", "logit_bias"}
    assert any(n.startswith("image.") for n in learning)
    assert any(n.startswith("text.") for n in learning)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for n in sorted(learning):
            if n.endswith(".up"):
                model.get_parameter(n).normal_(0, 0.1, generator=generator)
    learned = embeddings(model)
    assert (learned - before).abs().max() > 1e-2
    merged = build(Bundle(plain.spec, adapters.merged(model, model.state_dict())))
    torch.testing.assert_close(embeddings(merged), learned, rtol=1e-5, atol=1e-5)
    unit, other = (torch.nn.functional.normalize(e, dim=1) for e in (embeddings(merged), learned))
    assert (unit - other).abs().max() < 1e-6


def test_the_formula_of_the_paper() -> None:
    """h = W x + (alpha / r) B A x, with B zero at first and gradients that are those of the product."""
    linear = torch.nn.Linear(5, 3)
    layer = adapters.LowRankLinear(linear, 2, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(layer.up, torch.zeros(3, 2))
    with torch.no_grad():
        layer.up.normal_()
    x = torch.randn(4, 5)
    delta = (0.5 * layer.up @ layer.down).detach().requires_grad_()
    (torch.nn.functional.linear(x, linear.weight + delta, linear.bias) ** 2).sum().backward()
    (layer(x) ** 2).sum().backward()
    torch.testing.assert_close(layer.up.grad, 0.5 * delta.grad @ layer.down.T)
    torch.testing.assert_close(layer.down.grad, 0.5 * layer.up.T @ delta.grad)


def recipe(folder: Path, *changes: str) -> Recipe:
    data = small.make_data(folder / "data")
    spec = twin(MODELS["RN50"]).with_vocabulary(TOKENIZER.vocabulary_size, context_length=16)
    weights = write(Bundle(spec, dict(redraw(create_model(spec, seed=0)).state_dict()), TOKENIZER), folder / "weights")
    plain = dataclasses.replace(small.recipe(data, steps=4, every_steps=2), model=spec)
    told = [f"vocabulary={TOKENIZER.vocabulary_size}", f"start.weights={weights}", "optimizer.learning_rate=0.02"]
    for tower in ("image_tower", "text_tower"):
        told += [f"{tower}.learns=adapters of rank 2", f"{tower}.adapter_scale=2"]
    return override(plain, told + list(changes))


def test_a_run_with_adapters_resumes_and_its_bundles_are_ordinary_models(tmp_path: Path) -> None:
    lora = recipe(tmp_path)
    seen: dict[str, np.ndarray] = {}
    evaluators = {"test": lambda clip: {"sum": float(seen.setdefault("last", clip.encode_texts(["a red card"])).sum())}}
    run = train(lora, tmp_path / "run", evaluators=evaluators)
    before, after = read(tmp_path / "weights").weights, read(tmp_path / "run" / "model").weights
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    matrices = ("attention.query_key_value.weight", "attention.output.weight", "expand.weight", "contract.weight")
    matrices += tuple(f"attention_pool.{name}.weight" for name in ("query", "key", "value", "output"))
    assert changed == {name for name in after if name.endswith(matrices)} | {"logit_scale"}
    for name in sorted(changed - {"logit_scale"}):
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2, name
    texts = load(tmp_path / "run" / "model").encode_texts(["a red card"])
    assert np.array_equal(texts, run.clip.encode_texts(["a red card"]))
    assert np.array_equal(texts, seen["last"])
    checkpoint, resumable = state.load(state.checkpoints(tmp_path / "run" / "checkpoints")[-1])
    assert all(torch.equal(checkpoint.weights[name], after[name]) for name in after)
    assert any(name.endswith(".up") for name in resumable.adapters)
    train(lora, cut_back(tmp_path / "run", steps=4), resume=True, evaluators=evaluators)
    assert_same_run(tmp_path / "resumed", tmp_path / "run")
