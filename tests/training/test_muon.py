"""Muon against its definition and PyTorch's own, on the matrices that it is for and on everything else."""

from pathlib import Path

import pytest
import torch

from diptych.config import override
from diptych.errors import ConfigError
from diptych.models.clip import create_model
from diptych.training.loop import train
from diptych.training.muon import Muon, orthogonalised
from diptych.training.optimizer import OptimizerSpec, build_optimizer
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.test_resume import assert_same_run, cut_back


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 48), (2, 40, 8)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    s = s / s.amax() * 0.9 + 0.1  # the iteration promises nothing for values near zero
    result = orthogonalised(u * s[:, None] @ v).float()
    inner = u.mT @ result @ v.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (inner - torch.diag_embed(values)).abs().max() < 0.05  # bf16


def test_matrices_follow_pytorchs_muon_and_the_rest_its_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector = torch.randn(12, 20, generator=generator), torch.randn(7, generator=generator)
    ours, theirs = [[torch.nn.Parameter(t.clone()) for t in (matrix, vector)] for _ in range(2)]
    groups = [
        {"params": ours[:1], "weight_decay": 0.1, "matrices": 1},
        {"params": ours[1:], "weight_decay": 0.2, "matrices": 0},
    ]
    options = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6}
    muon = torch.optim.Muon(theirs[:1], lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    pairs = [[Muon(groups, **options)], [muon, torch.optim.AdamW(theirs[1:], weight_decay=0.2, **options)]]
    for step in range(5):
        for parameters, optimizers in zip((ours, theirs), pairs, strict=True):
            draw = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            for optimizer in optimizers:
                optimizer.step()
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-6, atol=1e-7)
    # PyTorch keeps its momentum as a mean, ours as a sum: as direction the same, to bf16.
    moved, other = ((p[0].detach() - matrix) for p in (ours, theirs))
    assert torch.nn.functional.cosine_similarity(moved.flatten(), other.flatten(), dim=0) > 0.999
    torch.testing.assert_close(moved.norm(), other.norm(), rtol=1e-2, atol=0)


def test_queries_keys_and_values_are_matrices_of_their_own() -> None:
    whole = torch.nn.Parameter(torch.zeros(12, 4))
    whole.grad = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    parts = [torch.nn.Parameter(torch.zeros(4, 4)) for _ in range(3)]
    for part, gradient in zip(parts, whole.grad.chunk(3), strict=True):
        part.grad = gradient.clone()
    options = {"lr": 1.0, "betas": (0.9, 0.98), "eps": 1e-6}
    Muon([{"params": [whole], "matrices": 3}], **options).step()
    Muon([{"params": parts, "matrices": 1}], **options).step()
    torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts]), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_which_weights_are_matrices(name: str) -> None:
    model = create_model(twin(MODELS[name]), seed=0)
    optimizer = build_optimizer(model, OptimizerSpec(algorithm="muon"))
    numbers = {id(p): group["matrices"] for group in optimizer.param_groups for p in group["params"]}
    named = {n: numbers[id(p)] for n, p in model.named_parameters()}
    assert named["text.blocks.0.attention.query_key_value.weight"] == 3
    assert named["text.blocks.1.mlp.contract.weight"] == 1
    adam = {n.rpartition("blocks.")[2] for n, number in named.items() if not number and not n.endswith("bias")}
    assert {"text.token_embedding.weight", "text.positional_embedding", "text.projection", "logit_scale"} <= adam
    first = {"ViT-B/32": "image.patch_embedding.weight", "RN50": "image.stem.0.weight"}[name]
    assert named[first] == 0
    assert all(named[n] == 1 for n in named if "conv" in n)


def test_a_run_resumes(tmp_path: Path) -> None:
    plain = small.recipe(small.make_data(tmp_path / "data"), steps=4, every_steps=2)
    plain = override(plain, ["optimizer.algorithm=muon", "image_tower.layer_decay=0.7"])
    train(plain, tmp_path / "run")
    train(plain, cut_back(tmp_path / "run", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "run")


def test_half_statistics_are_adams() -> None:
    with pytest.raises(ConfigError, match="half_statistics"):
        OptimizerSpec(algorithm="muon", half_statistics=True)
