"""What is known of a model beside its name: what its outputs depend on, and what an image costs."""

import dataclasses

import pytest
from tiny import SPEC

from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.encoder.subject import ImageSubject
from diptych.evaluation.subjects import cost, identity
from diptych.specs import ModelSpec, PreprocessSpec


def test_an_identity_is_of_all_that_outputs_depend_on() -> None:
    def of(spec: ModelSpec, seed: int = 0, precision: str = "fp32") -> str:
        return repr(identity(Clip(create(spec, seed=seed).model, precision=precision)))

    other_activation = "gelu" if SPEC.image.activation != "gelu" else "quick_gelu"
    squashed = dataclasses.replace(SPEC, preprocess=PreprocessSpec(size=16, mean=(0.5, 0.5, 0.5)))
    bent = dataclasses.replace(SPEC, image=dataclasses.replace(SPEC.image, activation=other_activation))
    found = [of(SPEC), of(SPEC, seed=1), of(SPEC, precision="fast"), of(squashed), of(bent)]
    assert len(set(found)) == len(found)
    assert of(SPEC) == found[0]
    towers = [identity(ImageSubject.of(create(spec, seed=0))) for spec in (SPEC, squashed)]
    assert towers[0]["weights"] == towers[1]["weights"]
    assert towers[0] != towers[1]


@pytest.mark.parametrize("alone", [False, True])
def test_an_image_costs_what_its_tower_does(alone: bool) -> None:
    clip = create(SPEC, seed=0)
    found = cost(ImageSubject.of(clip) if alone else clip)
    assert found["parameters"] == sum(parameter.numel() for parameter in clip.model.image.parameters())
    # Four patches of 3 x 8 x 8 become 24 wide; five tokens go through attention and a perceptron of 96; one is left.
    patches, attention, perceptron = 4 * 192 * 24, 5 * 24 * (72 + 24) + 2 * 5 * 5 * 24, 2 * 5 * 24 * 96
    assert found["gflops"] == pytest.approx(2 * (patches + attention + perceptron + 24 * 16) / 1e9, rel=0.01)
