"""What each tensor is called in the files of OpenAI and OpenCLIP: one literal table, used in both directions.

OpenAI's archives and OpenCLIP's flat files share their names; OpenCLIP's models with a text tower of their own put
``text.`` before the names of that tower. Shapes and orientation are ours already, so reading is renaming.
"""

from __future__ import annotations

import re
from typing import Literal

import torch

from diptych.models.clip import CLIP
from diptych.specs import ModelSpec, ModifiedResNetSpec

Layout = Literal["flat", "text"]

# {i} and {j} are numbers of blocks; {p} is whatever the layer holds: weight, bias, running_mean ...
_BLOCK = {
    "norm_attention.{p}": "ln_1.{p}",
    "attention.query_key_value.{p}": "attn.in_proj_{p}",
    "attention.output.{p}": "attn.out_proj.{p}",
    "norm_mlp.{p}": "ln_2.{p}",
    "mlp.expand.{p}": "mlp.c_fc.{p}",
    "mlp.contract.{p}": "mlp.c_proj.{p}",
}
_TEXT = {
    "text.token_embedding.weight": "token_embedding.weight",
    "text.positional_embedding": "positional_embedding",
    "text.norm_final.{p}": "ln_final.{p}",
    "text.projection": "text_projection",
    **{f"text.blocks.{{i}}.{ours}": f"transformer.resblocks.{{i}}.{theirs}" for ours, theirs in _BLOCK.items()},
}
_VISION_TRANSFORMER = {
    "image.patch_embedding.weight": "visual.conv1.weight",
    "image.class_embedding": "visual.class_embedding",
    "image.positional_embedding": "visual.positional_embedding",
    "image.norm_pre.{p}": "visual.ln_pre.{p}",
    "image.norm_post.{p}": "visual.ln_post.{p}",
    "image.projection": "visual.proj",
    **{f"image.blocks.{{i}}.{ours}": f"visual.transformer.resblocks.{{i}}.{theirs}" for ours, theirs in _BLOCK.items()},
}
_MODIFIED_RESNET = {
    "image.stem.0.weight": "visual.conv1.weight",
    "image.stem.1.{p}": "visual.bn1.{p}",
    "image.stem.3.weight": "visual.conv2.weight",
    "image.stem.4.{p}": "visual.bn2.{p}",
    "image.stem.6.weight": "visual.conv3.weight",
    "image.stem.7.{p}": "visual.bn3.{p}",
    **{
        f"image.stages.{stage}.{{j}}.{ours}": f"visual.layer{stage + 1}.{{j}}.{theirs}"
        for stage in range(4)
        for ours, theirs in {
            "conv1.weight": "conv1.weight",
            "norm1.{p}": "bn1.{p}",
            "conv2.weight": "conv2.weight",
            "norm2.{p}": "bn2.{p}",
            "conv3.weight": "conv3.weight",
            "norm3.{p}": "bn3.{p}",
            "shortcut.1.weight": "downsample.0.weight",
            "shortcut.2.{p}": "downsample.1.{p}",
        }.items()
    },
    "image.attention_pool.positional_embedding": "visual.attnpool.positional_embedding",
    "image.attention_pool.query.{p}": "visual.attnpool.q_proj.{p}",
    "image.attention_pool.key.{p}": "visual.attnpool.k_proj.{p}",
    "image.attention_pool.value.{p}": "visual.attnpool.v_proj.{p}",
    "image.attention_pool.output.{p}": "visual.attnpool.c_proj.{p}",
}


def expected(spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Every tensor of the model by its name, on the meta device: shapes and types without memory."""
    with torch.device("meta"):
        return CLIP(spec).state_dict()


def renames(spec: ModelSpec, layout: Layout = "flat") -> dict[str, str]:
    """Our name of every tensor of the model to its name in an OpenAI (``flat``) or OpenCLIP file."""
    image = _MODIFIED_RESNET if isinstance(spec.image, ModifiedResNetSpec) else _VISION_TRANSFORMER
    prefix = "text." if layout == "text" else ""
    table = {"logit_scale": "logit_scale", **image} | {ours: prefix + theirs for ours, theirs in _TEXT.items()}
    patterns = [(re.compile(_pattern(ours)), theirs) for ours, theirs in table.items()]
    return {name: _rename(name, patterns) for name in expected(spec)}


def _pattern(template: str) -> str:
    return re.sub(r"\\{([ij])\\}", r"(?P<\1>\\d+)", re.escape(template)).replace(r"\{p\}", r"(?P<p>\w+)")


def _rename(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, theirs in patterns:
        if match := pattern.fullmatch(name):
            return theirs.format_map(match.groupdict())
    raise AssertionError(f"the key table has no row for {name}")
