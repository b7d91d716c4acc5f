"""What other libraries are asked for by a file is what they have here, and nothing that they would fetch."""

import pytest
import torch
from huggingface_hub import HfApi, constants, errors

from diptych.errors import ConfigError
from diptych.models.libraries import check_options, check_size, offline, refuse_fetching


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pretrained": True}, "pretrained"),
        ({"pretrained_cfg": {"url": "http://evil.example/x.pth"}}, "pretrained_cfg"),
        ({"checkpoint_path": "x.pth"}, "checkpoint_path"),
        ({"backbone": "evil/repo"}, "backbone"),
        ({"a": {"b": [1, {"use_pretrained_backbone": True}]}}, "use_pretrained_backbone"),
        ({"use_timm_backbone": True}, "use_timm_backbone"),
        ({"_attn_implementation": "kernels-community/evil"}, "_attn_implementation"),
        ({"attn_implementation": {"": "evil/repo"}}, "attn_implementation"),
        ({"_experts_implementation_internal": "evil/repo"}, "_experts_implementation_internal"),
        ({"auto_map": {"AutoModel": "evil/repo--m.C"}}, "auto_map"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantization_config"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000"),
        ([1], "an object"),
        ({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}}}}, "deep"),
    ],
)
def test_what_could_be_fetched_is_refused_at_any_depth(options: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        refuse_fetching(options)


def test_sizes_switches_and_what_is_built_in_pass() -> None:
    """What saved configs hold, among it keys that only look like those that fetch."""
    refuse_fetching(
        {
            **{"pretrained_window_sizes": [0, 0], "backbone_out_indices": [1], "backbone_config": {"depths": [3, 4]}},
            **{
                "_attn_implementation_autoset": True,
                "_attn_implementation": "sdpa",
                "auto_map": None,
                "backbone": None,
            },
            **{"use_pretrained_backbone": False, "hidden_act": "gelu", "num_hidden_layers": 12, "vocab_size": 256_000},
        }
    )


def test_the_hub_is_out_of_reach_while_a_model_is_made() -> None:
    before = constants.HF_HUB_OFFLINE
    with offline():
        with offline():
            assert constants.HF_HUB_OFFLINE is True
        with pytest.raises(errors.OfflineModeIsEnabled):
            HfApi(endpoint="http://127.0.0.1:9").model_info("org/name")
    assert constants.HF_HUB_OFFLINE is before


KNOWN = ("embed_dim", "global_pool", "img_size", "no_embed_class", "act_layer", "rope_parameters")


def test_options_that_an_architecture_has_are_numbers_switches_and_words() -> None:
    """What published models say, UNI's, Virchow's and ModernBERT's among them."""
    options = {
        "embed_dim": 1536,
        "global_pool": "",
        "img_size": [224, 224],
        "no_embed_class": True,
        "act_layer": "gelu",
    }
    check_options(options | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "x": None}}, KNOWN, "it")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"embed_dmi": 3}, "it has no option 'embed_dmi'; did you mean 'embed_dim'"),
        ({"checkpoint_path": 5}, "it has no option 'checkpoint_path'"),
        ({"act_layer": "evil/repo"}, "act_layer is 'evil/repo'; only numbers"),
        ({"act_layer": "../weights.pth"}, "single words"),
        ({"act_layer": "os.system"}, "single words"),
        ({"act_layer": "hf-hub:x"}, "single words"),
        ({"img_size": [[{"a": ["x", "/etc/passwd"]}]]}, "img_size is '/etc/passwd'"),
        ({"rope_parameters": {"a/b": 1}}, "is 'a/b'"),
        ({"rope_parameters": {"a": b"x"}}, "single words"),
        ({"img_size": [[[[[[[[[[1]]]]]]]]]]}, "more than 8 deep"),
    ],
)
def test_all_else_is_refused(options: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_options(options, KNOWN, "it")


def test_a_model_that_its_weights_cannot_fill_is_not_made() -> None:
    with torch.device("meta"):
        hollow = torch.nn.Linear(10_000, 10_000)
    check_size(hollow, {"weight": torch.empty(10_000, 10_000, device="meta")})
    with pytest.raises(ConfigError, match="a model of 100,010,000 numbers is described, but the weights have 4"):
        check_size(hollow, {"weight": torch.ones(4)})
