import dataclasses

import pytest
import torch

from diptych import config, specs, zoo
from diptych.errors import ConfigError
from diptych.models.clip import CLIP
from diptych.training import recipes

# Parameters of the released models: image tower, and the whole (paper page, section 1).
PARAMETERS = {
    "RN50": (38_316_896, 102_007_137),
    "RN101": (56_259_936, 119_688_033),
    "RN50x4": (87_137_080, 178_300_601),
    "RN50x16": (167_328_912, 290_979_217),
    "RN50x64": (420_380_352, 623_258_305),
    "ViT-B/32": (87_849_216, 151_277_313),
    "ViT-B/16": (86_192_640, 149_620_737),
    "ViT-L/14": (303_966_208, 427_616_513),
    "ViT-L/14@336px": (304_293_888, 427_944_193),
    "ViT-B/16-SigLIP": (92_884_224, 203_155_970),
    "ViT-SO400M/14-SigLIP-384": (428_225_600, 877_960_498),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_released_models_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        model = CLIP(zoo.MODELS[name])
    count = sum(p.numel() for p in model.image.parameters()), sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS[name]


@pytest.mark.parametrize(
    ("alias", "name"),
    [("ViT-B-32", "ViT-B/32"), ("vit_b_16", "ViT-B/16"), ("ViT-L-14-336", "ViT-L/14@336px"), ("rn50X64", "RN50x64")],
)
def test_aliases(alias: str, name: str) -> None:
    assert zoo.find(alias) is zoo.MODELS[name]


def test_a_wrong_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="ViT-B/32"):
        zoo.find("ViT-B/31")


@pytest.mark.parametrize("spec", zoo.MODELS.values(), ids=zoo.MODELS)
def test_specs_survive_json(spec: specs.ModelSpec) -> None:
    assert config.from_dict(specs.ModelSpec, config.to_dict(spec)) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 3}, "did you mean 'width'"),
        ({"width": "64"}, "must be a whole number"),
        ({"width": 65}, "heads"),
        ({"activation": "gelo"}, "did you mean 'gelu'"),
        ({"patch_size": 31}, "patch_size"),
        ({"layers": True}, "must be a whole number"),
        ({"kind": "resnet"}, "modified_resnet"),
    ],
)
def test_bad_values_name_the_place_and_the_remedy(change: dict[str, object], message: str) -> None:
    data = config.to_dict(zoo.MODELS["ViT-B/32"])
    data["image"] |= change
    with pytest.raises(ConfigError, match=message):
        config.from_dict(specs.ModelSpec, data)


def test_missing_keys_are_named() -> None:
    data = config.to_dict(zoo.MODELS["RN50"])
    del data["image"]["stem_width"]
    with pytest.raises(ConfigError, match="image lacks stem_width"):
        config.from_dict(specs.ModelSpec, data)


def test_a_models_name_stands_for_its_values() -> None:
    recipe = recipes.small_photographs("pairs.csv")
    changed = config.override(recipe, ["model=rn-micro", "model.text.context_length=20", "seed=3"])
    expected = zoo.MODELS["RN-micro"]
    text = dataclasses.replace(expected.text, context_length=20)
    assert changed == dataclasses.replace(recipe, model=dataclasses.replace(expected, text=text), seed=3)
    with pytest.raises(ConfigError, match="did you mean 'RN-micro'"):
        config.override(recipe, ["model=RN-mikro"])
    with pytest.raises(ConfigError, match="optimizer is 'adam', but must be an object"):
        config.override(recipe, ["optimizer=adam"])


def test_overrides_apply_together() -> None:
    spec = zoo.MODELS["ViT-B/32"]
    changed = config.override(spec, ["image.image_size=256", "preprocess.size=256", "name=other"])
    assert (changed.image.image_size, changed.preprocess.size, changed.name) == (256, 256, "other")
    assert changed == dataclasses.replace(spec.with_image_size(256), name="other")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("image.widht=3", "did you mean 'width'"),
        ("embedding", "not an assignment"),
        ("embedding=many", "must be a whole number"),
    ],
)
def test_bad_overrides(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.override(zoo.MODELS["ViT-B/32"], [assignment])


@pytest.mark.parametrize("tower", ["image", "text"])
def test_layers_between_which_nothing_is_left(tower: str) -> None:
    spec = getattr(zoo.MODELS["ViT-B/32"], tower)
    with pytest.raises(ConfigError, match=r"mlp_ratio \(0\.001\) leaves nothing of width"):
        dataclasses.replace(spec, mlp_ratio=0.001)
