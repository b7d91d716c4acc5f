"""The ResNets of the paper as one of them scaled."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych import zoo
from diptych.errors import ConfigError
from diptych.models.modified_resnet import ModifiedResNet
from diptych.scaling import scale, shares
from diptych.specs import ModelSpec


@pytest.mark.parametrize("compute", [4, 16, 64])
def test_equal_shares_of_compute_make_the_released_models(compute: int) -> None:
    name = f"RN50x{compute}"
    assert scale(**shares(compute), name=name) == zoo.MODELS[name]


@pytest.mark.parametrize("compute", [4, 16, 64])
def test_what_is_rounded_keeps_the_compute(compute: int) -> None:
    ours, base = zoo.MODELS[f"RN50x{compute}"].image, zoo.MODELS["RN50"].image
    depth = sum(ours.layers) / sum(base.layers)
    width, resolution = ours.stem_width / base.stem_width, ours.image_size / base.image_size
    assert depth * width**2 * resolution**2 == pytest.approx(compute, rel=0.05)


def test_rn50_is_the_exception_of_its_family_in_its_embedding_alone() -> None:
    base = zoo.MODELS["RN50"]
    assert scale(1, 1, 1, name="RN50") == dataclasses.replace(base, embedding=512)
    assert base.embedding == 1024


def operations(spec: ModelSpec) -> int:
    with torch.device("meta"):
        image = ModifiedResNet(spec.image, spec.embedding)
    size = spec.image.image_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        image(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops()


def test_operations_that_are_counted() -> None:
    # Less than the names say: stem, strided blocks and attention pool do not get deeper.
    base = operations(zoo.MODELS["RN50"])
    counted = [operations(scale(**shares(compute))) / base for compute in (4, 16)]
    assert counted == pytest.approx([3.55, 12.58], abs=0.01)


def test_between_and_below_the_released_models() -> None:
    assert scale(2, 1, 1).image.layers == (6, 8, 12, 6)
    assert scale(0.25, 0.5, 0.5).image.layers == (1, 1, 1, 1)
    small = scale(**shares(0.1)).image
    assert (sum(small.layers), small.stem_width, small.image_size) == (8, 48, 160)
    for times in (0.3, 1, 2, 8, 30, 100):
        spec = scale(**shares(times))
        assert spec.image.width % spec.image.heads == 0
        assert spec.text.width % spec.text.heads == 0


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": -1}, {"resolution": float("inf")}, {"depth": 0.1}])
def test_multipliers_that_make_no_model(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        scale(**{"depth": 1, "width": 1, "resolution": 1} | wrong)
    with pytest.raises(ConfigError, match="compute"):
        shares(0)
