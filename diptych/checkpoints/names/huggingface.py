"""What Transformers calls the tensors of ``CLIPModel``, ``SiglipModel`` and ``ChineseCLIPModel``."""

from __future__ import annotations

from diptych.checkpoints.names.chinese_clip import bert
from diptych.specs import BertSpec, SiglipTextSpec, SiglipVisionSpec, TextTransformerSpec, VisionTransformerSpec

_LAYER = {
    "norm_attention.{p}": "layer_norm1.{p}",
    "attention.query_key_value.{p}": "self_attn.{q|k|v}_proj.{p}",
    "attention.output.{p}": "self_attn.out_proj.{p}",
    "norm_mlp.{p}": "layer_norm2.{p}",
    "mlp.expand.{p}": "mlp.fc1.{p}",
    "mlp.contract.{p}": "mlp.fc2.{p}",
}
_TEXT_BLOCKS = {
    f"text.blocks.{{i}}.{ours}": f"text_model.encoder.layers.{{i}}.{theirs}" for ours, theirs in _LAYER.items()
}
_IMAGE_BLOCKS = {
    f"image.blocks.{{i}}.{ours}": f"vision_model.encoder.layers.{{i}}.{theirs}" for ours, theirs in _LAYER.items()
}
# Of each kind of tower, our names and theirs (see `places`).
ROWS: dict[type, dict[str, str]] = {
    TextTransformerSpec: {
        "logit_scale": "logit_scale",
        "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
        "text.norm_final.{p}": "text_model.final_layer_norm.{p}",
        "text.projection": "text_projection.weight^T",
        **_TEXT_BLOCKS,
    },
    VisionTransformerSpec: {
        "image.patch_embedding.weight": "vision_model.embeddings.patch_embedding.weight",
        "image.class_embedding": "vision_model.embeddings.class_embedding",
        "image.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "image.norm_pre.{p}": "vision_model.pre_layrnorm.{p}",
        "image.norm_post.{p}": "vision_model.post_layernorm.{p}",
        "image.projection": "visual_projection.weight^T",
        **_IMAGE_BLOCKS,
    },
    SiglipTextSpec: {
        "logit_scale": "logit_scale^1",
        "logit_bias": "logit_bias^1",
        "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
        "text.norm_final.{p}": "text_model.final_layer_norm.{p}",
        "text.projection.{p}": "text_model.head.{p}",
        **_TEXT_BLOCKS,
    },
    SiglipVisionSpec: {
        "image.patch_embedding.{p}": "vision_model.embeddings.patch_embedding.{p}",
        "image.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "image.norm_post.{p}": "vision_model.post_layernorm.{p}",
        "image.pool.probe": "vision_model.head.probe",
        "image.pool.query_key_value.{p}": "vision_model.head.attention.in_proj_{p}",
        "image.pool.output.{p}": "vision_model.head.attention.out_proj.{p}",
        "image.pool.norm.{p}": "vision_model.head.layernorm.{p}",
        "image.pool.mlp.expand.{p}": "vision_model.head.mlp.fc1.{p}",
        "image.pool.mlp.contract.{p}": "vision_model.head.mlp.fc2.{p}",
        **_IMAGE_BLOCKS,
    },
    BertSpec: bert("text_model") | {"logit_scale": "logit_scale", "text.projection": "text_projection.weight^T"},
}
# ``Siglip2Model`` of NaFlex takes images cut into patches already, and embeds them by a linear layer.
ROWS_FLAT_PATCHES = ROWS | {
    SiglipVisionSpec: {
        "image.patch_embedding.weight": "vision_model.embeddings.patch_embedding.weight^HWC",
        **ROWS[SiglipVisionSpec],  # of two rows that fit a name, the first counts
    }
}
