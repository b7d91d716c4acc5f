"""Half-precision Adam: unbiased rounding, the updates of Adam within it, and the same draws after a resume."""

import copy

import pytest
import torch

from diptych.training.half_adam import HalfAdam, stochastically_rounded


def test_rounding_is_unbiased_and_to_a_neighbour() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, generator=generator) * 10 ** torch.randn(200, generator=generator)
    draws = torch.stack([stochastically_rounded(values, generator).float() for _ in range(4000)])
    step = (values.abs() * 2.0**-7).clamp(min=1e-30)  # to the next bf16, at most
    assert ((draws - values).abs() <= step).all()
    error = (draws.mean(dim=0) - values) / step
    assert error.abs().max() < 5 * 0.5 / 4000**0.5  # a coin's standard error is at most 0.5 of the step
    assert abs(error.mean()) < 5 * 0.5 / (200 * 4000) ** 0.5
    exact = values.bfloat16().float()
    assert torch.equal(stochastically_rounded(exact, generator).float(), exact)


def test_what_is_no_number_stays_that() -> None:
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0])
    assert torch.equal(stochastically_rounded(odd, torch.Generator())[:2].float(), odd[:2])
    assert stochastically_rounded(odd, torch.Generator())[2].isnan()
    assert (stochastically_rounded(odd, torch.Generator())[3:] == 0).all()


def quadratic(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        goal = 1 + 0.1 * torch.randn(weight.shape, generator=generator)
        optimizer.zero_grad()
        ((weight.float() - goal) ** 2).sum().backward()
        optimizer.step()


OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}


def test_it_follows_adam() -> None:
    half, full = (torch.nn.Parameter(torch.zeros(500)) for _ in range(2))
    quadratic(HalfAdam([{"params": [half], "weight_decay": 0.1}], **OPTIONS), half, 300)
    quadratic(torch.optim.AdamW([full], weight_decay=0.1, **OPTIONS), full, 300)
    assert (half - full).abs().mean() < 0.01 * full.abs().mean()
    assert abs((half - full).mean()) < 1e-3 * full.abs().mean()


def test_weights_in_bf16_move_by_less_than_they_can_show() -> None:
    """Updates of 1e-4 to weights near 1, whose neighbours in bf16 are 1/256 and 1/128 away."""
    weight = torch.nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
    optimizer = HalfAdam([weight], lr=1e-4, betas=(0.9, 0.98), eps=1e-8)
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.float().mean().item() == pytest.approx(0.99, abs=1e-3)


def test_what_all_processes_have_stays_the_same_on_all() -> None:
    """The temperature, whose replicas would drift apart if its draws depended on the parts of others before it."""
    found = []
    for rows in (3, 2):
        part, whole = torch.nn.Parameter(torch.zeros(rows)), torch.nn.Parameter(torch.zeros(50))
        optimizer = HalfAdam([part, whole], **OPTIONS)
        for step in range(5):
            part.grad = torch.ones(rows)
            whole.grad = torch.linspace(-1, 1, 50) + 0.1 * step
            optimizer.step()
        found.append((whole.detach(), optimizer.state[whole]["exp_avg"], optimizer.state[whole]["exp_avg_sq"]))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_resumed_run_makes_the_same_draws(precision: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.zeros(100, dtype=precision))
    optimizer = HalfAdam([weight], **OPTIONS)
    quadratic(optimizer, weight, 5)
    again = torch.nn.Parameter(weight.detach().clone())
    resumed = HalfAdam([again], **OPTIONS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    quadratic(optimizer, weight, 5)
    quadratic(resumed, again, 5)
    assert torch.equal(weight, again)
    assert resumed.state[again]["exp_avg"].dtype == torch.bfloat16
