"""What big_vision calls the tensors of SigLIP, once its attention kernels are made matrices (see `big_vision`)."""

from __future__ import annotations

from diptych.specs import SiglipTextSpec, SiglipVisionSpec


def _norm(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/scale", f"{ours}.bias": f"{theirs}/bias"}


def _linear(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/kernel^T", f"{ours}.bias": f"{theirs}/bias"}


def _attention(ours: str, theirs: str) -> dict[str, str]:
    """``ours`` holds where the names of its two linear layers go."""
    theirs = f"{theirs}/MultiHeadDotProductAttention_0"
    return _linear(ours.format("query_key_value"), f"{theirs}/{{query|key|value}}") | _linear(
        ours.format("output"), f"{theirs}/out"
    )


def _mlp(ours: str, theirs: str) -> dict[str, str]:
    return _linear(f"{ours}.expand", f"{theirs}/MlpBlock_0/Dense_0") | _linear(
        f"{ours}.contract", f"{theirs}/MlpBlock_0/Dense_1"
    )


def _blocks(ours: str, theirs: str) -> dict[str, str]:
    ours, theirs = f"{ours}.blocks.{{i}}", f"{theirs}/encoderblock_{{i}}"
    return (
        _norm(f"{ours}.norm_attention", f"{theirs}/LayerNorm_0")
        | _attention(f"{ours.replace('{i}', '{{i}}')}.attention.{{}}", theirs)
        | _norm(f"{ours}.norm_mlp", f"{theirs}/LayerNorm_1")
        | _mlp(f"{ours}.mlp", theirs)
    )


ROWS: dict[type, dict[str, str]] = {
    SiglipVisionSpec: {
        "image.patch_embedding.weight": "img/embedding/kernel^HWIO",
        "image.patch_embedding.bias": "img/embedding/bias",
        "image.positional_embedding": "img/pos_embedding^1",
        **_blocks("image", "img/Transformer"),
        **_norm("image.norm_post", "img/Transformer/encoder_norm"),
        "image.pool.probe": "img/MAPHead_0/probe",
        **_attention("image.pool.{}", "img/MAPHead_0"),
        **_norm("image.pool.norm", "img/MAPHead_0/LayerNorm_0"),
        **_mlp("image.pool.mlp", "img/MAPHead_0"),
    },
    SiglipTextSpec: {
        "logit_scale": "t^1",
        "logit_bias": "b^1",
        "text.token_embedding.weight": "txt/Embed_0/embedding",
        "text.positional_embedding": "txt/pos_embedding^1",
        **_blocks("text", "txt/Encoder_0"),
        **_norm("text.norm_final", "txt/Encoder_0/encoder_norm"),
        **_linear("text.projection", "txt/head"),
    },
}
