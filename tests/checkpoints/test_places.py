"""Names and shapes of every format, for every model that it has names for."""

import dataclasses

import pytest
import torch

from diptych.checkpoints.formats import HUGGINGFACE, OPEN_CLIP, READ, Format, recognised
from diptych.checkpoints.tensors import Entry, assemble, expected
from diptych.errors import CheckpointError
from diptych.models.clip import create_model
from diptych.specs import ModelSpec
from diptych.zoo import MODELS
from tests.models.twins import is_external, twin

TWINS = {name: twin(spec) for name, spec in MODELS.items() if not is_external(spec)}


def pairs() -> list[tuple[str, str]]:
    found = []
    for number, format in enumerate(READ):
        for name, spec in TWINS.items():
            try:
                format.places(spec)
            except CheckpointError:
                continue
            found.append((f"{format.name} {number}", name))
    return found


@pytest.mark.parametrize(("format_name", "model"), pairs())
def test_tensors_come_back_from_where_they_were_put(format_name: str, model: str) -> None:
    format, spec = READ[int(format_name.split()[1])], TWINS[model]
    weights = create_model(spec, seed=0).state_dict()
    places = format.places(spec)
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        parts = places[name].split(tensor)
        assert {part: tuple(t.shape) for part, t in parts.items()} == places[name].shapes(tuple(tensor.shape))
        assert not stored.keys() & parts.keys(), "two tensors have one name"
        stored |= parts
    assert recognised({name: tuple(tensor.shape) for name, tensor in stored.items()}, "here").name == format.name
    back = assemble({name: Entry.of(tensor) for name, tensor in stored.items()}, spec, places, "here")
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_every_released_model_has_names_in_each_of_the_formats_it_was_released_in() -> None:
    there = {(name.split()[0], model) for name, model in pairs()}
    assert {model for name, model in there if name == "diptych"} == set(TWINS)
    for model in ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-L/14@336px"):
        assert ("open_clip", model) in there
    for model in ("ViT-B/16-SigLIP", "ViT-SO400M/16-SigLIP2-256"):
        assert {("open_clip", model), ("huggingface", model), ("big_vision", model)} <= there
    assert ("huggingface", "RN50") not in there
    assert ("chinese_clip", "Chinese-CLIP-RN50") in there


@pytest.mark.parametrize("format", [OPEN_CLIP, HUGGINGFACE], ids=lambda format: format.name)
def test_the_names_of_the_whole_model_are_as_unique(format: Format) -> None:
    spec = MODELS["ViT-B/32"]
    parts = [part for place in format.places(spec).values() for part in place.names]
    assert len(parts) == len(set(parts)) >= len(expected(spec))


def test_what_a_format_has_no_names_for_is_said() -> None:
    spec: ModelSpec = dataclasses.replace(TWINS["Chinese-CLIP-RN50"], name="mine")
    with pytest.raises(CheckpointError, match=r"huggingface has no names for mine: it knows no modified_resnet"):
        HUGGINGFACE.places(spec)


def test_names_of_nobody() -> None:
    with pytest.raises(CheckpointError, match=r"not a CLIP that is known: it holds layer1.weight"):
        recognised({"layer1.weight": (1,), "layer1.bias": (1,)}, "a.pt")
