"""What other libraries are asked for by a file is what they have here, and nothing that they would fetch."""

import pytest
from huggingface_hub import HfApi, constants, errors

from diptych.errors import ConfigError
from diptych.models.libraries import offline, refuse_fetching


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
