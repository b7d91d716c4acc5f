"""What OpenAI calls the tensors of its models; OpenCLIP's flat files share these names.

Shapes and orientation are ours already, so reading is renaming.
"""

from __future__ import annotations

from diptych.specs import ModifiedResNetSpec, TextTransformerSpec, VisionTransformerSpec

BLOCK = {
    "norm_attention.{p}": "ln_1.{p}",
    "attention.query_key_value.{p}": "attn.in_proj_{p}",
    "attention.output.{p}": "attn.out_proj.{p}",
    "norm_mlp.{p}": "ln_2.{p}",
    "mlp.expand.{p}": "mlp.c_fc.{p}",
    "mlp.contract.{p}": "mlp.c_proj.{p}",
}
TEXT = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "text.token_embedding.weight": "token_embedding.weight",
    "text.positional_embedding": "positional_embedding",
    "text.norm_final.{p}": "ln_final.{p}",
    "text.projection": "text_projection",
    **{f"text.blocks.{{i}}.{ours}": f"transformer.resblocks.{{i}}.{theirs}" for ours, theirs in BLOCK.items()},
}
VISION_TRANSFORMER = {
    "image.patch_embedding.weight": "visual.conv1.weight",
    "image.class_embedding": "visual.class_embedding",
    "image.positional_embedding": "visual.positional_embedding",
    "image.norm_pre.{p}": "visual.ln_pre.{p}",
    "image.norm_post.{p}": "visual.ln_post.{p}",
    "image.projection": "visual.proj",
    **{f"image.blocks.{{i}}.{ours}": f"visual.transformer.resblocks.{{i}}.{theirs}" for ours, theirs in BLOCK.items()},
}
MODIFIED_RESNET = {
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

ROWS: dict[type, dict[str, str]] = {
    TextTransformerSpec: TEXT,
    VisionTransformerSpec: VISION_TRANSFORMER,
    ModifiedResNetSpec: MODIFIED_RESNET,
}
