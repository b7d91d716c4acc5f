"""What Chinese-CLIP calls its tensors: OpenAI's names for images, BERT's for texts."""

from __future__ import annotations

from diptych.checkpoints.names import openai
from diptych.specs import BertSpec, ModifiedResNetSpec, VisionTransformerSpec


def bert(prefix: str) -> dict[str, str]:
    """Our names of the tensors of a BERT to those that all its implementations share."""
    return {
        "text.token_embedding.weight": f"{prefix}.embeddings.word_embeddings.weight",
        "text.positional_embedding": f"{prefix}.embeddings.position_embeddings.weight",
        "text.segment_embedding": f"{prefix}.embeddings.token_type_embeddings.weight",
        "text.norm_embedding.{p}": f"{prefix}.embeddings.LayerNorm.{{p}}",
        **{
            f"text.blocks.{{i}}.{ours}": f"{prefix}.encoder.layer.{{i}}.{theirs}"
            for ours, theirs in {
                "attention.query_key_value.{p}": "attention.self.{query|key|value}.{p}",
                "attention.output.{p}": "attention.output.dense.{p}",
                "norm_attention.{p}": "attention.output.LayerNorm.{p}",
                "mlp.expand.{p}": "intermediate.dense.{p}",
                "mlp.contract.{p}": "output.dense.{p}",
                "norm_mlp.{p}": "output.LayerNorm.{p}",
            }.items()
        },
    }


ROWS: dict[type, dict[str, str]] = {
    BertSpec: bert("bert") | {"logit_scale": "logit_scale", "text.projection": "text_projection"},
    VisionTransformerSpec: openai.ROWS[VisionTransformerSpec],
    ModifiedResNetSpec: openai.ROWS[ModifiedResNetSpec],
}
