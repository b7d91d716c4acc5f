"""What OpenCLIP calls its tensors: OpenAI's names, ``text.`` before those of a text tower of its own, and timm's for
SigLIP's image tower."""

from __future__ import annotations

from diptych.checkpoints.names import openai
from diptych.specs import SiglipTextSpec, SiglipVisionSpec, TextTransformerSpec

_SCALES = {"logit_scale": "logit_scale", "logit_bias": "logit_bias"}
# Of a text tower of its own; in the flat layout its names are OpenAI's.
OWN_TEXT = {ours: f"text.{theirs}" for ours, theirs in openai.TEXT.items()} | _SCALES
_SIGLIP_TEXT = OWN_TEXT | {"text.projection.{p}": "text.text_projection.{p}"}
_TRUNK = {
    "norm_attention.{p}": "norm1.{p}",
    "attention.query_key_value.{p}": "attn.qkv.{p}",
    "attention.output.{p}": "attn.proj.{p}",
    "norm_mlp.{p}": "norm2.{p}",
    "mlp.expand.{p}": "mlp.fc1.{p}",
    "mlp.contract.{p}": "mlp.fc2.{p}",
}
_SIGLIP_VISION = {
    "image.patch_embedding.{p}": "visual.trunk.patch_embed.proj.{p}",
    "image.positional_embedding": "visual.trunk.pos_embed^1",
    **{f"image.blocks.{{i}}.{ours}": f"visual.trunk.blocks.{{i}}.{theirs}" for ours, theirs in _TRUNK.items()},
    "image.norm_post.{p}": "visual.trunk.norm.{p}",
    "image.pool.probe": "visual.trunk.attn_pool.latent",
    "image.pool.query_key_value.{p}": "visual.trunk.attn_pool.{q|kv:2}.{p}",
    "image.pool.output.{p}": "visual.trunk.attn_pool.proj.{p}",
    "image.pool.norm.{p}": "visual.trunk.attn_pool.norm.{p}",
    "image.pool.mlp.expand.{p}": "visual.trunk.attn_pool.mlp.fc1.{p}",
    "image.pool.mlp.contract.{p}": "visual.trunk.attn_pool.mlp.fc2.{p}",
}

ROWS: dict[type, dict[str, str]] = {
    **openai.ROWS,
    SiglipTextSpec: _SIGLIP_TEXT,
    SiglipVisionSpec: _SIGLIP_VISION,
}
ROWS_OWN_TEXT = ROWS | {TextTransformerSpec: OWN_TEXT}
