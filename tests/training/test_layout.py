"""Kernels of convolutions have their channels last in memory, as their gradients have; no number depends on it."""

import dataclasses
from pathlib import Path

import torch

from diptych.data.loader import Batch
from diptych.text.tokenizer import Tokenizer
from diptych.tokens import Tokens
from diptych.training.session import Session
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.test_objectives import IMAGES, inputs

TOKENIZER = Tokenizer.train(["a red card"] * 9, vocabulary_size=560, context_length=16)


def session(folder: Path) -> Session:
    model = twin(MODELS["RN50"]).with_vocabulary(TOKENIZER.vocabulary_size, context_length=16)
    recipe = dataclasses.replace(small.recipe(folder / "nowhere"), model=model, batch_size=IMAGES)
    return Session.begin(recipe, folder, lambda: TOKENIZER, samples=IMAGES, data="")


def with_gradients(begun: Session) -> dict[str, torch.nn.Parameter]:
    pixels, tokens = inputs(begun.model.spec)
    one, ids = Tokens(tokens.ids_BL[:IMAGES], tokens.lengths_B[:IMAGES]), torch.arange(IMAGES)
    begun.engine.backward(Batch(pixels, one, ids, ids, captions=(), keys=(), position=0, epoch=0))
    return dict(begun.model.named_parameters())


def test_kernels_of_one_pixel_too_say_where_their_channels_are_and_all_numbers_stay(tmp_path: Path) -> None:
    parameters = with_gradients(session(tmp_path))
    other = session(tmp_path)
    for parameter in other.model.parameters():
        if parameter.ndim == 4:  # as a kernel of one pixel lies that was never told where its channels are
            ambiguous = parameter.data.flatten().view(parameter.shape)
            parameter.data = ambiguous.contiguous(memory_format=torch.channels_last)
    kernels = {name: parameter for name, parameter in parameters.items() if parameter.ndim == 4}
    assert any(kernel.shape[2:] == (1, 1) for kernel in kernels.values())
    for name, kernel in kernels.items():
        assert kernel.stride() == torch.empty(kernel.shape, memory_format=torch.channels_last).stride(), name
    compared = with_gradients(other)
    assert any(kernel.stride() != compared[name].stride() for name, kernel in kernels.items())
    assert [name for name, p in parameters.items() if not torch.equal(p.grad, compared[name].grad)] == []
